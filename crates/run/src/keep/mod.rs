//! A monitor's loop: a container whose standard streams are the supervisor's own, for as long as it lives.
//!
//! Like the foreground's loop ([`crate::supervise`]) it is one thread that polls. What the container writes goes to the
//! [`Keeper`] first, whole, and then round to the [`Guests`]; the next piece is read when all of them have it. There is one
//! piece at a time, in one buffer, which is given up while nothing happens.

mod streams;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use minidock_sys::signal::{self, MaskGuard, SignalFd, SignalSet};
use minidock_sys::{Errno, memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::attach::{Guests, Stream, Wish};
use crate::emulation::Supervisor;
use crate::stdio::Outside;
use crate::supervise::{ENDING, Passed, SIGCHLD, SIGPIPE, end_orphans, pass_to, reap};
use crate::{Error, Exit};

use streams::Streams;

/// The signal that wakes a monitor (`SIGUSR1`): somebody has changed the container's state, and the keeper is to look.
pub const WAKE: i32 = 10;

/// Whoever keeps what a container does.
pub trait Keeper {
    /// The container has written this.
    fn output(&mut self, stream: Stream, bytes: &[u8]);

    /// Called at first, when the time that it said is over, and when a child process has ended or somebody woke this process
    /// ([`WAKE`]). Says when it wants to be called again.
    fn look(&mut self) -> Option<Duration>;

    /// The container's first process has ended. Called before the last of its output, and before anybody is told.
    fn ended(&mut self, exit: Exit);
}

/// How to keep a container.
#[derive(Clone, Copy, Debug)]
pub struct KeepOptions {
    /// Its standard input ends with that of the guest who ran it.
    pub stdin_once: bool,
    /// How it is asked to end when this process is.
    pub stop_signal: i32,
    /// How long it then has; for ever where nothing is said.
    pub stop_timeout: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How the container ended.
    pub exit: Exit,
    /// This process was asked to end, or whoever ran the container in the foreground is gone.
    pub asked: bool,
}

/// What a container is kept by.
pub(crate) struct Watched<'a> {
    pub pid: Pid,
    pub pidfd: BorrowedFd<'a>,
    pub signals: &'a SignalFd,
    pub outside: Outside,
    pub terminal: Option<OwnedFd>,
    pub init: bool,
    pub own_processes: bool,
    pub emulation: Option<Supervisor>,
}

/// Something that poll(2) can say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    End,
    Signal,
    Call,
    Input,
    Output(usize),
}

struct Loop<'a, 'k> {
    watched: Watched<'a>,
    streams: Streams,
    guests: &'k mut Guests,
    keeper: &'k mut dyn Keeper,
    options: KeepOptions,
    /// When the keeper is to look again.
    look: Option<Instant>,
    /// When the container is killed that was asked to end.
    kill: Option<Instant>,
    asked: bool,
    ended_by: Option<i32>,
    /// It may be worth while to become small.
    fat: bool,
}

pub(crate) fn until_end(
    mut watched: Watched<'_>,
    guests: &mut Guests,
    keeper: &mut dyn Keeper,
    options: KeepOptions,
) -> Result<Kept, Error> {
    let outside = std::mem::take(&mut watched.outside);
    let streams = Streams::new(outside, watched.terminal.as_ref())?;
    let mut all = Loop {
        watched,
        streams,
        guests,
        keeper,
        options,
        look: None,
        kill: None,
        asked: false,
        ended_by: None,
        fat: true,
    };
    all.look();
    while !all.turn()? {}
    let exit = match (reap(all.watched.pidfd)?, all.ended_by) {
        (Exit::Signal(9), Some(number)) => Exit::Signal(number),
        (exit, _) => exit,
    };
    if !all.watched.own_processes {
        end_orphans();
    }
    all.keeper.ended(exit);
    all.drain()?;
    Ok(Kept {
        exit,
        asked: all.asked,
    })
}

impl Loop<'_, '_> {
    /// Waits for something and does it. Says whether the container has ended.
    fn turn(&mut self) -> Result<bool, Error> {
        let patience = self.patience();
        let (ready, woken) = {
            let mut places = Vec::with_capacity(8);
            let mut fds = Vec::with_capacity(8 + 4);
            let mut wait = |place, fd| {
                places.push(place);
                fds.push(fd);
            };
            let reading = PollFlags::IN;
            wait(
                Place::End,
                PollFd::from_borrowed_fd(self.watched.pidfd, reading),
            );
            wait(Place::Signal, PollFd::new(self.watched.signals, reading));
            if let Some(emulation) = &self.watched.emulation {
                wait(
                    Place::Call,
                    PollFd::from_borrowed_fd(emulation.fd(), reading),
                );
            }
            if let (Some(input), Some(_)) = (&self.streams.input, self.guests.input()) {
                wait(Place::Input, PollFd::new(input, PollFlags::OUT));
            }
            if self.streams.going == 0 {
                for (which, (_, fd)) in self.streams.outputs.iter().enumerate() {
                    wait(Place::Output(which), PollFd::new(fd, reading));
                }
            }
            let own = fds.len();
            self.guests.interests(&mut fds);
            match poll(&mut fds, patience.as_ref()) {
                Ok(0) => (Vec::new(), false),
                Ok(_) => {
                    let said = |fd: &PollFd<'_>| !fd.revents().is_empty();
                    let ready = places.iter().zip(&fds).filter(|(_, fd)| said(fd));
                    let ready: Vec<(Place, PollFlags)> =
                        ready.map(|(place, fd)| (*place, fd.revents())).collect();
                    (ready, fds.iter().skip(own).any(said))
                }
                Err(Errno::INTR) => (Vec::new(), false),
                Err(errno) => return Err(Error::supervise("wait for the container")(errno)),
            }
        };
        self.on_time(ready.is_empty() && !woken);
        let mut ended = false;
        // The last output first, so that removing it moves none that is still to be looked at.
        for (place, events) in ready.into_iter().rev() {
            match place {
                Place::End => ended = true,
                Place::Signal => self.signals()?,
                Place::Call => self.call(events)?,
                Place::Input => self.streams.write(self.guests),
                Place::Output(which) if self.streams.going == 0 => {
                    self.streams.read(which, self.guests, self.keeper);
                }
                Place::Output(_) => {}
            }
        }
        if woken {
            self.attend();
        }
        Ok(ended)
    }

    /// How long to wait at most.
    fn patience(&self) -> Option<Timespec> {
        const SOON: Duration = Duration::from_millis(50);
        let until = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(Instant::now()));
        let waits = [until(self.look), until(self.kill), self.fat.then_some(SOON)];
        waits.into_iter().flatten().min()?.try_into().ok()
    }

    fn on_time(&mut self, quiet: bool) {
        let now = Instant::now();
        if self.look.is_some_and(|at| at <= now) {
            self.look();
        }
        if self.kill.take_if(|at| *at <= now).is_some() {
            let _ = signal::send(self.watched.pidfd, 9);
        }
        if quiet && std::mem::take(&mut self.fat) {
            self.streams.message = Vec::new();
            memory::let_go();
        }
    }

    fn look(&mut self) {
        self.look = self.keeper.look().map(|after| Instant::now() + after);
    }

    fn call(&mut self, events: PollFlags) -> Result<(), Error> {
        if !events.contains(PollFlags::IN) {
            self.watched.emulation = None;
            return Ok(());
        }
        let Some(emulation) = &mut self.watched.emulation else {
            return Ok(());
        };
        emulation
            .answer_one()
            .map_err(Error::supervise("answer a system call"))
    }

    fn signals(&mut self) -> Result<(), Error> {
        let failed = || Error::supervise("read a signal");
        while let Some(number) = self.watched.signals.next().map_err(failed())? {
            match number {
                SIGCHLD | WAKE => self.look(),
                SIGPIPE => {}
                number if ENDING.contains(&number) => self.ask_to_end(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whoever ends this process wants the container to end.
    fn ask_to_end(&mut self) {
        self.asked = true;
        self.pass(self.options.stop_signal);
        if let (None, Some(timeout)) = (self.kill, self.options.stop_timeout) {
            self.kill = Some(Instant::now() + timeout);
        }
    }

    fn pass(&mut self, number: i32) {
        let Watched {
            pid, pidfd, init, ..
        } = self.watched;
        if pass_to(pid, pidfd, init, number) == Passed::Killed {
            self.ended_by.get_or_insert(number);
        }
    }

    fn attend(&mut self) {
        let mut wishes = Vec::new();
        self.guests.attend(&mut |wish| wishes.push(wish));
        for wish in wishes {
            match wish {
                Wish::Window((ws_row, ws_col)) => {
                    let size = Winsize {
                        ws_row,
                        ws_col,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    if let Some(terminal) = &self.watched.terminal {
                        let _ = tcsetwinsize(terminal, size);
                    }
                }
                Wish::Signal(number) => self.pass(number),
                Wish::Abandon => {
                    self.asked = true;
                    let _ = signal::send(self.watched.pidfd, 9);
                }
            }
        }
        if self.streams.going > 0 {
            self.streams.offer_again(self.guests);
        }
        self.streams.write(self.guests);
        if self.options.stdin_once
            && self.guests.first_input_ended()
            && self.watched.terminal.is_none()
        {
            self.streams.input = None;
        }
        self.fat = true;
    }

    /// The last bytes of output. All writers died with the pid namespace, so the end comes; only a guest who has stopped
    /// reading can delay it. The one who ran the container has all the time that he wants, the others have this long.
    fn drain(&mut self) -> Result<(), Error> {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.streams.input = None;
        let mut until = Instant::now() + PATIENCE;
        loop {
            if self.streams.going == 0 {
                let Some(last) = self.streams.outputs.len().checked_sub(1) else {
                    return Ok(());
                };
                // What can be read is there, for nobody writes any more. Where nothing is, although somebody holds the other
                // end, that is a process of another container's.
                match self.readable(last) {
                    true => self.streams.read(last, self.guests, self.keeper),
                    false => drop(self.streams.outputs.remove(last)),
                }
                continue;
            }
            let all = Instant::now() < until;
            if !self.guests.owes(all) {
                self.streams.going = 0;
                continue;
            }
            if self.wait_for_guests(all.then_some(until))? {
                self.guests.give_up();
            }
            let before = self.streams.going;
            self.attend();
            if self.streams.going != before {
                until = Instant::now() + PATIENCE;
            }
        }
    }

    fn readable(&self, which: usize) -> bool {
        let Some((_, fd)) = self.streams.outputs.get(which) else {
            return false;
        };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// Whether somebody has asked this process to end meanwhile.
    fn wait_for_guests(&mut self, until: Option<Instant>) -> Result<bool, Error> {
        let patience = until.map(|at| at.saturating_duration_since(Instant::now()));
        let patience = patience.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = vec![PollFd::new(self.watched.signals, PollFlags::IN)];
        self.guests.interests(&mut fds);
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::supervise("wait for who is attached")(errno)),
        }
        let mut asked = false;
        while let Ok(Some(number)) = self.watched.signals.next() {
            asked |= ENDING.contains(&number);
        }
        Ok(asked)
    }
}

/// Why a pause is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It was long enough.
    Over,
    /// Somebody woke this process ([`WAKE`]).
    Woken,
    /// Somebody wants it to end.
    Asked,
}

/// Waits between two lives of a container. Signals have to be blocked.
///
/// # Errors
/// When signals cannot be read.
pub fn pause(guests: &mut Guests, time: Duration) -> Result<Pause, Error> {
    let all = SignalSet::all();
    let _mask = MaskGuard::block(&all).map_err(Error::supervise("block signals"))?;
    let signals = SignalFd::new(&all).map_err(Error::supervise("make a signalfd"))?;
    let until = Instant::now() + time;
    memory::let_go();
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(Pause::Over);
        }
        let timeout = Timespec::try_from(rest).ok();
        {
            let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
            guests.interests(&mut fds);
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::supervise("wait")(errno)),
            }
        }
        while let Some(number) = signals.next().map_err(Error::supervise("read a signal"))? {
            if number == WAKE {
                return Ok(Pause::Woken);
            }
            if ENDING.contains(&number) {
                return Ok(Pause::Asked);
            }
        }
        guests.attend(&mut |_| ());
    }
}
