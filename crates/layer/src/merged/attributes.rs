//! What is to know of one file of the merged view.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Node, NodeKind, Owners, Part};
use crate::Error;
use crate::aside::{DeviceKind, Record, Xattrs};
use crate::xattr;

/// overlayfs marks what it copied up with the file that it came from.
const ORIGIN: &str = "user.overlay.origin";
const CAPABILITY: &[u8] = b"security.capability";
/// Longest list of names and longest value (xattr(7)).
const MAX_XATTR: usize = 64 << 10;

impl Node {
    pub(super) fn new(
        path: Vec<u8>,
        level: usize,
        stat: Stat,
        parents: Rc<Vec<Part>>,
        here: Vec<usize>,
    ) -> Self {
        let device = |kind| {
            let device = stat.st_rdev;
            NodeKind::Device(kind, rustix::fs::major(device), rustix::fs::minor(device))
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::CharacterDevice => device(DeviceKind::Char),
            FileType::BlockDevice => device(DeviceKind::Block),
            _ => NodeKind::File,
        };
        Self {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: widen(stat.st_nlink),
            level,
            record: None,
            stat,
            parents,
            here,
        }
    }

    /// Applies what is known beside the file system.
    pub(super) fn own(&mut self, owners: Owners, record: Option<Record>) {
        let known = record.as_ref().and_then(|r| r.owner);
        let (uid, gid) = match owners {
            Owners::True => known.unwrap_or((self.uid, self.gid)),
            Owners::Aside => known.unwrap_or((0, 0)),
            Owners::Container { uid, gid } => known.unwrap_or((uid, gid)),
        };
        (self.uid, self.gid) = (uid, gid);
        if self.kind == NodeKind::File
            && self.size == 0
            && let Some(device) = record.as_ref().and_then(|r| r.device)
        {
            self.kind = NodeKind::Device(device.kind, device.major, device.minor);
        }
        if self.kind != NodeKind::File {
            self.size = 0;
        }
        self.record = record;
    }

    /// What still goes of the record of the file that this one is a copy of.
    pub(super) fn inherit(&self, below: Self, owners: &mut Owners) -> Option<Record> {
        let mut record = below.record.clone().unwrap_or_default();
        match owners {
            Owners::Container { .. } => *owners = Owners::Aside,
            // Given to somebody else since.
            _ if (self.stat.st_uid, self.stat.st_gid) != (below.stat.st_uid, below.stat.st_gid) => {
                record.owner = None;
            }
            _ => {}
        }
        if *owners == Owners::Aside && record.owner.is_none() {
            record.owner = Some((below.uid, below.gid));
        }
        // Whoever writes to a file takes its capabilities away (capabilities(7)).
        if (self.size, self.mtime) != (below.stat_size(), below.mtime) {
            record.xattrs.retain(|(name, _)| name != CAPABILITY);
        }
        Some(record).filter(|r| !r.is_empty())
    }

    fn stat_size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Whether overlayfs may have made this file by copying a lower one. It says so on files and folders, where the file
    /// system has room for it.
    pub(super) fn may_be_copied_up(&self, name: &[u8], index: usize) -> bool {
        if !matches!(self.kind, NodeKind::File | NodeKind::Directory) {
            return true;
        }
        let Some(path) = self
            .parents
            .get(index)
            .and_then(|part| proc_path(part.fd.as_fd(), name))
        else {
            return true;
        };
        let mut value = [0_u8; 256];
        let origin = |mark: &str, value: &mut [u8]| match rustix::fs::lgetxattr(&path, mark, value)
        {
            Ok(_) | Err(Errno::RANGE | Errno::OPNOTSUPP) => true,
            Err(_) => false,
        };
        [
            ORIGIN,
            "trusted.overlay.origin",
            "user.fuseoverlayfs.origin",
        ]
        .into_iter()
        .any(|mark| origin(mark, &mut value))
    }

    pub(super) fn same_type(&self, other: &Self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::from_raw_mode(other.stat.st_mode)
    }

    /// The folder of its parent that it stands in, and its name there.
    pub(crate) fn place(&self) -> Result<(BorrowedFd<'_>, &[u8]), Error> {
        let part = self
            .here
            .first()
            .and_then(|index| self.parents.get(*index))
            .ok_or_else(|| Error::entry(&self.path, "is in no layer"))?;
        Ok((part.fd.as_fd(), self.name()))
    }

    /// The last component of its path; `.` for the root.
    pub fn name(&self) -> &[u8] {
        match self.path.rsplit(|b| *b == b'/').next() {
            None | Some(b"") => b".",
            Some(name) => name,
        }
    }

    /// Two nodes with the same value are names of one file.
    pub fn inode(&self) -> (usize, u64, u64) {
        (self.level, self.stat.st_dev, self.stat.st_ino)
    }

    /// Whether fewer bytes are stored than the file has.
    pub fn has_holes(&self) -> bool {
        let stored = u64::try_from(self.stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        self.kind == NodeKind::File && stored < self.size
    }

    /// Opens a folder: as it is on the uppermost level that has it.
    pub(crate) fn open_folder(&self) -> Result<OwnedFd, Error> {
        let (parent, name) = self.place()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(Error::file("open the folder", &self.path))
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it cannot be opened, or something else has taken its place.
    pub fn open(&self) -> Result<File, Error> {
        let failed = |e| Error::file("open", &self.path)(e);
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let (parent, name) = self.place()?;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
        let opened = rustix::fs::fstat(&fd).map_err(failed)?;
        if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
            return Err(Error::entry(&self.path, "is no regular file any more"));
        }
        Ok(File::from(fd))
    }

    /// Where a symlink points to.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn link_target(&self) -> Result<Vec<u8>, Error> {
        let (parent, name) = self.place()?;
        rustix::fs::readlinkat(parent, name, Vec::new())
            .map(CString::into_bytes)
            .map_err(Error::file("read the link", &self.path))
    }

    /// The folders that make this one up, opened.
    pub(super) fn open_parts(&self) -> Result<Rc<Vec<Part>>, Error> {
        if self.path.is_empty() {
            return Ok(Rc::clone(&self.parents));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parts = Vec::with_capacity(self.here.len());
        if self.kind == NodeKind::Directory {
            for part in self.here.iter().filter_map(|i| self.parents.get(*i)) {
                let fd = match rustix::fs::openat(&part.fd, self.name(), flags, Mode::empty()) {
                    Ok(fd) => fd,
                    // A container that runs has removed it meanwhile.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if part.level == 0 => continue,
                    Err(e) => return Err(Error::file("open the folder", &self.path)(e)),
                };
                let level = part.level;
                parts.push(Part { level, fd });
            }
        }
        Ok(Rc::new(parts))
    }

    /// Its extended attributes: those of users and file capabilities, and those kept aside; sorted by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn xattrs(&self) -> Result<Xattrs, Error> {
        let mut xattrs = self
            .record
            .as_ref()
            .map_or_else(Vec::new, |r| r.xattrs.clone());
        let (parent, name) = self.place()?;
        if let Some(path) = proc_path(parent, name) {
            for (name, value) in read_xattrs(&path, &self.path)? {
                if !xattrs.iter().any(|(n, _)| *n == name) {
                    xattrs.push((name, value));
                }
            }
        }
        xattrs.sort();
        Ok(xattrs)
    }
}

/// A path by which the calls that take no descriptor reach a name in a folder, without following it.
pub(super) fn proc_path(parent: BorrowedFd<'_>, name: &[u8]) -> Option<CString> {
    let folder = format!("/proc/self/fd/{}/", parent.as_raw_fd());
    CString::new([folder.as_bytes(), name].concat()).ok()
}

/// Extended attributes that belong to a layer: not those of overlays, nor those that this machine gave.
pub(crate) fn read_xattrs(path: &CString, shown: &[u8]) -> Result<Xattrs, Error> {
    let failed = |e| Error::file("read the extended attributes of", shown)(e);
    let mut names = vec![0_u8; MAX_XATTR];
    let n = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(n) => n,
        Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::NOTDIR) => 0,
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for name in names[..n].split(|b| *b == 0) {
        let Some(told) = xattr::in_layer(name).filter(|n| belongs(n)) else {
            continue;
        };
        let mut value = vec![0_u8; MAX_XATTR];
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(n) => {
                value.truncate(n);
                found.push((told.into_owned(), value));
            }
            // Removed since, or not for us.
            Err(Errno::NODATA | Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(found)
}

fn belongs(name: &[u8]) -> bool {
    name == CAPABILITY || name.starts_with(b"user.")
}

/// The link count has 32 bits on some architectures.
fn widen(links: impl Into<u64>) -> u64 {
    links.into()
}
