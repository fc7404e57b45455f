//! fuse-overlayfs(1), serving a container's root file system.
//!
//! The container's process opens the FUSE connection and mounts it, which it can because it is root in its namespaces, and
//! sends the connection to the supervisor. The supervisor starts the program on it. So the program never mounts anything, is in none of
//! the container's namespaces but the user namespace (whose ids its answers are about), is invisible inside, and keeps
//! nothing alive: the mount goes with the container's last process, and with the mount the program. It dies with the
//! supervisor as well, and is outside of the terminal's process groups, so that Ctrl-C does not reach it before the
//! container.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use minidock_sys::clone::{Child, Memory, Namespaces, clone};
use minidock_sys::exec::{CStringArray, execve};
use minidock_sys::signal::{self, SignalSet};
use minidock_sys::{Errno, fd, userns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::child::become_root;
use crate::plan::step::Fuse;
use crate::{Error, supervise};

/// How long the program may take to end after its mount is gone: it has nothing left to do then.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    program: String,
    log: File,
    reaped: bool,
}

/// What the server's process needs to become the program.
struct Birth<'a> {
    fuse: &'a Fuse,
    namespace: BorrowedFd<'a>,
    connection: BorrowedFd<'a>,
    log: BorrowedFd<'a>,
    supervisor: Pid,
    argv: &'a CStringArray,
    envp: &'a CStringArray,
}

impl Server {
    /// Starts the program on a connection that was mounted by the process behind `namespace`.
    pub(crate) fn start(
        fuse: &Fuse,
        namespace: BorrowedFd<'_>,
        connection: OwnedFd,
    ) -> Result<Self, Error> {
        let program = OsStr::from_bytes(fuse.program.to_bytes());
        let program = Path::new(program).display().to_string();
        let log = memfd_create(c"fuse-overlayfs", MemfdFlags::CLOEXEC)
            .map_err(Error::supervise("make a file in memory"))?;
        let served = format!("/dev/fd/{}", connection.as_raw_fd());
        let argv = [
            fuse.program.clone(),
            c"-f".to_owned(),
            c"-o".to_owned(),
            fuse.options.clone(),
            // Digits hold no zero byte.
            CString::new(served).unwrap_or_default(),
        ];
        let argv = CStringArray::new(argv.into());
        let envp = CStringArray::new(Vec::new());
        let birth = Birth {
            fuse,
            namespace,
            connection: connection.as_fd(),
            log: log.as_fd(),
            supervisor: rustix::process::getpid(),
            argv: &argv,
            envp: &envp,
        };
        let child = clone(Namespaces::NONE, Memory::Copied, &birth, live)
            .map_err(crate::running::clone_error)?;
        Ok(Self {
            child,
            program,
            log: File::from(log),
            reaped: false,
        })
    }

    /// Waits for the program's end after its mount is gone.
    pub(crate) fn end(mut self) {
        self.await_end();
        self.kill();
    }

    /// Whether it is the program's end that a failure of the container's is about: nobody else has the connection, so with the
    /// program it closes, and whoever waits for an answer gets this error. That is a moment before the program is seen to
    /// have ended.
    pub(crate) fn explains(&self, errno: Errno) -> bool {
        matches!(errno, Errno::NOTCONN | Errno::CONNABORTED) && self.await_end()
    }

    fn await_end(&self) -> bool {
        let fds = &mut [PollFd::new(&self.child.pidfd, PollFlags::IN)];
        loop {
            match poll(fds, Some(&PATIENCE)) {
                Err(Errno::INTR) => {}
                result => return result.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// The error that the program's end is while the container still needs it.
    pub(crate) fn failure(mut self) -> Error {
        let ended = supervise::reap(self.child.pidfd.as_fd());
        self.reaped = ended.is_ok();
        let mut said = String::new();
        let _ = self.log.seek(SeekFrom::Start(0));
        let _ = (&self.log).take(4096).read_to_string(&mut said);
        let said = said.trim();
        Error::Server {
            program: self.program.clone(),
            said: match (said, ended) {
                ("", Ok(exit)) => format!("it ended ({exit:?})"),
                (said, Ok(exit)) => format!("{said} ({exit:?})"),
                (said, Err(_)) => said.to_owned(),
            },
        }
    }

    fn kill(&mut self) {
        if !self.reaped {
            let _ = signal::send(self.child.pidfd.as_fd(), 9);
            let _ = supervise::reap(self.child.pidfd.as_fd());
            self.reaped = true;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The new process, up to the program. What cannot be done here is written where the program's words go.
fn live(birth: &Birth<'_>) -> u8 {
    let Err((what, errno)) = prepare(birth) else {
        let errno = execve(&birth.fuse.program, birth.argv, birth.envp);
        return tell("execute it", errno);
    };
    tell(what, errno)
}

fn tell(what: &str, errno: Errno) -> u8 {
    let text = format!("cannot {what}: {}", std::io::Error::from(errno));
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    127
}

fn prepare(birth: &Birth<'_>) -> Result<(), (&'static str, Errno)> {
    let during = |what: &'static str| move |errno: Errno| (what, errno);
    rustix::stdio::dup2_stderr(birth.log).map_err(during("write"))?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(during("open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(during("set up stdio"))?;
    rustix::stdio::dup2_stdout(&null).map_err(during("set up stdio"))?;
    drop(null);
    signal::reset_dispositions();
    let _ = rustix::process::setsid();
    userns::join(birth.namespace).map_err(during("join the container's user namespace"))?;
    if birth.fuse.become_root {
        become_root().map_err(|fail| ("become root", fail.errno))?;
    }
    keep_capabilities();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(during("tie its life to the supervisor's"))?;
    if rustix::process::getppid() != Some(birth.supervisor) {
        return Err(("serve", Errno::PIPE));
    }
    // What the program makes has the modes that it is asked for.
    rustix::process::umask(Mode::empty());
    rustix::process::chdir(c"/").map_err(during("change to /"))?;
    rustix::io::fcntl_setfd(birth.connection, FdFlags::empty())
        .map_err(during("pass the connection on"))?;
    fd::close_all_but_stdio_and(birth.connection).map_err(during("close descriptors"))?;
    signal::set_mask(&SignalSet::empty()).map_err(during("let signals in"))?;
    Ok(())
}

/// Where the caller's one id is not root's inside, executing a program would drop all capabilities, and files of mode 000
/// could not be served.
fn keep_capabilities() {
    let Ok(sets) = rustix::thread::capabilities(None) else {
        return;
    };
    let all = sets.permitted;
    let sets = CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: all,
    };
    if rustix::thread::set_capabilities(None, sets).is_err() {
        return;
    }
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if all.contains(capability) {
            let _ = rustix::thread::configure_capability_in_ambient_set(capability, true);
        }
    }
}
