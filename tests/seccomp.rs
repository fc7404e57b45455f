//! Which system calls a container can make: Docker's default, profiles, none.

use crate::support::{Context, scenarios};

scenarios!(
    the_default_is_in_force_in_every_process,
    a_profile_of_dockers_is_applied,
    a_profile_that_knows_little_does_not_keep_the_program_from_starting,
    unconfined_and_privileged_have_no_filter,
    what_is_wrong_with_a_profile_is_said,
);

fn run(cx: &Context, options: &[&str], script: &str) -> String {
    // Root emulation has a filter of its own.
    let mut args = vec!["run", "--rm", "--root-emulation", "off"];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", script]);
    cx.run(args).silent_ok().to_owned()
}

const MODE: &str = "grep -E '^Seccomp(_filters)?:' /proc/self/status | tr -s '\\t' ' '";

fn filters_around_us() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("Seccomp_filters:"));
    line.map_or(0, |n| n.trim().parse().unwrap())
}

fn the_default_is_in_force_in_every_process(cx: &Context) {
    cx.load_busybox();
    let one = format!("Seccomp: 2\nSeccomp_filters: {}\n", filters_around_us() + 1);
    assert_eq!(run(cx, &[], MODE), one);
    assert_eq!(run(cx, &["--init"], MODE), one);
    // New namespaces need CAP_SYS_ADMIN in Docker's profile, and here nobody else refuses them.
    let script = "unshare -U true 2>/dev/null && echo made; true";
    assert_eq!(run(cx, &[], script), "");
    let script = "unshare -m true && echo made; true";
    assert_eq!(run(cx, &["--cap-add", "SYS_ADMIN"], script), "made\n");
    assert_eq!(
        run(cx, &["--security-opt", "no-new-privileges=false"], MODE),
        one
    );
}

fn a_profile_of_dockers_is_applied(cx: &Context) {
    cx.load_busybox();
    cx.write(
        "no-mkdir.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["chdir"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_KILL"]}}]}"#,
    );
    let script = "mkdir /d; cd /etc && pwd";
    let output = cx.run([
        "run",
        "--rm",
        "--security-opt",
        "seccomp=no-mkdir.json",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
    assert_eq!(output.stdout, "/etc\n", "{output}");
    let output = cx.run([
        "run",
        "--rm",
        "--cap-drop",
        "KILL",
        "--security-opt",
        "seccomp=no-mkdir.json",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert!(!output.stdout.contains("/etc"), "{output}");
}

/// Old profiles do not have the calls that minidock itself uses on the way.
fn a_profile_that_knows_little_does_not_keep_the_program_from_starting(cx: &Context) {
    cx.load_busybox();
    cx.write(
        "little.json",
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": [
            "execve", "write", "writev", "exit", "exit_group", "brk", "mmap", "munmap", "mprotect", "arch_prctl", "open",
            "openat", "close", "read", "fstat", "newfstatat", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
            "getrandom", "readlink", "readlinkat", "ioctl", "getuid", "getgid", "setuid", "setgid", "uname", "pread64",
            "access", "faccessat", "prctl", "rt_sigaction", "rt_sigprocmask", "getpid", "getppid"]}]}"#,
    );
    let output = cx.run([
        "run",
        "--rm",
        "--security-opt",
        "seccomp=little.json",
        "busybox",
        "echo",
        "started",
    ]);
    assert_eq!(output.silent_ok(), "started\n");
}

fn unconfined_and_privileged_have_no_filter(cx: &Context) {
    cx.load_busybox();
    let around = filters_around_us();
    let none = format!(
        "Seccomp: {}\nSeccomp_filters: {around}\n",
        if around > 0 { 2 } else { 0 }
    );
    assert_eq!(
        run(cx, &["--security-opt", "seccomp=unconfined"], MODE),
        none
    );
    let off = ["run", "--rm", "--root-emulation", "off"];
    let output = cx.run(
        off.iter()
            .chain(&["--privileged", "busybox", "sh", "-c", MODE]),
    );
    assert_eq!(output.stdout, none, "{output}");
}

fn what_is_wrong_with_a_profile_is_said(cx: &Context) {
    cx.load_busybox();
    let with = |profile: &str| {
        let option = format!("seccomp={profile}");
        cx.run(["run", "--rm", "--security-opt", &option, "busybox", "true"])
    };
    let output = with("no-such-file.json");
    assert_eq!(output.code, Some(125), "{output}");
    assert!(
        output
            .stderr
            .contains("opening seccomp profile (no-such-file.json) failed"),
        "{output}"
    );
    cx.write("bad.json", "{\"defaultAction\": \"ALLOW\"}");
    let output = with("bad.json");
    assert_eq!(output.code, Some(125), "{output}");
    assert!(
        output.stderr.contains("bad.json") && output.stderr.contains("ALLOW"),
        "{output}"
    );
    cx.write("notify.json", "{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}");
    let output = with("notify.json");
    assert_eq!(output.code, Some(125), "{output}");
    assert!(
        output.stderr.contains("linux.seccomp") && output.stderr.contains("SCMP_ACT_NOTIFY"),
        "{output}"
    );
    cx.write(
        "typo.json",
        "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mkdire\"], \"action\": \"SCMP_ACT_KILL\"}]}",
    );
    let output = with("typo.json");
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("mkdire"), "{output}");
}
