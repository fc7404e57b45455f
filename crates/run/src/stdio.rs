//! What the container gets as descriptors 0, 1 and 2, and what has to be relayed instead of handed over.
//!
//! Without a terminal, a descriptor of the caller's reaches the container only if it is a pipe or the null device. Through
//! `/proc/self/fd` a process can open what its descriptors refer to anew, with other rights than the descriptor has: a
//! file could be read that was meant to be written, a terminal listened to, a folder left for its parents. Those, and
//! sockets, stay with the supervisor, which copies bytes between them and pipes of its own.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, isatty, tcgetwinsize};

use crate::Error;
use crate::child::Given;
use crate::plan::Plan;

/// What becomes one of the container's standard descriptors.
#[derive(Debug)]
enum Source {
    Callers,
    Null(OwnedFd),
    Pipe(OwnedFd),
}

impl Source {
    fn given(&self) -> Given<'_> {
        match self {
            Self::Callers => Given::Callers,
            Self::Null(fd) => Given::Null(fd.as_fd()),
            Self::Pipe(fd) => Given::Pipe(fd.as_fd()),
        }
    }
}

/// The container's ends. Dropped in the supervisor once the child has its copies.
#[derive(Debug)]
pub(crate) struct Inside([Source; 3]);

impl Inside {
    pub(crate) fn given(&self) -> [Given<'_>; 3] {
        self.0.each_ref().map(Source::given)
    }
}

/// The supervisor's ends of the pipes it made; `None` where nothing is relayed.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Decides for a container without a terminal; with one, the container's descriptors come from that, and these are unused.
///
/// `user` is the container's user as the host counts: a pipe of another one's could be written to, but not opened as
/// `/dev/stdout`, so it is relayed as well.
pub(crate) fn prepare(plan: &Plan) -> Result<(Inside, Outside), Error> {
    let (interactive, user) = (
        plan.interactive && (plan.kept || plan.attach[0]),
        plan.host_user,
    );
    let mut outside = Outside::default();
    if plan.terminal {
        return Ok((
            Inside([Source::Callers, Source::Callers, Source::Callers]),
            outside,
        ));
    }
    let stdin = if !interactive {
        null()?
    } else if !plan.kept && may_be_handed_over(rustix::stdio::stdin(), user) {
        Source::Callers
    } else {
        let (reader, writer) = new_pipe()?;
        outside.stdin = Some(writer);
        Source::Pipe(reader)
    };
    let output = |number: usize, fd: BorrowedFd<'_>, ours: &mut Option<OwnedFd>| {
        if !plan.kept && !plan.attach[number] {
            return null();
        }
        if !plan.kept && may_be_handed_over(fd, user) {
            return Ok::<_, Error>(Source::Callers);
        }
        let (reader, writer) = new_pipe()?;
        *ours = Some(reader);
        Ok(Source::Pipe(writer))
    };
    let stdout = output(1, rustix::stdio::stdout(), &mut outside.stdout)?;
    let stderr = output(2, rustix::stdio::stderr(), &mut outside.stderr)?;
    Ok((Inside([stdin, stdout, stderr]), outside))
}

fn null() -> Result<Source, Error> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = open(c"/dev/null", flags, Mode::empty());
    Ok(Source::Null(
        null.map_err(Error::supervise("open /dev/null"))?,
    ))
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Error::supervise("make a pipe"))
}

/// The null device's number (devices.txt of the kernel's documentation).
const NULL_DEVICE: (u32, u32) = (1, 3);

fn may_be_handed_over(fd: BorrowedFd<'_>, user: u32) -> bool {
    // What cannot even be looked at is not there, and then there is nothing to give away.
    let Ok(stat) = fstat(fd) else { return true };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => stat.st_uid == user,
        FileType::CharacterDevice => (major(stat.st_rdev), minor(stat.st_rdev)) == NULL_DEVICE,
        _ => false,
    }
}

/// The size of the caller's terminal, if one of its standard descriptors is one.
pub(crate) fn window() -> Option<Winsize> {
    [
        rustix::stdio::stdout(),
        rustix::stdio::stdin(),
        rustix::stdio::stderr(),
    ]
    .into_iter()
    .filter(|fd| isatty(fd))
    .find_map(|fd| tcgetwinsize(fd).ok())
    .filter(|size| size.ws_row > 0 && size.ws_col > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pipes_and_the_null_device_are_handed_over() {
        let (reader, writer) = new_pipe().unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert!(may_be_handed_over(reader.as_fd(), me) && may_be_handed_over(writer.as_fd(), me));
        assert!(!may_be_handed_over(reader.as_fd(), me + 1));
        let opened = |path: &str| std::fs::File::open(path).unwrap();
        assert!(may_be_handed_over(opened("/dev/null").as_fd(), me + 1));
        for path in ["/", "/dev/zero", "/proc/self/exe"] {
            assert!(!may_be_handed_over(opened(path).as_fd(), me), "{path}");
        }
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!may_be_handed_over(socket.as_fd(), me));
    }
}
