//! The watcher's end of the wire.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use minidock_sys::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with,
};

use super::wire::{FromGuest, MESSAGE, ToGuest, Welcome, output_kind};
use super::{Line, Stream};
use crate::Error;
use crate::channel::channel;

/// The socket's name in a container's folder.
const SOCKET: &str = "attach";

/// A line to a watcher that is about to be started, and the watcher's end of it.
///
/// # Errors
/// When no socket can be had.
pub fn line() -> Result<(Line, OwnedFd), Error> {
    let (ours, theirs) = channel()?;
    Ok((Line::new(ours), theirs))
}

/// The address of the socket in a folder, by way of a descriptor: an address has room for 107 bytes only (unix(7)), and
/// folders have longer names.
fn address(folder: &Path) -> Result<(OwnedFd, SocketAddrUnix), Errno> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    Ok((folder, address))
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Connects to the socket in a folder.
pub(super) fn connect(folder: &Path) -> Result<OwnedFd, Errno> {
    let (_folder, address) = address(folder)?;
    let socket = seqpacket()?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    streams: [bool; 3],
    /// He ran the container, and it goes with him.
    first: bool,
    /// He has not yet got the message that is going round.
    owed: bool,
    /// Input that was not passed on yet, from `passed` on.
    input: Vec<u8>,
    passed: usize,
    input_ended: bool,
    gone: bool,
}

/// What a guest wants of the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Window((u16, u16)),
    Signal(i32),
    /// The one who ran the container is gone.
    Abandon,
}

/// All who are attached.
#[derive(Debug, Default)]
pub struct Guests {
    listener: Option<OwnedFd>,
    list: Vec<Guest>,
    /// Room for a message, while there is one.
    message: Vec<u8>,
}

impl Guests {
    /// Listens at the socket in a container's folder, which only one process may do: the one that holds its lock.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(&mut self, folder: &Path) -> Result<(), Error> {
        let made = || {
            let (at, address) = address(folder)?;
            // A watcher that was killed has left its own.
            match rustix::fs::unlinkat(&at, SOCKET, rustix::fs::AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            let socket = seqpacket()?;
            bind(&socket, &address)?;
            listen(&socket, 16)?;
            // Whoever knocks may be gone before he is let in.
            rustix::io::ioctl_fionbio(&socket, true)?;
            Ok(socket)
        };
        let socket = made().map_err(Error::supervise("listen in the container's folder"))?;
        self.listener = Some(socket);
        Ok(())
    }

    /// Takes over the line of whoever started this process, and waits for what he says first.
    ///
    /// # Errors
    /// When he says nothing that makes sense.
    pub fn welcome(&mut self, line: OwnedFd) -> Result<Welcome, Error> {
        let mut buffer = [0; 64];
        let heard = loop {
            match recv(&line, &mut buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                heard => break heard,
            }
        };
        let (count, _) = heard.map_err(Error::supervise("hear from who started this"))?;
        let Some(FromGuest::Welcome(welcome)) = buffer.get(..count).and_then(FromGuest::decode)
        else {
            return Err(Error::supervise("understand who started this")(
                Errno::PROTO,
            ));
        };
        self.list.push(Guest {
            streams: welcome.streams,
            first: welcome.bound,
            ..Guest::new(line)
        });
        Ok(welcome)
    }

    /// Tells everybody, at once or never.
    pub fn tell_started(&mut self) {
        self.tell(ToGuest::Started);
    }

    /// Tells everybody some words.
    pub fn tell_note(&mut self, words: &str) {
        self.tell(ToGuest::Note(words));
    }

    /// Tells everybody that there is no container, and why, in bytes that whoever started this understands.
    pub fn tell_failed(&mut self, why: &[u8]) {
        self.tell(ToGuest::Failed(why));
    }

    fn tell(&mut self, message: ToGuest<'_>) {
        message.encode(&mut self.message);
        for guest in &mut self.list {
            guest.send(&self.message);
        }
        self.clear_out();
    }

    /// Waits for nobody any more.
    pub fn give_up(&mut self) {
        self.list.clear();
    }

    fn clear_out(&mut self) {
        self.list.retain(|guest| !guest.gone);
        if self.message.capacity() > 4096 {
            self.message = Vec::new();
        }
    }

    /// Passes a message with output on to those who want it; its first byte is set here. Says whether all have it.
    pub(crate) fn offer(&mut self, stream: Stream, message: &mut [u8]) -> bool {
        let [kind, ..] = message else { return true };
        *kind = output_kind(stream);
        for guest in &mut self.list {
            guest.owed = guest.streams[1 + usize::from(stream == Stream::Stderr)];
        }
        self.offer_again(message)
    }

    /// The same to those who did not get it yet.
    pub(crate) fn offer_again(&mut self, message: &[u8]) -> bool {
        for guest in self.list.iter_mut().filter(|guest| guest.owed) {
            guest.owed = !guest.send(message);
        }
        // Who is gone is noticed when he is listened to.
        !self.list.iter().any(|guest| guest.owed && !guest.gone)
    }

    /// Whether a message is still to be got by somebody. Those who did not run the container count only with `all`.
    pub(crate) fn owes(&self, all: bool) -> bool {
        let owed = |guest: &Guest| guest.owed && !guest.gone && (all || guest.first);
        self.list.iter().any(owed)
    }

    /// What to wait for.
    pub(crate) fn interests<'a>(&'a self, into: &mut Vec<PollFd<'a>>) {
        if let Some(listener) = &self.listener {
            into.push(PollFd::new(listener, PollFlags::IN));
        }
        into.extend(self.list.iter().map(|guest| {
            let flags = match guest.owed {
                true => PollFlags::IN | PollFlags::OUT,
                false => PollFlags::IN,
            };
            PollFd::new(&guest.socket, flags)
        }));
    }

    /// Lets in who knocks, and listens to those who are there. Says what they want of the watcher itself.
    pub(crate) fn attend(&mut self, wish: &mut dyn FnMut(Wish)) {
        if let Some(listener) = &self.listener {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            while let Ok(socket) = accept_with(listener, flags) {
                self.list.push(Guest::new(socket));
            }
        }
        let mut buffer = std::mem::take(&mut self.message);
        buffer.resize(MESSAGE, 0);
        for guest in &mut self.list {
            guest.listen(&mut buffer, wish);
        }
        self.message = buffer;
        self.clear_out();
    }

    /// Input that waits to be passed on.
    pub(crate) fn input(&self) -> Option<&[u8]> {
        let guest = self.list.iter().find(|guest| !guest.input.is_empty())?;
        guest.input.get(guest.passed..)
    }

    /// So much of [`input`](Self::input) was passed on.
    pub(crate) fn passed_on(&mut self, count: usize) {
        let Some(guest) = self.list.iter_mut().find(|g| !g.input.is_empty()) else {
            return;
        };
        guest.passed += count;
        if guest.passed >= guest.input.len() {
            guest.input = Vec::new();
            guest.passed = 0;
            ToGuest::Taken.encode(&mut self.message);
            guest.send(&self.message);
        }
    }

    /// Whether the standard input of the one who ran the container is over.
    pub(crate) fn first_input_ended(&self) -> bool {
        let over = |g: &Guest| g.first && g.input_ended && g.input.is_empty();
        self.list.iter().any(over)
    }

    /// Tells everybody how the container ended.
    pub fn tell_exit(&mut self, code: u8) {
        self.tell(ToGuest::Exit(code));
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Guest {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            streams: [false; 3],
            first: false,
            owed: false,
            input: Vec::new(),
            passed: 0,
            input_ended: false,
            gone: false,
        }
    }

    /// Whether he has the message now.
    fn send(&mut self, message: &[u8]) -> bool {
        loop {
            match send(
                &self.socket,
                message,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return false,
                // That he is gone is seen by listening, after what he had still to say.
                Err(_) => {
                    self.owed = false;
                    return true;
                }
            }
        }
    }

    fn listen(&mut self, buffer: &mut [u8], wish: &mut dyn FnMut(Wish)) {
        loop {
            let count = match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => count,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => {
                    if self.first {
                        wish(Wish::Abandon);
                    }
                    self.gone = true;
                    return;
                }
            };
            match buffer.get(..count).and_then(FromGuest::decode) {
                Some(FromGuest::Welcome(welcome)) => {
                    self.streams = welcome.streams;
                    welcome
                        .window
                        .into_iter()
                        .for_each(|w| wish(Wish::Window(w)));
                }
                Some(FromGuest::Input(bytes)) if self.streams[0] && self.input.is_empty() => {
                    self.input = bytes.to_vec();
                }
                Some(FromGuest::InputEnd) => self.input_ended = true,
                Some(FromGuest::Window(window)) => wish(Wish::Window(window)),
                Some(FromGuest::Signal(number)) => wish(Wish::Signal(number)),
                Some(FromGuest::Detach) => {
                    self.gone = true;
                    return;
                }
                // Who does not keep to the rules is shown the door.
                Some(FromGuest::Input(_)) | None => {
                    if self.first {
                        wish(Wish::Abandon);
                    }
                    self.gone = true;
                    return;
                }
            }
        }
    }
}
