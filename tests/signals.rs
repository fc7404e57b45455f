//! Signals and deaths: what reaches the container, and what its end looks like from outside.

use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Context, PATIENCE, scenarios};

scenarios!(
    signals_are_passed_on,
    the_end_by_a_signal_is_128_and_its_number,
    a_container_ends_with_its_first_process,
    no_process_outlives_its_minidock,
    a_container_that_is_removed_by_force_was_killed,
);

fn signals_are_passed_on(cx: &Context) {
    cx.load_busybox();
    let signals = [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("CONT", Signal::CONT),
    ];
    for (name, signal) in signals {
        // `wait` is what a trap interrupts.
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; sleep 1000 & echo ready; wait");
        let mut run = cx.start(cx.command(["run", "--rm", "busybox", "sh", "-c", &script]));
        run.wait_for_stdout("ready\n");
        run.signal(signal);
        let output = run.wait();
        assert_eq!(
            (output.code, output.stdout),
            (Some(9), format!("ready\ngot {name}\n"))
        );
    }
}

/// The host's process whose command line is exactly `words`, once there is one.
fn process_with(words: &[&str]) -> Pid {
    let wanted: Vec<u8> = words
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for entry in fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(pid) = pid
                && fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted)
            {
                return Pid::from_raw(pid).unwrap();
            }
        }
    }
    panic!("no process {words:?}");
}

fn the_end_by_a_signal_is_128_and_its_number(cx: &Context) {
    cx.load_busybox();
    // A number of seconds that nobody else sleeps. Of signals from outside, the kernel lets no other than SIGKILL end
    // the first process of a pid namespace (pid_namespaces(7)).
    let seconds = format!("{}{}137", cx.uid, std::process::id());
    let run = cx.start(cx.command(["run", "--rm", "busybox", "sleep", &seconds]));
    kill_process(process_with(&["sleep", &seconds]), Signal::KILL).unwrap();
    let output = run.wait();
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(137), ""),
        "{output}"
    );
}

fn a_container_ends_with_its_first_process(cx: &Context) {
    cx.load_busybox();
    let script = "sleep 1000 & (sleep 1000 &) ; echo done";
    assert_eq!(
        cx.run(["run", "--rm", "busybox", "sh", "-c", script])
            .silent_ok(),
        "done\n"
    );
}

fn no_process_outlives_its_minidock(cx: &Context) {
    cx.load_busybox();
    let mut run = cx.start(cx.command([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 1000; true",
    ]));
    run.wait_for_stdout("ready\n");
    // Everything that holds our pipe must be gone before `kill` returns.
    let output = run.kill();
    assert_eq!(output.code, None, "{output}");
    // What it left in the store does not stop anybody.
    assert_eq!(
        cx.run(["run", "--rm", "busybox", "echo", "next"])
            .silent_ok(),
        "next\n"
    );
}

fn a_container_that_is_removed_by_force_was_killed(cx: &Context) {
    cx.load_busybox();
    let script = ["busybox", "sh", "-c", "echo ready; exec sleep 1000"];
    for flags in [
        &["run", "--name", "doomed"][..],
        &["run", "--rm", "--name", "doomed"],
    ] {
        let mut run = cx.start(cx.command(flags.iter().chain(&script)));
        run.wait_for_stdout("ready\n");
        // Held, so that the container is gone before its minidock learns of its end.
        run.signal(Signal::STOP);
        assert_eq!(cx.run(["rm", "-f", "doomed"]).silent_ok(), "doomed\n");
        run.signal(Signal::CONT);
        let output = run.wait();
        assert_eq!((output.code, output.stderr.as_str()), (Some(137), ""));
        // Nor is it a failure that it went by itself meanwhile.
        let mut run = cx.start(cx.command(flags.iter().chain(&script)));
        run.wait_for_stdout("ready\n");
        assert_eq!(cx.run(["rm", "-f", "doomed"]).silent_ok(), "doomed\n");
        assert_eq!(run.wait().code, Some(137));
    }
    let gone = cx.run(["rm", "-f", "doomed"]);
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (Some(0), "minidock: no such container: doomed\n")
    );
    let gone = cx.run(["rmi", "-f", "nosuch"]);
    assert_eq!(
        (gone.code, gone.stderr.as_str()),
        (Some(0), "minidock: no such image: nosuch\n")
    );
}
