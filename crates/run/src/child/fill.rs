//! Copying a folder of the root file system into a volume.
//!
//! It is done inside, where the root file system is mounted, by a process that holds all capabilities over the container's
//! ids: so the kernel merges the layers, files that nobody may read are read, and owners are what the container sees. That
//! process never becomes the container's program, and it has memory of its own, so it may allocate.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, XattrFlags,
};

use crate::report::{During as _, Fail, Phase};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Copies what `source` holds, links of the image's followed inside `root`, into the empty host folder `target`. A source
/// that is missing or no folder leaves the target as it is, and so does a target that is not empty.
pub(super) fn fill(root: BorrowedFd<'_>, source: &CStr, target: &CStr) -> Result<(), Fail> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = match rustix::fs::openat2(root, source, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        folder => folder.during(Phase::Find)?,
    };
    let to = rustix::fs::openat(CWD, target, flags, Mode::empty()).during(Phase::Source)?;
    if !names(to.as_fd()).during(Phase::Source)?.is_empty() {
        return Ok(());
    }
    Copy {
        target: to.as_fd(),
        linked: HashMap::new(),
        buffer: vec![0; 64 << 10],
    }
    .tree(from, &to)
    .during(Phase::Make)
}

struct Copy<'a> {
    target: BorrowedFd<'a>,
    /// Files with several names, and where the first one was copied to, relative to the target.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// A folder on the way down.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
    stat: Stat,
    left: Vec<CString>,
    path_len: usize,
}

impl Copy<'_> {
    fn tree(&mut self, from: OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
        let mut path: Vec<u8> = Vec::new();
        let mut levels = vec![level(from, rustix::io::fcntl_dupfd_cloexec(to, 3)?, 0)?];
        while let Some(top) = levels.last_mut() {
            path.truncate(top.path_len);
            let Some(name) = top.left.pop() else {
                // Last, for everything made inside changed its time.
                dress(top.to.as_fd(), &top.stat)?;
                levels.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            let stat = rustix::fs::statat(&top.from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let from = rustix::fs::openat(&top.from, &name, FOLDER, Mode::empty())?;
                rustix::fs::mkdirat(&top.to, &name, Mode::from_raw_mode(0o700))?;
                let to = rustix::fs::openat(&top.to, &name, FOLDER, Mode::empty())?;
                levels.push(level(from, to, path.len())?);
            } else {
                self.file(top.from.as_fd(), top.to.as_fd(), &name, &stat, &path)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), Errno> {
        if stat.st_nlink > 1 {
            let key = (widen(stat.st_dev), widen(stat.st_ino));
            if let Some(first) = self.linked.get(&key) {
                let first = CString::new(first.as_slice()).map_err(|_| Errno::INVAL)?;
                return rustix::fs::linkat(self.target, &first, to, name, AtFlags::empty());
            }
            self.linked.insert(key, path.to_owned());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let made = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
                let mut made = File::from(made);
                let mut source = File::from(source);
                std::io::copy(&mut source, &mut made)
                    .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
                self.attributes(source.as_fd(), made.as_fd())?;
                dress(made.as_fd(), stat)
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, name)?;
                own(to, name, stat)?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(to, name, &times(stat), flags)
            }
            kind @ (FileType::Fifo | FileType::Socket) => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(0o600), 0)?;
                own(to, name, stat)?;
                rustix::fs::chmodat(to, name, mode(stat), AtFlags::empty())?;
                rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            }
            // A user namespace makes no device nodes, and no layer of ours holds any.
            _ => Ok(()),
        }
    }

    /// Extended attributes, as far as the file system and the caller's rights go.
    fn attributes(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut list = vec![0_u8; 64 << 10];
        let Ok(length) = rustix::fs::flistxattr(from, list.as_mut_slice()) else {
            return Ok(());
        };
        for name in list[..length].split_inclusive(|&byte| byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            if let Ok(length) = rustix::fs::fgetxattr(from, name, self.buffer.as_mut_slice()) {
                match rustix::fs::fsetxattr(to, name, &self.buffer[..length], XattrFlags::empty()) {
                    Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS | Errno::INVAL) => {
                    }
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }
}

fn level(from: OwnedFd, to: OwnedFd, path_len: usize) -> Result<Level, Errno> {
    Ok(Level {
        stat: rustix::fs::fstat(&from)?,
        left: names(from.as_fd())?,
        from,
        to,
        path_len,
    })
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Owner, then mode (which the change of owner clips), then times.
fn dress(made: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    match rustix::fs::fchown(made, Some(uid(stat)), Some(gid(stat))) {
        // An owner that is not mapped is shown as nobody, and cannot be given.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::fchmod(made, mode(stat))?;
    rustix::fs::futimens(made, &times(stat))
}

fn own(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::chownat(folder, name, Some(uid(stat)), Some(gid(stat)), flags) {
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn uid(stat: &Stat) -> rustix::process::Uid {
    rustix::process::Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> rustix::process::Gid {
    rustix::process::Gid::from_raw(stat.st_gid)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    let at = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: at(stat.st_atime, widen(stat.st_atime_nsec)),
        last_modification: at(stat.st_mtime, widen(stat.st_mtime_nsec)),
    }
}

/// These have other widths on other architectures.
fn widen(number: impl Into<u64>) -> u64 {
    number.into()
}
