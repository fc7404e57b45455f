//! Owner, mode, extended attributes, times; and what of them goes aside.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Extractor;
use crate::aside::{Device, Record, Xattrs};
use crate::tar_reader::{Entry, Kind};
use crate::walk::Walker;
use crate::{Error, Ownership, xattr};

/// Attributes of a folder, set when nothing more is put into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderAttributes {
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, u32),
}

/// How a new file gets its mode: from its creation, which costs nothing, where the file system and our umask let it.
#[derive(Debug)]
pub(super) struct Modes {
    /// Whether a file has the mode that it was created with; `None` until the first one shows it. An access control list
    /// on the store's folder, inherited by all below, could interfere.
    exact: Option<bool>,
}

impl Modes {
    /// Takes the umask of the calling thread, which is to make all files.
    pub(super) fn new() -> Self {
        let free = minidock_sys::process::clear_own_umask().is_ok();
        Self {
            exact: (!free).then_some(false),
        }
    }

    /// Setuid and setgid come later: writing and changing the owner clear them.
    pub(super) fn at_creation(&self, wanted: u32) -> Mode {
        if self.exact == Some(false) {
            return Mode::from_raw_mode(0o600);
        }
        Mode::from_raw_mode(wanted & 0o1777)
    }

    /// Whether a file created with `mode` has the wanted one.
    pub(super) fn is_right(&mut self, file: &File, mode: Mode, wanted: u32) -> bool {
        let exact = *self.exact.get_or_insert_with(|| {
            rustix::fs::fstat(file).is_ok_and(|s| s.st_mode & 0o7777 == mode.as_raw_mode())
        });
        exact && mode.as_raw_mode() == wanted
    }
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
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let told = self.give(path, entry, |uid, gid| {
            rustix::fs::chownat(parent, name, uid, gid, flags)
        })?;
        let xattrs = if entry.kind == Kind::Directory && !entry.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(Error::file("open", path))?;
            self.set_xattrs(&File::from(fd), path, entry)?
        } else {
            entry.xattrs.clone()
        };
        self.keep_aside(path, entry, told, device, xattrs)
    }

    /// Gives a file to its owner. Returns whether the file system now tells the true one.
    pub(super) fn give(
        &self,
        path: &[u8],
        entry: &Entry,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<bool, Error> {
        let (uid, gid) = owner(entry)?;
        if self.ownership == Ownership::Single {
            return Ok((uid, gid) == (Uid::ROOT, Gid::ROOT));
        }
        match chown(Some(uid), Some(gid)) {
            Ok(()) => Ok(true),
            // The id map has no such id.
            Err(Errno::INVAL) => Ok(false),
            Err(e) => Err(Error::file("change the owner of", path)(e)),
        }
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
            let on_disk = xattr::on_disk(name, self.ownership);
            let set = match on_disk.map(|name| CString::new(name.into_owned())) {
                Some(Ok(name)) => rustix::fs::fsetxattr(file, &*name, value, XattrFlags::empty()),
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
        told: bool,
        device: Option<Device>,
        xattrs: Xattrs,
    ) -> Result<(), Error> {
        let (uid, gid) = owner(entry)?;
        let record = Record {
            owner: (!told).then(|| (uid.as_raw(), gid.as_raw())),
            device,
            xattrs,
        };
        match &mut self.known.aside {
            Some(aside) => aside.set(path, &record),
            None => Ok(()),
        }
    }
}

/// Sets the attributes of a tree's folders, which come parents first.
pub(crate) fn set_folders(
    walker: &mut Walker,
    folders: &[(Vec<u8>, FolderAttributes)],
) -> Result<(), Error> {
    // In reverse, so that a folder comes before the one it is in, which may become inaccessible. From one to the next it is
    // never far.
    let mut here = walker.root();
    for (path, attributes) in folders.iter().rev() {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None if path.is_empty() => (&b""[..], &b"."[..]),
            None => (&b""[..], path.as_slice()),
        };
        match walker.step_to(&here, parent)? {
            Some(folder) => here = folder,
            None => continue,
        }
        set_folder(here.0.as_fd(), name, path, *attributes)?;
    }
    Ok(())
}

fn set_folder(
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
    // The store itself has to look into a layer's root folder, whatever the layer says of it.
    let least = if path.is_empty() { 0o500 } else { 0 };
    rustix::fs::chmodat(
        parent,
        name,
        Mode::from_raw_mode(attributes.mode | least),
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
