//! What a container changed: its upper folder compared with the layers below.
//!
//! The meaning is Docker's. Something is **added** that no layer has; **deleted**, of which the upper folder has a whiteout, or
//! which an opaque folder there hides; and **changed**, whose content or attributes are others, or in which something
//! changed. What overlayfs merely copied up is compared with what it was copied from, content included, and is no change
//! when nothing is different.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use crate::Error;
use crate::merged::{Merged, Node, NodeKind, is_opaque, join};
use crate::walk::stat;
use crate::whiteout::is_overlays;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// No layer has it.
    Added,
    /// Layers have it otherwise.
    Modified,
    /// Layers have it, the container has not.
    Deleted,
}

/// A changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, without a slash in front.
    pub path: Vec<u8>,
    /// What became of it.
    pub kind: ChangeKind,
    /// It follows from another change, and a layer does not say it: what was in a folder that a file replaced.
    pub only_listed: bool,
}

/// What to compare.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The container's view: its upper folder and all layers.
    pub merged: &'a Merged,
    /// The layers alone.
    pub lower: &'a Merged,
    /// The upper folder.
    pub upper: BorrowedFd<'a>,
    /// Paths that minidock itself made in every container for its mounts. They are no changes while nothing is in them.
    pub ours: &'a BTreeSet<Vec<u8>>,
}

impl Comparison<'_> {
    /// All changes, sorted: a folder before what is in it, names in the order of their bytes.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        let upper = self.upper.try_clone_to_owned().map_err(Error::Read)?;
        let (merged, lower) = (self.merged.root()?, self.lower.root()?);
        let folder = Folder {
            upper: Some(upper),
            merged: &merged,
            lower: Some(&lower),
            // A copy lets nothing shine through.
            hides: self.merged.is_copy(),
        };
        self.folder(&folder, 0, &mut changes)?;
        Ok(changes)
    }

    fn folder(
        &self,
        folder: &Folder<'_>,
        depth: usize,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::entry(&folder.merged.path, "is too deep"));
        }
        let path = &folder.merged.path;
        let mut names: BTreeSet<Vec<u8>> = match &folder.upper {
            Some(upper) => self.merged.names_above(upper.as_fd(), path)?,
            None => BTreeSet::new(),
        };
        if folder.hides
            && let Some(lower) = folder.lower
        {
            let below = self.lower.children(lower)?;
            names.extend(below.iter().map(|n| n.name().to_vec()));
        }
        for name in names {
            self.name(folder, &name, depth, changes)?;
        }
        Ok(())
    }

    fn name(
        &self,
        folder: &Folder<'_>,
        name: &[u8],
        depth: usize,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let path = join(&folder.merged.path, name);
        let lower = match folder.lower {
            Some(lower) => self.lower.child(lower, name)?,
            None => None,
        };
        let found = match &folder.upper {
            Some(upper) => stat(upper.as_fd(), name).map_err(Error::file("look at", &path))?,
            None => None,
        };
        let Some(found) = found.filter(|f| !is_overlays(f)) else {
            if lower.is_some() {
                changes.push(Change::new(path, ChangeKind::Deleted));
            }
            return Ok(());
        };
        let Some(node) = self.merged.child(folder.merged, name)? else {
            return Ok(()); // Gone meanwhile.
        };
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            return self.file(path, &node, lower.as_ref(), changes);
        }
        let (below, hides, opened) = self.enter(folder, name, &path, lower.as_ref())?;
        let inside = Folder {
            upper: Some(opened),
            merged: &node,
            lower: below,
            hides,
        };
        let at = changes.len();
        self.folder(&inside, depth + 1, changes)?;
        let kind = match &lower {
            None if self.is_ours(&path) && changes.len() == at => return Ok(()),
            None => ChangeKind::Added,
            Some(lower) if lower.kind != NodeKind::Directory => ChangeKind::Modified,
            Some(lower) => {
                let same = same_attributes(&node, lower)?
                    && (node.mtime == lower.mtime || self.has_ours(&path));
                if same && changes.len() == at {
                    return Ok(());
                }
                ChangeKind::Modified
            }
        };
        changes.insert(at, Change::new(path, kind));
        Ok(())
    }

    fn enter<'l>(
        &self,
        folder: &Folder<'_>,
        name: &[u8],
        path: &[u8],
        lower: Option<&'l Node>,
    ) -> Result<(Option<&'l Node>, bool, OwnedFd), Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = Error::file("open the folder", path);
        let upper = folder
            .upper
            .as_ref()
            .ok_or_else(|| Error::entry(path, "is not there"))?;
        let opened = rustix::fs::openat(upper, name, flags, Mode::empty()).map_err(failed)?;
        let hides = folder.hides || is_opaque(upper.as_fd(), name);
        let below = lower.filter(|l| l.kind == NodeKind::Directory);
        Ok((below, hides, opened))
    }

    fn file(
        &self,
        path: Vec<u8>,
        node: &Node,
        lower: Option<&Node>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let Some(lower) = lower else {
            if !(self.ours.contains(&path) && is_placeholder(node)) {
                changes.push(Change::new(path, ChangeKind::Added));
            }
            return Ok(());
        };
        if lower.kind == NodeKind::Directory {
            changes.push(Change::new(path, ChangeKind::Modified));
            for gone in self.lower.children(lower)? {
                changes.push(Change {
                    only_listed: true,
                    ..Change::new(gone.path, ChangeKind::Deleted)
                });
            }
            return Ok(());
        }
        if !same_file(node, lower)? {
            changes.push(Change::new(path, ChangeKind::Modified));
        }
        Ok(())
    }

    /// Whether we made it, or something in it.
    fn is_ours(&self, path: &[u8]) -> bool {
        self.ours.contains(path) || self.has_ours(path)
    }

    fn has_ours(&self, path: &[u8]) -> bool {
        let inside = join(path, b"");
        self.ours
            .range(inside.clone()..)
            .next()
            .is_some_and(|first| first.starts_with(&inside))
    }
}

/// Folders within each other that are compared; more cannot be named by a path.
const MAX_DEPTH: usize = 1000;

/// One folder in all three views.
struct Folder<'a> {
    upper: Option<OwnedFd>,
    merged: &'a Node,
    lower: Option<&'a Node>,
    /// Nothing of the lower one shines through.
    hides: bool,
}

impl Change {
    fn new(path: Vec<u8>, kind: ChangeKind) -> Self {
        Self {
            path,
            kind,
            only_listed: false,
        }
    }
}

/// An empty file to mount something on, or a link of ours.
fn is_placeholder(node: &Node) -> bool {
    match node.kind {
        NodeKind::File => node.size == 0,
        NodeKind::Symlink => true,
        _ => false,
    }
}

fn same_attributes(a: &Node, b: &Node) -> Result<bool, Error> {
    Ok(a.kind == b.kind
        && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
        && a.xattrs()? == b.xattrs()?)
}

fn same_file(a: &Node, b: &Node) -> Result<bool, Error> {
    if !same_attributes(a, b)? || a.size != b.size || a.mtime != b.mtime {
        return Ok(false);
    }
    match a.kind {
        NodeKind::Symlink => Ok(a.link_target()? == b.link_target()?),
        NodeKind::File => same_content(a, b),
        _ => Ok(true),
    }
}

fn same_content(a: &Node, b: &Node) -> Result<bool, Error> {
    let failed = |source| Error::File {
        operation: "read",
        path: String::from_utf8_lossy(&a.path).into_owned(),
        source,
    };
    crate::content::same(&a.open()?, &b.open()?, a.size).map_err(failed)
}
