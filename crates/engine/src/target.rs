//! A running container's first process, held by a descriptor so that no other can take its place.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use minidock_run::{Attached, Line};
use minidock_store::{Container, ContainerState, Identity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::created::Created;
use crate::{Engine, Error};

/// Opens a process; `None` if it is gone.
pub(crate) fn open(process: Identity) -> Result<Option<OwnedFd>, Errno> {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        result => result?,
    };
    // Asked with the descriptor in hand: the pid may have been reused just before it was opened.
    Ok(process.is_alive().then_some(pidfd))
}

/// Waits for a process's end, as long as `patience` lasts. Says whether it came.
pub(crate) fn ended_within(process: impl AsFd, patience: Option<Duration>) -> Result<bool, Errno> {
    let until = patience.map(|patience| Instant::now() + patience);
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    loop {
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        match poll(&mut fds, rest.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A container that runs.
pub(crate) struct Target {
    name: String,
    pid: Pid,
    pidfd: OwnedFd,
    /// The first process is ours, which takes every signal.
    init: bool,
    /// To its monitor, if it has one.
    line: Option<Line>,
}

impl Target {
    /// `None` where it does not run.
    pub fn open(container: &Container, state: &ContainerState) -> Result<Option<Self>, Error> {
        let Some(process) = state.process().filter(|_| state.is_alive()) else {
            return Ok(None);
        };
        let line = Line::connect(container.folder())?;
        if let Some(line) = &line {
            line.ask([false; 3], false, false)?;
        }
        let opened = open(process).map_err(|errno| failed(&state.name, errno))?;
        let (Some(pidfd), Some(pid)) = (opened, Pid::from_raw(process.pid)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: state.name.clone(),
            pid,
            pidfd,
            init: Created::read(container).is_ok_and(|created| created.wishes.init),
            line,
        }))
    }

    /// Sends it a signal. One that asks it to end and that the kernel would discard kills it.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        match minidock_run::signal(self.pid, self.pidfd.as_fd(), self.init, number) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(failed(&self.name, errno)),
        }
    }

    /// Waits for its end. Says whether it came in time.
    pub fn ended_within(&self, patience: Option<Duration>) -> Result<bool, Error> {
        ended_within(&self.pidfd, patience).map_err(|errno| failed(&self.name, errno))
    }

    /// Waits until its monitor has done what is to be done at its end, and says with which status it ended, if that can be
    /// known.
    pub fn noted(&self) -> Result<Option<u8>, Error> {
        // Longer than a monitor needs, unless its first guest has stopped reading: then nobody else waits for him.
        let patience = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let mut status = None;
        if let Some(line) = &self.line {
            while let Some(Attached::Exited(code)) = line.until_exit(Some(patience))? {
                status = Some(code);
            }
        }
        Ok(status)
    }
}

fn failed(name: &str, errno: Errno) -> Error {
    Error::Kill {
        container: name.to_owned(),
        source: errno.into(),
    }
}

impl Engine {
    /// Ends a container at once: it is killed, and not started again.
    pub(crate) fn kill_for_good(
        &self,
        container: &Container,
        state: &ContainerState,
    ) -> Result<(), Error> {
        // What cannot be written down cannot keep it alive.
        let _ = container.change_state(|state| state.stopped_by_hand = true);
        let Some(target) = Target::open(container, state)? else {
            return self.end_pause(container, state);
        };
        target.signal(9)?;
        target.ended_within(None)?;
        target.noted()?;
        Ok(())
    }
}
