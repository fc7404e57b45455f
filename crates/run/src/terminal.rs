//! The caller's terminal while a container has it.
//!
//! With `-it` it is in raw mode: every key goes to the container's terminal, which gives keys their meaning. Whatever happens,
//! it must not stay so:
//!
//! * The container's end, also by `kill -9`, is this process's to notice; it puts the terminal back.
//! * Its own end by `kill -9` is noticed by a guard: a process of its own, in a session of its own, that waits for the other
//!   end of a pipe to close. It puts the terminal back only if it is still as it was left: a shell that has taken it over
//!   has settings of its own by then.
//! * Stopped and continued (`kill -STOP`, then `fg`), it finds the terminal as the shell has set it, and takes it anew.
//! * In the background (`minidock run -it … &`) it stops, as every program does that wants the terminal then.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::clone::{Child, Memory, Namespaces, clone};
use minidock_sys::signal::{SignalSet, set_mask};
use minidock_sys::{Errno, fd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::supervise;

/// The terminal in raw mode. Dropping this puts it back as it was.
#[derive(Debug)]
pub(crate) struct RawTerminal {
    before: Termios,
    raw: Termios,
    guard: Option<Guard>,
}

const SIGTTOU: i32 = 22;

impl RawTerminal {
    /// Puts standard input's terminal in raw mode; `None` where it has no settings.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // First, so that there is no moment without one. Where no process can be had, it goes without.
        let guard = Guard::start(&before, &raw).ok();
        let terminal = Self { before, raw, guard };
        terminal.take();
        Some(terminal)
    }

    /// Puts it in raw mode, where somebody has changed it meanwhile as well.
    ///
    /// All signals are blocked here, and who blocks `SIGTTOU` can change the settings from the background too, under the
    /// fingers of whoever is at the terminal. So that signal is let in, and stops us there until we are in the foreground.
    pub(crate) fn take(&self) {
        let Ok(blocked) = set_mask(&SignalSet::all().without(SIGTTOU)) else {
            return;
        };
        let stdin = rustix::stdio::stdin();
        while tcsetattr(stdin, OptionalActions::Drain, &self.raw) == Err(Errno::INTR) {}
        let _ = set_mask(&blocked);
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        let _ = tcsetattr(stdin, OptionalActions::Drain, &self.before);
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

/// The process that puts the terminal back if this one cannot.
#[derive(Debug)]
struct Guard {
    child: Child,
    line: OwnedFd,
}

/// What the guard knows.
struct Watch<'a> {
    line: BorrowedFd<'a>,
    /// This process's end of the line, of which the guard has a copy.
    other: BorrowedFd<'a>,
    before: &'a Termios,
    raw: &'a Termios,
}

impl Guard {
    fn start(before: &Termios, raw: &Termios) -> Result<Self, Errno> {
        let (theirs, line) = pipe_with(PipeFlags::CLOEXEC)?;
        let watch = Watch {
            line: theirs.as_fd(),
            other: line.as_fd(),
            before,
            raw,
        };
        let child = clone(Namespaces::NONE, Memory::Copied, &watch, Watch::live)?;
        Ok(Self { child, line })
    }

    /// All is well.
    fn dismiss(self) {
        let _ = rustix::io::write(&self.line, b"1");
        let _ = supervise::reap(self.child.pidfd.as_fd());
    }
}

impl Watch<'_> {
    fn live(&self) -> u8 {
        fd::close_copy(self.other);
        // No key of the terminal's reaches it there, and it may change the settings although it is in no foreground.
        if rustix::process::setsid().is_err() || fd::close_all_but_stdio_and(self.line).is_err() {
            return 1;
        }
        let stdin = rustix::stdio::stdin();
        // Signals are blocked, so that nothing but the end of the other process, or its word, ends this.
        if !matches!(rustix::io::read(self.line, &mut [0_u8; 1]), Ok(0)) {
            return 0;
        }
        let ours = tcgetattr(stdin).is_ok_and(|now| {
            now.local_modes == self.raw.local_modes && now.input_modes == self.raw.input_modes
        });
        if ours {
            let _ = tcsetattr(stdin, OptionalActions::Now, self.before);
        }
        0
    }
}
