//! `-t`: what only happens on a real terminal.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::support::{Context, PATIENCE, Terminal, scenarios};

scenarios!(
    a_shell_has_a_terminal_of_its_own,
    job_control_works,
    the_window_size_follows,
    ctrl_c_ends_what_runs_and_not_the_shell,
    the_exit_code_comes_back_and_the_terminal_with_it,
    end_of_file_ends_the_shell,
    output_alone_can_have_a_terminal,
    a_signal_to_minidock_gives_the_terminal_back,
    the_terminal_comes_back_after_kill_9,
    a_terminal_that_others_have_taken_over_is_left_to_them,
    a_container_that_was_stopped_takes_the_terminal_anew,
    standard_input_must_be_a_terminal_for_both_flags,
);

/// A shell with a prompt that cannot be mistaken for an echo of what was typed.
fn shell(cx: &Context) -> Terminal {
    cx.load_busybox();
    let mut terminal = Terminal::start(
        cx,
        ["run", "--rm", "-it", "-e", "PS1=<$?>", "busybox", "sh"],
    );
    terminal.expect("<0>");
    terminal
}

fn a_shell_has_a_terminal_of_its_own(cx: &Context) {
    let mut terminal = shell(cx);
    terminal.send("tty; test -t 0 && test -t 1 && test -t 2 && echo all of th''em; echo $TERM\r");
    let shown = terminal.expect("<0>");
    assert!(
        shown.ends_with("/dev/pts/0\r\nall of them\r\nxterm\r\n"),
        "{shown:?}"
    );
    // The controlling one: /dev/tty leads to it.
    terminal.send("echo through the no''de >/dev/tty\r");
    terminal.expect("through the node\r\n<0>");
    terminal.send("ls /dev/pts /dev/console; readlink /proc/1/fd/0\r");
    let shown = terminal.expect("<");
    assert!(shown.contains("/dev/pts/0\r\n"), "{shown:?}");
    terminal.send("exit\r");
    let output = terminal.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(
        !output.stdout.contains("job control turned off"),
        "{output}"
    );
}

fn job_control_works(cx: &Context) {
    let mut terminal = shell(cx);
    // It says itself where it runs, for the shell's own words come before it hands the terminal
    // over: a key pressed between the two would be the shell's. Fields of proc(5): 5 is the
    // process group, 8 the one in the foreground.
    let where_it_runs = "at() { set -- $(cat /proc/self/stat); test $5 -eq $8; }; echo st''arted; \
                         while at; do sleep 0.1; done; echo be''hind; \
                         until at; do sleep 0.1; done; echo in fr''ont; exec sleep 1000";
    terminal.send(&format!("cat >/job <<'end'\r{where_it_runs}\rend\r"));
    terminal.send("clear; sh /job\r");
    terminal.expect("started\r\n");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect("<");
    terminal.send("jobs\r");
    let shown = terminal.expect("<0>");
    assert!(
        shown.contains("Stopped") && shown.contains("sh /job"),
        "{shown:?}"
    );
    terminal.send("bg; jobs\r");
    terminal.expect("Running");
    terminal.expect("behind\r\n");
    terminal.send("fg\r");
    terminal.expect("in front\r\n");
    terminal.send("\x03");
    terminal.expect("<130>");
    terminal.send("exit 0\r");
    assert_eq!(terminal.wait().code, Some(0));
}

fn the_window_size_follows(cx: &Context) {
    let mut terminal = shell(cx);
    terminal.send("stty size\r");
    terminal.expect("24 80\r\n<0>");
    // Asked again and again: the signal goes to whoever is in the foreground at that instant.
    // It ends by itself, for a key pressed between two commands may reach neither of them.
    terminal.send("until [ \"$(stty size)\" = '10 20' ]; do stty size; sleep 0.1; done\r");
    terminal.resize(50, 132);
    terminal.expect("50 132\r\n");
    terminal.resize(10, 20);
    terminal.expect("<0>");
    terminal.send("exit 0\r");
    assert_eq!(terminal.wait().code, Some(0));
}

fn ctrl_c_ends_what_runs_and_not_the_shell(cx: &Context) {
    let mut terminal = shell(cx);
    terminal.send("sh -c 'echo st''arted; sleep 1000'\r");
    terminal.expect("started\r\n");
    terminal.send("\x03");
    terminal.expect("<130>");
    terminal.send("echo still he''re\r");
    terminal.expect("still here\r\n<0>");
    terminal.send("exit\r");
    assert_eq!(terminal.wait().code, Some(0));

    // Without a shell the key reaches process 1.
    let script = "trap 'echo caught; exit 3' INT; echo started; while :; do sleep 0.1; done";
    let mut terminal = Terminal::start(cx, ["run", "--rm", "-it", "busybox", "sh", "-c", script]);
    terminal.expect("started\r\n");
    terminal.send("\x03");
    terminal.expect("caught\r\n");
    assert_eq!(terminal.wait().code, Some(3));
}

fn the_exit_code_comes_back_and_the_terminal_with_it(cx: &Context) {
    cx.load_busybox();
    let mut terminal = Terminal::start(
        cx,
        [
            "run",
            "--rm",
            "-it",
            "busybox",
            "sh",
            "-c",
            "read line; exit 42",
        ],
    );
    let settings = format!("{:?}", terminal.settings);
    terminal.send("line\r");
    terminal.expect("line");
    let device = terminal.keep_device();
    assert_eq!(terminal.wait().code, Some(42));
    assert_eq!(format!("{:?}", tcgetattr(&device).unwrap()), settings);
}

fn end_of_file_ends_the_shell(cx: &Context) {
    let mut terminal = shell(cx);
    terminal.send("\x04");
    assert_eq!(terminal.wait().code, Some(0));
    // All of a long output arrives, also what was written just before the end.
    let script = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; echo the la''st";
    terminal = Terminal::start(cx, ["run", "--rm", "-it", "busybox", "sh", "-c", script]);
    terminal.expect("line 4999\r\nthe last\r\n");
    let output = terminal.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(output.stdout.matches("line ").count(), 5000);
}

fn output_alone_can_have_a_terminal(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run",
        "--rm",
        "-t",
        "busybox",
        "sh",
        "-c",
        "test -t 1 && echo a terminal",
    ];
    // The line discipline is the container's: line feeds come out as both.
    assert_eq!(cx.run(args).silent_ok(), "a terminal\r\n");
}

fn a_signal_to_minidock_gives_the_terminal_back(cx: &Context) {
    cx.load_busybox();
    let script = "trap 'exit 5' TERM; echo started; while :; do sleep 0.1; done";
    let mut terminal = Terminal::start(cx, ["run", "--rm", "-it", "busybox", "sh", "-c", script]);
    terminal.expect("started\r\n");
    let device = terminal.keep_device();
    terminal.running().signal(Signal::TERM);
    assert_eq!(terminal.wait().code, Some(5));
    let modes = tcgetattr(&device).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
}

/// Waits until a terminal's settings are as wanted.
fn until(device: &std::fs::File, what: &str, wanted: impl Fn(&Termios) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&tcgetattr(device).unwrap()) {
        assert!(Instant::now() < deadline, "the terminal is never {what}");
        std::thread::yield_now();
    }
}

fn is_raw(settings: &Termios) -> bool {
    !settings
        .local_modes
        .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

/// A container that has taken the terminal over and goes on for long; and the terminal's device.
fn with_raw_terminal(cx: &Context) -> (Terminal, std::fs::File) {
    let script = "echo started; sleep 1000; true";
    let args = ["run", "--rm", "-it", "busybox", "sh", "-c", script];
    let mut terminal = Terminal::start(cx, args);
    terminal.expect("started\r\n");
    let device = terminal.keep_device();
    until(&device, "raw", is_raw);
    (terminal, device)
}

fn the_terminal_comes_back_after_kill_9(cx: &Context) {
    cx.load_busybox();
    // The container's first process, and minidock itself.
    let (terminal, _device) = with_raw_terminal(cx);
    let minidock = terminal.running().pid().as_raw_nonzero();
    // Its older child is the monitor, the younger one the guard.
    let first_child = |of: i32| -> i32 {
        let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
        children
            .split_ascii_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let first = first_child(first_child(minidock.get()));
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    assert_eq!(terminal.wait().code, Some(137));
    let (terminal, device) = with_raw_terminal(cx);
    let before = format!("{:?}", terminal.settings);
    let monitor = first_child(terminal.running().pid().as_raw_nonzero().get());
    kill_process(Pid::from_raw(monitor).unwrap(), Signal::KILL).unwrap();
    let output = terminal.wait();
    assert_eq!(output.code, Some(125), "{output}");
    assert!(output.stdout.contains("was killed"), "{output}");
    assert_eq!(format!("{:?}", tcgetattr(&device).unwrap()), before);
    let settings = |device| format!("{:?}", tcgetattr(device).unwrap());
    let (terminal, device) = with_raw_terminal(cx);
    let before = format!("{:?}", terminal.settings);
    assert_eq!(terminal.kill().code, None);
    until(&device, "put back", |now| !is_raw(now));
    assert_eq!(settings(&device), before);
}

fn a_terminal_that_others_have_taken_over_is_left_to_them(cx: &Context) {
    cx.load_busybox();
    let (terminal, device) = with_raw_terminal(cx);
    // As a shell does that reads a line by itself.
    let mut theirs = terminal.settings.clone();
    theirs.local_modes.remove(LocalModes::ICANON);
    tcsetattr(&device, OptionalActions::Now, &theirs).unwrap();
    let minidock = terminal.running().pid().as_raw_nonzero();
    let list = format!("/proc/{minidock}/task/{minidock}/children");
    let children = std::fs::read_to_string(list).unwrap();
    assert_eq!(terminal.kill().code, None);
    // Until the guard, which is one of them, has seen that the terminal is not its own any more.
    for child in children.split_ascii_whitespace() {
        let deadline = Instant::now() + PATIENCE;
        while std::fs::exists(format!("/proc/{child}")).unwrap() {
            assert!(Instant::now() < deadline, "process {child} lives on");
            std::thread::yield_now();
        }
    }
    let now = format!("{:?}", tcgetattr(&device).unwrap());
    assert_eq!(now, format!("{theirs:?}"));
}

fn a_container_that_was_stopped_takes_the_terminal_anew(cx: &Context) {
    let mut terminal = shell(cx);
    let device = terminal.keep_device();
    until(&device, "raw", is_raw);
    terminal.running().signal(Signal::STOP);
    // The shell that it was started from, which takes its terminal back, and whose user then makes the window larger.
    tcsetattr(&device, OptionalActions::Now, &terminal.settings).unwrap();
    terminal.resize(40, 100);
    terminal.running().signal(Signal::CONT);
    until(&device, "raw again", is_raw);
    terminal.send("stty size\r");
    terminal.expect("40 100\r\n<0>");
    terminal.send("exit\r");
    assert_eq!(terminal.wait().code, Some(0));
}

fn standard_input_must_be_a_terminal_for_both_flags(cx: &Context) {
    cx.load_busybox();
    let output = cx.run(["run", "--rm", "-it", "busybox", "true"]);
    assert!(
        output
            .fails(125)
            .starts_with("minidock: the input device is not a TTY\n"),
        "{output}"
    );
}
