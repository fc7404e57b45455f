//! Containers that go on without whoever started them: `create`, `start`, `run -d`, `stop`, `restart`, `wait`, `attach`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::support::{Context, PATIENCE, Terminal, monitor_of, scenarios};

scenarios!(
    a_container_goes_on_without_its_client,
    it_stops_starts_and_keeps_its_files,
    ends_are_told_to_all_who_wait,
    start_attached_gives_streams_and_status,
    attached_input_is_exact,
    the_keys_detach_and_attach_comes_back,
    a_killed_client_takes_its_container_along,
    a_killed_monitor_leaves_the_truth,
    policies_start_it_again,
    a_monitor_that_is_asked_to_end_starts_nothing_again,
    what_cannot_start_leaves_nothing,
    wrong_states_are_told,
    monitors_end_with_their_containers,
);

fn run_d(cx: &Context, name: &str, words: &[&str]) -> String {
    cx.load_busybox();
    let args = [&["run", "-d", "--name", name, "busybox"], words].concat();
    cx.run(args).silent_ok().trim_end().to_owned()
}

fn field(cx: &Context, name: &str, template: &str) -> String {
    let output = cx.run(["inspect", "--format", template, name]);
    output.ok().trim_end().to_owned()
}

/// Until something is so; it is looked at again and again, for nobody tells.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn folder(cx: &Context, id: &str) -> PathBuf {
    cx.root().join("containers").join(id)
}

fn a_container_goes_on_without_its_client(cx: &Context) {
    let id = run_d(cx, "web", &["sleep", "1000"]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(field(cx, "web", "{{.State.Status}}"), "running");
    let listed = cx.run(["ps", "--no-trunc", "-q"]);
    assert_eq!(listed.ok().trim_end(), id);
    assert_eq!(cx.run(["exec", "web", "echo", "inside"]).ok(), "inside\n");
    assert_eq!(cx.run(["rm", "-f", "web"]).ok(), "web\n");
    assert_eq!(cx.run(["ps", "-aq"]).ok(), "");
}

fn it_stops_starts_and_keeps_its_files(cx: &Context) {
    run_d(cx, "web", &["sh", "-c", "echo x >>/file; exec sleep 1000"]);
    until("the file is there", || {
        cx.run(["exec", "web", "cat", "/file"]).stdout == "x\n"
    });
    assert_eq!(cx.run(["stop", "web"]).ok(), "web\n");
    assert_eq!(
        field(cx, "web", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
    assert_eq!(cx.run(["start", "web"]).ok(), "web\n");
    until("the file is longer", || {
        cx.run(["exec", "web", "cat", "/file"]).stdout == "x\nx\n"
    });
    assert_eq!(cx.run(["restart", "-t", "1", "web"]).ok(), "web\n");
    until("the file is longer still", || {
        cx.run(["exec", "web", "cat", "/file"]).stdout == "x\nx\nx\n"
    });
    // A program that wants to end by itself does so, and what asks for it is the user's choice.
    cx.run(["rm", "-f", "web"]).silent_ok();
    let script = "trap 'exit 5' TERM; trap 'exit 6' USR1; while :; do sleep 0.05; done";
    run_d(cx, "own", &["sh", "-c", script]);
    until("the traps are set", || {
        let state = cx.run(["exec", "own", "cat", "/proc/1/status"]);
        state.stdout.contains("SigCgt:\t") && !state.stdout.contains("SigCgt:\t0000000000000000")
    });
    assert_eq!(cx.run(["stop", "-s", "USR1", "own"]).ok(), "own\n");
    assert_eq!(field(cx, "own", "{{.State.ExitCode}}"), "6");
}

fn ends_are_told_to_all_who_wait(cx: &Context) {
    run_d(
        cx,
        "web",
        &["sh", "-c", "until [ -e /go ]; do sleep 0.02; done; exit 9"],
    );
    let waiting: Vec<_> = (0..5)
        .map(|_| cx.start(cx.command(["wait", "web"])))
        .collect();
    cx.run(["exec", "web", "touch", "/go"]).ok();
    for waiting in waiting {
        assert_eq!(waiting.wait().ok(), "9\n");
    }
    assert_eq!(cx.run(["wait", "web"]).ok(), "9\n");
    assert_eq!(cx.run(["wait", "nosuch"]).code, Some(1));
}

fn start_attached_gives_streams_and_status(cx: &Context) {
    cx.load_busybox();
    let script = "echo out; echo err >&2; exit 3";
    let id = cx.run(["create", "--name", "c1", "busybox", "sh", "-c", script]);
    assert_eq!(id.silent_ok().trim_end().len(), 64);
    assert_eq!(field(cx, "c1", "{{.State.Status}}"), "created");
    for _ in 0..2 {
        let output = cx.run(["start", "-a", "c1"]);
        assert_eq!(
            (output.code, &*output.stdout, &*output.stderr),
            (Some(3), "out\n", "err\n"),
            "{output}"
        );
    }
    // `run` without --rm is the same from outside.
    let output = cx.run(["run", "--name", "c2", "busybox", "sh", "-c", script]);
    assert_eq!(
        (output.code, &*output.stdout, &*output.stderr),
        (Some(3), "out\n", "err\n"),
        "{output}"
    );
    assert_eq!(field(cx, "c2", "{{.State.ExitCode}}"), "3");
}

fn attached_input_is_exact(cx: &Context) {
    cx.load_busybox();
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let output = cx.run_with_input(["run", "-i", "busybox", "cat"], text.as_bytes());
    assert!(
        output.ok() == text,
        "{} bytes came back",
        output.stdout.len()
    );
}

fn the_keys_detach_and_attach_comes_back(cx: &Context) {
    cx.load_busybox();
    let prompt = "PS1=<$?>";
    let mut terminal = Terminal::start(
        cx,
        ["run", "-it", "--name", "web", "-e", prompt, "busybox", "sh"],
    );
    terminal.expect("<0>");
    terminal.send("variable=kept\r");
    terminal.expect("<0>");
    terminal.send("\x10\x11");
    assert_eq!(terminal.wait().code, Some(0));
    assert_eq!(field(cx, "web", "{{.State.Status}}"), "running");
    let mut terminal = Terminal::start(cx, ["attach", "--detach-keys", "ctrl-a,x", "web"]);
    terminal.send("echo it was $variable; stty size\r");
    terminal.expect("it was kept\r\n24 80\r\n");
    terminal.send("\x01x");
    assert_eq!(terminal.wait().code, Some(0));
    let terminal = Terminal::start(cx, ["attach", "web"]);
    terminal.send("exit 4\r");
    assert_eq!(terminal.wait().code, Some(4));
    assert_eq!(field(cx, "web", "{{.State.ExitCode}}"), "4");
}

fn a_killed_client_takes_its_container_along(cx: &Context) {
    cx.load_busybox();
    let client = cx.start(cx.command(["run", "--name", "web", "busybox", "sleep", "1000"]));
    until("it runs", || cx.run(["ps", "-q"]).stdout.len() > 1);
    assert_eq!(client.kill().code, None);
    until("it has ended", || {
        field(cx, "web", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
    });
}

fn a_killed_monitor_leaves_the_truth(cx: &Context) {
    let id = run_d(cx, "web", &["sleep", "1000"]);
    let pid: i32 = field(cx, "web", "{{.State.Pid}}").parse().unwrap();
    kill_process(monitor_of(&folder(cx, &id)).unwrap(), Signal::KILL).unwrap();
    until("its container is gone", || {
        !std::fs::exists(format!("/proc/{pid}")).unwrap()
    });
    assert_eq!(cx.run(["ps", "-q"]).ok(), "");
    assert_eq!(field(cx, "web", "{{.State.Status}}"), "exited");
    assert_eq!(cx.run(["stop", "web"]).ok(), "web\n");
    assert_eq!(cx.run(["start", "web"]).ok(), "web\n");
    assert_eq!(cx.run(["exec", "web", "echo", "again"]).ok(), "again\n");
    assert_eq!(cx.run(["rm", "-f", "web"]).ok(), "web\n");
}

fn policies_start_it_again(cx: &Context) {
    cx.load_busybox();
    let script = "echo x >>/file; [ $(wc -l </file) -ge 3 ] && exec sleep 1000; exit 1";
    let flags = ["run", "-d", "--name", "web", "--restart", "always"];
    cx.run([&flags[..], &["busybox", "sh", "-c", script]].concat())
        .silent_ok();
    until("it was started three times", || {
        cx.run(["exec", "web", "cat", "/file"]).stdout == "x\nx\nx\n"
    });
    cx.run(["stop", "web"]).silent_ok();
    assert_eq!(field(cx, "web", "{{.State.Status}}"), "exited");
    let flags = ["run", "-d", "--name", "some", "--restart", "on-failure:2"];
    cx.run([&flags[..], &["busybox", "false"]].concat())
        .silent_ok();
    until("it was given up", || {
        let id = cx.run(["ps", "-aq", "--no-trunc", "--filter", "name=some"]);
        monitor_of(&folder(cx, id.ok().trim_end())).is_none()
            && field(cx, "some", "{{.State.Status}}") == "exited"
    });
    let id = cx.run(["ps", "-aq", "--no-trunc", "--filter", "name=some"]);
    let state = folder(cx, id.ok().trim_end()).join("state.json");
    let state = std::fs::read_to_string(state).unwrap();
    assert!(state.contains("\"restarts\":2,"), "{state}");
    // As after the machine has started again: what somebody stopped stays so only where its policy says that.
    let output = cx.run(["start", "--all", "--filter", "restart-policy=always"]);
    assert_eq!(output.ok(), "web\n");
}

fn a_monitor_that_is_asked_to_end_starts_nothing_again(cx: &Context) {
    cx.load_busybox();
    let flags = ["run", "-d", "--name", "web", "--restart", "always"];
    let id = cx.run([&flags[..], &["busybox", "false"]].concat());
    let folder = folder(cx, id.silent_ok().trim_end());
    // As when the machine shuts down: between two starts, which are soon far apart, or in the short life between.
    until("it waits for its next start", || {
        field(cx, "web", "{{.State.Status}}") == "restarting"
    });
    kill_process(monitor_of(&folder).unwrap(), Signal::TERM).unwrap();
    until("its monitor has ended", || monitor_of(&folder).is_none());
    assert_eq!(field(cx, "web", "{{.State.Status}}"), "exited");
    assert_eq!(
        cx.run(["start", "--all", "--filter", "restart-policy=always"])
            .ok(),
        "web\n"
    );
}

fn what_cannot_start_leaves_nothing(cx: &Context) {
    cx.load_busybox();
    for (words, code) in [
        (&["busybox", "nosuch"][..], 127),
        (&["busybox", "/etc"], 126),
        (&["-u", "nosuch", "busybox", "true"], 125),
    ] {
        let output = cx.run([&["run", "-d"], words].concat());
        output.error(code);
        assert_eq!(cx.run(["ps", "-aq"]).ok(), "");
    }
    cx.run(["create", "--name", "c1", "busybox", "nosuch"]).ok();
    let output = cx.run(["start", "c1"]);
    assert!(
        output.error(1).contains("command not found: nosuch"),
        "{output}"
    );
    assert_eq!(field(cx, "c1", "{{.State.Status}}"), "created");
}

fn wrong_states_are_told(cx: &Context) {
    run_d(cx, "web", &["sleep", "1000"]);
    // Starting what runs, and stopping what does not, is done already.
    assert_eq!(cx.run(["start", "web"]).ok(), "web\n");
    cx.run(["rm", "web"]).error(1);
    cx.run(["stop", "web"]).silent_ok();
    assert_eq!(cx.run(["stop", "web"]).ok(), "web\n");
    let output = cx.run(["attach", "web"]);
    assert!(output.error(1).contains("start it first"), "{output}");
    for verb in ["start", "stop", "restart", "attach", "wait"] {
        let output = cx.run([verb, "nosuch"]);
        assert!(
            output.error(1).contains("no such container: nosuch"),
            "{output}"
        );
    }
    let output = cx.run(["run", "--rm", "--restart", "always", "busybox"]);
    assert!(
        output.error(125).contains("conflicting options"),
        "{output}"
    );
    let output = cx.run(["run", "-d", "-a", "stdout", "busybox"]);
    assert!(
        output.error(125).contains("Conflicting options"),
        "{output}"
    );
    for bad in ["sometimes", "always:3", "on-failure:x"] {
        let output = cx.run(["run", "-d", "--restart", bad, "busybox"]);
        assert!(
            output.error(125).contains("invalid restart policy"),
            "{output}"
        );
    }
}

fn monitors_end_with_their_containers(cx: &Context) {
    let id = run_d(cx, "web", &["sleep", "1000"]);
    let monitor = monitor_of(&folder(cx, &id)).unwrap().as_raw_nonzero();
    assert!(std::fs::exists(format!("/proc/{monitor}")).unwrap());
    cx.run(["stop", "web"]).silent_ok();
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    until("the monitor has ended", ended);
    // One that was asked to be removed at its end is.
    cx.run(["run", "-d", "--rm", "--name", "gone", "busybox", "true"])
        .silent_ok();
    until("it is removed", || {
        cx.run(["inspect", "gone"]).code == Some(1)
    });
}
