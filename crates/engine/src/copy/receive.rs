//! Entries to files in a folder.
//!
//! Names come from strangers: a tar from standard input, a hostile container. Each is walked from the target folder down
//! without following a symlink, and `..` is refused, so nothing beside the target is touched.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use minidock_layer::aside::DeviceKind;
use minidock_layer::merged::NodeKind;
use minidock_layer::write::Header;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, openat, statat,
};
use rustix::io::Errno;

use super::CopyError;
use super::place::{FOLDER, join};
use super::send::Sink;

/// Attributes of a folder, set when nothing more is put into it.
struct Finish {
    path: Vec<u8>,
    mode: u32,
    mtime: (i64, u32),
}

/// Makes files in a folder.
pub struct Receiver {
    target: OwnedFd,
    /// How the target is called in messages, with a slash at its end.
    shown: String,
    /// Files are given the owners that entries name.
    keep_owners: bool,
    folders: Vec<Finish>,
    buffer: Vec<u8>,
    /// Bytes as a tar of them would have.
    pub copied: u64,
    /// Files whose owner could not be set.
    pub not_given: u64,
}

impl Receiver {
    pub fn new(target: OwnedFd, shown: String, keep_owners: bool) -> Self {
        Self {
            target,
            shown,
            keep_owners,
            folders: Vec::new(),
            buffer: vec![0; 128 << 10],
            copied: 1024,
            not_given: 0,
        }
    }

    fn failed(&self, doing: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> CopyError {
        let path = format!("{}{}", self.shown, String::from_utf8_lossy(path));
        move |e| CopyError::File {
            doing,
            path,
            source: e.into(),
        }
    }

    fn refused(&self, path: &[u8], problem: &'static str) -> CopyError {
        CopyError::Refused {
            path: format!("{}{}", self.shown, String::from_utf8_lossy(path)),
            problem,
        }
    }

    /// The components of a name; none may lead up.
    fn parts<'n>(&self, name: &'n [u8]) -> Result<Vec<&'n [u8]>, CopyError> {
        let parts: Vec<&[u8]> = name
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty() && *p != b".")
            .collect();
        if parts.contains(&&b".."[..]) {
            return Err(self.refused(name, "leads out of the target"));
        }
        Ok(parts)
    }

    /// Opens a folder below the target; missing ones are made where wanted.
    fn folder(&self, parts: &[&[u8]], make: bool) -> Result<OwnedFd, CopyError> {
        let mut at = self.target.try_clone().map_err(CopyError::Write)?;
        let mut path = Vec::new();
        for part in parts {
            path = join(&path, part);
            let opened = match openat(&at, *part, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&at, *part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(self.failed("create the folder", &path)(e)),
                    }
                    openat(&at, *part, FOLDER, Mode::empty())
                }
                other => other,
            };
            at = match opened {
                Ok(next) => next,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(self.refused(&path, "is no folder"));
                }
                Err(e) => return Err(self.failed("open the folder", &path)(e)),
            };
        }
        Ok(at)
    }

    /// Makes room. What is there goes, but a folder and something else never take each other's place.
    fn clear(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        is_folder: bool,
    ) -> Result<bool, CopyError> {
        let old = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => FileType::from_raw_mode(old.st_mode),
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(self.failed("look at", path)(e)),
        };
        match (old == FileType::Directory, is_folder) {
            (true, true) => return Ok(true),
            (true, false) => {
                return Err(self.refused(
                    path,
                    "is a folder: cannot overwrite it with a non-directory",
                ));
            }
            (false, true) => {
                return Err(
                    self.refused(path, "is no folder: cannot overwrite it with a directory")
                );
            }
            (false, false) => {}
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(self.failed("replace", path))?;
        Ok(false)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        header: &Header<'_>,
        data: &mut dyn Read,
    ) -> Result<(), CopyError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(self.failed("create", path))?;
        let mut file = File::from(fd);
        loop {
            let n = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(CopyError::read(header.path, e)),
            };
            io::Write::write_all(&mut file, &self.buffer[..n]).map_err(|source| {
                CopyError::File {
                    doing: "write",
                    path: format!("{}{}", self.shown, String::from_utf8_lossy(path)),
                    source,
                }
            })?;
            self.copied += n as u64;
        }
        self.copied = self.copied.next_multiple_of(512);
        self.own(parent, name, path, header)?;
        for (name, value) in header.xattrs {
            // What this file system or this caller may not set is no part of the file's content.
            let _ = rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty());
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(header.mode))
            .map_err(self.failed("change the mode of", path))?;
        rustix::fs::futimens(&file, &times(header.mtime))
            .map_err(self.failed("set the time of", path))
    }

    fn own(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        header: &Header<'_>,
    ) -> Result<(), CopyError> {
        if !self.keep_owners || header.uid == u32::MAX || header.gid == u32::MAX {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
        match rustix::fs::chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(()) => Ok(()),
            // Not ours to give away, or an id that does not exist here.
            Err(Errno::PERM | Errno::INVAL) => {
                self.not_given += 1;
                Ok(())
            }
            Err(e) => Err(self.failed("change the owner of", path)(e)),
        }
    }

    fn link(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<(), CopyError> {
        let parts = self.parts(target)?;
        let Some((last, folders)) = parts.split_last() else {
            return Err(self.refused(path, "is a hard link to a folder"));
        };
        let folder = self.folder(folders, false)?;
        rustix::fs::linkat(&folder, *last, parent, name, AtFlags::empty())
            .map_err(self.failed("create the hard link", path))
    }

    fn special(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        kind: NodeKind,
    ) -> Result<(), CopyError> {
        let mode = Mode::from_raw_mode(0o600);
        let made = match kind {
            NodeKind::Device(device, major, minor) => {
                let number = rustix::fs::makedev(major, minor);
                let kind = match device {
                    DeviceKind::Char => FileType::CharacterDevice,
                    DeviceKind::Block => FileType::BlockDevice,
                };
                rustix::fs::mknodat(parent, name, kind, mode, number)
            }
            _ => rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0),
        };
        made.map_err(self.failed("create", path))
    }

    /// Sets the folders' modes and times, children before parents.
    pub fn finish(&mut self) -> Result<(), CopyError> {
        for folder in std::mem::take(&mut self.folders).iter().rev() {
            let parts = self.parts(&folder.path)?;
            let opened = self.folder(&parts, false)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(&opened, ".", flags, Mode::empty())
                .map_err(self.failed("open the folder", &folder.path))?;
            rustix::fs::futimens(&opened, &times(folder.mtime))
                .map_err(self.failed("set the time of", &folder.path))?;
            rustix::fs::fchmod(&opened, Mode::from_raw_mode(folder.mode))
                .map_err(self.failed("change the mode of", &folder.path))?;
        }
        Ok(())
    }
}

impl Sink for Receiver {
    fn entry(&mut self, header: &Header<'_>, data: &mut dyn Read) -> Result<(), CopyError> {
        self.copied += 512;
        let parts = self.parts(header.path)?;
        // The target itself stays as it is.
        let Some((name, parents)) = parts.split_last() else {
            return Ok(());
        };
        let path = parts.join(&b'/');
        let parent = self.folder(parents, true)?;
        let is_folder = header.kind == Some(NodeKind::Directory);
        let merged = self.clear(&parent, name, &path, is_folder)?;
        match header.kind {
            None => return self.link(&parent, name, &path, header.link),
            Some(NodeKind::File | NodeKind::Socket) => {
                return self.file(&parent, name, &path, header, data);
            }
            Some(NodeKind::Directory) => {
                if !merged {
                    rustix::fs::mkdirat(&parent, *name, Mode::from_raw_mode(0o700))
                        .map_err(self.failed("create the folder", &path))?;
                }
                self.own(&parent, name, &path, header)?;
                self.folders.push(Finish {
                    path,
                    mode: header.mode,
                    mtime: header.mtime,
                });
                return Ok(());
            }
            Some(NodeKind::Symlink) => {
                rustix::fs::symlinkat(header.link, &parent, *name)
                    .map_err(self.failed("create the symlink", &path))?;
                self.own(&parent, name, &path, header)?;
            }
            Some(kind) => {
                self.special(&parent, name, &path, kind)?;
                self.own(&parent, name, &path, header)?;
                // Nobody else's file: it was made just now, and a symlink in its place would be refused.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&parent, *name, flags, Mode::empty())
                    .map_err(self.failed("open", &path))?;
                chmod(&made, header.mode).map_err(self.failed("change the mode of", &path))?;
            }
        }
        rustix::fs::utimensat(
            &parent,
            *name,
            &times(header.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(self.failed("set the time of", &path))
    }
}

/// chmod of what is only named by a descriptor; not of a symlink.
fn chmod(file: &OwnedFd, mode: u32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file.as_fd())?.st_mode);
    if kind == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(mode))
}

fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: i64::from(mtime.1),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
