//! What the new process tells the supervisor, over one SEQPACKET socketpair.
//!
//! A message is sixteen bytes: what it is, which step of the plan it is about, the errno, and a small index that names the
//! subject within the step (which layer, which device, which candidate). All words are the supervisor's: it has the plan,
//! and therefore every path. The child's end is close-on-exec, so the end of the stream after [`Message::Executing`]
//! says that the program runs; without it, that the child died.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;

/// The part of a step that a failure or note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The step as a whole.
    Act,
    /// Opening what is to be mounted.
    Source,
    /// Finding the place inside the root file system.
    Find,
    /// Making that place, which the root file system lacks.
    Make,
    /// Putting the mount in its place.
    Attach,
    /// Setting the mount's flags.
    Attributes,
    /// Looking whether the mount is where it was put.
    Verify,
    /// One lower layer of the overlay; the index counts from the uppermost.
    Layer,
    /// The overlay's upper layer.
    Upper,
    /// The overlay's work folder.
    Work,
    /// No candidate for the command exists.
    NotFound,
    /// A candidate exists, but the program that has to interpret it does not.
    Interpreter,
    /// A candidate cannot be executed.
    Program,
}

impl Phase {
    const ALL: [Self; 13] = [
        Self::Act,
        Self::Source,
        Self::Find,
        Self::Make,
        Self::Attach,
        Self::Attributes,
        Self::Verify,
        Self::Layer,
        Self::Upper,
        Self::Work,
        Self::NotFound,
        Self::Interpreter,
        Self::Program,
    ];
}

/// One thing that went otherwise than planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fail {
    pub phase: Phase,
    pub errno: Errno,
    pub index: u32,
}

impl Fail {
    pub(crate) fn new(phase: Phase, errno: Errno) -> Self {
        Self {
            phase,
            errno,
            index: 0,
        }
    }
}

/// Says which part of a step a system call belongs to.
pub(crate) trait During<T> {
    fn during(self, phase: Phase) -> Result<T, Fail>;
    fn during_number(self, phase: Phase, index: usize) -> Result<T, Fail>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, phase: Phase) -> Result<T, Fail> {
        self.map_err(|errno| Fail::new(phase, errno))
    }

    fn during_number(self, phase: Phase, index: usize) -> Result<T, Fail> {
        self.map_err(|errno| Fail {
            phase,
            errno,
            index: u32::try_from(index).unwrap_or(u32::MAX),
        })
    }
}

/// A message from the child.
#[derive(Debug)]
pub(crate) enum Message {
    /// The step failed, and the child is about to exit.
    Failed { step: usize, fail: Fail },
    /// The step's fallback was taken.
    FellBack { step: usize, fail: Fail },
    /// The supervisor's end of the container's terminal.
    Terminal(OwnedFd),
    /// The end of a FUSE connection that is to be served.
    Connection(OwnedFd),
    /// Calls of the container's processes come here to be answered.
    Calls(OwnedFd),
    /// The process that goes on in a container that was joined.
    Born { pid: Pid, pidfd: OwnedFd },
    /// Set-up is complete; the next thing is the program, or a failure to execute it.
    Executing,
}

const FAILED: u8 = 1;
const FELL_BACK: u8 = 2;
const TERMINAL: u8 = 3;
const EXECUTING: u8 = 4;
const CONNECTION: u8 = 5;
const CALLS: u8 = 6;
const BORN: u8 = 7;

const SIZE: usize = 16;

fn encode(kind: u8, step: usize, fail: Fail) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let step = u32::try_from(step).unwrap_or(u32::MAX);
    bytes[0] = kind;
    bytes[1] = fail.phase as u8;
    bytes[4..8].copy_from_slice(&step.to_ne_bytes());
    bytes[8..12].copy_from_slice(&fail.errno.raw_os_error().to_ne_bytes());
    bytes[12..16].copy_from_slice(&fail.index.to_ne_bytes());
    bytes
}

fn decode(bytes: [u8; SIZE], fd: Option<OwnedFd>) -> Option<Message> {
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let step = usize::try_from(u32::from_ne_bytes(word(4))).ok()?;
    let phase = *Phase::ALL.get(usize::from(bytes[1]))?;
    let raw = i32::from_ne_bytes(word(8));
    let errno = if (1..4096).contains(&raw) {
        Errno::from_raw_os_error(raw)
    } else {
        Errno::IO
    };
    let fail = Fail {
        phase,
        errno,
        index: u32::from_ne_bytes(word(12)),
    };
    match bytes[0] {
        FAILED => Some(Message::Failed { step, fail }),
        FELL_BACK => Some(Message::FellBack { step, fail }),
        TERMINAL => fd.map(Message::Terminal),
        CONNECTION => fd.map(Message::Connection),
        CALLS => fd.map(Message::Calls),
        BORN => {
            let pid = i32::try_from(fail.index).ok().and_then(Pid::from_raw)?;
            fd.map(|pidfd| Message::Born { pid, pidfd })
        }
        EXECUTING => Some(Message::Executing),
        _ => None,
    }
}

/// The child's end. Sending never blocks, for the supervisor may stand still until the child is done; the few messages
/// of a start always fit the socket's buffer.
pub(crate) struct Reporter<'a>(pub BorrowedFd<'a>);

const NOTHING: Fail = Fail {
    phase: Phase::Act,
    errno: Errno::IO,
    index: 0,
};

impl Reporter<'_> {
    pub(crate) fn failed(&self, step: usize, fail: Fail) {
        self.send(&encode(FAILED, step, fail), &[]);
    }

    pub(crate) fn fell_back(&self, step: usize, fail: Fail) {
        self.send(&encode(FELL_BACK, step, fail), &[]);
    }

    pub(crate) fn terminal(&self, fd: BorrowedFd<'_>) {
        self.send(&encode(TERMINAL, 0, NOTHING), &[fd]);
    }

    pub(crate) fn connection(&self, fd: BorrowedFd<'_>) {
        self.send(&encode(CONNECTION, 0, NOTHING), &[fd]);
    }

    pub(crate) fn calls(&self, fd: BorrowedFd<'_>) {
        self.send(&encode(CALLS, 0, NOTHING), &[fd]);
    }

    pub(crate) fn born(&self, pid: Pid, pidfd: BorrowedFd<'_>) {
        let pid = Fail {
            index: pid.as_raw_nonzero().get().unsigned_abs(),
            ..NOTHING
        };
        self.send(&encode(BORN, 0, pid), &[pidfd]);
    }

    pub(crate) fn executing(&self, step: usize) {
        self.send(&encode(EXECUTING, step, NOTHING), &[]);
    }

    /// A failure to send means that the supervisor is gone, and then nobody is left to tell.
    fn send(&self, bytes: &[u8; SIZE], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let _ = sendmsg(
            self.0,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

/// The next message from the child; `None` at the end of the stream.
pub(crate) fn receive(from: BorrowedFd<'_>) -> Result<Option<Message>, Errno> {
    let mut bytes = [0_u8; SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            from,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match received.bytes {
        0 => Ok(None),
        SIZE => decode(bytes, fd).map(Some).ok_or(Errno::PROTO),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_failure_arrives_as_it_was_sent() {
        let (ours, theirs) = pair();
        for phase in Phase::ALL {
            let sent = Fail {
                phase,
                errno: Errno::LOOP,
                index: 61,
            };
            Reporter(theirs.as_fd()).failed(17, sent);
            match receive(ours.as_fd()).unwrap().unwrap() {
                Message::Failed { step: 17, fail } => assert_eq!(fail, sent),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_descriptor_travels_and_the_end_is_seen() {
        let (ours, theirs) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let reporter = Reporter(theirs.as_fd());
        reporter.terminal(reader.as_fd());
        reporter.executing(3);
        drop(theirs);
        let Some(Message::Terminal(fd)) = receive(ours.as_fd()).unwrap() else {
            panic!("no descriptor")
        };
        assert!(
            rustix::io::fcntl_getfd(&fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
        rustix::io::write(&writer, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&fd, &mut byte).unwrap(), 1);
        assert!(matches!(
            receive(ours.as_fd()).unwrap(),
            Some(Message::Executing)
        ));
        assert!(receive(ours.as_fd()).unwrap().is_none());
    }

    #[test]
    fn garbage_is_refused() {
        let (ours, theirs) = pair();
        for garbage in [
            &[9_u8; SIZE][..],
            &[1; 3],
            &[TERMINAL, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        ] {
            rustix::io::write(&theirs, garbage).unwrap();
            assert_eq!(receive(ours.as_fd()).unwrap_err(), Errno::PROTO);
        }
    }
}
