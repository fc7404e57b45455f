//! Making files, links and devices.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::FolderAttributes;
use super::fill::{SMALL, finish};
use super::known::Folder;
use super::{Extractor, join};
use crate::aside::{Device, DeviceKind};
use crate::buffers::Shared;
use crate::tar_reader::{Entry, Kind, TarReader};
use crate::walk::{Reached, components, stat};
use crate::whiteout::is_whiteout;
use crate::{Error, Ownership, xattr};

impl Extractor<'_> {
    pub(super) fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        match make() {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let hides = self.clear(parent, name, entry.kind, path)?;
                match make() {
                    Ok(()) => {}
                    // An entry sets all attributes: what an earlier one of the folder gave goes.
                    Err(Errno::EXIST) => {
                        if matches!(self.known.folders.get(path), Some(Folder::Entry(_))) {
                            clear_xattrs(parent, name, path)?;
                        }
                    }
                    Err(e) => return Err(Error::file("create the folder", path)(e)),
                }
                if hides {
                    self.known.make_opaque(parent, name, path)?;
                }
            }
            Err(e) => return Err(Error::file("create the folder", path)(e)),
        }
        let attributes = FolderAttributes {
            mode: entry.mode,
            mtime: entry.mtime,
        };
        self.known.folder(path, Folder::Entry(attributes))?;
        self.own(parent, name, path, entry, None)
    }

    pub(super) fn symlink(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        if entry.link.is_empty() {
            return Err(Error::entry(&entry.path, "is a symlink to nowhere"));
        }
        let make = || rustix::fs::symlinkat(entry.link.as_slice(), parent, name);
        let made = match make() {
            Err(Errno::EXIST) => {
                self.clear(parent, name, entry.kind, path)?;
                make()
            }
            result => result,
        };
        made.map_err(Error::file("create the symlink", path))
    }

    pub(super) fn file<R: Shared>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = match entry.xattrs.as_slice() {
            [] => self.modes.at_creation(entry.mode),
            // Setting them takes the right to write, which the mode may not give.
            _ => Mode::from_raw_mode(0o600),
        };
        let make = || rustix::fs::openat(parent, name, flags, mode);
        let made = match make() {
            Err(Errno::EXIST) => {
                self.clear(parent, name, entry.kind, path)?;
                make()
            }
            result => result,
        };
        let mut file = File::from(made.map_err(Error::file("create", path))?);
        self.content_size = self.content_size.saturating_add(entry.size);
        let whole = match (&self.filler, &entry.sparse, entry.xattrs.as_slice()) {
            (Some(_), None, []) => tar.whole(SMALL),
            _ => None,
        };
        match (&whole, &entry.sparse) {
            (Some(_), _) => {}
            (None, None) => write_all(&mut file, path, tar)?,
            (None, Some(extents)) => write_extents(&file, path, entry, extents, tar)?,
        }
        let told = self.give(path, entry, |uid, gid| rustix::fs::fchown(&file, uid, gid))?;
        // After chown, which clears setuid and setgid, and before the mode may forbid writing.
        let unset = self.set_xattrs(&file, path, entry)?;
        let right = self.modes.is_right(&file, mode, entry.mode);
        let mode = (!right).then_some(entry.mode);
        match (&mut self.filler, whole) {
            (Some(filler), Some(content)) => filler.add(file, content, mode, entry.mtime, path)?,
            _ => finish(&file, mode, entry.mtime, path)?,
        }
        self.keep_aside(path, entry, told, None, unset)
    }

    /// Another name for a file of this layer, or of those below: these are not known yet, so an empty file holds its place.
    pub(super) fn hard_link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        let wrong = |problem: &str| {
            let link = String::from_utf8_lossy(&entry.link);
            Err(Error::entry(
                &entry.path,
                format!("is a hard link to {link:?}, {problem}"),
            ))
        };
        let Some(parts) = components(&entry.link) else {
            return wrong("which leads out of the layer");
        };
        let Some((target, parents)) = parts.split_last() else {
            return wrong("which is the root folder");
        };
        let (folder, real) = match self.walker.walk(parents, None)? {
            Reached::Folder((folder, real)) => (Some(folder), join(&real, target)),
            Reached::Missing(real) => (None, join(&real, target)),
            Reached::NotFolder => return wrong("which the layer removes or replaces"),
        };
        let found = match &folder {
            Some(folder) => {
                stat(folder.as_fd(), target).map_err(Error::file("look at", &entry.link))?
            }
            None => None,
        };
        let found = match (&folder, found) {
            // Made for whiteouts only: what the link means is the lower layers'.
            (Some(folder), Some(t))
                if FileType::from_raw_mode(t.st_mode) == FileType::Directory
                    && self.known.is_vain(folder.as_fd(), target, &real)? =>
            {
                None
            }
            (_, found) => found,
        };
        match found {
            Some(t) if FileType::from_raw_mode(t.st_mode) == FileType::Directory => {
                return wrong("which is a folder");
            }
            Some(t) if is_whiteout(&t) => return wrong("which the layer removes"),
            Some(_) if real == path => return Ok(()),
            None if self.known.is_hidden(&real) => return wrong("which the layer removes"),
            _ => {}
        }
        if real
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(b"/"))
        {
            return wrong("and would replace a folder above that");
        }
        self.clear(parent, name, Kind::HardLink, path)?;
        let waits = match (&found, self.known.lower_links.get(&real)) {
            (None, _) => Some(real.clone()),
            (Some(_), waits) => waits.cloned(),
        };
        if let Some(target) = waits {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(parent, name, FileType::RegularFile, mode, 0)
                .map_err(Error::file("create", path))?;
            return self.known.lower_link(path, target);
        }
        if let Some(folder) = folder {
            rustix::fs::linkat(&folder, *target, parent, name, AtFlags::empty())
                .map_err(Error::file("create the hard link", path))?;
        }
        match &mut self.known.aside {
            Some(aside) => aside.link(path, &real),
            None => Ok(()),
        }
    }

    /// Makes a fifo or a device; returns the device that an empty file stands for.
    pub(super) fn special(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<Option<Device>, Error> {
        let kind = match entry.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        let (major, minor) = entry.device;
        // The kernel has 12 and 20 bits for them and drops others silently. 0:0 is how overlayfs marks a whiteout.
        let representable = major < 1 << 12 && minor < 1 << 20 && (major, minor) != (0, 0);
        let real = kind == FileType::Fifo || (self.ownership == Ownership::Host && representable);
        let device = if kind == FileType::Fifo {
            0
        } else {
            rustix::fs::makedev(major, minor)
        };
        let made = if real {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
        } else {
            Err(Errno::PERM)
        };
        let mut placeholder = None;
        match made {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) if kind != FileType::Fifo => {
                rustix::fs::mknodat(
                    parent,
                    name,
                    FileType::RegularFile,
                    Mode::from_raw_mode(0o600),
                    0,
                )
                .map_err(Error::file("create a placeholder for", path))?;
                placeholder = Some(Device {
                    kind: if kind == FileType::CharacterDevice {
                        DeviceKind::Char
                    } else {
                        DeviceKind::Block
                    },
                    major,
                    minor,
                });
            }
            Err(e) => return Err(Error::file("create", path)(e)),
        }
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(Error::file("change the mode of", path))?;
        Ok(placeholder)
    }
}

/// Takes the attributes of users from a folder, but for the overlay's own.
fn clear_xattrs(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
    let failed = |e| Error::file("remove an extended attribute of", path)(e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
    for name in xattr::names(&fd).map_err(failed)? {
        if xattr::in_layer(name.to_bytes()).is_some() && name.to_bytes().starts_with(b"user.") {
            rustix::fs::fremovexattr(&fd, &*name).map_err(failed)?;
        }
    }
    Ok(())
}

pub(super) fn failed(operation: &'static str, path: &[u8]) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::File {
        operation,
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    }
}

/// Writes an entry's data straight from the buffer that it was inflated to.
fn write_all<R: BufRead>(
    file: &mut File,
    path: &[u8],
    tar: &mut TarReader<R>,
) -> Result<(), Error> {
    loop {
        let data = tar.data(usize::MAX)?;
        if data.is_empty() {
            return Ok(());
        }
        file.write_all(data).map_err(failed("write", path))?;
        let n = data.len();
        tar.consume(n);
    }
}

fn write_extents<R: BufRead>(
    file: &File,
    path: &[u8],
    entry: &Entry,
    extents: &[(u64, u64)],
    tar: &mut TarReader<R>,
) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    for &(offset, length) in extents {
        let mut at = offset;
        let end = offset + length;
        while at < end {
            let data = tar.data(usize::try_from(end - at).unwrap_or(usize::MAX))?;
            if data.is_empty() {
                return Err(Error::entry(
                    &entry.path,
                    "has a sparse map that does not fit its data",
                ));
            }
            file.write_all_at(data, at).map_err(failed("write", path))?;
            let n = data.len();
            at += n as u64;
            tar.consume(n);
        }
    }
    file.set_len(entry.size)
        .map_err(failed("set the size of", path))
}
