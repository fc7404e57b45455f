//! One file or folder into the flat tree.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::Files;
use crate::walk::{open_folder, split, stat};
use crate::{Error, Ownership, xattr};

/// Makes what the flat tree consists of.
pub struct Copier<'a> {
    target: BorrowedFd<'a>,
    files: Files,
    ownership: Ownership,
    /// Where a file with several names was copied to first.
    copied: HashMap<(u64, u64), Vec<u8>>,
    /// The folder that was filled last.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

impl<'a> Copier<'a> {
    pub fn new(target: BorrowedFd<'a>, files: Files, ownership: Ownership) -> Self {
        Self {
            target,
            files,
            ownership,
            copied: HashMap::new(),
            last: None,
        }
    }

    /// A folder of the flat tree.
    fn target_folder(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        open_folder(self.target, path)?
            .ok_or_else(|| Error::file("open the folder", path)(Errno::NOENT))
    }

    /// The same, where several files of it come one after the other.
    fn target_parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Error> {
        if let Some((last, folder)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(folder));
        }
        let folder = Rc::new(self.target_folder(path)?);
        self.last = Some((path.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// Makes a folder, open to its owner until it gets its attributes.
    pub fn make_folder(&mut self, parent: &[u8], name: &[u8], path: &[u8]) -> Result<(), Error> {
        let to = self.target_parent(parent)?;
        rustix::fs::mkdirat(&to, name, Mode::RWXU).map_err(Error::file("create the folder", path))
    }

    /// Brings what is no folder from `from`. `parent` and `name` are where it will be, and together `path`.
    pub fn file(
        &mut self,
        from: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let to = self.target_parent(parent)?;
        let to = to.as_fd();
        if self.files == Files::Linked {
            match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
                Ok(()) => return Ok(()),
                // Too many names, another file system, or one without hard links.
                Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(Error::file("link", path)(e)),
            }
        }
        let failed = |what| move |e| Error::file(what, path)(e);
        let found = stat(from, name)
            .map_err(failed("look at"))?
            .ok_or_else(|| Error::file("look at", path)(Errno::NOENT))?;
        if found.st_nlink > 1 && self.link_to_copy(&found, to, name, path)? {
            return Ok(());
        }
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => self.regular(from, to, name, path, &found),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, name, Vec::new())
                    .map_err(failed("read the link"))?;
                rustix::fs::symlinkat(link, to, name).map_err(failed("create the symlink"))?;
                self.own(to, name, path, &found)?;
                rustix::fs::utimensat(to, name, &times(&found), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("set the time of"))
            }
            kind => {
                let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, found.st_rdev)
                    .map_err(failed("create"))?;
                self.own(to, name, path, &found)?;
                rustix::fs::chmodat(to, name, mode, AtFlags::empty())
                    .map_err(failed("change the mode of"))?;
                rustix::fs::utimensat(to, name, &times(&found), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("set the time of"))
            }
        }
    }

    /// Whether the file has been copied under another name, and this one is now a link to that.
    fn link_to_copy(
        &mut self,
        found: &Stat,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Error> {
        let key = (found.st_dev, found.st_ino);
        let Some(first) = self.copied.get(&key) else {
            self.copied.insert(key, path.to_vec());
            return Ok(false);
        };
        let (parent, first_name) = split(first);
        let parent = self.target_folder(parent)?;
        match rustix::fs::linkat(&parent, first_name, to, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK | Errno::OPNOTSUPP | Errno::PERM) => Ok(false),
            Err(e) => Err(Error::file("create the hard link", path)(e)),
        }
    }

    fn regular(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &Stat,
    ) -> Result<(), Error> {
        let failed = |what| move |e| Error::file(what, path)(e);
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, read, Mode::empty()).map_err(failed("open"))?;
        let write =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, write, Mode::RUSR | Mode::WUSR)
            .map_err(failed("create"))?;
        if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
            copy_data(&source, &copy, found).map_err(failed("copy"))?;
        }
        if self.ownership == Ownership::Host {
            rustix::fs::fchown(&copy, Some(uid(found)), Some(gid(found)))
                .map_err(failed("change the owner of"))?;
        }
        self.xattrs(source.as_fd(), copy.as_fd(), path)?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(found.st_mode & 0o7777))
            .map_err(failed("change the mode of"))?;
        rustix::fs::futimens(&copy, &times(found)).map_err(failed("set the time of"))
    }

    /// Gives a folder of the flat tree what `from` has.
    pub fn folder_attributes(&self, from: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        let failed = |what| move |e| Error::file(what, path)(e);
        let readable = |folder: BorrowedFd<'_>| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(failed("open the folder"))
        };
        let (from, to) = (
            readable(from)?,
            readable(self.target_folder(path)?.as_fd())?,
        );
        let found = rustix::fs::fstat(&from).map_err(failed("look at"))?;
        if self.ownership == Ownership::Host {
            rustix::fs::fchown(&to, Some(uid(&found)), Some(gid(&found)))
                .map_err(failed("change the owner of"))?;
        }
        self.xattrs(from.as_fd(), to.as_fd(), path)?;
        rustix::fs::futimens(&to, &times(&found)).map_err(failed("set the time of"))?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(found.st_mode & 0o7777))
            .map_err(failed("change the mode of"))
    }

    fn own(
        &self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &Stat,
    ) -> Result<(), Error> {
        if self.ownership == Ownership::Single {
            return Ok(());
        }
        rustix::fs::chownat(
            folder,
            name,
            Some(uid(found)),
            Some(gid(found)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(Error::file("change the owner of", path))
    }

    /// The attributes that belong to the file, by the names that they have on disk; not those by which an overlay keeps
    /// its books.
    fn xattrs(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        let failed = |what| move |e| Error::file(what, path)(e);
        let names = match xattr::names(from) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            names => names.map_err(failed("list the extended attributes of"))?,
        };
        for name in names.iter().filter(|n| self.is_content(n.to_bytes())) {
            let value = match xattr::value(from, name) {
                Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
                value => value.map_err(failed("read an extended attribute of"))?,
            };
            match rustix::fs::fsetxattr(to, &**name, &value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(e) => return Err(failed("set an extended attribute of")(e)),
            }
        }
        Ok(())
    }

    fn is_content(&self, name: &[u8]) -> bool {
        let host = self.ownership == Ownership::Host
            && matches!(
                name,
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            );
        host || (name.starts_with(b"user.") && xattr::in_layer(name).is_some())
    }
}

/// Copies the data of a file, and leaves its holes holes.
fn copy_data(source: &OwnedFd, copy: &OwnedFd, found: &Stat) -> Result<(), Errno> {
    let size = u64::try_from(found.st_size).unwrap_or(0);
    rustix::fs::ftruncate(copy, size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // A hole to the end.
            Err(Errno::NXIO) => break,
            // The file system does not know holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size);
        copy_range(source, copy, start, end.max(start + 1).min(size))?;
        at = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(source: &OwnedFd, copy: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let wanted = usize::try_from(end - from).unwrap_or(1 << 30).min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), copy, Some(&mut to), wanted) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_bytes(source, copy, from, end);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn copy_bytes(source: &OwnedFd, copy: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0_u8; 128 << 10];
    let mut at = start;
    while at < end {
        let wanted = usize::try_from(end - at)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        let n = rustix::io::pread(source, &mut buffer[..wanted], at)?;
        if n == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < n {
            written += rustix::io::pwrite(copy, &buffer[written..n], at + written as u64)?;
        }
        at += n as u64;
    }
    Ok(())
}

fn uid(stat: &Stat) -> Uid {
    Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> Gid {
    Gid::from_raw(stat.st_gid)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
