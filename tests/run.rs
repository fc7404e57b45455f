//! `minidock run`: what is executed, as whom, where, with which environment, and what comes back.

use std::fs;

use expect_test::expect;
use serde_json::json;

use crate::support::{
    Caller, Context, ImageTar, Layer, fixtures, piped, scenarios, sha256, shared,
};

scenarios!(
    output_and_exit_code_are_the_containers,
    standard_input_is_passed_on_only_when_asked_for,
    bytes_pass_unchanged,
    the_environment_is_dockers,
    env_files_are_read_as_docker_reads_them,
    working_directory,
    users_by_name_and_number,
    entrypoint_and_command,
    app_1_shows_what_docker_shows,
    files_written_stay_in_the_container,
    read_only_means_read_only,
    network_none_and_host,
    names_are_unique_and_rm_frees_them,
    containers_of_one_image_do_not_see_each_other,
    an_image_is_found_by_name_tag_and_id,
    flags_end_at_the_image,
);

fn output_and_exit_code_are_the_containers(cx: &Context) {
    cx.load_busybox();
    assert_eq!(
        cx.run(["run", "busybox", "echo", "hello"]).silent_ok(),
        "hello\n"
    );
    let output = cx.run([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    expect![[r#"
        exit 7
        stdout:
        out
        stderr:
        err
    "#]]
    .assert_eq(&output.snapshot(&[]));
    for code in [0, 1, 125, 126, 127, 255] {
        let output = cx.run([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            &format!("exit {code}"),
        ]);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(code), ""),
            "{output}"
        );
    }
}

fn standard_input_is_passed_on_only_when_asked_for(cx: &Context) {
    cx.load_busybox();
    let run = |flags: &[&str]| {
        let args = [&["run", "--rm"], flags, &["busybox", "cat"]].concat();
        cx.run_with_input(args, b"data\n").silent_ok().to_owned()
    };
    assert_eq!(run(&["-i"]), "data\n");
    assert_eq!(run(&["--interactive"]), "data\n");
    assert_eq!(run(&[]), "");
}

fn bytes_pass_unchanged(cx: &Context) {
    cx.load_busybox();
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let sum = cx.run_with_input(["run", "--rm", "-i", "busybox", "sha256sum"], &bytes);
    assert_eq!(
        sum.silent_ok(),
        format!("{}  -\n", &sha256(&bytes)["sha256:".len()..])
    );
    // What waits to be read does not keep the supervisor from answering the container's system calls.
    let script = "i=0; while [ $i -lt 50 ]; do id -u; i=$((i+1)); done | wc -l; sha256sum";
    let late = cx.run_with_input(["run", "--rm", "-i", "busybox", "sh", "-c", script], &bytes);
    assert_eq!(late.silent_ok(), format!("50\n{}", sum.stdout));
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    let lines = cx.run(["run", "--rm", "busybox", "sh", "-c", script]);
    let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert!(
        lines.silent_ok() == expected,
        "{} bytes came back",
        lines.stdout.len()
    );
}

fn the_environment_is_dockers(cx: &Context) {
    cx.load_busybox();
    let env = |args: &[&str]| {
        let mut command = cx.command([&["run", "--rm", "--hostname", "box"], args].concat());
        command
            .env("FROM_CALLER", "caller's")
            .env("NOT_FOR_CONTAINERS", "secret");
        let output = cx.finish(command);
        output.snapshot(&[])
    };
    expect![[r#"
        exit 0
        stdout:
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        HOSTNAME=box
        HOME=/root
    "#]]
    .assert_eq(&env(&["busybox", "env"]));
    expect![[r#"
        exit 0
        stdout:
        PATH=/bin
        HOSTNAME=box
        GREETING=hi
        FROM_CALLER=caller's
        EMPTY=
        HOME=/home/app
    "#]]
    .assert_eq(&env(&[
        "-e",
        "GREETING=ho",
        "--env",
        "GREETING=hi",
        "-e",
        "FROM_CALLER",
        "-e",
        "EMPTY=",
        "-e",
        "UNSET",
        "-e",
        "PATH=/bin",
        "--entrypoint",
        "env",
        "app:1",
    ]));
}

fn env_files_are_read_as_docker_reads_them(cx: &Context) {
    cx.load_busybox();
    cx.write(
        "first.env",
        "# a remark\n\nA=first\n  B= spaces stay \nQUOTED=\"quotes stay\"\nFROM_CALLER\nUNSET\n",
    );
    cx.write("second.env", "A=second\n");
    let mut command = cx.command([
        "run",
        "--rm",
        "--env-file",
        "first.env",
        "--env-file",
        "second.env",
        "-e",
        "C=flag",
        "busybox",
        "sh",
        "-c",
        "env | grep -v -e ^PATH= -e ^HOSTNAME= -e ^HOME= -e ^SHLVL= -e ^PWD= | sort",
    ]);
    command.env("FROM_CALLER", "caller's");
    expect![[r#"
        exit 0
        stdout:
        A=second
        B= spaces stay 
        C=flag
        FROM_CALLER=caller's
        QUOTED="quotes stay"
    "#]]
    .assert_eq(&cx.finish(command).snapshot(&[]));

    let missing = cx.run(["run", "--env-file", "missing.env", "busybox"]);
    assert!(missing.error(125).contains("missing.env"), "{missing}");
    cx.write("bad.env", "A=1\n=nameless\n");
    let bad = cx.run(["run", "--env-file", "bad.env", "busybox"]);
    assert!(bad.error(125).contains("bad.env, line 2"), "{bad}");
}

fn working_directory(cx: &Context) {
    cx.load_busybox();
    let pwd = |args: &[&str]| {
        cx.run([&["run", "--rm"], args].concat())
            .silent_ok()
            .to_owned()
    };
    assert_eq!(pwd(&["busybox", "pwd"]), "/\n");
    assert_eq!(pwd(&["-w", "/usr/bin", "busybox", "pwd"]), "/usr/bin\n");
    assert_eq!(
        pwd(&["--workdir=/made/if/missing", "busybox", "pwd"]),
        "/made/if/missing\n"
    );
    assert_eq!(pwd(&["app:1", "pwd"]), "/srv/app\n");
    let relative = cx.run(["run", "--rm", "-w", "relative", "busybox", "pwd"]);
    assert!(relative.error(125).contains("relative"), "{relative}");
    let file = cx.run(["run", "--rm", "-w", "/etc/passwd", "busybox", "pwd"]);
    assert!(file.error(125).contains("/etc/passwd"), "{file}");
}

fn users_by_name_and_number(cx: &Context) {
    cx.load(&fixtures().join("docker-26.tar.gz"));
    let ids = |user: &str| {
        let script = "echo $(id -u):$(id -g) $HOME";
        let output = cx.run([
            "run",
            "--rm",
            "-u",
            user,
            "--entrypoint",
            "sh",
            "app:1",
            "-c",
            script,
        ]);
        output.silent_ok().trim_end().to_owned()
    };
    assert_eq!(ids("root"), "0:0 /root");
    assert_eq!(ids("app"), "1000:1000 /home/app");
    assert_eq!(ids("1000"), "1000:1000 /home/app");
    assert_eq!(ids("app:app"), "1000:1000 /home/app");
    assert_eq!(ids("4242"), "4242:0 /");
    assert_eq!(ids("4242:4343"), "4242:4343 /");
    for (user, missing) in [
        ("nosuch", "nosuch"),
        ("app:nogroup-here", "nogroup-here"),
        ("-1", "-1"),
    ] {
        let output = cx.run(["run", "--rm", "-u", user, "busybox", "id"]);
        assert!(output.error(125).contains(missing), "{output}");
    }
}

fn entrypoint_and_command(cx: &Context) {
    cx.load_busybox();
    let run = |args: &[&str]| {
        cx.run([&["run", "--rm"], args].concat())
            .silent_ok()
            .to_owned()
    };
    assert_eq!(run(&["app:1"]), "hello world from app in /srv/app\n");
    // Arguments take the place of Cmd, not of the entrypoint, which is `sh -c`.
    assert_eq!(run(&["app:1", "echo $GREETING"]), "hello world\n");
    assert_eq!(
        run(&["--entrypoint", "echo", "app:1", "a", "b c"]),
        "a b c\n"
    );
    assert_eq!(run(&["--entrypoint", "pwd", "app:1"]), "/srv/app\n");
    assert_eq!(
        run(&["--entrypoint", "", "app:1", "echo", "plain"]),
        "plain\n"
    );
    let nothing = cx.run(["run", "--rm", "--entrypoint", "", "app:1"]);
    assert!(nothing.error(125).contains("app:1"), "{nothing}");
}

/// The lines that Docker's own container of the image shows, from one made by minidock.
fn listing(cx: &Context) -> String {
    let script = "cd /; find etc srv var data | grep -v '^var/spool/mail' | sort | while read -r f; do \
                  if [ -d \"$f\" ] && [ ! -L \"$f\" ]; then stat -c '%N %F %a %u %g' \"$f\"; \
                  else stat -c '%N %F %a %u %g %h' \"$f\"; fi; done | sort";
    let output = cx.run([
        "run",
        "--rm",
        "-u",
        "0",
        "--entrypoint",
        "sh",
        "app:1",
        "-c",
        script,
    ]);
    output.silent_ok().to_owned()
}

fn app_1_shows_what_docker_shows(cx: &Context) {
    let mut folders = vec![fixtures().to_owned()];
    if cfg!(target_arch = "x86_64") {
        folders.extend(shared().map(|shared| shared.join("docker-save")));
    }
    for folder in folders {
        for tarball in ["docker-20.tar.gz", "docker-26.tar.gz"] {
            cx.load(&folder.join(tarball));
            let mut expected = fs::read_to_string(folder.join("app-1.expected")).unwrap();
            let mut lines: Vec<&str> = expected.lines().collect();
            lines.sort_unstable();
            expected = lines.join("\n") + "\n";
            if cx.caller == Caller::Ordinary {
                // With one id there is one owner, the caller, which is root in the container.
                expected = expected.replace(" 1000 1000", " 0 0");
            }
            assert_eq!(listing(cx), expected, "{}", folder.join(tarball).display());
        }
        let removed = "ls -d /home /bin/vi /var/spool/mail 2>/dev/null; cat /srv/link /srv/hard";
        let output = cx.run(["run", "--rm", "--entrypoint", "sh", "app:1", "-c", removed]);
        assert_eq!(output.silent_ok(), "data\ndata\n");
    }
}

fn files_written_stay_in_the_container(cx: &Context) {
    cx.load_busybox();
    let script = "echo mine >/etc/mine; rm -r /etc/network; mkdir /etc/network; mv /etc/nsswitch.conf /moved; \
                  chmod 700 /tmp; ls /etc/mine /etc/network /moved; stat -c %a /tmp";
    let output = cx.run(["run", "busybox", "sh", "-c", script]);
    assert_eq!(
        output.silent_ok(),
        "/etc/mine\n/moved\n\n/etc/network:\n700\n"
    );
    let fresh = "ls -d /etc/mine /moved; ls -d /etc/network/if-up.d; stat -c %a /tmp";
    let output = cx.run(["run", "--rm", "busybox", "sh", "-c", fresh]);
    assert_eq!(output.ok(), "/etc/network/if-up.d\n1777\n");
}

fn read_only_means_read_only(cx: &Context) {
    cx.load_busybox();
    let output = cx.run(["run", "--rm", "--read-only", "busybox", "touch", "/file"]);
    assert_eq!(output.fails(1), "touch: /file: Read-only file system\n");
    let script = "for d in /etc /dev /bin /tmp; do touch $d/file 2>&1; done; \
                  touch /dev/shm/file && echo shm; echo x >/dev/null && echo null; cat /etc/hostname | wc -c";
    let output = cx.run(["run", "--rm", "--read-only", "busybox", "sh", "-c", script]);
    expect![[r#"
        exit 0
        stdout:
        touch: /etc/file: Read-only file system
        touch: /bin/file: Read-only file system
        touch: /tmp/file: Read-only file system
        shm
        null
        13
    "#]]
    .assert_eq(&output.snapshot(&[]));
    // The unpacked layers are what every other container sees.
    assert_eq!(
        cx.run([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "ls /bin/file /etc/file; true"
        ])
        .stdout,
        ""
    );
}

fn network_none_and_host(cx: &Context) {
    cx.load_busybox();
    let interfaces = |args: &[&str]| {
        let script = [
            "busybox",
            "sh",
            "-c",
            "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort",
        ];
        let output = cx.run([&["run", "--rm"], args, &script[..]].concat());
        output.silent_ok().to_owned()
    };
    assert_eq!(interfaces(&[]), "lo\n");
    assert_eq!(interfaces(&["--network", "none"]), "lo\n");
    let host = fs::read_to_string("/proc/net/dev").unwrap();
    let mut host: Vec<&str> = host
        .lines()
        .skip(2)
        .map(|l| l.split(':').next().unwrap().trim())
        .collect();
    host.sort_unstable();
    assert_eq!(interfaces(&["--network=host"]), host.join("\n") + "\n");

    let up = cx.run([
        "run",
        "--rm",
        "busybox",
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        "127.0.0.1",
    ]);
    assert!(up.silent_ok().contains("1 packets received"), "{up}");
    let other = cx.run(["run", "--rm", "--network", "nosuch", "busybox", "true"]);
    assert!(other.error(125).contains("nosuch"), "{other}");
}

fn names_are_unique_and_rm_frees_them(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "first", "busybox", "true"])
        .silent_ok();
    let ps = cx.run(["ps", "-a"]);
    let row = ps.silent_ok().lines().nth(1).unwrap_or_default();
    assert!(
        row.contains("Exited (0) ") && row.ends_with("first"),
        "{ps}"
    );
    let again = cx.run(["run", "--name", "first", "busybox", "true"]);
    assert!(again.error(125).contains("first"), "{again}");
    assert_eq!(cx.run(["rm", "first"]).silent_ok(), "first\n");
    cx.run(["run", "--rm", "--name", "first", "busybox", "true"])
        .silent_ok();
    assert_eq!(cx.run(["ps", "-a"]).silent_ok().lines().count(), 1);
    let bad = cx.run(["run", "--name", "../escape", "busybox", "true"]);
    assert!(bad.error(125).contains("../escape"), "{bad}");
}

fn containers_of_one_image_do_not_see_each_other(cx: &Context) {
    cx.load_busybox();
    let runs: Vec<_> = (0..6)
        .map(|i| {
            let script = format!(
                "echo {i} >/mine; ps | wc -l; read line; cat /mine; ls / | grep -c mine; hostname"
            );
            let mut run =
                cx.start(cx.command(["run", "--rm", "-i", "busybox", "sh", "-c", &script]));
            run.wait_for_stdout("\n"); // it runs, beside those before it
            run
        })
        .collect();
    let mut hostnames = Vec::new();
    for (i, mut run) in runs.into_iter().enumerate() {
        run.feed(b"\n");
        let output = run.wait();
        let lines: Vec<&str> = output.silent_ok().lines().collect();
        assert_eq!(lines[1..3], [i.to_string().as_str(), "1"], "{output}");
        hostnames.push(lines[3].to_owned());
    }
    hostnames.sort_unstable();
    hostnames.dedup();
    assert_eq!(hostnames.len(), 6, "{hostnames:?}");
}

fn an_image_is_found_by_name_tag_and_id(cx: &Context) {
    cx.load(&fixtures().join("docker-26.tar.gz"));
    let id = cx
        .run(["images", "-q", "--no-trunc", "busybox"])
        .silent_ok()
        .trim_end()
        .to_owned();
    let hex = id.strip_prefix("sha256:").unwrap();
    for name in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        "library/busybox",
        hex,
        &hex[..12],
        &id,
    ] {
        assert_eq!(
            cx.run(["run", "--rm", name, "echo", "found"]).silent_ok(),
            "found\n",
            "{name}"
        );
    }
}

fn flags_end_at_the_image(cx: &Context) {
    cx.load_busybox();
    let output = cx.run([
        "run", "--rm", "busybox", "echo", "--rm", "-i", "--", "-e", "A=1",
    ]);
    assert_eq!(output.silent_ok(), "--rm -i -- -e A=1\n");
    // An image whose only file is a program: no shell, no passwd, no folders to mount on.
    let busybox = fs::read("/bin/busybox").unwrap();
    let layer = Layer::new().file("busybox", 0o755, &busybox).tar();
    let bare = ImageTar::new("bare:1", layer, json!({ "Entrypoint": ["/busybox"] })).tar();
    cx.run_with_input(["load"], &piped("gzip", &["-c"], &bare))
        .ok();
    assert_eq!(
        cx.run(["run", "--rm", "bare:1", "echo", "-n", "hello"])
            .silent_ok(),
        "hello"
    );
    assert_eq!(
        cx.run(["run", "--rm", "--read-only", "bare:1", "echo", "hello"])
            .silent_ok(),
        "hello\n"
    );
    // A flag that comes too late is taken for the command.
    let late = cx.run(["run", "--rm", "busybox", "-it", "sh"]);
    assert!(
        late.fails(127)
            .contains("hint: flags go before the image's name"),
        "{late}"
    );
}
