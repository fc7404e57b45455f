//! What is remembered of a layer while it is unpacked: its folders, what waits for the layers below, what goes aside.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::attributes::FolderAttributes;
use crate::aside::AsideWriter;
use crate::merged::list;
use crate::walk::{Maker, join, stat};
use crate::whiteout::is_whiteout;
use crate::xattr::OPAQUE;
use crate::{Error, NeedsLower};

/// Most bytes of remembered names. An archive of one name a folder stays far below; names that get long by way of symlinks
/// would not.
const MAX_BYTES: usize = 256 << 20;
/// What a name costs besides its bytes.
const OVERHEAD: usize = 64;

/// Folders' real paths and attributes, parents first.
type Folders = Vec<(Vec<u8>, FolderAttributes)>;

/// Where a folder's attributes come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Folder {
    /// Its entry.
    Entry(FolderAttributes),
    /// It has no entry: from the layers below, if they have such a folder.
    Inherited {
        /// Whether it is known to hold more than whiteouts.
        solid: bool,
    },
    /// It has no entry, and what the layers below have there was removed.
    New,
}

/// Attributes of folders that nobody gave any.
pub(super) const DEFAULT: FolderAttributes = FolderAttributes {
    mode: 0o755,
    mtime: (0, 0),
};

/// All keys are real paths: no symlink on the way, no slash in front; the root is empty.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) folders: BTreeMap<Vec<u8>, Folder>,
    /// Opaque folders; `false`: the mark could not be set, or would not be heeded.
    opaque: BTreeMap<Vec<u8>, bool>,
    /// Folders in which something was whited out.
    whiteouts: BTreeMap<Vec<u8>, ()>,
    /// Hard links to what only a lower layer can have. An empty file holds each one's place.
    pub(super) lower_links: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) aside: Option<AsideWriter<&'a File>>,
    bytes: usize,
}

impl<'a> Known<'a> {
    pub(super) fn new(aside: Option<AsideWriter<&'a File>>) -> Self {
        Self {
            folders: BTreeMap::new(),
            opaque: BTreeMap::new(),
            whiteouts: BTreeMap::new(),
            lower_links: BTreeMap::new(),
            aside,
            bytes: 0,
        }
    }

    fn count(&mut self, path: &[u8]) -> Result<(), Error> {
        self.bytes += path.len() + OVERHEAD;
        if self.bytes > MAX_BYTES {
            return Err(Error::TooMuch {
                what: "bytes in the names of its folders",
                limit: MAX_BYTES as u64,
            });
        }
        Ok(())
    }

    pub(super) fn folder(&mut self, path: &[u8], folder: Folder) -> Result<(), Error> {
        if self.folders.insert(path.to_vec(), folder).is_none() {
            self.count(path)?;
        }
        Ok(())
    }

    pub(super) fn lower_link(&mut self, path: &[u8], target: Vec<u8>) -> Result<(), Error> {
        self.count(path)?;
        self.count(&target)?;
        self.lower_links.insert(path.to_vec(), target);
        Ok(())
    }

    pub(super) fn whiteout_in(&mut self, folder: &[u8]) -> Result<(), Error> {
        match self.whiteouts.insert(folder.to_vec(), ()) {
            None => self.count(folder),
            Some(()) => Ok(()),
        }
    }

    /// Whether whiteouts in a folder have nothing to hide.
    pub(super) fn hides_all(&self, folder: &[u8]) -> bool {
        self.opaque.contains_key(folder) || self.is_hidden(folder)
    }

    pub(super) fn is_marked(&self, folder: &[u8]) -> bool {
        self.opaque.contains_key(folder)
    }

    /// Nothing below a folder is whited out any more.
    pub(super) fn no_whiteouts_in(&mut self, folder: &[u8]) {
        if folder.is_empty() {
            self.whiteouts.clear();
        }
        remove_tree(&mut self.whiteouts, folder);
    }

    /// A path was removed, with all below it.
    pub(super) fn gone(&mut self, path: &[u8]) -> Result<(), Error> {
        let mut freed = remove_tree(&mut self.folders, path);
        freed += remove_tree(&mut self.opaque, path);
        freed += remove_tree(&mut self.whiteouts, path);
        freed += remove_tree(&mut self.lower_links, path);
        self.bytes = self.bytes.saturating_sub(freed);
        match &mut self.aside {
            Some(aside) => aside.gone(path),
            None => Ok(()),
        }
    }

    /// Whether this layer hides what the layers below have at a path, by something above it.
    pub(super) fn is_hidden(&self, path: &[u8]) -> bool {
        if self.opaque.is_empty() {
            return false;
        }
        let above = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        self.opaque.contains_key(&b""[..])
            || above
                .map(|(end, _)| &path[..end])
                .any(|folder| self.opaque.contains_key(folder))
    }

    /// Marks a folder as hiding all that the layers below have in it. Where the mark cannot be set (no place for it in the
    /// file system) or would not be heeded (overlayfs merges the layers' roots whatever they say), what it hides is to be
    /// whited out name by name.
    pub(super) fn make_opaque(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let marked = !path.is_empty() && {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(Error::file("open the folder", path))?;
            match rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => false,
                result => {
                    result.map_err(Error::file("make opaque the folder", path))?;
                    true
                }
            }
        };
        if self.opaque.insert(path.to_vec(), marked).is_none() {
            self.count(path)?;
        }
        Ok(())
    }

    /// Whether a folder was only made to hold whiteouts. Asked again, one that is not is not looked through again.
    pub(super) fn is_vain(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Error> {
        let Some(Folder::Inherited { solid: false }) = self.folders.get(path) else {
            return Ok(false);
        };
        let failed = |e| Error::file("look into", path)(e);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
        let mut vain = true;
        for inside in list(folder.as_fd(), path)? {
            let found = stat(folder.as_fd(), &inside).map_err(failed)?;
            let hides = found.is_none_or(|found| is_whiteout(&found));
            if !hides && !self.is_vain(folder.as_fd(), &inside, &join(path, &inside))? {
                vain = false;
                break;
            }
        }
        if !vain {
            self.folders
                .insert(path.to_vec(), Folder::Inherited { solid: true });
        }
        Ok(vain)
    }

    /// Folders with their attributes, parents first, and what the layers below have to tell.
    pub(super) fn into_needs(self) -> Result<(Folders, NeedsLower), Error> {
        if let Some(aside) = self.aside {
            aside.finish()?;
        }
        let inherited = |(path, folder): (&Vec<u8>, &Folder)| {
            matches!(folder, Folder::Inherited { .. }).then(|| path.clone())
        };
        let needs = NeedsLower {
            implicit_dirs: self.folders.iter().filter_map(inherited).collect(),
            lower_links: self.lower_links.into_iter().collect(),
            opaque_dirs: self
                .opaque
                .into_iter()
                .filter_map(|(path, marked)| (!marked).then_some(path))
                .collect(),
            whiteout_dirs: self.whiteouts.into_keys().collect(),
            attributes: Vec::new(),
        };
        let attributes = |folder| match folder {
            Folder::Entry(attributes) => attributes,
            Folder::Inherited { .. } | Folder::New => DEFAULT,
        };
        let folders = self.folders.into_iter().map(|(p, f)| (p, attributes(f)));
        Ok((folders.collect(), needs))
    }
}

/// Makes missing folders and remembers that they had no entry.
impl Maker for Known<'_> {
    fn make(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
        if name.starts_with(b".wh.") && path != super::AUFS_LINKS {
            return Err(Error::entry(
                path,
                "would be a folder, but its name is a whiteout's",
            ));
        }
        let failed = |e| Error::file("create the folder", path)(e);
        let replaces = stat(parent, name).map_err(failed)?.is_some();
        if replaces {
            rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
            self.gone(path)?;
        }
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        if replaces {
            self.make_opaque(parent, name, path)?;
        }
        let new = replaces || self.is_hidden(path);
        self.folder(
            path,
            if new {
                Folder::New
            } else {
                Folder::Inherited { solid: false }
            },
        )
    }
}

/// Removes a path and all below it; returns what it cost.
fn remove_tree<V>(map: &mut BTreeMap<Vec<u8>, V>, path: &[u8]) -> usize {
    if map.is_empty() {
        return 0;
    }
    let cost = |path: &[u8]| path.len() + OVERHEAD;
    let mut freed = map.remove(path).map_or(0, |_| cost(path));
    // `0` is the character after `/`.
    let (first, last) = ([path, b"/"].concat(), [path, b"0"].concat());
    let below: Vec<Vec<u8>> = map.range(first..last).map(|(p, _)| p.clone()).collect();
    for path in below {
        freed += cost(&path);
        map.remove(&path);
    }
    freed
}
