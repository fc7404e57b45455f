//! Making files, links and devices.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{FolderAttributes, owner, times};
use super::hiding::make_opaque;
use super::{Extractor, join};
use crate::aside::{Device, DeviceKind};
use crate::tar_reader::{Entry, Kind, TarReader};
use crate::walk::{components, is_whiteout, stat};
use crate::{Error, Ownership};

impl Extractor<'_> {
    pub(super) fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        hides: bool,
    ) -> Result<(), Error> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::file("create the folder", path)(e)),
        }
        if hides {
            make_opaque(parent, name, path, &mut self.opaque)?;
        }
        self.folders.insert(
            path.to_vec(),
            Some(FolderAttributes {
                mode: entry.mode,
                mtime: entry.mtime,
            }),
        );
        self.own(parent, name, path, entry, None)
    }

    pub(super) fn file<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(Error::file("create", path))?;
        let mut file = File::from(fd);
        let failed = |operation| {
            let path = String::from_utf8_lossy(path).into_owned();
            move |source| Error::File {
                operation,
                path,
                source,
            }
        };
        match &entry.sparse {
            None => loop {
                let n = tar.read_data(&mut self.buffer)?;
                if n == 0 {
                    break;
                }
                file.write_all(&self.buffer[..n]).map_err(failed("write"))?;
            },
            Some(extents) => {
                use std::os::unix::fs::FileExt;
                for &(offset, length) in extents {
                    let mut at = offset;
                    let mut left = length;
                    while left > 0 {
                        let want = self
                            .buffer
                            .len()
                            .min(usize::try_from(left).unwrap_or(usize::MAX));
                        let n = tar.read_data(&mut self.buffer[..want])?;
                        if n == 0 {
                            return Err(Error::entry(
                                &entry.path,
                                "has a sparse map that does not fit its data",
                            ));
                        }
                        file.write_all_at(&self.buffer[..n], at)
                            .map_err(failed("write"))?;
                        at += n as u64;
                        left -= n as u64;
                    }
                }
                file.set_len(entry.size)
                    .map_err(failed("set the size of"))?;
            }
        }
        self.content_size = self.content_size.saturating_add(entry.size);
        let io = |operation| Error::file(operation, path);
        if self.ownership == Ownership::Host {
            let (uid, gid) = owner(entry)?;
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(io("change the owner of"))?;
        }
        // After chown, which clears setuid and setgid, and before the mode may forbid writing.
        let unset = self.set_xattrs(&file, path, entry)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))
            .map_err(io("change the mode of"))?;
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(io("set the time of"))?;
        self.keep_aside(path, entry, None, unset)
    }

    pub(super) fn hard_link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        let out = || Error::entry(&entry.path, "is a hard link that leads out of the layer");
        let parts = components(&entry.link).ok_or_else(out)?;
        let (target, parents) = parts.split_last().ok_or_else(out)?;
        let folder = self.walker.folder(parents, None)?;
        if let Some((folder, folder_path)) = folder {
            match stat(folder.as_fd(), target).map_err(Error::file("look at", &entry.link))? {
                Some(t) if FileType::from_raw_mode(t.st_mode) == FileType::Directory => {
                    return Err(Error::entry(&entry.path, "is a hard link to a folder"));
                }
                Some(t) if !is_whiteout(&t) => {
                    rustix::fs::linkat(folder.as_fd(), *target, parent, name, AtFlags::empty())
                        .map_err(Error::file("create the hard link", path))?;
                    return match &mut self.aside {
                        Some(aside) => aside.link(path, &join(&folder_path, target)),
                        None => Ok(()),
                    };
                }
                Some(_) => {
                    return Err(Error::entry(
                        &entry.path,
                        "is a hard link to a file that the layer deletes",
                    ));
                }
                None => {}
            }
        }
        self.lower_links.insert(path.to_vec(), parts.join(&b'/'));
        Ok(())
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
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        // A device 0:0 would be a whiteout.
        let real = kind == FileType::Fifo || (self.ownership == Ownership::Host && device != 0);
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
                let (major, minor) = entry.device;
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
