//! A user namespace with subordinate ids for this process itself.
//!
//! An ordinary user whom the host grants ranges of ids (subuid(5)) can work with files of all their owners: not as himself, but
//! inside a user namespace that maps the ranges, where he is root. [`enter`] moves the calling process into such a
//! namespace in place, so that all that follows (unpacking, deleting, starting a container, whose own namespace is then
//! nested in this one) is the same code as for root.
//!
//! The maps can only be written by newuidmap(1) and newgidmap(1), which are set-user-ID root and have to run *outside* the
//! namespace: a process inside has nobody's id there. So a helper is forked before; it runs both at once, reports and
//! ends. Nothing stays behind, and when this process is killed in between the helper sees its end of the channel close.
//!
//! Both programs together take about 2.4 ms, which is as much as the whole start of a container; nothing of this happens
//! in a store of one id.
//!
//! From inside, processes of *other* containers that run under other ids than the caller's cannot be signalled any more:
//! their namespaces are siblings of ours. Whoever ends a container does so before entering.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::{Errno, fd, userns};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::channel::channel;
use crate::{Error, supervise};

/// The programs that write id maps for ordinary users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapWriters {
    /// newuidmap(1).
    pub newuidmap: PathBuf,
    /// newgidmap(1).
    pub newgidmap: PathBuf,
}

/// Where programs are looked for besides the search path: where distributions put them.
const USUAL: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Finds a program in a search path as `PATH` has it. Only absolute folders count: what lies in the working directory is not
/// the system's.
pub fn find_program(name: &str, search: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search)
        .chain(USUAL.map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl MapWriters {
    /// Finds both.
    pub fn find(search: &OsStr) -> Option<Self> {
        Some(Self {
            newuidmap: find_program("newuidmap", search)?,
            newgidmap: find_program("newgidmap", search)?,
        })
    }

    /// Writes both maps of a process. The text says which program failed, and what it said.
    fn write(&self, pid: i32, maps: &RangeMaps) -> Result<(), String> {
        let users = start(&self.newuidmap, pid, &maps.uids)?;
        let groups = start(&self.newgidmap, pid, &maps.gids);
        let users = end(&self.newuidmap, users);
        let groups = groups.and_then(|child| end(&self.newgidmap, child));
        users.and(groups)
    }
}

fn start(program: &Path, pid: i32, map: &[[u32; 3]]) -> Result<Child, String> {
    Command::new(program)
        .arg(pid.to_string())
        .args(map.iter().flatten().map(u32::to_string))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}

fn end(program: &Path, child: Child) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => Err(failed(&output.status)),
        said => Err(said.to_owned()),
    }
}

/// The maps: first id inside, first id outside, how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMaps {
    /// Users.
    pub uids: Vec<[u32; 3]>,
    /// Groups.
    pub gids: Vec<[u32; 3]>,
}

/// Whether the host gives this process the maps, found out by trying it with a child.
///
/// # Errors
/// [`Error::Ranges`] says why not.
pub fn try_ranges(maps: &RangeMaps, writers: &MapWriters) -> Result<(), Error> {
    let (ours, theirs) = channel()?;
    let waiting = Waiting {
        channel: theirs.as_fd(),
        other: ours.as_fd(),
    };
    let child = clone(Namespaces::USER, Memory::Copied, &waiting, Waiting::live)
        .map_err(crate::running::clone_error)?;
    drop(theirs);
    let written = writers.write(child.pid.as_raw_nonzero().get(), maps);
    drop(ours);
    supervise::reap(child.pidfd.as_fd())?;
    written.map_err(Error::Ranges)
}

/// A child that only is, until the other end of the channel closes.
struct Waiting<'a> {
    channel: BorrowedFd<'a>,
    other: BorrowedFd<'a>,
}

impl Waiting<'_> {
    fn live(&self) -> u8 {
        fd::close_copy(self.other);
        let _ = recv(self.channel, &mut [0_u8; 1][..], RecvFlags::empty());
        0
    }
}

/// Moves this process into a new user namespace with the maps. It has to have one thread.
///
/// # Errors
/// [`Error::Ranges`] where the maps could not be written, and [`Error::Clone`] where the kernel refuses the namespace. In
/// either case this process is of no more use: in a namespace without ids.
pub fn enter(maps: &RangeMaps, writers: &MapWriters) -> Result<(), Error> {
    let (ours, theirs) = channel()?;
    let helper = Helper {
        channel: theirs.as_fd(),
        other: ours.as_fd(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        maps,
        writers,
    };
    let child = clone(Namespaces::NONE, Memory::Copied, &helper, Helper::live)
        .map_err(crate::running::clone_error)?;
    drop(theirs);
    let answer = userns::unshare()
        .map_err(crate::running::clone_error)
        .and_then(|()| ask(ours.as_fd()));
    drop(ours);
    supervise::reap(child.pidfd.as_fd())?;
    answer
}

/// Tells the helper that there are maps to be written, and hears how it went.
fn ask(channel: BorrowedFd<'_>) -> Result<(), Error> {
    send(channel, b"1", SendFlags::NOSIGNAL)
        .map_err(Error::supervise("ask for the id maps to be written"))?;
    let mut answer = [0_u8; ANSWER];
    let length = loop {
        match recv(channel, &mut answer[..], RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            result => {
                break result
                    .map_err(Error::supervise("hear about the id maps"))?
                    .0;
            }
        }
    };
    match answer.get(..length) {
        Some([b'1', ..]) => Ok(()),
        Some([b'0', said @ ..]) => Err(Error::Ranges(String::from_utf8_lossy(said).into_owned())),
        _ => Err(Error::Supervise {
            what: "hear about the id maps",
            source: io::ErrorKind::UnexpectedEof.into(),
        }),
    }
}

/// Longest answer of the helper in bytes; what the programs say is cut to it.
const ANSWER: usize = 2048;

/// The process that stays outside. It has a copy of this one's memory and no second thread, so it may use all of it.
struct Helper<'a> {
    channel: BorrowedFd<'a>,
    other: BorrowedFd<'a>,
    /// Whose maps.
    pid: i32,
    maps: &'a RangeMaps,
    writers: &'a MapWriters,
}

impl Helper<'_> {
    fn live(&self) -> u8 {
        fd::close_copy(self.other);
        let mut byte = [0_u8; 1];
        if !matches!(
            recv(self.channel, &mut byte[..], RecvFlags::empty()),
            Ok((1, _))
        ) {
            return 1;
        }
        let mut answer = match self.writers.write(self.pid, self.maps) {
            Ok(()) => b"1".to_vec(),
            Err(said) => format!("0{said}").into_bytes(),
        };
        answer.truncate(ANSWER);
        let _ = send(self.channel, &answer, SendFlags::NOSIGNAL);
        0
    }
}
