//! The guest's end of the wire: between it and the caller's own standard streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minidock_sys::signal::{MaskGuard, SignalFd, SignalSet};
use minidock_sys::{Errno, memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::termios::isatty;

use super::wire::{FromGuest, MESSAGE, PIECE, ToGuest};
use super::{DetachKeys, Stream, Welcome, guests};
use crate::relay::AT_ONCE;
use crate::stdio;
use crate::supervise::{ENDING, SIGCHLD, SIGCONT, SIGPIPE, SIGURG, SIGWINCH};
use crate::terminal::RawTerminal;
use crate::{Error, Exit};

/// How somebody is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Which of standard input, output and error.
    pub streams: [bool; 3],
    /// The container has a terminal.
    pub terminal: bool,
    /// The keys that detach; they are keys of a terminal only.
    pub keys: Option<DetachKeys>,
    /// Signals are passed on to the container; else they end the caller.
    pub signals: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The container ended with this code, and its watcher has done what there was to do after it.
    Exited(u8),
    /// The keys were typed.
    Detached,
    /// A signal ended it on this side, and the container goes on.
    Signalled(i32),
    /// Nobody reads the caller's output any more.
    Unread,
    /// The watcher is gone.
    Lost,
}

impl Attached {
    /// What the caller should end with: the container's status, 0 when it was detached from, 128 + n for what a signal ended
    /// here; nothing where the watcher is gone.
    pub fn shell_code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Detached => Some(0),
            Self::Signalled(number) => Some(Exit::Signal(number).shell_code()),
            Self::Unread => Some(Exit::Signal(SIGPIPE).shell_code()),
            Self::Lost => None,
        }
    }
}

/// What the watcher says before the container's program runs, or when it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The program runs.
    Started,
    /// It does not.
    Failed(Vec<u8>),
    /// Words for the user.
    Note(String),
    /// The watcher is gone, without any reason given.
    Lost,
}

/// A connection to a container's watcher.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
}

impl Line {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Connects to the watcher of the container in this folder; `None` where there is none.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn connect(folder: &Path) -> Result<Option<Self>, Error> {
        match guests::connect(folder) {
            Ok(socket) => Ok(Some(Self { socket })),
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::supervise("reach the container's monitor")(errno)),
        }
    }

    /// Says what is wanted, which has to come first. The window is that of the caller's terminal. A container to which the
    /// caller is `bound` ends with him.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn ask(&self, streams: [bool; 3], terminal: bool, bound: bool) -> Result<(), Error> {
        let window = terminal.then(stdio::window).flatten();
        let window = window.map(|size| (size.ws_row, size.ws_col));
        self.say(FromGuest::Welcome(Welcome {
            streams,
            window,
            bound,
        }))
    }

    fn say(&self, message: FromGuest<'_>) -> Result<(), Error> {
        let mut buffer = Vec::new();
        message.encode(&mut buffer);
        loop {
            match send(&self.socket, &buffer, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::supervise("talk to the container's monitor")(errno));
                }
            }
        }
    }

    /// Waits for the next word of the watcher before the container's program runs.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn word(&self) -> Result<Word, Error> {
        // A failure's words are not bounded; 64 KiB is what nobody reads.
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => 0,
                Err(errno) => {
                    return Err(Error::supervise("hear from the container's monitor")(errno));
                }
            };
            match buffer.get(..count).and_then(ToGuest::decode) {
                Some(ToGuest::Started) => return Ok(Word::Started),
                Some(ToGuest::Failed(why)) => return Ok(Word::Failed(why.to_vec())),
                Some(ToGuest::Note(words)) => return Ok(Word::Note(words.to_owned())),
                Some(_) => {}
                None => return Ok(Word::Lost),
            }
        }
    }

    /// Waits for the container's end, however long that takes or `patience` is; `None` when that was over.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn until_exit(&self, patience: Option<Timespec>) -> Result<Option<Attached>, Error> {
        let mut buffer = [0; 256];
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        loop {
            match poll(&mut fds, patience.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return Err(Error::supervise("wait for the container's monitor")(errno));
                }
            }
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) if count > 0 => {
                    let message = buffer.get(..count.min(buffer.len()));
                    if let Some(ToGuest::Exit(code)) = message.and_then(ToGuest::decode) {
                        return Ok(Some(Attached::Exited(code)));
                    }
                }
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return Ok(Some(Attached::Lost)),
            }
        }
    }

    /// Stays until the container has ended or the caller leaves.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn attend(self, options: AttachOptions) -> Result<Attached, Error> {
        let all = SignalSet::all();
        let _mask = MaskGuard::block(&all).map_err(Error::supervise("block signals"))?;
        let signals = SignalFd::new(&all).map_err(Error::supervise("make a signalfd"))?;
        let raw = (options.terminal && options.streams[0] && isatty(rustix::stdio::stdin()))
            .then(RawTerminal::enter)
            .flatten();
        if raw.is_some() {
            self.fit();
        }
        let mut guest = Attending {
            line: &self,
            signals: &signals,
            raw,
            reading: options.streams[0],
            options,
            input: Vec::new(),
            unanswered: false,
            output: vec![0; MESSAGE],
            written: 0,
            filled: 0,
            exit: None,
        };
        guest.live()
    }

    /// Tells the size of the caller's terminal.
    fn fit(&self) {
        if let Some(size) = stdio::window() {
            // One who does not hear it is gone.
            let _ = self.say(FromGuest::Window((size.ws_row, size.ws_col)));
        }
    }
}

/// The state of the loop.
struct Attending<'a> {
    line: &'a Line,
    signals: &'a SignalFd,
    raw: Option<RawTerminal>,
    options: AttachOptions,
    /// Standard input has not ended.
    reading: bool,
    input: Vec<u8>,
    /// The last piece of input was not taken yet.
    unanswered: bool,
    /// A message; its output from `written` to `filled` is to be written.
    output: Vec<u8>,
    written: usize,
    filled: usize,
    exit: Option<u8>,
}

/// Long enough for what ends soon.
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

impl Attending<'_> {
    fn live(&mut self) -> Result<Attached, Error> {
        let mut patience = Some(SOON);
        loop {
            let writing = self.written < self.filled;
            let nothing = PollFlags::empty();
            let out = self.out();
            let mut fds = [
                PollFd::new(self.signals, PollFlags::IN),
                match writing {
                    true => PollFd::from_borrowed_fd(self.line.socket.as_fd(), nothing),
                    false => PollFd::new(&self.line.socket, PollFlags::IN),
                },
                match self.reading && !self.unanswered {
                    true => PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN),
                    false => PollFd::from_borrowed_fd(self.line.socket.as_fd(), nothing),
                },
                match writing {
                    true => PollFd::from_borrowed_fd(out, PollFlags::OUT),
                    false => PollFd::from_borrowed_fd(self.line.socket.as_fd(), nothing),
                },
            ];
            let ready = match poll(&mut fds, patience.as_ref()) {
                Ok(0) => {
                    patience = None;
                    memory::let_go();
                    continue;
                }
                Ok(_) => fds.each_ref().map(|fd| !fd.revents().is_empty()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::supervise("wait for the container")(errno)),
            };
            if ready[0]
                && let Some(end) = self.signalled()?
            {
                return Ok(end);
            }
            if writing && ready[3] && !self.write() {
                return Ok(Attached::Unread);
            }
            if !writing
                && ready[1]
                && let Some(end) = self.hear()
            {
                return Ok(end);
            }
            if self.reading && !self.unanswered && ready[2] && self.read() {
                let _ = self.line.say(FromGuest::Detach);
                return Ok(Attached::Detached);
            }
        }
    }

    fn signalled(&mut self) -> Result<Option<Attached>, Error> {
        while let Some(number) = self
            .signals
            .next()
            .map_err(Error::supervise("read a signal"))?
        {
            if let (SIGCONT, Some(raw)) = (number, &self.raw) {
                raw.take();
                self.line.fit();
            }
            match number {
                SIGWINCH => self.line.fit(),
                SIGCHLD | SIGPIPE | SIGURG => {}
                number if self.options.signals => {
                    // A watcher that is gone is noticed by listening.
                    let _ = self.line.say(FromGuest::Signal(number));
                    // It has ended: only output that nobody reads keeps us.
                    if self.exit.is_some() && ENDING.contains(&number) {
                        return Ok(self.exit.map(Attached::Exited));
                    }
                }
                number if ENDING.contains(&number) => {
                    let _ = self.line.say(FromGuest::Detach);
                    return Ok(Some(Attached::Signalled(number)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn out(&self) -> BorrowedFd<'static> {
        match self.output.first().copied().map(ToGuest::decode_kind) {
            Some(Some(Stream::Stderr)) => rustix::stdio::stderr(),
            _ => rustix::stdio::stdout(),
        }
    }

    /// Whether somebody reads.
    fn write(&mut self) -> bool {
        let end = self.filled.min(self.written + AT_ONCE);
        let piece = self.output.get(self.written..end).unwrap_or_default();
        match rustix::io::write(self.out(), piece) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    fn hear(&mut self) -> Option<Attached> {
        self.output.resize(MESSAGE, 0);
        let count = match recv(&self.line.socket, &mut self.output[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => 0,
        };
        if count == 0 {
            return Some(self.exit.map_or(Attached::Lost, Attached::Exited));
        }
        match self.output.get(..count).and_then(ToGuest::decode) {
            Some(ToGuest::Output(..)) => (self.written, self.filled) = (1, count),
            Some(ToGuest::Taken) => self.unanswered = false,
            Some(ToGuest::Exit(code)) => self.exit = Some(code),
            _ => {}
        }
        None
    }

    /// Whether the keys that detach were typed.
    fn read(&mut self) -> bool {
        self.input.resize(PIECE, 0);
        let count = match rustix::io::read(rustix::stdio::stdin(), &mut self.input[..]) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Err(_) => 0,
        };
        if count == 0 {
            self.reading = false;
            let _ = self.line.say(FromGuest::InputEnd);
            return false;
        }
        self.input.truncate(count);
        let mut left = false;
        if let Some(keys) = self.options.keys.as_mut().filter(|_| self.raw.is_some()) {
            let mut on = Vec::with_capacity(count);
            left = keys.typed(&self.input, &mut on);
            self.input = on;
        }
        if !self.input.is_empty() {
            self.unanswered = self.line.say(FromGuest::Input(&self.input)).is_ok();
        }
        left
    }
}
