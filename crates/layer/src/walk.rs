//! Paths inside a layer's folder, by descriptor.
//!
//! A path is walked one component at a time with `O_NOFOLLOW`, so no symlink is ever followed by the kernel. One that
//! stands in the way is resolved here, within the layer: `/` and a `..` too many mean the layer's root.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

/// Symlinks on one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Open folders kept for the next entries.
const MAX_CACHED: usize = 128;

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

/// Finds folders below a root.
pub struct Walker {
    root: Folder,
    cache: HashMap<Vec<u8>, Folder>,
}

impl Walker {
    pub fn new(root: BorrowedFd<'_>) -> Result<Self, Error> {
        let root = rustix::fs::openat(root, ".", FOLDER, Mode::empty())
            .map_err(Error::file("open", b"/"))?;
        Ok(Self {
            root: (Rc::new(root), Rc::from(&b""[..])),
            cache: HashMap::new(),
        })
    }

    pub fn root(&self) -> Folder {
        self.root.clone()
    }

    /// Forgets cached folders: one was removed, or a symlink changed.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// The folder that a path names. Missing components are made by `maker`; without one they give `None`.
    pub fn folder(
        &mut self,
        parts: &[&[u8]],
        mut maker: Option<&mut dyn Maker>,
    ) -> Result<Option<Folder>, Error> {
        if parts.is_empty() {
            return Ok(Some(self.root()));
        }
        let key = parts.join(&b'/');
        if let Some(folder) = self.cache.get(&key) {
            return Ok(Some(folder.clone()));
        }
        let mut todo: Vec<Vec<u8>> = parts.iter().rev().map(|p| p.to_vec()).collect();
        let mut stack: Vec<Folder> = vec![self.root()];
        // Start at the parent if that is known: entries of one folder usually come together.
        if let Some((_, up)) = parts.split_last()
            && !up.is_empty()
            && let Some(known) = self.cache.get(&up.join(&b'/'))
            && known.1.as_ref() == up.join(&b'/').as_slice()
        {
            stack.push(known.clone());
            todo.truncate(1);
        }
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let here = stack.last().cloned().unwrap_or_else(|| self.root());
            if name == b".." {
                stack = self.parent_of(&here)?;
                continue;
            }
            let path: Vec<u8> = if here.1.is_empty() {
                name.clone()
            } else {
                [&here.1, &b"/"[..], &name].concat()
            };
            match rustix::fs::openat(here.0.as_fd(), name.as_slice(), FOLDER, Mode::empty()) {
                Ok(fd) => stack.push((Rc::new(fd), path.into())),
                Err(Errno::NOENT) => match maker.as_deref_mut() {
                    Some(maker) => {
                        maker.make(here.0.as_fd(), &name, &path)?;
                        todo.push(name);
                    }
                    None => return Ok(None),
                },
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    match self.link_target(here.0.as_fd(), &name)? {
                        Some(target) => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Error::Loop(
                                    String::from_utf8_lossy(&key).into_owned(),
                                ));
                            }
                            if target.starts_with(b"/") {
                                stack = vec![self.root()];
                            }
                            todo.extend(
                                target
                                    .split(|b| *b == b'/')
                                    .rev()
                                    .filter(|p| !p.is_empty() && *p != b".")
                                    .map(<[u8]>::to_vec),
                            );
                        }
                        None => match maker.as_deref_mut() {
                            Some(maker) => {
                                maker.make(here.0.as_fd(), &name, &path)?;
                                todo.push(name);
                            }
                            None => return Ok(None),
                        },
                    }
                }
                Err(e) => return Err(Error::file("open the folder", &path)(e)),
            }
        }
        let found = stack.pop().unwrap_or_else(|| self.root());
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(key, found.clone());
        Ok(Some(found))
    }

    /// The chain of folders up to the parent of a real path.
    fn parent_of(&self, folder: &Folder) -> Result<Vec<Folder>, Error> {
        let mut stack = vec![self.root()];
        let parts: Vec<&[u8]> = folder
            .1
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty())
            .collect();
        let Some((_, parents)) = parts.split_last() else {
            return Ok(stack);
        };
        let mut path: Vec<u8> = Vec::new();
        for name in parents {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let here = stack.last().cloned().unwrap_or_else(|| self.root());
            let fd = rustix::fs::openat(here.0.as_fd(), *name, FOLDER, Mode::empty())
                .map_err(Error::file("open the folder", &path))?;
            stack.push((Rc::new(fd), path.clone().into()));
        }
        Ok(stack)
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

/// Whether this is how overlayfs marks a deleted name.
pub fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
