//! Paths inside a layer's folder, by descriptor.
//!
//! A path is walked one component at a time with `O_NOFOLLOW`, so no symlink is ever followed by the kernel. One that
//! stands in the way is resolved here, within the layer: `/` and a `..` too many mean the layer's root.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

/// Symlinks on one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Open folders kept for the next entries.
const MAX_CACHED: usize = 128;
/// Longest real path in bytes. Symlinks could lead deeper than any name.
const MAX_REAL_PATH: usize = 4095;

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::PATH)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The components of a path without `/`, `.` and empty ones; `None` if there is a `..`.
pub fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .collect();
    (!parts.contains(&&b".."[..])).then_some(parts)
}

/// What was made on the way.
pub trait Maker {
    /// A missing folder is wanted at this real path: make it and return it opened.
    fn make(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error>;
}

/// A folder inside the layer: descriptor and real path (no symlinks, no leading slash).
pub type Folder = (Rc<OwnedFd>, Rc<[u8]>);

/// Where a path led.
#[derive(Debug)]
pub enum Reached {
    /// To a folder.
    Folder(Folder),
    /// Nowhere: the layer has nothing there. With the real path as far as it is known, and the rest as it is.
    Missing(Vec<u8>),
    /// Something that is neither folder nor symlink is in the way.
    NotFolder,
}

/// Finds folders below a root.
#[derive(Debug)]
pub struct Walker {
    root: Folder,
    cache: HashMap<Vec<u8>, Folder>,
    /// The folder of the last entry, by its name as the archive writes it.
    last: Option<(Vec<u8>, Folder)>,
}

impl Walker {
    pub fn new(root: BorrowedFd<'_>) -> Result<Self, Error> {
        let root = rustix::fs::openat(root, ".", FOLDER, Mode::empty())
            .map_err(Error::file("open", b"/"))?;
        Ok(Self {
            root: (Rc::new(root), Rc::from(&b""[..])),
            cache: HashMap::new(),
            last: None,
        })
    }

    pub fn root(&self) -> Folder {
        self.root.clone()
    }

    /// Forgets cached folders: one was removed, or a symlink changed.
    pub fn forget(&mut self) {
        self.cache.clear();
        self.last = None;
    }

    /// The folder of the last entry, if it was written the same.
    pub fn same_as_last(&self, raw: &[u8]) -> Option<Folder> {
        self.last
            .as_ref()
            .filter(|(name, _)| name == raw)
            .map(|(_, folder)| folder.clone())
    }

    /// Remembers where an entry went.
    pub fn set_last(&mut self, raw: &[u8], folder: &Folder) {
        self.last = Some((raw.to_vec(), folder.clone()));
    }

    /// The folder that a path names. Missing components are made by `maker`, if there is one.
    pub fn walk(
        &mut self,
        parts: &[&[u8]],
        mut maker: Option<&mut dyn Maker>,
    ) -> Result<Reached, Error> {
        if parts.is_empty() {
            return Ok(Reached::Folder(self.root()));
        }
        let key = parts.join(&b'/');
        if let Some(folder) = self.cache.get(&key) {
            return Ok(Reached::Folder(folder.clone()));
        }
        let mut todo: Vec<Vec<u8>> = parts.iter().rev().map(|p| p.to_vec()).collect();
        // One at a time: a deep path has more folders than a process has descriptors.
        let mut here = self.root();
        // Start at the parent if that is known: entries of one folder usually come together.
        if let Some((_, up)) = parts.split_last()
            && !up.is_empty()
            && let Some(known) = self.cache.get(&up.join(&b'/'))
        {
            here = known.clone();
            todo.truncate(1);
        }
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                here = self.parent_of(&here)?;
                continue;
            }
            let path = join(&here.1, &name);
            if path.len() > MAX_REAL_PATH {
                return Err(Error::entry(&key, "leads through symbolic links too deep"));
            }
            let errno =
                match rustix::fs::openat(here.0.as_fd(), name.as_slice(), FOLDER, Mode::empty()) {
                    Ok(fd) => {
                        here = (Rc::new(fd), path.into());
                        continue;
                    }
                    Err(errno) => errno,
                };
            match errno {
                Errno::NOENT | Errno::LOOP | Errno::NOTDIR => {}
                e => return Err(Error::file("open the folder", &path)(e)),
            }
            if errno != Errno::NOENT
                && let Some(target) = self.link_target(here.0.as_fd(), &name)?
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::Loop(String::from_utf8_lossy(&key).into_owned()));
                }
                if target.starts_with(b"/") {
                    here = self.root();
                }
                let target = target.split(|b| *b == b'/').rev();
                todo.extend(
                    target
                        .filter(|p| !p.is_empty() && *p != b".")
                        .map(<[u8]>::to_vec),
                );
                continue;
            }
            match maker.as_deref_mut() {
                Some(maker) => {
                    maker.make(here.0.as_fd(), &name, &path)?;
                    todo.push(name);
                }
                None => {
                    let rest = todo.iter().rev();
                    return Ok(match errno {
                        Errno::NOENT => Reached::Missing(rest.fold(path, |p, name| join(&p, name))),
                        _ => Reached::NotFolder,
                    });
                }
            }
        }
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(key, here.clone());
        Ok(Reached::Folder(here))
    }

    /// What `..` means in a folder: the root's is the root itself. Real paths have no symlinks, and nobody else moves
    /// folders of a layer that is being made.
    fn parent_of(&self, folder: &Folder) -> Result<Folder, Error> {
        let Some(slash) = folder.1.iter().rposition(|b| *b == b'/') else {
            return Ok(self.root());
        };
        let path = &folder.1[..slash];
        let fd = rustix::fs::openat(folder.0.as_fd(), "..", FOLDER, Mode::empty())
            .map_err(Error::file("open the folder", path))?;
        Ok((Rc::new(fd), path.into()))
    }

    /// The folder at a real path, by way of what it has in common with another.
    pub fn step_to(&self, from: &Folder, path: &[u8]) -> Result<Option<Folder>, Error> {
        let mut here = from.clone();
        let rest = loop {
            if here.1.is_empty() {
                break path;
            }
            match path.strip_prefix(here.1.as_ref()) {
                Some(rest) if rest.first().is_none_or(|b| *b == b'/') => break rest,
                _ => here = self.parent_of(&here)?,
            }
        };
        for name in rest.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let path = join(&here.1, name);
            match rustix::fs::openat(here.0.as_fd(), name, FOLDER, Mode::empty()) {
                Ok(fd) => here = (Rc::new(fd), path.into()),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(e) => return Err(Error::file("open the folder", &path)(e)),
            }
        }
        Ok(Some(here))
    }

    fn link_target(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL) => Ok(None),
            Err(e) => Err(Error::file("read the link", name)(e)),
        }
    }
}

/// Type and attributes of a name, without following it.
pub fn stat(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The path of a name in a folder.
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// The folder and the name that a path ends with.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Opens a folder by its real path, without following anything.
pub fn open_folder(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at =
        rustix::fs::openat(root, ".", flags, Mode::empty()).map_err(Error::file("open", path))?;
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Ok(next) => at = next,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Ok(None);
            }
            Err(e) => return Err(Error::file("open", path)(e)),
        }
    }
    Ok(Some(at))
}
