//! `events`: what is told, to whom, and how it is shown.

use std::fs::OpenOptions;
use std::io::Write;

use crate::support::{Context, scenarios};

scenarios!(
    what_is_done_is_told_in_docker_s_words,
    events_are_followed_and_filtered,
    a_damaged_journal_loses_a_line_and_no_more,
);

/// Everything told so far, without the times.
fn told(cx: &Context, flags: &[&str]) -> Vec<String> {
    let mut args = vec!["events", "--since", "1h", "--until", "0s"];
    args.extend(flags);
    let shown = cx.run(args);
    shown
        .silent_ok()
        .lines()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

fn what_is_done_is_told_in_docker_s_words(cx: &Context) {
    cx.load_busybox();
    let run = [
        "run",
        "--name",
        "box",
        "--label",
        "a=b",
        "-v",
        "data:/data",
        "busybox",
        "true",
    ];
    cx.run(run).silent_ok();
    cx.run(["tag", "busybox", "other:1"]).silent_ok();
    cx.run(["rmi", "other:1"]).ok();
    cx.run(["export", "-o", "out.tar", "box"]).silent_ok();
    cx.run(["cp", "box:/bin/sh", "."]).ok();
    cx.run(["rm", "box"]).silent_ok();
    cx.run(["volume", "rm", "data"]).silent_ok();
    let all = told(cx, &[]);
    let id = |kind: &str, action: &str| {
        let start = format!("{kind} {action} ");
        let line = all.iter().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no {start}: {all:#?}"));
        line.split(' ').nth(2).unwrap().to_owned()
    };
    let (container, image) = (id("container", "destroy"), id("image", "load"));
    assert_eq!(container.len(), 64);
    for expected in [
        format!("image load {image} (name={image})"),
        "volume create data (driver=local)".to_owned(),
        format!("image tag {} (name=other:1)", id("image", "tag")),
        format!("image untag {0} (name={0})", id("image", "tag")),
        format!("container export {container} (a=b, image=busybox, name=box)"),
        format!("container archive-path {container} (a=b, image=busybox, name=box, path=/bin/sh)"),
        format!("container destroy {container} (a=b, image=busybox, name=box)"),
        "volume destroy data (driver=local)".to_owned(),
    ] {
        assert!(all.contains(&expected), "no {expected}: {all:#?}");
    }
    // In the order in which it happened.
    let at = |start: &str| all.iter().position(|line| line.starts_with(start));
    assert!(at("volume create") < at("image tag"), "{all:#?}");
    assert!(at("image tag") < at("container destroy"), "{all:#?}");
    let json = cx.run([
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "json",
        "-f",
        "event=destroy",
        "-f",
        "type=container",
    ]);
    let json: serde_json::Value = serde_json::from_str(json.silent_ok()).unwrap();
    assert_eq!(json["Actor"]["ID"], *container);
    assert_eq!(json["Actor"]["Attributes"]["name"], "box");
    assert_eq!(
        (&json["status"], &json["from"]),
        (&"destroy".into(), &"busybox".into())
    );
    assert_eq!(
        json["timeNano"].as_u64().unwrap() / 1_000_000_000,
        json["time"]
    );
}

fn events_are_followed_and_filtered(cx: &Context) {
    cx.run(["volume", "create", "before"]).silent_ok();
    let follow = |flags: &[&str]| {
        let mut args = vec!["events", "--format", "{{.Action}} {{.Actor.ID}}"];
        args.extend(flags);
        cx.start(cx.command(args))
    };
    let mut all = follow(&["--since", "1h"]);
    let mut created = follow(&["--since", "1h", "-f", "event=create"]);
    all.wait_for_stdout("create before\n");
    created.wait_for_stdout("create before\n");
    // From here on it follows.
    cx.run(["volume", "create", "later"]).silent_ok();
    cx.run(["volume", "rm", "before"]).silent_ok();
    cx.run(["volume", "create", "last"]).silent_ok();
    all.wait_for_stdout("create last\n");
    created.wait_for_stdout("create last\n");
    assert_eq!(
        all.kill().stdout,
        "create before\ncreate later\ndestroy before\ncreate last\n"
    );
    assert_eq!(
        created.kill().stdout,
        "create before\ncreate later\ncreate last\n"
    );
    for (flags, code, words) in [
        (&["-f", "nosuch=1"][..], 1, "invalid filter 'nosuch'"),
        (&["-f", "event"], 125, "bad format of filter"),
        (
            &["--since", "soon"],
            1,
            "invalid value \"soon\" for --since",
        ),
        (&["--format", "{{.X"], 64, "template parsing error"),
        (&["--since", "1m", "--until", "2m"], 1, "cannot be after"),
    ] {
        let mut args = vec!["events"];
        args.extend(flags);
        let refused = cx.run(args);
        assert!(refused.error(code).contains(words), "{refused}");
    }
    // One that is over by the time it is asked for ends by itself.
    let none = cx.run(["events", "--since", "2h", "--until", "1h"]);
    assert_eq!(none.silent_ok(), "");
}

fn a_damaged_journal_loses_a_line_and_no_more(cx: &Context) {
    cx.run(["volume", "create", "one"]).silent_ok();
    let log = cx.root().join("events/log");
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    // As a process leaves it that is killed while it writes.
    file.write_all(b"{\"timeNano\":17000000000,\"Type\":\"vol")
        .unwrap();
    cx.run(["volume", "create", "two"]).silent_ok();
    file.write_all(b"\xff\xfe\0\n{}\n").unwrap();
    cx.run(["volume", "create", "three"]).silent_ok();
    assert_eq!(
        told(cx, &[]),
        [
            "volume create one (driver=local)",
            "volume create two (driver=local)",
            "volume create three (driver=local)",
        ]
    );
    // Without its folder it begins anew, and nothing fails.
    std::fs::remove_dir_all(cx.root().join("events")).unwrap();
    assert!(told(cx, &[]).is_empty());
    cx.run(["volume", "create", "four"]).silent_ok();
    assert_eq!(told(cx, &[]), ["volume create four (driver=local)"]);
}
