//! The foreground: one thread that waits for the container's end, passes signals in and bytes through.

use std::os::fd::{BorrowedFd, OwnedFd};

use minidock_sys::{Errno, memory, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::termios::{isatty, tcsetwinsize};

use crate::emulation::Supervisor;
use crate::relay::{End, Relay, State};
use crate::stdio::{self, Outside};
use crate::terminal::RawTerminal;
use crate::{Error, Exit};

/// Everything the loop needs.
pub(crate) struct Watch<'a> {
    pub pid: Pid,
    pub pidfd: BorrowedFd<'a>,
    pub signals: &'a signal::SignalFd,
    pub outside: Outside,
    /// The supervisor's end of the container's terminal.
    pub terminal: Option<OwnedFd>,
    pub interactive: bool,
    /// The first process is our reaper, which takes every signal.
    pub init: bool,
    /// The kernel ends all of the container's processes with the first.
    pub own_processes: bool,
    /// Answers calls of the container's.
    pub emulation: Option<Supervisor>,
    /// A process of the container that was joined, with which this one is to end.
    pub joined: Option<BorrowedFd<'a>>,
    /// Other processes, which do not end with this one, may have its output.
    pub others_write: bool,
}

/// Which way a relay goes; those that bring output are drained after the container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

pub(crate) fn until_end(mut watch: Watch<'_>) -> Result<Exit, Error> {
    let raw = (watch.terminal.is_some() && watch.interactive && isatty(rustix::stdio::stdin()))
        .then(RawTerminal::enter)
        .flatten();
    let mut relays = relays(&mut watch)?;
    let mut ended_by: Option<i32> = None;
    let mut patience = Some(SOON);
    loop {
        let ready = wait(&watch, &relays, patience)?;
        if patience.take_if(|_| ready.nothing).is_some() {
            memory::let_go();
        }
        while let Some(number) = watch
            .signals
            .next()
            .map_err(Error::supervise("read a signal"))?
        {
            if let (SIGCONT, Some(raw)) = (number, &raw) {
                raw.take();
                fit_window(&watch);
            }
            if pass_on(&watch, number) == Passed::Killed {
                ended_by.get_or_insert(number);
            }
        }
        if ready.call == Call::Waits
            && let Some(emulation) = &mut watch.emulation
        {
            emulation
                .answer_one()
                .map_err(Error::supervise("answer a system call"))?;
        }
        if ready.call == Call::NoneLeft {
            watch.emulation = None;
        }
        step(&mut relays, &ready.relays);
        if ready.container_ended {
            // The kernel sees to it where there is a pid namespace.
            let _ = signal::send(watch.pidfd, 9);
            watch.joined = None;
        }
        if ready.ended {
            break;
        }
    }
    let exit = reap(watch.pidfd)?;
    if !watch.own_processes {
        end_orphans();
    }
    drain(&watch, relays);
    drop(raw);
    Ok(match (exit, ended_by) {
        (Exit::Signal(9), Some(number)) => Exit::Signal(number),
        (exit, _) => exit,
    })
}

fn relays(watch: &mut Watch<'_>) -> Result<Vec<(Direction, Relay)>, Error> {
    let callers = |fd| End::Callers(fd);
    let mut relays = Vec::new();
    let outside = std::mem::take(&mut watch.outside);
    if let Some(writer) = outside.stdin {
        relays.push((
            Direction::In,
            Relay::new(callers(rustix::stdio::stdin()), End::Ours(writer)),
        ));
    }
    if let Some(reader) = outside.stdout {
        relays.push((
            Direction::Out,
            Relay::new(End::Ours(reader), callers(rustix::stdio::stdout())),
        ));
    }
    if let Some(reader) = outside.stderr {
        relays.push((
            Direction::Out,
            Relay::new(End::Ours(reader), callers(rustix::stdio::stderr())),
        ));
    }
    if let Some(terminal) = &watch.terminal {
        let copy = || {
            terminal.try_clone().map_err(|source| Error::Supervise {
                what: "copy a descriptor",
                source,
            })
        };
        if watch.interactive {
            relays.push((
                Direction::In,
                Relay::new(callers(rustix::stdio::stdin()), End::Ours(copy()?)),
            ));
        }
        relays.push((
            Direction::Out,
            Relay::new(End::Ours(copy()?), callers(rustix::stdio::stdout())),
        ));
    }
    Ok(relays)
}

/// What the end at which calls arrive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    Waits,
    /// All that could make one have ended.
    NoneLeft,
}

/// A container that runs longer than this will run for a while, so that it is worth the trouble to become small.
pub(crate) const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// As many pieces as what was in a pipe of the largest size that an ordinary user can have (1 MiB) is moved in, and more: what
/// comes after that was written after the end.
const ROUNDS: usize = 2048;

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

struct Ready {
    /// Time was up.
    nothing: bool,
    ended: bool,
    container_ended: bool,
    call: Call,
    relays: [bool; RELAYS],
}

/// The end of what is watched, signals, calls to be answered, and the end of a container that was joined.
const FIXED: usize = 4;
/// One for each standard stream at most.
const RELAYS: usize = 3;

/// Waits until something is to be done, or until `patience` is over.
fn wait(
    watch: &Watch<'_>,
    relays: &[(Direction, Relay)],
    patience: Option<Timespec>,
) -> Result<Ready, Error> {
    let calls = watch.emulation.as_ref().map(Supervisor::fd);
    // What is not there has its place all the same, with nothing to wait for: no memory is asked for while nothing happens.
    let nothing = || PollFd::from_borrowed_fd(watch.pidfd, PollFlags::empty());
    let mut fds: [PollFd<'_>; FIXED + RELAYS] = std::array::from_fn(|place| match place {
        0 => PollFd::from_borrowed_fd(watch.pidfd, PollFlags::IN),
        1 => PollFd::new(watch.signals, PollFlags::IN),
        2 => calls.map_or_else(nothing, |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        3 => watch
            .joined
            .map_or_else(nothing, |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        place => relays
            .get(place - FIXED)
            .map_or_else(nothing, |(_, relay)| {
                let (fd, interest) = relay.interest();
                PollFd::from_borrowed_fd(fd, interest)
            }),
    });
    let count = match poll(&mut fds, patience.as_ref()) {
        Ok(count) => Some(count),
        Err(Errno::INTR) => None,
        Err(errno) => return Err(Error::supervise("wait for the container")(errno)),
    };
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    Ok(Ready {
        nothing: count == Some(0),
        ended: ready(&fds[0]),
        container_ended: watch.joined.is_some() && ready(&fds[3]),
        call: match calls.map(|_| fds[2].revents()) {
            Some(events) if events.contains(PollFlags::IN) => Call::Waits,
            Some(events) if !events.is_empty() => Call::NoneLeft,
            _ => Call::None,
        },
        relays: std::array::from_fn(|relay| ready(&fds[FIXED + relay])),
    })
}

/// Moves what is ready; a relay that is done is dropped, which closes its pipe.
fn step(relays: &mut Vec<(Direction, Relay)>, ready: &[bool]) {
    let mut ready = ready.iter();
    relays.retain_mut(|(_, relay)| {
        !ready.next().is_some_and(|ready| *ready) || relay.step() == State::Open
    });
}

/// The last bytes of output. All writers died with the pid namespace, so the end comes; only a reader of ours who has
/// stopped reading can delay it, and a signal ends that. Where others may go on writing, the end is where nothing waits to be
/// read.
fn drain(watch: &Watch<'_>, mut relays: Vec<(Direction, Relay)>) {
    relays.retain(|(direction, _)| *direction == Direction::Out);
    let mut rounds = 0;
    while !relays.is_empty() {
        if watch.others_write && rounds == ROUNDS {
            return;
        }
        rounds += 1;
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(watch.signals, PollFlags::IN)];
        fds.extend(relays.iter().map(|(_, relay)| {
            let (fd, interest) = relay.interest();
            PollFd::from_borrowed_fd(fd, interest)
        }));
        let others = watch.others_write && !relays.iter().any(|(_, relay)| relay.holds());
        match poll(&mut fds, others.then_some(&NO_TIME)) {
            Ok(0) if others => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect();
        while let Ok(Some(number)) = watch.signals.next() {
            if ENDING.contains(&number) {
                return;
            }
        }
        step(&mut relays, &ready);
    }
}

pub(crate) const SIGHUP: i32 = 1;
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
pub(crate) const SIGPIPE: i32 = 13;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCHLD: i32 = 17;
pub(crate) const SIGCONT: i32 = 18;
pub(crate) const SIGURG: i32 = 23;
pub(crate) const SIGWINCH: i32 = 28;

/// Signals by which people and systems ask a program to end.
pub(crate) const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    On,
    Killed,
}

/// Gives the container's terminal the size of the caller's.
fn fit_window(watch: &Watch<'_>) {
    if let (Some(terminal), Some(size)) = (&watch.terminal, stdio::window()) {
        let _ = tcsetwinsize(terminal, size);
    }
}

fn pass_on(watch: &Watch<'_>, number: i32) -> Passed {
    match number {
        SIGWINCH => {
            fit_window(watch);
            Passed::On
        }
        number => pass_to(watch.pid, watch.pidfd, watch.init, number),
    }
}

/// Passes a signal on to the container's first process.
pub(crate) fn pass_to(pid: Pid, pidfd: BorrowedFd<'_>, init: bool, number: i32) -> Passed {
    match number {
        // About the supervisor's own children and descriptors.
        SIGCHLD | SIGPIPE | SIGURG => {}
        number if would_be_lost(pid, init, number) => {
            let _ = signal::send(pidfd, 9);
            return Passed::Killed;
        }
        number => {
            let _ = signal::send(pidfd, number);
        }
    }
    Passed::On
}

/// Sends a signal to the first process of a container that another process supervises. One by which people ask a program to end
/// kills it, where the kernel would discard it only because that process is the first of its pid namespace; `init` says that
/// it is minidock's, which passes all of them on.
///
/// # Errors
/// `ESRCH` when it has ended, `EPERM` when it is out of reach.
pub fn signal(pid: Pid, pidfd: BorrowedFd<'_>, init: bool, number: i32) -> Result<(), Errno> {
    let number = match would_be_lost(pid, init, number) {
        true => 9,
        false => number,
    };
    signal::send(pidfd, number)
}

/// Whether a signal by which people ask a program to end would end nothing.
fn would_be_lost(pid: Pid, init: bool, number: i32) -> bool {
    ENDING.contains(&number) && !init && discarded(pid, number)
}

/// Whether the kernel would throw the signal away because the process is the first of its pid namespace and has neither a
/// handler for it, nor ignores or blocks it (pid_namespaces(7)).
fn discarded(pid: Pid, number: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))
        .unwrap_or_default();
    let has = |field: &str| {
        let set = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
        set.and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .is_some_and(|set| set >> (number - 1) & 1 == 1)
    };
    !status.is_empty() && !["SigCgt", "SigIgn", "SigBlk"].into_iter().any(has)
}

/// Ends what a container without a pid namespace left behind: our only children, and those that become ours when they end.
pub(crate) fn end_orphans() {
    use rustix::process::{Signal, WaitOptions, getpid, kill_process};
    let path = format!("/proc/self/task/{}/children", getpid().as_raw_nonzero());
    loop {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        for child in children.split_ascii_whitespace() {
            if let Some(pid) = child.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // One that was killed ends; where there is no list of children, none was killed, and none is waited for.
        let options = match children.is_empty() {
            true => WaitOptions::NOHANG,
            false => WaitOptions::empty(),
        };
        match rustix::process::wait(options) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Takes the end of the container's first process.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<Exit, Error> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
                }
                return Ok(Exit::Signal(status.terminating_signal().unwrap_or(9)));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::supervise("wait for the container")(errno)),
        }
    }
}
