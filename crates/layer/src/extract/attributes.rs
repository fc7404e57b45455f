//! Owner, mode, extended attributes, times; and what of them goes aside.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Extractor;
use crate::aside::{Device, Record, Xattrs};
use crate::tar_reader::{Entry, Kind};
use crate::{Error, Ownership};

/// Attributes of a folder, set when nothing more is put into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FolderAttributes {
    pub(super) mode: u32,
    pub(super) mtime: (i64, u32),
}

impl Extractor<'_> {
    /// Owner, attributes and time of what has no descriptor.
    pub(super) fn own_and_date(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        device: Option<Device>,
    ) -> Result<(), Error> {
        self.own(parent, name, path, entry, device)?;
        if entry.kind != Kind::Symlink && self.ownership == Ownership::Host {
            rustix::fs::chmodat(
                parent,
                name,
                Mode::from_raw_mode(entry.mode),
                AtFlags::empty(),
            )
            .map_err(Error::file("change the mode of", path))?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::file("set the time of", path))
    }

    /// Sets owner and extended attributes; what cannot be set goes aside.
    pub(super) fn own(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        device: Option<Device>,
    ) -> Result<(), Error> {
        if self.ownership == Ownership::Host {
            let (uid, gid) = owner(entry)?;
            rustix::fs::chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(Error::file("change the owner of", path))?;
        }
        let xattrs = if entry.kind == Kind::Directory && !entry.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(Error::file("open", path))?;
            self.set_xattrs(&File::from(fd), path, entry)?
        } else {
            entry.xattrs.clone()
        };
        self.keep_aside(path, entry, device, xattrs)
    }

    /// Sets the extended attributes that may be set, and returns the others.
    pub(super) fn set_xattrs(
        &self,
        file: &File,
        path: &[u8],
        entry: &Entry,
    ) -> Result<Xattrs, Error> {
        let mut unset = Vec::new();
        for (name, value) in &entry.xattrs {
            let ours = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let host = self.ownership == Ownership::Host && name == b"security.capability";
            let set = match CString::new(name.clone()) {
                Ok(name) if ours || host => {
                    rustix::fs::fsetxattr(file, &*name, value, XattrFlags::empty())
                }
                _ => Err(Errno::PERM),
            };
            match set {
                Ok(()) => {}
                Err(
                    Errno::PERM
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::RANGE
                    | Errno::TOOBIG
                    | Errno::NOSPC,
                ) => unset.push((name.clone(), value.clone())),
                Err(e) => return Err(Error::file("set an extended attribute of", path)(e)),
            }
        }
        Ok(unset)
    }

    /// Writes down what the file that was made for an entry does not tell.
    pub(super) fn keep_aside(
        &mut self,
        path: &[u8],
        entry: &Entry,
        device: Option<Device>,
        xattrs: Xattrs,
    ) -> Result<(), Error> {
        let (uid, gid) = owner(entry)?;
        let told = self.ownership == Ownership::Host || (uid, gid) == (Uid::ROOT, Gid::ROOT);
        let record = Record {
            owner: (!told).then(|| (uid.as_raw(), gid.as_raw())),
            device,
            xattrs,
        };
        match &mut self.aside {
            Some(aside) => aside.set(path, &record),
            None => Ok(()),
        }
    }
}

pub(super) fn set_folder(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    attributes: FolderAttributes,
) -> Result<(), Error> {
    rustix::fs::utimensat(
        parent,
        name,
        &times(attributes.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(Error::file("set the time of", path))?;
    rustix::fs::chmodat(
        parent,
        name,
        Mode::from_raw_mode(attributes.mode),
        AtFlags::empty(),
    )
    .map_err(Error::file("change the mode of", path))
}

pub(super) fn owner(entry: &Entry) -> Result<(Uid, Gid), Error> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(Error::entry(
            &entry.path,
            format!("has an owner that cannot be: {}:{}", entry.uid, entry.gid),
        )),
    }
}

pub(super) fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: i64::from(mtime.1),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
