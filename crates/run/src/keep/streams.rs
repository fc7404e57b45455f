//! Where container and watcher meet: the container's standard streams.

use std::os::fd::OwnedFd;

use minidock_sys::Errno;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Keeper;
use crate::Error;
use crate::attach::wire::MESSAGE;
use crate::attach::{Guests, Stream};
use crate::stdio::Outside;

/// All of them, and what goes round.
pub(super) struct Streams {
    pub input: Option<OwnedFd>,
    pub outputs: Vec<(Stream, OwnedFd)>,
    /// A message: room for its first byte, and the piece that goes round.
    pub message: Vec<u8>,
    /// As much of the message is going round.
    pub going: usize,
}

impl Streams {
    pub fn new(outside: Outside, terminal: Option<&OwnedFd>) -> Result<Self, Error> {
        let mut outputs = Vec::new();
        outputs.extend(outside.stdout.map(|fd| (Stream::Stdout, fd)));
        outputs.extend(outside.stderr.map(|fd| (Stream::Stderr, fd)));
        let mut input = outside.stdin;
        if let Some(terminal) = terminal {
            let copy = || {
                terminal.try_clone().map_err(|source| Error::Supervise {
                    what: "copy a descriptor",
                    source,
                })
            };
            outputs.push((Stream::Stdout, copy()?));
            input = Some(copy()?);
        }
        for fd in outputs.iter().map(|(_, fd)| fd).chain(&input) {
            if let Ok(flags) = fcntl_getfl(fd) {
                let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
            }
        }
        Ok(Self {
            input,
            outputs,
            message: Vec::new(),
            going: 0,
        })
    }

    /// Reads the next piece of an output, and sends it on its way.
    pub fn read(&mut self, which: usize, guests: &mut Guests, keeper: &mut dyn Keeper) {
        let Some((stream, fd)) = self.outputs.get(which) else {
            return;
        };
        self.message.resize(MESSAGE, 0);
        let Some(room) = self.message.get_mut(1..) else {
            return;
        };
        match rustix::io::read(fd, room) {
            Ok(count) if count > 0 => {
                let stream = *stream;
                let whole = self.message.get_mut(..=count).unwrap_or_default();
                keeper.output(stream, whole.get(1..).unwrap_or_default());
                self.going = match guests.offer(stream, whole) {
                    true => 0,
                    false => 1 + count,
                };
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The end; a terminal whose other side is closed says EIO.
            Ok(_) | Err(_) => drop(self.outputs.remove(which)),
        }
    }

    pub fn offer_again(&mut self, guests: &mut Guests) {
        let whole = self.message.get(..self.going).unwrap_or_default();
        if guests.offer_again(whole) {
            self.going = 0;
        }
    }

    /// Passes input on, as far as it is taken.
    pub fn write(&mut self, guests: &mut Guests) {
        let (Some(fd), Some(piece)) = (&self.input, guests.input()) else {
            // Nobody will ever read it.
            while let Some(rest) = guests.input().map(<[u8]>::len) {
                guests.passed_on(rest);
            }
            return;
        };
        match rustix::io::write(fd, piece) {
            Ok(count) => guests.passed_on(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input = None,
        }
    }
}
