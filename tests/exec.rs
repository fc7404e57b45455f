//! `exec`: other programs in a container that runs.

use std::collections::BTreeMap;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Caller, Context, Running, Terminal, scenarios};

scenarios!(
    it_is_what_the_containers_own_process_is,
    the_environment_is_put_together_anew,
    flags_say_what_is_otherwise,
    the_user_is_looked_up_in_the_containers_own_files,
    privileged_is_the_program_alone,
    it_runs_where_its_container_has_less,
    exit_codes_are_the_programs_own,
    what_cannot_be_started_is_told,
    standard_input_arrives_byte_for_byte,
    without_i_there_is_nothing_to_read,
    output_is_kept_apart_and_complete,
    what_stays_in_the_background_does_not_delay_the_end,
    signals_are_passed_on_to_it,
    it_ends_with_its_client,
    it_ends_with_its_container,
    a_terminal_is_its_own,
    the_terminal_is_given_back,
    detached_it_goes_on_alone,
    minidock_cannot_be_reached_from_inside,
    a_working_directory_leads_nowhere_else,
);

/// A container that runs, with `flags`, under the name `box`.
fn container(cx: &Context, flags: &[&str]) -> Running {
    cx.load_busybox();
    started(cx, flags)
}

fn started(cx: &Context, flags: &[&str]) -> Running {
    let mut args = vec!["run", "--name", "box"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", "echo ready; exec sleep 100000"]);
    let mut run = cx.start(cx.command(args));
    run.wait_for_stdout("ready");
    run
}

fn end(cx: &Context, run: Running) {
    cx.run(["rm", "-f", "box"]).silent_ok();
    assert_eq!(run.wait().code, Some(137));
}

/// Standard output of a shell script in the container.
#[track_caller]
fn sh(cx: &Context, flags: &[&str], script: &str) -> String {
    let mut args = vec!["exec"];
    args.extend(flags);
    args.extend(["box", "sh", "-c", script]);
    cx.run(args).silent_ok().to_owned()
}

/// What the kernel says about a process: of `/proc/PID/status`, limits, scheduling and namespaces.
const ABOUT: &str = r#"
    grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Seccomp_filters|Umask):' /proc/$P/status
    cat /proc/$P/limits /proc/$P/cgroup /proc/$P/oom_score_adj
    for n in cgroup ipc mnt net pid user uts; do readlink /proc/$P/ns/$n; done
    readlink /proc/$P/root; readlink /proc/$P/cwd
"#;

fn it_is_what_the_containers_own_process_is(cx: &Context) {
    let sets: [&[&str]; 6] = [
        &[],
        &[
            "--cap-add",
            "SYS_PTRACE",
            "--cap-drop",
            "KILL",
            "-w",
            "/tmp",
        ],
        &["--ulimit", "nofile=333:444", "--oom-score-adj", "500"],
        &["--security-opt", "no-new-privileges=false"],
        &["--security-opt", "seccomp=unconfined"],
        &["--read-only", "--init"],
    ];
    cx.load_busybox();
    for flags in sets {
        let run = started(cx, flags);
        // The sleep, which is not the first process where there is an init.
        let own = sh(
            cx,
            &[],
            &format!("for P in 1 $(pidof sleep); do :; done; {ABOUT}"),
        );
        let other = sh(cx, &[], &format!("P=self; {ABOUT}"));
        assert_eq!(own, other, "{flags:?}");
        assert!(own.contains("Seccomp:") && own.contains("mnt:["), "{own}");
        // Nothing of the client's is there: three descriptors, and the one that lists them.
        let listed = sh(cx, &[], "ls /proc/self/fd");
        assert_eq!(listed, "0\n1\n2\n3\n", "{flags:?}");
        end(cx, run);
    }
}

fn variables(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|l| l.split_once('=')).collect()
}

fn the_environment_is_put_together_anew(cx: &Context) {
    let run = container(cx, &["-e", "A=container's", "-e", "B=1", "-h", "host"]);
    let file = cx.write("vars", "F=from a file\nA=file's\n");
    let file = file.to_str().unwrap();
    let shown = cx.run([
        "exec",
        "--env-file",
        file,
        "-e",
        "A=mine",
        "-e",
        "EMPTY=",
        "-e",
        "HOST_ONLY",
        "-e",
        "B",
        "box",
        "env",
    ]);
    let found = variables(shown.silent_ok());
    let expected = BTreeMap::from([
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOSTNAME", "host"),
        ("HOME", "/root"),
        ("A", "mine"),
        ("F", "from a file"),
        ("EMPTY", ""),
    ]);
    assert_eq!(found, expected);
    let plain = cx.run(["exec", "box", "env"]);
    let plain = variables(plain.silent_ok());
    assert_eq!((plain["A"], plain["B"]), ("container's", "1"));
    // A terminal has a name for what it is.
    let shown = cx.run(["exec", "-t", "box", "env"]);
    assert!(shown.ok().contains("TERM=xterm\r\n"), "{shown}");
    end(cx, run);
}

fn flags_say_what_is_otherwise(cx: &Context) {
    let run = container(cx, &["-w", "/tmp"]);
    assert_eq!(sh(cx, &[], "pwd"), "/tmp\n");
    assert_eq!(
        sh(cx, &["-w", "/etc"], "pwd; cat hostname | wc -l"),
        "/etc\n1\n"
    );
    // By a link of the container's, too.
    sh(cx, &[], "ln -s /usr /tmp/link");
    assert_eq!(sh(cx, &["--workdir", "/tmp/link"], "pwd -P"), "/usr\n");
    // Words after the command are its own.
    let words = cx.run(["exec", "box", "echo", "-t", "-i", "--help", "-e"]);
    assert_eq!(words.silent_ok(), "-t -i --help -e\n");
    let id = sh(cx, &[], "hostname");
    let by_id = cx.run(["exec", id.trim(), "hostname"]);
    assert_eq!(by_id.silent_ok(), id);
    let by_group = cx.run(["container", "exec", "box", "hostname"]);
    assert_eq!(by_group.silent_ok(), id);
    end(cx, run);
}

fn the_user_is_looked_up_in_the_containers_own_files(cx: &Context) {
    let run = container(cx, &[]);
    assert_eq!(sh(cx, &["-u", "0:0"], "id -u; id -g"), "0\n0\n");
    assert_eq!(sh(cx, &["-u", "root"], "id -u; echo $HOME"), "0\n/root\n");
    if cx.caller == Caller::Root {
        // As they are now, not as the image had them.
        let add = "echo me:x:4321:4322:me:/home/me:/bin/sh >>/etc/passwd; \
                   echo team:x:99:me,you >>/etc/group; echo you:x:4323: >>/etc/group";
        sh(cx, &[], add);
        let who = "id -u; id -g; id -G; echo $HOME; grep ^CapEff /proc/self/status";
        let none = "CapEff:\t0000000000000000\n";
        let expected = format!("4321\n4322\n4322 99\n/home/me\n{none}");
        assert_eq!(sh(cx, &["-u", "me"], who), expected);
        let expected = format!("4321\n4323\n4323\n/home/me\n{none}");
        assert_eq!(sh(cx, &["-u", "me:you"], who), expected);
        let expected = format!("77\n0\n0\n/\n{none}");
        assert_eq!(sh(cx, &["--user", "77"], who), expected);
        // What it has as standard output, it can open by name.
        assert_eq!(sh(cx, &["-u", "me"], "echo x >/dev/stdout"), "x\n");
    }
    for user in ["nobody-at-all", "root:nothing", "4294967295"] {
        let output = cx.run(["exec", "-u", user, "box", "true"]);
        assert!(output.error(126).contains(user), "{output}");
    }
    // Whatever stands there: nothing is waited for, and nothing followed to the outside.
    let secret = cx.write("secret", "root:x:0:0::/of-the-host:/\n");
    let trap = format!(
        "rm /etc/passwd; ln -s {} /etc/passwd; rm /etc/group; mkfifo /etc/group",
        secret.display()
    );
    sh(cx, &[], &trap);
    let output = cx.run(["exec", "-u", "root", "box", "true"]);
    assert!(
        output.error(126).contains("unable to find user root"),
        "{output}"
    );
    assert_eq!(sh(cx, &["-u", "0"], "echo $HOME"), "/\n");
    end(cx, run);
}

fn privileged_is_the_program_alone(cx: &Context) {
    let run = container(cx, &["--cap-drop", "ALL"]);
    let caps = "grep ^Cap /proc/self/status | cut -f2 | sort -u";
    assert_eq!(sh(cx, &[], caps), "0000000000000000\n");
    let all = sh(cx, &["--privileged"], caps);
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let all_there_are = (1_u64 << (last.trim().parse::<u32>().unwrap() + 1)) - 1;
    assert_eq!(all, format!("0000000000000000\n{all_there_are:016x}\n"));
    // The filter is still the container's.
    assert!(sh(cx, &["--privileged"], "mount -t tmpfs x /tmp 2>&1; true").contains("denied"));
    end(cx, run);
}

fn it_runs_where_its_container_has_less(cx: &Context) {
    cx.load_busybox();
    let sets: [&[&str]; 6] = [
        &["--read-only"],
        &["--pid", "host"],
        &["--network", "host", "--ipc", "host", "--uts", "host"],
        &["--userns", "host", "--cgroupns", "host"],
        &["--privileged"],
        &["-u", "1000:1000"],
    ];
    for flags in sets {
        let run = started(cx, flags);
        let link = |who: &str| {
            format!("for n in cgroup ipc mnt net pid user uts; do readlink /proc/{who}/ns/$n; done")
        };
        let shown = sh(cx, &[], &format!("{}; id -u; echo works", link("self")));
        assert!(shown.ends_with("\nworks\n"), "{flags:?}: {shown}");
        let id = if flags[0] == "-u" {
            "\n1000\n"
        } else {
            "\n0\n"
        };
        assert!(shown.contains(id), "{flags:?}: {shown}");
        end(cx, run);
    }
    let run = {
        let mut args = vec!["--storage-driver", "flat", "run", "--name", "box"];
        args.extend(["busybox", "sh", "-c", "echo ready; exec sleep 100000"]);
        let mut run = cx.start(cx.command(args));
        run.wait_for_stdout("ready");
        run
    };
    assert_eq!(sh(cx, &[], "echo x >/f; cat /f"), "x\n");
    end(cx, run);
}

fn exit_codes_are_the_programs_own(cx: &Context) {
    let run = container(cx, &[]);
    for code in [0, 1, 7, 125, 126, 127, 255] {
        let output = cx.run(["exec", "box", "sh", "-c", &format!("exit {code}")]);
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (Some(code), "", ""),
            "{output}"
        );
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let output = cx.run(["exec", "box", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(output.code, Some(code), "{output}");
    }
    end(cx, run);
}

fn what_cannot_be_started_is_told(cx: &Context) {
    let run = container(cx, &[]);
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["box", "nope"], 127, &["command not found", "nope"]),
        (&["box", "/bin/nope"], 127, &["/bin/nope"]),
        (&["box", "/etc"], 126, &["/etc"]),
        (
            &["box", "/etc/passwd"],
            126,
            &["/etc/passwd", "ermission denied"],
        ),
        (
            &["-w", "/nope", "box", "true"],
            127,
            &["working directory", "/nope"],
        ),
        (&["-w", "/etc/passwd", "box", "true"], 126, &["/etc/passwd"]),
        (&["-w", "etc", "box", "true"], 125, &["absolute"]),
        (&["nobody", "true"], 1, &["no such container: nobody"]),
        (&["box"], 125, &["COMMAND"]),
    ];
    for (args, code, words) in cases {
        let output = cx.run([&["exec"], args].concat());
        let message = output.error(code);
        for word in words {
            assert!(message.contains(word), "{word}: {output}");
        }
    }
    // The folder was not made.
    assert_eq!(
        sh(cx, &[], "ls -d /nope 2>/dev/null || echo none"),
        "none\n"
    );
    let output = cx.run(["exec", "-it", "box", "true"]);
    assert!(output.error(125).contains("not a TTY"), "{output}");
    run.signal(Signal::TERM);
    run.wait();
    let output = cx.run(["exec", "box", "true"]);
    assert!(
        output.error(1).contains("container box is not running"),
        "{output}"
    );
}

fn standard_input_arrives_byte_for_byte(cx: &Context) {
    let run = container(cx, &[]);
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..1 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let output = cx.run_with_input(["exec", "-i", "box", "sha256sum"], &bytes);
    let sum = crate::support::sha256(&bytes);
    let sum = sum.strip_prefix("sha256:").unwrap();
    assert_eq!(output.silent_ok(), format!("{sum}  -\n"));
    // The same by a file, which is relayed, both ways.
    let path = cx.write("in", &bytes);
    let out = cx.work().join("out");
    let mut command = cx.command(["exec", "-i", "box", "cat"]);
    command
        .stdin(std::fs::File::open(path).unwrap())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::piped());
    let output = Running::spawn(&mut command).wait();
    output.silent_ok();
    assert!(std::fs::read(out).unwrap() == bytes);
    end(cx, run);
}

fn without_i_there_is_nothing_to_read(cx: &Context) {
    let run = container(cx, &[]);
    let output = cx.run_with_input(["exec", "box", "cat"], b"not for it");
    assert_eq!(output.silent_ok(), "");
    assert_eq!(sh(cx, &[], "readlink /proc/self/fd/0"), "/dev/null\n");
    end(cx, run);
}

fn output_is_kept_apart_and_complete(cx: &Context) {
    let run = container(cx, &[]);
    let script = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let output = cx.run(["exec", "box", "sh", "-c", script]);
    let lines = |word: &str| {
        (0..2000)
            .map(|i| format!("{word} {i}\n"))
            .collect::<String>()
    };
    assert!(
        output.stdout == lines("out") && output.stderr == lines("err"),
        "{output}"
    );
    end(cx, run);
}

fn what_stays_in_the_background_does_not_delay_the_end(cx: &Context) {
    let run = container(cx, &[]);
    // Through a file, so that what it writes to is a pipe of minidock's.
    let out = cx.work().join("out");
    let script = "sleep 100000 & echo $!; exit 3";
    let mut command = cx.command(["exec", "box", "sh", "-c", script]);
    command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null());
    let output = Running::spawn(&mut command).wait();
    assert_eq!(output.code, Some(3), "{output}");
    let pid = std::fs::read_to_string(out).unwrap();
    // It goes on, as a child of the container's first process.
    let parent = format!("grep PPid /proc/{}/status", pid.trim());
    assert_eq!(sh(cx, &[], &parent), "PPid:\t1\n");
    end(cx, run);
}

fn signals_are_passed_on_to_it(cx: &Context) {
    let run = container(cx, &[]);
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("USR1", Signal::USR1),
    ] {
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; echo ready; sleep 1000 & wait");
        let mut exec = cx.start(cx.command(["exec", "box", "sh", "-c", &script]));
        exec.wait_for_stdout("ready\n");
        exec.signal(signal);
        let output = exec.wait();
        assert_eq!(
            (output.code, output.stdout),
            (Some(9), format!("ready\ngot {name}\n"))
        );
    }
    // One that is not caught ends it, for it is not the first process.
    let mut exec = cx.start(cx.command(["exec", "box", "sh", "-c", "echo ready; exec sleep 1000"]));
    exec.wait_for_stdout("ready\n");
    exec.signal(Signal::TERM);
    assert_eq!(exec.wait().code, Some(143));
    end(cx, run);
}

/// Waits until the container has no process with this argument.
#[track_caller]
fn wait_until_gone(cx: &Context, word: &str) {
    let script =
        format!("while grep -qs {word} /proc/[2-9]*/cmdline /proc/[1-9][0-9]*/cmdline; do :; done");
    // Its own words are not what it looks for.
    let script = script.replace(word, &format!("{}''{}", &word[..1], &word[1..]));
    sh(cx, &[], &script);
}

fn it_ends_with_its_client(cx: &Context) {
    let run = container(cx, &[]);
    let mut exec =
        cx.start(cx.command(["exec", "box", "sh", "-c", "echo ready; exec sleep 54321"]));
    exec.wait_for_stdout("ready\n");
    exec.kill();
    wait_until_gone(cx, "54321");
    end(cx, run);
}

fn it_ends_with_its_container(cx: &Context) {
    cx.load_busybox();
    for flags in [&[][..], &["--pid", "host"]] {
        let run = started(cx, flags);
        let script = "sleep 100000 & echo ready; exec sleep 100000";
        let mut exec = cx.start(cx.command(["exec", "box", "sh", "-c", script]));
        exec.wait_for_stdout("ready\n");
        end(cx, run);
        let output = exec.wait();
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(137), ""),
            "{flags:?}: {output}"
        );
    }
}

fn a_terminal_is_its_own(cx: &Context) {
    let run = container(cx, &[]);
    let mut terminal = Terminal::start(cx, ["exec", "-it", "-e", "PS1=<$?>", "box", "sh"]);
    terminal.expect("<0>");
    terminal.send("tty; test -t 0 && test -t 1 && test -t 2 && echo all of th''em; echo $TERM\r");
    let shown = terminal.expect("<0>");
    assert!(
        shown.ends_with("/dev/pts/0\r\nall of them\r\nxterm\r\n"),
        "{shown:?}"
    );
    terminal.send("echo through the no''de >/dev/tty; stty size\r");
    terminal.expect("through the node\r\n24 80\r\n<0>");
    terminal.resize(50, 132);
    terminal.send("stty size\r");
    while !terminal.expect("<0>").contains("50 132") {
        terminal.send("stty size\r");
    }
    // Keys mean what they mean to whatever runs there.
    terminal.send("sh -c 'echo st''arted; sleep 1000'\r");
    terminal.expect("started\r\n");
    terminal.send("\x03");
    terminal.expect("<130>");
    terminal.send("exit 5\r");
    let output = terminal.wait();
    assert_eq!(output.code, Some(5), "{output}");
    end(cx, run);
}

fn the_terminal_is_given_back(cx: &Context) {
    let run = container(cx, &[]);
    let terminal = Terminal::start(
        cx,
        [
            "exec",
            "-it",
            "box",
            "sh",
            "-c",
            "echo ready; exec sleep 1000",
        ],
    );
    let (device, before) = (terminal.keep_device(), terminal.settings.clone());
    let mut terminal = terminal;
    terminal.expect("ready");
    end(cx, run);
    let output = terminal.wait();
    assert_eq!(output.code, Some(137), "{output}");
    let after = rustix::termios::tcgetattr(device).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
}

fn detached_it_goes_on_alone(cx: &Context) {
    cx.load_busybox();
    for flags in [&[][..], &["--pid", "host"], &["--privileged"]] {
        let run = started(cx, flags);
        let script =
            "for n in 0 1 2; do readlink /proc/$$/fd/$n; done >/seen; echo lost; exec sleep 100000";
        let output = cx.run(["exec", "-d", "box", "sh", "-c", script]);
        assert_eq!(output.silent_ok(), "", "{flags:?}");
        let wait = "until grep -qs null /seen; do :; done; head -1 /seen";
        assert_eq!(sh(cx, &[], wait), "/dev/null\n", "{flags:?}");
        let terminal = cx.run([
            "exec",
            "-dt",
            "box",
            "sh",
            "-c",
            "tty >/tty; exec sleep 100000",
        ]);
        assert_eq!(terminal.silent_ok(), "");
        let wait = "until grep -qs pts /tty; do :; done; cat /tty";
        assert!(sh(cx, &[], wait).starts_with("/dev/pts/"), "{flags:?}");
        // What cannot be started is told all the same.
        let output = cx.run(["exec", "-d", "box", "nope"]);
        assert!(output.error(127).contains("nope"), "{output}");
        end(cx, run);
    }
}

/// CVE-2019-5736: the program to be executed leads to minidock's own file.
fn minidock_cannot_be_reached_from_inside(cx: &Context) {
    cx.load_busybox();
    let binary = std::fs::read(cx.binary()).unwrap();
    for flags in [
        &[][..],
        &["--privileged"],
        &["--cap-add", "SYS_PTRACE", "--pid", "host"],
        &["--security-opt", "seccomp=unconfined", "--cap-add", "ALL"],
    ] {
        let run = started(cx, flags);
        sh(
            cx,
            &[],
            "printf '#!/proc/self/exe\\n' >/evil; chmod 755 /evil; ln -s /proc/self/exe /link",
        );
        // As a magic link it is refused by name, also behind a link.
        for path in ["/proc/self/exe", "/link"] {
            let output = cx.run(["exec", "box", path]);
            assert!(matches!(output.code, Some(126)), "{flags:?}: {output}");
        }
        // Somebody looks into every process that appears, and keeps what can be opened for the time when nobody executes it.
        let watch = "while :; do for p in /proc/[0-9]*; do \
                     case $(readlink $p/exe) in *minidock*) \
                     exec 7<$p/exe && { echo got >/got; exec 8>/proc/self/fd/7 && echo x >&8; } ;; \
                     esac; done 2>/dev/null; done";
        cx.run(["exec", "-d", "box", "sh", "-c", watch]).silent_ok();
        for _ in 0..20 {
            let output = cx.run(["exec", "box", "/evil"]);
            // The interpreter is minidock, or a copy of it in memory: what it says does not matter.
            assert!(
                matches!(output.code, Some(125..=127)),
                "{flags:?}: {output}"
            );
        }
        end(cx, run);
        assert!(std::fs::read(cx.binary()).unwrap() == binary, "{flags:?}");
    }
}

/// CVE-2024-21626: the working directory is one that a descriptor refers to.
fn a_working_directory_leads_nowhere_else(cx: &Context) {
    let run = container(cx, &[]);
    sh(
        cx,
        &[],
        "for n in 3 4 5 6 7 8 9 10 11 12; do ln -s /proc/self/fd/$n /fd-$n; done; ln -s /proc/1/root /r",
    );
    for number in 3..13 {
        for path in [format!("/proc/self/fd/{number}"), format!("/fd-{number}")] {
            let output = cx.run(["exec", "-w", &path, "box", "pwd"]);
            assert!(matches!(output.code, Some(126 | 127)), "{output}");
            assert_eq!(output.stdout, "");
        }
    }
    let output = cx.run(["exec", "-w", "/r", "box", "pwd"]);
    output.error(126);
    // As many steps up as one likes end at the container's root.
    assert_eq!(
        sh(cx, &["-w", "/../../../../tmp/../.."], "pwd; ls -d home etc"),
        "/\netc\nhome\n"
    );
    end(cx, run);
}
