//! Owner, mode, extended attributes, times; and what of them goes aside.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Extractor;
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
    ) -> Result<(), Error> {
        self.own(parent, name, path, entry, entry.kind == Kind::Symlink)?;
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

    pub(super) fn own(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        symlink: bool,
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
        if entry.kind == Kind::Directory && !entry.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(Error::file("open", path))?;
            self.set_xattrs(&File::from(fd), path, entry)?;
        } else if symlink || entry.kind != Kind::Directory {
            for (xattr, _) in &entry.xattrs {
                self.note(&format!(
                    "{{\"path\":{},\"xattr\":{}}}",
                    quoted(path),
                    quoted(xattr)
                ))?;
            }
        }
        self.note_owner(path, entry)
    }

    pub(super) fn set_xattrs(
        &mut self,
        file: &File,
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
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
                ) => {
                    self.note(&format!(
                        "{{\"path\":{},\"xattr\":{},\"value\":{}}}",
                        quoted(path),
                        quoted(name),
                        quoted(value)
                    ))?;
                }
                Err(e) => return Err(Error::file("set an extended attribute of", path)(e)),
            }
        }
        Ok(())
    }

    pub(super) fn note_owner(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        if self.ownership == Ownership::Single && (entry.uid != 0 || entry.gid != 0) {
            let (uid, gid) = owner(entry)?;
            return self.note(&format!(
                "{{\"path\":{},\"uid\":{},\"gid\":{}}}",
                quoted(path),
                uid.as_raw(),
                gid.as_raw()
            ));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, line: &str) -> Result<(), Error> {
        match &mut self.aside {
            Some(aside) => writeln!(aside, "{line}").map_err(Error::Blob),
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

/// Bytes as a JSON string: what is not printable ASCII as `\u00XX`, one for each byte.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for b in bytes {
        match b {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*b));
            }
            0x20..=0x7e => text.push(char::from(*b)),
            other => text.push_str(&format!("\\u{other:04x}")),
        }
    }
    text.push('"');
    text
}
