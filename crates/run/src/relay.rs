//! Copying bytes from one descriptor to another, a piece at a time, as poll(2) allows.
//!
//! A relay never waits by itself: the supervisor has signals to pass on and system calls to answer, and what it relays may
//! wait for just that. So our own ends do not block; a descriptor of the caller's, whose flags others share, is written to
//! in pieces that it takes at once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};

/// An end of a relay: the supervisor's own, closed with the relay, or one of the caller's standard descriptors.
#[derive(Debug)]
pub(crate) enum End {
    Ours(OwnedFd),
    Callers(BorrowedFd<'static>),
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ours(fd) => fd.as_fd(),
            Self::Callers(fd) => *fd,
        }
    }
}

const SIZE: usize = 16 * 1024;
/// What a pipe takes at once when poll(2) says that it can be written (`PIPE_BUF`, pipe(7)).
pub(crate) const AT_ONCE: usize = 4096;

/// One direction. Holds at most [`SIZE`] bytes; reads only when it has written what it holds.
#[derive(Debug)]
pub(crate) struct Relay {
    from: End,
    to: End,
    buffer: Vec<u8>,
    written: usize,
    filled: usize,
    /// Most bytes for one write.
    piece: usize,
}

/// Whether a relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// The source has ended or the sink takes no more. Dropping the relay closes what is ours, which tells the other side.
    Done,
}

impl Relay {
    pub(crate) fn new(from: End, to: End) -> Self {
        for end in [&from, &to] {
            if let End::Ours(fd) = end
                && let Ok(flags) = fcntl_getfl(fd)
            {
                let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
            }
        }
        let file =
            fstat(&to).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
        Self {
            piece: match to {
                End::Callers(_) if !file => AT_ONCE,
                _ => SIZE,
            },
            from,
            to,
            buffer: Vec::new(),
            written: 0,
            filled: 0,
        }
    }

    /// Whether something was read that is not yet written.
    pub(crate) fn holds(&self) -> bool {
        self.written < self.filled
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.holds() {
            (self.to.as_fd(), PollFlags::OUT)
        } else {
            (self.from.as_fd(), PollFlags::IN)
        }
    }

    /// Moves what can be moved now, after poll(2) said that something can.
    pub(crate) fn step(&mut self) -> State {
        if self.written == self.filled {
            // Most containers run long and say little.
            self.buffer.resize(SIZE, 0);
            match rustix::io::read(self.from.as_fd(), &mut self.buffer[..]) {
                Ok(0) => return State::Done,
                Ok(count) => (self.written, self.filled) = (0, count),
                Err(Errno::AGAIN | Errno::INTR) => return State::Open,
                // A terminal whose other side is closed says EIO.
                Err(_) => return State::Done,
            }
        }
        let end = self.filled.min(self.written + self.piece);
        match rustix::io::write(self.to.as_fd(), &self.buffer[self.written..end]) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return State::Done,
        }
        State::Open
    }
}
