//! kill -9 of minidock at every step of a container's start: nothing is left that lives, and nothing that the next command
//! does not collect.
//!
//! The new process is held at one of its system calls, and minidock killed meanwhile. strace does the holding.

use std::fs;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Context, PATIENCE, scenarios, skip};

scenarios!(nothing_outlives_a_minidock_that_is_killed_while_it_starts_a_container,);

/// What the new process calls, in the order of its first calls, and which of several: about one for each step.
const POINTS: [(&str, usize); 22] = [
    ("prctl", 1),
    ("openat", 1),
    ("write", 2),
    ("mount", 1),
    ("fsopen", 1),
    ("fsconfig", 2),
    ("fsmount", 1),
    ("move_mount", 1),
    ("mknodat", 2),
    ("open_tree", 4),
    ("move_mount", 5),
    ("mount", 4),
    ("mount_setattr", 1),
    ("pivot_root", 1),
    ("umount2", 1),
    ("sethostname", 1),
    ("capset", 1),
    ("setsid", 1),
    ("close_range", 1),
    ("sendmsg", 1),
    ("seccomp", 1),
    ("execve", 1),
];

fn nothing_outlives_a_minidock_that_is_killed_while_it_starts_a_container(cx: &Context) {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("strace is not installed; `make deps` installs it");
        return;
    }
    cx.load_busybox();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    cx.run(["image", "prune", "-f"]).ok();
    let (files, before) = (cx.store_files(), mounts().lines().count());
    let mut held = 0;
    for flags in [&["--rm"][..], &["--rm", "--init"]] {
        for (call, number) in POINTS {
            held += usize::from(kill_at(cx, call, number, flags));
            // The kernel has ended all, and the next command finds nothing that it could stumble over.
            let next = cx.run(["run", "--rm", "--name", "one", "busybox", "echo", "next"]);
            assert_eq!(next.silent_ok(), "next\n", "after {call} {number}");
            assert_eq!(
                cx.run(["ps", "-aq"]).silent_ok(),
                "",
                "after {call} {number}"
            );
            // A file that was being written goes with the next command that sweeps.
            cx.run(["image", "prune", "-f"]).ok();
            let mut left = cx.store_files();
            left.retain(|path, size| files.get(path) != Some(size));
            assert!(left.is_empty(), "after {call} {number}: {left:?}");
        }
    }
    assert_eq!(mounts().lines().count(), before);
    assert!(held >= 2 * POINTS.len() - 6, "only {held} points were hit");
}

/// Holds the new process at a call, kills minidock, and waits for the end of all. Whether it got that far.
fn kill_at(cx: &Context, call: &str, number: usize, flags: &[&str]) -> bool {
    // Of the one before.
    let trace = cx.work().join("trace");
    let _ = fs::remove_file(&trace);
    let mut strace = cx.program("strace");
    // It counts each process's calls by themselves. minidock makes some of them as well.
    strace.args(["-f", "-q", "-o", "trace", "-e"]);
    strace.arg(format!("trace=execve,{call}"));
    strace.args(["-e", &format!("inject={call}:signal=STOP:when={number}+1")]);
    strace.arg(cx.binary()).arg("run").args(flags);
    strace.args(["--name", "one", "busybox", "echo", "started"]);
    let mut running = cx.start(strace);
    running.feed(b"");
    let strace = running.pid().as_raw_nonzero().get();
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    loop {
        assert!(Instant::now() < deadline, "{call} {number} takes for ever");
        // `PID --- stopped by SIGSTOP ---`
        let told = fs::read_to_string(&trace).unwrap_or_default();
        let stops: Vec<i32> = told
            .lines()
            .filter(|line| line.ends_with("--- stopped by SIGSTOP ---"))
            .filter_map(|line| line.split(' ').next()?.parse().ok())
            .collect();
        let Some(stopped) = stops.get(seen).copied() else {
            if state(strace).is_none() {
                running.wait();
                return false;
            }
            std::thread::yield_now();
            continue;
        };
        seen += 1;
        let minidock = children(strace).first().copied().unwrap();
        if stopped == minidock {
            // Its own calls are not what is meant.
            kill(minidock, Signal::CONT);
            continue;
        }
        kill(minidock, Signal::KILL);
        // strace ends when all that it traces has ended, and as it; whatever lived on would hold it, and our pipes.
        let output = running.wait_for_signal();
        assert!(
            !output.stdout.contains("started"),
            "{call} {number}: {output}"
        );
        assert_eq!(state(stopped), None, "{call} {number}");
        return true;
    }
}

fn kill(pid: i32, signal: Signal) {
    // It may just have ended.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let numbers = list.split_ascii_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// The letter of proc_pid_stat(5); `None` for a process that is no more, or is only waited for.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let letter = stat.rsplit_once(") ")?.1.chars().next();
    letter.filter(|letter| !matches!(letter, 'Z' | 'X'))
}
