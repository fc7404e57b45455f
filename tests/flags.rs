//! What the flags of `run` do to one container, and what is said about those that cannot be honoured.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Caller, Context, Terminal, scenarios};

scenarios!(
    flags_that_cannot_be_honoured_are_refused_by_name,
    garbage_is_refused_with_the_flag_s_name,
    an_init_passes_on_signals_reaps_and_ends_as_the_program,
    the_init_cannot_be_reached,
    a_shell_below_an_init_has_job_control,
    capabilities,
    privileged_is_what_the_caller_may,
    security_options,
    namespaces_of_the_host,
    a_container_in_the_hosts_pid_namespace_leaves_nothing_behind,
    keep_id_is_the_caller,
    limits_and_parameters,
    names_and_resolvers,
    groups,
    devices,
    only_attached_streams_are_the_container_s,
    what_is_kept_with_the_container,
    pull_policies,
);

fn run(cx: &Context, flags: &[&str], script: &str) -> String {
    let args = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    cx.run(args).silent_ok().to_owned()
}

fn flags_that_cannot_be_honoured_are_refused_by_name(cx: &Context) {
    for (flags, word) in [
        (&["--memory-swappiness", "5"][..], "--memory-swappiness "),
        (&["--cpu-rt-runtime", "5"], "--cpu-rt-runtime "),
        (&["-p", "8080:80"], "--publish "),
        (&["-P"], "--publish-all "),
        (&["--expose", "80"], "--expose "),
        (&["--gpus", "all"], "--gpus "),
        (&["--health-cmd", "true"], "--health-cmd "),
        (&["--log-driver", "none"], "--log-driver "),
        (&["--link", "a:b"], "--link "),
        (
            &["--device-cgroup-rule", "c 1:3 r"],
            "--device-cgroup-rule ",
        ),
        (&["--pid", "container:x"], "container:x"),
        (&["--userns", "auto:size=7"], "auto"),
        (&["--add-host", "a:host-gateway"], "host-gateway"),
    ] {
        let output = cx.run([&["run"], flags, &["busybox"]].concat());
        let message = output.error(125);
        assert!(
            message.contains(word) && message.contains("hint: "),
            "{output}"
        );
    }
    let mistyped = cx.run(["run", "--privilegd", "busybox"]);
    assert!(
        mistyped.error(125).contains("did you mean --privileged?"),
        "{mistyped}"
    );
    let unknown = cx.run(["run", "--xyzzy=1", "busybox"]);
    assert!(
        unknown.error(125).contains("unknown flag --xyzzy for run"),
        "{unknown}"
    );
    // What asks for the default is no wish.
    cx.load_busybox();
    let flags = [
        "--restart=no",
        "--memory=0",
        "--cpus=0",
        "--pids-limit=-1",
        "--publish-all=false",
        "--no-healthcheck",
        "--detach=false",
    ];
    assert_eq!(run(cx, &flags, "echo fine"), "fine\n");
}

fn garbage_is_refused_with_the_flag_s_name(cx: &Context) {
    cx.load_busybox();
    let long = "x".repeat(70);
    for (flag, value) in [
        ("--ulimit", "nofile=99999999999999999999"),
        ("--ulimit", "nofile=2:1"),
        ("--ulimit", "=1"),
        ("--label", "=x"),
        ("--env", "=x"),
        ("--shm-size", "0"),
        ("--shm-size", "99999999999999999999g"),
        ("--shm-size", "-1"),
        ("--oom-score-adj", "1001"),
        ("--oom-score-adj", "x"),
        ("--stop-signal", "SIGFOO"),
        ("--stop-timeout", "soon"),
        ("--sysctl", "x"),
        ("--hostname", "a b"),
        ("--hostname", &long),
        ("--domainname", "a\nb"),
        ("--dns", "here"),
        ("--dns-search", "a b"),
        ("--add-host", "a"),
        ("--cap-add", "CAP_CAP_KILL"),
        ("--device", "null"),
        ("--device", "/etc/passwd"),
        ("--device", "/dev/null/x"),
        ("--ipc", "odd"),
        ("--userns", "keep-id:uid=4294967295"),
        ("--security-opt", "odd"),
        ("--attach", "stdfoo"),
        ("--pull", "sometimes"),
        ("--rm", "maybe"),
        ("--init", "2"),
    ] {
        let flag_and_value = format!("{flag}={value}");
        let output = cx.run(["run", &flag_and_value, "busybox", "true"]);
        assert_eq!(output.code, Some(125), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
    let missing = cx.run(["run", "--label-file", "missing", "busybox"]);
    assert!(missing.error(125).contains("missing"), "{missing}");
    assert_eq!(cx.run(["ps", "-aq"]).silent_ok(), "");
}

fn an_init_passes_on_signals_reaps_and_ends_as_the_program(cx: &Context) {
    cx.load_busybox();
    let code = |command: &[&str]| cx.run([&["run", "--rm", "--init", "busybox"], command].concat());
    assert_eq!(code(&["sh", "-c", "echo $$; exit 7"]).fails(7), "");
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]).fails(137), "");
    assert_eq!(code(&["sh", "-c", "kill -SEGV $$"]).fails(139), "");
    assert!(
        code(&["no-such-command"])
            .error(127)
            .contains("no-such-command")
    );
    assert!(code(&["/etc/passwd"]).error(126).contains("/etc/passwd"));
    // An orphan comes to the init, which takes its end: no zombie is left.
    let script = "(sh -c 'exit 0' & ) ; for i in 1 2 3 4 5 6 7 8 9; do \
                  ps -o pid,stat,args | grep -q '[Z] ' || break; sleep 0.1; done; ps -o stat | grep -c Z";
    assert_eq!(code(&["sh", "-c", script]).stdout, "0\n");
    // The program has no handler, and is not the first process: the signal ends it as anywhere.
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::USR1, 138)] {
        let args = [
            "run",
            "--rm",
            "--init",
            "busybox",
            "sh",
            "-c",
            "echo up; exec sleep 1000",
        ];
        let mut running = cx.start(cx.command(args));
        running.wait_for_stdout("up\n");
        running.signal(signal);
        assert_eq!(running.wait().code, Some(status));
    }
    let trap = "trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = cx.start(cx.command(["run", "--rm", "--init", "busybox", "sh", "-c", trap]));
    running.wait_for_stdout("up\n");
    running.signal(Signal::TERM);
    let output = running.wait();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(5), "up\ncaught\n"),
        "{output}"
    );
    // Nothing keeps the program's pipes open but the program.
    let closes = "exec >&- 2>&-; sleep 0.2; exit 0";
    assert_eq!(code(&["sh", "-c", closes]).code, Some(0));
}

fn the_init_cannot_be_reached(cx: &Context) {
    cx.load_busybox();
    let script = "cat /proc/1/environ /proc/1/maps; ls /proc/1/fd/; ls /proc/1/root/; readlink /proc/1/exe; \
                  cat /proc/1/exe; echo x >/proc/1/mem; echo; echo $$";
    let quiet = format!("({script}) 2>/dev/null");
    for flags in [
        &["--init"][..],
        &["--init", "-u", "1234"],
        &["--init", "--cap-add", "SYS_PTRACE"],
    ] {
        let args = [
            &["run", "--rm"],
            flags,
            &["busybox", "sh", "-c", quiet.as_str()],
        ]
        .concat();
        let output = cx.run(args);
        assert_eq!(output.silent_ok(), "\n2\n", "{flags:?}");
    }
}

fn a_shell_below_an_init_has_job_control(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run", "--rm", "-it", "--init", "-e", "PS1=<$?>", "busybox", "sh",
    ];
    let mut terminal = Terminal::start(cx, args);
    terminal.expect("<0>");
    // What answers is in the foreground: a shell names the job that it continues before it makes it so.
    terminal.send("sh -c 'echo st''arted; exec cat'\r");
    terminal.expect("started\r\n");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect("<");
    terminal.send("fg\r");
    terminal.expect("exec cat");
    terminal.send("two\r");
    terminal.expect("two\r\ntwo\r\n");
    terminal.send("\x03");
    terminal.expect("<130>");
    terminal.send("exit 3\r");
    let output = terminal.wait();
    assert_eq!(output.code, Some(3), "{output}");
    assert!(
        !output.stdout.contains("job control turned off"),
        "{output}"
    );
}

fn capabilities(cx: &Context) {
    cx.load_busybox();
    let bounding = |flags: &[&str]| {
        run(
            cx,
            flags,
            "grep -E 'CapEff|CapBnd' /proc/self/status | cut -f2 | uniq",
        )
    };
    assert_eq!(bounding(&[]), "00000000a80425fb\n");
    assert_eq!(bounding(&["--cap-drop", "ALL"]), "0000000000000000\n");
    assert_eq!(
        bounding(&["--cap-drop=all", "--cap-add", "CAP_KILL"]),
        "0000000000000020\n"
    );
    assert_eq!(
        bounding(&["--cap-add", "sys_admin", "--cap-drop", "NET_RAW"]),
        "00000000a82405fb\n"
    );
    let all = bounding(&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"]);
    let all = u64::from_str_radix(all.trim(), 16).unwrap();
    assert_eq!(all & (1 << 21), 0);
    assert!(all.count_ones() >= 37, "{all:x}");
    let mount = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused";
    assert_eq!(run(cx, &["--cap-add", "SYS_ADMIN"], mount), "mounted\n");
    assert_eq!(run(cx, &[], mount), "refused\n");
}

fn privileged_is_what_the_caller_may(cx: &Context) {
    cx.load_busybox();
    let script = "mount -t tmpfs none /tmp && echo mounted; grep NoNewPrivs /proc/self/status; \
                  grep -c ' /proc/[a-z]' /proc/mounts; grep ' /sys ' /proc/mounts | cut -d' ' -f4 | cut -c1-2";
    let output = cx.run(["run", "--rm", "--privileged", "busybox", "sh", "-c", script]);
    assert_eq!(output.ok(), "mounted\nNoNewPrivs:\t0\n0\nrw\n", "{output}");
    assert!(
        output
            .stderr
            .contains("a privileged container may do what you may do"),
        "{output}"
    );
    // What root of the host may and the caller may not stays so.
    let script = "echo b >/proc/sysrq-trigger || echo refused";
    if cx.caller == Caller::Ordinary {
        let output = cx.run(["run", "--rm", "--privileged", "busybox", "sh", "-c", script]);
        assert_eq!(output.ok(), "refused\n");
    }
}

fn security_options(cx: &Context) {
    cx.load_busybox();
    let status = "grep NoNewPrivs /proc/self/status | cut -f2";
    for (option, expected) in [
        ("no-new-privileges", "1\n"),
        ("no-new-privileges:true", "1\n"),
        ("no-new-privileges=false", "0\n"),
        ("seccomp=unconfined", "1\n"),
        ("apparmor=unconfined", "1\n"),
        ("label=disable", "1\n"),
    ] {
        assert_eq!(
            run(cx, &["--security-opt", option], status),
            expected,
            "{option}"
        );
    }
    let masked = "grep -c ' /proc/[a-z]' /proc/mounts; touch /proc/sys/kernel/x 2>&1 | grep -c Read-only; true";
    assert_ne!(run(cx, &[], masked).lines().next(), Some("0"));
    let flags = ["--security-opt", "systempaths=unconfined"];
    assert_eq!(run(cx, &flags, masked), "0\n0\n");
}

fn namespaces_of_the_host(cx: &Context) {
    cx.load_busybox();
    let shared = |kind: &str, flags: &[&str]| {
        let link = format!("/proc/self/ns/{kind}");
        let args = [
            &["run", "--rm"],
            flags,
            &["busybox", "readlink", link.as_str()],
        ]
        .concat();
        let output = cx.run(args);
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        output.ok().trim() == host.to_str().unwrap()
    };
    for (kind, flag) in [
        ("pid", "--pid=host"),
        ("ipc", "--ipc=host"),
        ("uts", "--uts=host"),
        ("cgroup", "--cgroupns=host"),
    ] {
        assert!(shared(kind, &[flag]), "{flag}");
        assert!(!shared(kind, &[]), "{kind}");
        assert!(!shared(kind, &[&flag.replace("host", "private")]), "{flag}");
    }
    assert!(!shared("user", &["--userns=host"]));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        run(cx, &["--uts=host"], "hostname; echo $HOSTNAME"),
        format!("{name}{name}")
    );
    let conflict = cx.run(["run", "--uts=host", "-h", "box", "busybox", "true"]);
    assert!(
        conflict.error(125).contains("conflicting options"),
        "{conflict}"
    );
    assert_eq!(
        run(cx, &["--ipc=none"], "ls -d /dev/shm 2>/dev/null; true"),
        ""
    );
    assert_eq!(
        run(cx, &["--ipc=shareable"], "ls -d /dev/shm"),
        "/dev/shm\n"
    );
}

fn a_container_in_the_hosts_pid_namespace_leaves_nothing_behind(cx: &Context) {
    cx.load_busybox();
    let script = "sleep 86400.25 & (sleep 86400.25 & ) ; sh -c 'sleep 86400.25 & exec sleep 86400.25' & echo $!; exit 4";
    let output = cx.run(["run", "--rm", "--pid=host", "busybox", "sh", "-c", script]);
    assert_eq!(output.code, Some(4), "{output}");
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = fs::metadata(entry.path());
        use std::os::unix::fs::MetadataExt;
        line.ends_with(b"sleep\x0086400.25\0") && stat.is_ok_and(|stat| stat.uid() == cx.uid)
    });
    assert_eq!(left.count(), 0);
}

fn keep_id_is_the_caller(cx: &Context) {
    cx.load_busybox();
    if cx.caller == Caller::Root {
        for mode in ["keep-id", "auto"] {
            let refused = cx.run(["run", "--userns", mode, "busybox", "id"]);
            assert!(refused.error(125).contains(mode), "{refused}");
        }
        return;
    }
    assert_eq!(run(cx, &["--userns=auto"], "id -u"), "0\n");
    let ids = "echo $(id -u):$(id -g)";
    let me = format!("{0}:{0}\n", cx.uid);
    assert_eq!(run(cx, &["--userns=keep-id"], ids), me);
    assert_eq!(run(cx, &["--userns=keep-id:uid=77,gid=88"], ids), "77:88\n");
    assert_eq!(run(cx, &["--userns=keep-id", "-u", "5:6"], ids), "5:6\n");
    run(
        cx,
        &["--userns=keep-id", "-v", "./made:/made"],
        "echo x >/made/file",
    );
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(cx.work().join("made/file")).unwrap().uid(),
        cx.uid
    );
}

fn limits_and_parameters(cx: &Context) {
    cx.load_busybox();
    let flags = [
        "--ulimit",
        "nofile=9:10",
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=0",
    ];
    assert_eq!(
        run(cx, &flags, "ulimit -n; ulimit -Hn; ulimit -c"),
        "100\n200\n0\n"
    );
    assert_eq!(
        run(
            cx,
            &["--shm-size", "2m"],
            "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
        ),
        "2048\n"
    );
    assert_eq!(
        run(
            cx,
            &["--oom-score-adj", "500"],
            "cat /proc/self/oom_score_adj"
        ),
        "500\n"
    );
    let flags = [
        "--sysctl",
        "net.ipv4.ip_default_ttl=77",
        "--sysctl",
        "net.ipv4.ip_forward=1",
    ];
    assert_eq!(
        run(
            cx,
            &flags,
            "cd /proc/sys/net/ipv4; cat ip_default_ttl ip_forward; echo 0 2>/dev/null >ip_forward || echo ro"
        ),
        "77\n1\nro\n"
    );
    for (sysctl, flags) in [
        ("kernel.panic=1", &[][..]),
        ("net/../kernel/panic=1", &[]),
        ("net..x=1", &[]),
        ("vm.swappiness=1", &[]),
        ("net.ipv4.ip_forward=1", &["--network=host"]),
        ("kernel.msgmax=1000", &["--ipc=host"]),
    ] {
        let args = [
            &["run", "--rm", "--sysctl", sysctl],
            flags,
            &["busybox", "true"],
        ]
        .concat();
        let name = sysctl.split('=').next().unwrap();
        let output = cx.run(args);
        assert!(output.error(125).contains(name), "{output}");
    }
    let nonsense = cx.run([
        "run",
        "--rm",
        "--sysctl",
        "net.ipv4.nosuch=1",
        "busybox",
        "true",
    ]);
    assert!(
        nonsense.error(125).contains("net/ipv4/nosuch"),
        "{nonsense}"
    );
    let raised = cx.run(["run", "--rm", "--ulimit", "nofile=-1:-1", "busybox", "true"]);
    assert!(raised.error(125).contains("RLIMIT_NOFILE"), "{raised}");
}

fn names_and_resolvers(cx: &Context) {
    cx.load_busybox();
    let flags = [
        "-h",
        "box",
        "--domainname",
        "example.test",
        "--add-host",
        "db:10.0.0.5",
        "--add-host",
        "six=[fd00::1]",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "corp.test",
        "--dns-option",
        "ndots:3",
    ];
    let script = "hostname; cat /proc/sys/kernel/domainname; tail -2 /etc/hosts; \
                  grep -E '^(nameserver|search|options)' /etc/resolv.conf";
    assert_eq!(
        run(cx, &flags, script),
        "box\nexample.test\n10.0.0.5\tdb\nfd00::1\tsix\nnameserver 192.0.2.53\nsearch corp.test\noptions ndots:3\n"
    );
    let script = "grep -c '^search' /etc/resolv.conf; true";
    assert_eq!(run(cx, &["--dns-search", "."], script), "0\n");
}

fn groups(cx: &Context) {
    cx.load_busybox();
    if cx.caller == Caller::Root {
        let script = "id -G";
        let flags = [
            "--group-add",
            "audio",
            "--group-add",
            "4321",
            "-u",
            "1000:7",
        ];
        assert_eq!(run(cx, &flags, script), "7 29 4321\n");
    } else {
        // With emulation they are what the processes are told; without, there are none.
        let flags = ["--group-add", "audio", "--group-add", "4321"];
        assert_eq!(run(cx, &flags, "id -G"), "0 10 29 4321\n");
        let refused = cx.run([
            "run",
            "--root-emulation=off",
            "--group-add",
            "audio",
            "busybox",
            "id",
        ]);
        assert!(
            refused.error(125).contains("one group id only"),
            "{refused}"
        );
        assert_eq!(
            run(cx, &["--group-add", "7", "-u", "1000:7"], "id -g"),
            "7\n"
        );
    }
    let missing = cx.run(["run", "--group-add", "nosuch", "busybox", "id"]);
    assert!(missing.error(125).contains("nosuch"), "{missing}");
}

fn devices(cx: &Context) {
    cx.load_busybox();
    let flags = [
        "--device",
        "/dev/zero:/dev/nothing:rwm",
        "--device",
        "/dev/full:/opt/full",
    ];
    let script = "head -c 3 /dev/nothing | od -An -tx1; echo x 2>/dev/null >/opt/full || echo full";
    assert_eq!(run(cx, &flags, script), " 00 00 00\nfull\n");
    let node = Path::new("/dev/fuse");
    let mode = fs::metadata(node).map(|m| std::os::unix::fs::MetadataExt::mode(&m) & 0o777);
    if cx.caller == Caller::Ordinary && mode.is_ok_and(|mode| mode == 0o600) {
        let refused = cx.run(["run", "--device", "/dev/fuse", "busybox", "true"]);
        assert!(refused.error(125).contains("mode 0600"), "{refused}");
    }
    let file = cx.run(["run", "--device", "/etc/passwd", "busybox", "true"]);
    assert!(file.error(125).contains("not a device node"), "{file}");
    let read_only = cx.run(["run", "--device", "/dev/zero:/dev/x:r", "busybox", "true"]);
    assert!(
        read_only.error(125).contains("cannot be enforced"),
        "{read_only}"
    );
}

fn only_attached_streams_are_the_container_s(cx: &Context) {
    cx.load_busybox();
    let script = "echo out; echo err >&2; cat";
    let run = |flags: &[&str]| {
        let args = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
        let output = cx.run_with_input(args, b"in\n");
        assert_eq!(output.code, Some(0), "{output}");
        (output.stdout, output.stderr)
    };
    let both = |out: &str, err: &str| (out.to_owned(), err.to_owned());
    assert_eq!(run(&["-i"]), both("out\nin\n", "err\n"));
    assert_eq!(run(&["-a", "stdout"]), both("out\n", ""));
    assert_eq!(run(&["-a", "STDERR"]), both("", "err\n"));
    assert_eq!(run(&["-i", "-a", "stdout"]), both("out\n", ""));
    assert_eq!(
        run(&["-i", "-a", "stdin", "-a", "stdout"]),
        both("out\nin\n", "")
    );
    // With no output attached, Docker says which container it is.
    let (out, err) = run(&["-i", "-a", "stdin"]);
    assert!(out.len() == 65 && err.is_empty(), "{out:?} {err:?}");
}

fn what_is_kept_with_the_container(cx: &Context) {
    cx.load_busybox();
    cx.write("labels", "# a remark\nfrom=file\nboth=file\nbare\n");
    let args = [
        "run",
        "--name",
        "kept",
        "-l",
        "both=flag",
        "--label",
        "empty",
        "--label-file",
        "labels",
        "--annotation",
        "a.b=c",
        "--stop-signal",
        "SIGUSR1",
        "--stop-timeout",
        "7",
        "--cidfile",
        "id",
        "--tmpfs",
        "/m",
        "busybox",
        "true",
    ];
    cx.run(args).silent_ok();
    let id = fs::read_to_string(cx.work().join("id")).unwrap();
    assert_eq!(id.len(), 64);
    let folder = cx.root().join("containers").join(&id);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let state = read("state.json");
    let labels = &state["labels"];
    assert_eq!(
        (labels["from"].as_str(), labels["both"].as_str()),
        (Some("file"), Some("flag"))
    );
    assert_eq!(
        (labels["bare"].as_str(), labels["empty"].as_str()),
        (Some(""), Some(""))
    );
    assert_eq!(
        (
            state["stop_signal"].as_i64(),
            state["stop_timeout"].as_i64()
        ),
        (Some(10), Some(7))
    );
    assert_eq!(state["mounts"][0]["target"], "/m");
    assert_eq!(read("config.json")["annotations"]["a.b"], "c");
    let again = cx.run(["run", "--rm", "--cidfile", "id", "busybox", "true"]);
    assert!(
        again.error(125).contains("container ID file found"),
        "{again}"
    );
    assert_eq!(fs::read_to_string(cx.work().join("id")).unwrap(), id);
    // A container that never was leaves no id.
    cx.run([
        "run",
        "--rm",
        "--cidfile",
        "other",
        "busybox",
        "no-such-command",
    ])
    .error(127);
    assert!(!cx.work().join("other").exists());
}

fn pull_policies(cx: &Context) {
    let never = cx.run(["run", "--rm", "--pull", "never", "busybox", "true"]);
    assert!(
        never.error(125).contains("no such image: busybox"),
        "{never}"
    );
    cx.load_busybox();
    let args = [
        "run",
        "--rm",
        "-q",
        "--pull=never",
        "busybox",
        "echo",
        "here",
    ];
    assert_eq!(cx.run(args).silent_ok(), "here\n");
    assert_eq!(
        cx.run(["run", "--rm", "--pull=missing", "busybox", "echo", "here"])
            .silent_ok(),
        "here\n"
    );
    // Nobody listens there, although the image is here.
    let image = "localhost:1/busybox";
    let always = cx.run(["run", "--rm", "--pull=always", image, "true"]);
    assert!(always.error(125).contains("localhost:1"), "{always}");
}
