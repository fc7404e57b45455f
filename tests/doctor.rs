//! `doctor` tells what a host refuses, and `run` fails there with the same words.

use serde_json::Value;

use crate::support::{Caller, Context, Output, scenarios};

scenarios!(
    says_what_is_fine_here,
    user_namespaces_that_are_switched_off_are_missing,
    a_covered_proc_is_degraded_and_containers_run,
    a_store_that_cannot_be_made_is_missing,
    the_apparmor_profile_names_this_binary,
);

/// The finding about a subject.
fn finding(output: &Output, subject: &str) -> Value {
    let all: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let found = all.into_iter().find(|f| f["subject"] == subject);
    found.unwrap_or_else(|| panic!("no {subject} in {}", output.stdout))
}

/// Runs a shell command in a user namespace of its own, with mounts and processes of its own, as root there.
fn inside(cx: &Context, script: &str) -> Output {
    let mut command = cx.program("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork"]);
    command.args(["--mount-proc", "sh", "-c", script]);
    cx.finish(command)
}

fn says_what_is_fine_here(cx: &Context) {
    let json = cx.run(["doctor", "--json"]);
    json.ok();
    for subject in ["kernel", "namespaces", "/proc", "seccomp"] {
        assert_eq!(finding(&json, subject)["level"], "ok", "{subject}");
    }
    // Less only for what this machine's disk is like: little space, no set-user-ID programs.
    assert_ne!(finding(&json, "store")["level"], "missing");
    let text = cx.run(["doctor"]);
    text.ok();
    assert!(
        text.stdout.contains("\nok        namespaces  user, pid"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.ends_with("\ncontainers can run here\n"),
        "{}",
        text.stdout
    );
    assert!(!cx.root().exists(), "looking makes no store");
}

fn user_namespaces_that_are_switched_off_are_missing(cx: &Context) {
    cx.load_busybox();
    let off = "echo 0 >/proc/sys/user/max_user_namespaces && exec minidock";
    let output = inside(cx, &format!("{off} doctor --json"));
    assert_eq!(output.code, Some(1), "{output:?}");
    let finding = finding(&output, "namespaces");
    assert_eq!(finding["level"], "missing");
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("sysctl -w user.max_user_namespaces="),
        "{remedy}"
    );
    if cx.caller == Caller::Root {
        return; // Root of a namespace with one id does not get at the store of root.
    }
    let run = inside(cx, &format!("{off} run --rm busybox true"));
    assert_eq!(run.code, Some(125), "{run:?}");
    let why = finding["why"].as_str().unwrap();
    let (what, cause) = why.split_once(": ").unwrap();
    for words in [what, cause, remedy] {
        assert!(
            run.stderr.contains(words),
            "{words} is not in: {}",
            run.stderr
        );
    }
}

fn a_covered_proc_is_degraded_and_containers_run(cx: &Context) {
    let covered = "mount -t tmpfs none /proc/bus && exec minidock doctor --json";
    let output = inside(cx, covered);
    output.ok();
    assert_eq!(finding(&output, "/proc")["level"], "degraded");
    assert_eq!(finding(&output, "namespaces")["level"], "ok");
}

fn a_store_that_cannot_be_made_is_missing(cx: &Context) {
    let read_only = "mount -t tmpfs -o ro none \"$PWD\" && cd \"$PWD\" && \
                     exec minidock --root \"$PWD/store\" doctor --json";
    let output = inside(cx, read_only);
    assert_eq!(output.code, Some(1), "{output:?}");
    let store = finding(&output, "store");
    assert!(
        store["why"]
            .as_str()
            .unwrap()
            .ends_with("is on a read-only file system"),
        "{store}"
    );
    let no_exec = "mount -t tmpfs -o noexec none \"$PWD\" && cd \"$PWD\" && \
                   exec minidock --root \"$PWD/store\" doctor --json";
    let store = finding(&inside(cx, no_exec), "store");
    assert_eq!(store["level"], "degraded");
    assert!(store["why"].as_str().unwrap().contains("noexec"), "{store}");
}

fn the_apparmor_profile_names_this_binary(cx: &Context) {
    let profile = cx.run(["doctor", "--apparmor-profile"]);
    profile.ok();
    let binary = cx.binary().canonicalize().unwrap();
    let attached = format!(
        "profile minidock \"{}\" flags=(unconfined)",
        binary.display()
    );
    assert!(profile.stdout.contains(&attached), "{}", profile.stdout);
    assert!(profile.stdout.contains("  userns,\n"));
}
