//! What the paths in calls lead to: whether a file that is to be given to somebody is there at all, and where a stand-in for a
//! device is to be made. That is an empty file where a container's root makes a node that the kernel refuses, so that what
//! comes after it (`chmod`, `chown`, a list of what was unpacked) finds it.
//!
//! The supervisor looks from outside. It resolves a path inside the root of the process that asked; links lead nowhere else,
//! and magic ones nowhere (openat2(2)).

use std::os::fd::OwnedFd;

use minidock_sys::{Errno, notify};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::process::Pid;

use super::answer::Question;
use super::calls::Call;

/// The longest path (`PATH_MAX`).
const LONGEST: usize = 4096;
const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;

/// A path, and where it begins.
struct Start {
    folder: OwnedFd,
    path: Vec<u8>,
}

impl Start {
    /// `folder` is the argument that names a folder, if the call has one; `path` the one that points at the path.
    fn of(thread: Pid, folder: Option<u64>, path: u64) -> Result<Self, Errno> {
        let path = read_path(thread, path)?;
        let process = format!("/proc/{}", thread.as_raw_pid());
        let folder = match (path.first(), folder.map(|fd| fd as u32 as i32)) {
            (None, _) => return Err(Errno::NOENT),
            (Some(b'/'), _) => format!("{process}/root"),
            (_, Some(fd)) if fd != AT_FDCWD => format!("{process}/fd/{fd}"),
            _ => format!("{process}/cwd"),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder, flags, Mode::empty())?;
        Ok(Self { folder, path })
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let inside = match self.path.first() {
            Some(b'/') => ResolveFlags::IN_ROOT,
            _ => ResolveFlags::BENEATH,
        };
        let resolve = inside | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
        openat2(&self.folder, path, flags, Mode::empty(), resolve)
    }
}

/// Fails as a call would whose file is not there. What cannot be looked at from outside (through `..` out of the folder where a
/// relative path begins, for one) is taken to be there.
pub(super) fn exists(question: &Question, thread: Pid) -> Result<(), Errno> {
    let argument = |at: usize| question.arguments.get(at).copied().unwrap_or(0);
    let (folder, path, follow) = match question.call {
        Call::ChownOpen => {
            let fd = argument(0) as u32 as i32;
            let link = format!("/proc/{}/fd/{fd}", thread.as_raw_pid());
            return match rustix::fs::readlink(link, Vec::new()) {
                Err(Errno::NOENT) => Err(Errno::BADF),
                _ => Ok(()),
            };
        }
        Call::ChownAt if argument(4) & AT_EMPTY_PATH != 0 => return Ok(()),
        Call::ChownAt => {
            let follow = argument(4) & AT_SYMLINK_NOFOLLOW == 0;
            (Some(argument(0)), argument(1), follow)
        }
        Call::Chown { follow } => (None, argument(0), follow),
        _ => return Ok(()),
    };
    let flags = match follow {
        true => OFlags::empty(),
        false => OFlags::NOFOLLOW,
    };
    let found = Start::of(thread, folder, path).and_then(|s| s.open(&s.path, flags));
    match found {
        Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::FAULT)) => Err(errno),
        _ => Ok(()),
    }
}

/// Where a stand-in is to be made.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    name: Vec<u8>,
    mode: Mode,
}

impl Place {
    /// Finds the folder that a call means.
    pub(super) fn find(question: &Question, thread: Pid) -> Result<Self, Errno> {
        let Call::MakeNode(at) = question.call else {
            return Err(Errno::INVAL);
        };
        let argument = |at: usize| question.arguments.get(at).copied().unwrap_or(0);
        let at = usize::from(at);
        let start = Start::of(thread, (at == 1).then(|| argument(0)), argument(at))?;
        let slash = start.path.iter().rposition(|b| *b == b'/');
        let (folder, name) = start.path.split_at(slash.map_or(0, |s| s + 1));
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::EXIST);
        }
        let folder = match folder {
            b"" => start.open(b".", OFlags::DIRECTORY)?,
            folder => start.open(folder, OFlags::DIRECTORY)?,
        };
        let mode = argument(at + 1) as u32 & 0o7777 & !umask(thread);
        Ok(Self {
            folder,
            name: name.to_owned(),
            mode: Mode::from_raw_mode(mode),
        })
    }

    /// Makes the file.
    pub(super) fn make(&self) -> Result<(), Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.folder, self.name.as_slice(), flags, Mode::empty())?;
        // The supervisor's umask is not the container's.
        rustix::fs::fchmod(&file, self.mode)
    }
}

/// A string of the process's, which may end anywhere in a page that is followed by none.
fn read_path(thread: Pid, at: u64) -> Result<Vec<u8>, Errno> {
    const PAGE: u64 = 4096;
    let mut path = Vec::new();
    let mut next = at;
    while path.len() < LONGEST {
        let length = PAGE - next % PAGE;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        notify::read_memory(thread, next, &mut bytes)?;
        if let Some(end) = bytes.iter().position(|b| *b == 0) {
            path.extend_from_slice(&bytes[..end]);
            return Ok(path);
        }
        path.append(&mut bytes);
        next = next.checked_add(length).ok_or(Errno::FAULT)?;
    }
    Err(Errno::NAMETOOLONG)
}

fn umask(thread: Pid) -> u32 {
    let path = format!("/proc/{}/status", thread.as_raw_pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o022)
}
