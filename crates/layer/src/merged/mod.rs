//! A stack of layers, and a container's upper folder on top of it, as overlayfs would show them; without mounting anything.
//!
//! Owners, devices and extended attributes are the true ones: what was kept [aside](crate::aside) is told here. Everything
//! is found by descriptor, one name at a time and never through a symlink, so a hostile layer or a container that runs
//! meanwhile can lead nowhere else. Folders are listed in the order of their names' bytes.

mod attributes;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Error;
use crate::aside::{Aside, DeviceKind, Record};
pub(crate) use crate::walk::join;
use crate::walk::stat;
use crate::whiteout::{is_overlays, is_whiteout};

pub use walk::Next;

/// Symlinks on one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Marks of overlayfs and of fuse-overlayfs on a folder that hides what is below.
const OPAQUE: [&str; 2] = ["user.overlay.opaque", "user.fuseoverlayfs.opaque"];

/// fuse-overlayfs makes this file in opaque folders besides.
const FUSE_OPAQUE: &[u8] = b".wh..wh..opq";

/// How the names of fuse-overlayfs's whiteouts begin, where they are files.
const NAMED: &[u8] = b".wh.";

/// What the ids of a level's files mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They are the true ones, unless a record says otherwise.
    True,
    /// They mean nothing: it is 0:0, unless a record says otherwise.
    Aside,
    /// A container that has one id wrote here: what it copied up belongs to whom it belongs below, the rest to it.
    Container {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// One layer's folder, or a container's upper one.
#[derive(Debug)]
pub struct Level {
    /// The folder of the files.
    pub tree: OwnedFd,
    /// What was kept aside of them.
    pub aside: Aside,
    /// What their ids mean.
    pub owners: Owners,
    /// Whether it says anything about the root folder itself.
    pub root_seen: bool,
    /// Whether it is a container's, where overlayfs put copies of lower files.
    pub is_upper: bool,
    /// Whether files called `.wh.NAME` are whiteouts in it: fuse-overlayfs makes them where it can make no devices, and lets
    /// nobody else make any.
    pub named_whiteouts: bool,
}

impl Level {
    /// The name that a file speaks of: its own, or the one that it whites out.
    fn name_meant(&self, mut name: Vec<u8>) -> Vec<u8> {
        if self.named_whiteouts && name.starts_with(NAMED) {
            name.drain(..NAMED.len());
        }
        name
    }
}

/// The stack. Its first level is the uppermost one.
#[derive(Debug)]
pub struct Merged {
    levels: Vec<Level>,
    /// The first one is a whole tree.
    copy: bool,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
    /// A device with its numbers, major and minor.
    Device(DeviceKind, u32, u32),
}

/// One level's folder of a path.
#[derive(Debug)]
struct Part {
    level: usize,
    fd: OwnedFd,
}

/// A name, and the parts of its folder that have it.
type Named = (Vec<u8>, Vec<usize>);

/// A file of the merged view.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its real path without a slash in front; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, with set-id and sticky ones.
    pub mode: u32,
    /// The true user.
    pub uid: u32,
    /// The true group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Bytes of a regular file.
    pub size: u64,
    /// How many names its file has, on its level.
    pub links: u64,
    /// The level that it is from.
    pub level: usize,
    /// What is kept aside of it.
    record: Option<Record>,
    stat: Stat,
    /// Where it is, in each level that has a folder of its parent's path.
    parents: Rc<Vec<Part>>,
    /// Of these, the ones that have something to say about it, uppermost first: one, or several for a folder.
    here: Vec<usize>,
}

impl Merged {
    /// Puts levels together, uppermost first.
    pub fn new(levels: Vec<Level>) -> Self {
        Self {
            levels,
            copy: false,
        }
    }

    /// A tree that was once a copy of what the other levels show, uppermost first, and of which nothing shows but what it
    /// has itself. They say what its files were copied from.
    pub fn of_copy(levels: Vec<Level>) -> Self {
        Self { levels, copy: true }
    }

    /// Whether the uppermost level hides all others.
    pub(crate) fn is_copy(&self) -> bool {
        self.copy
    }

    /// The names in a folder of the uppermost level, with those that are whited out there.
    pub(crate) fn names_above(
        &self,
        folder: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<BTreeSet<Vec<u8>>, Error> {
        let names = list(folder, path)?.into_iter();
        Ok(match self.levels.first() {
            Some(level) => names.map(|name| level.name_meant(name)).collect(),
            None => names.collect(),
        })
    }

    /// Layers of which only content matters, uppermost first.
    pub(crate) fn bare(layers: &[BorrowedFd<'_>]) -> Result<Self, Error> {
        let level = |tree: &BorrowedFd<'_>| {
            Ok(Level {
                tree: tree.try_clone_to_owned().map_err(Error::Read)?,
                aside: Aside::default(),
                owners: Owners::True,
                root_seen: false,
                is_upper: false,
                named_whiteouts: false,
            })
        };
        Ok(Self::new(
            layers.iter().map(level).collect::<Result<_, _>>()?,
        ))
    }

    /// The root folder. It has the attributes that the uppermost level with an opinion wants.
    ///
    /// # Errors
    /// When there is no level, or one cannot be looked at.
    pub fn root(&self) -> Result<Node, Error> {
        let mut parents = Vec::with_capacity(self.levels.len());
        for (level, one) in self.levels.iter().enumerate() {
            let fd = one.tree.try_clone().map_err(Error::Read)?;
            parents.push(Part { level, fd });
        }
        let here: Vec<usize> = (0..parents.len()).collect();
        let opinion = self.levels.iter().position(|l| l.root_seen);
        let record = opinion.and_then(|l| self.levels[l].aside.get(b"").cloned());
        // The kernel shows the uppermost folder, which a container's was made to be like the image's.
        let upper = self.levels.first().is_some_and(|l| l.is_upper);
        let says = if upper { 0 } else { opinion.unwrap_or(0) };
        let Some(part) = parents.get(says) else {
            return Err(Error::entry(b"/", "is in no layer"));
        };
        let found = rustix::fs::fstat(&part.fd).map_err(Error::file("look at", b"/"))?;
        let mut root = Node::new(Vec::new(), says, found, Rc::new(parents), here);
        let owners = match self.levels[says].owners {
            Owners::Container { .. } => Owners::Aside,
            other => other,
        };
        root.own(owners, record);
        Ok(root)
    }

    /// A folder's entry of that name.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn child(&self, folder: &Node, name: &[u8]) -> Result<Option<Node>, Error> {
        let parts = folder.open_parts()?;
        let all: Vec<usize> = (0..parts.len()).collect();
        self.child_of(&parts, &folder.path, name, &all)
    }

    /// What a path names; nothing is followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let mut node = self.root()?;
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            if node.kind != NodeKind::Directory {
                return Ok(None);
            }
            match self.child(&node, name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// What a path names for a process in the container: symlinks are followed inside, the last one too.
    ///
    /// # Errors
    /// When links have no end, or something cannot be looked at.
    pub fn resolve(&self, path: &Path) -> Result<Option<Node>, Error> {
        use std::os::unix::ffi::OsStrExt;
        let mut todo = split(path.as_os_str().as_bytes());
        // One folder at a time: a deep path has more of them than a process has descriptors.
        let mut here = self.root()?;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if here.kind != NodeKind::Directory {
                return Ok(None);
            }
            if name == b".." {
                let end = here.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
                match self.lookup(&here.path[..end])? {
                    Some(parent) => here = parent,
                    None => return Ok(None),
                }
                continue;
            }
            match self.child(&here, &name)? {
                None => return Ok(None),
                Some(node) if node.kind == NodeKind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::Loop(path.display().to_string()));
                    }
                    let target = node.link_target()?;
                    if target.starts_with(b"/") {
                        here = self.root()?;
                    }
                    todo.extend(split(&target));
                }
                Some(node) => here = node,
            }
        }
        Ok(Some(here))
    }

    /// Merges one name: what the levels in `candidates` (indices into `parts`, uppermost first) have of it.
    fn child_of(
        &self,
        parts: &Rc<Vec<Part>>,
        folder: &[u8],
        name: &[u8],
        candidates: &[usize],
    ) -> Result<Option<Node>, Error> {
        let path = join(folder, name);
        let failed = |e| Error::file("look at", &path)(e);
        let mut top: Option<(usize, Stat)> = None;
        let mut here = Vec::new();
        for index in candidates {
            let Some(part) = parts.get(*index) else {
                continue;
            };
            let named = self.levels[part.level].named_whiteouts;
            if named && name.starts_with(NAMED) {
                continue;
            }
            let found = match stat(part.fd.as_fd(), name) {
                Ok(Some(found)) => found,
                Ok(None) if self.copy && part.level == 0 => break,
                Ok(None) if named && is_named_whiteout(part.fd.as_fd(), name) => break,
                Ok(None) | Err(Errno::NOTDIR) => continue,
                Err(e) => return Err(failed(e)),
            };
            let hides = match self.levels[part.level].is_upper {
                true => is_overlays(&found),
                false => is_whiteout(&found),
            };
            if hides {
                break;
            }
            let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if top.is_some() && !is_folder {
                break;
            }
            here.push(*index);
            top.get_or_insert((*index, found));
            if !is_folder || is_opaque(part.fd.as_fd(), name) {
                break;
            }
        }
        let Some((index, found)) = top else {
            return Ok(None);
        };
        let level = parts[index].level;
        let (owners, aside) = (self.levels[level].owners, &self.levels[level].aside);
        let mut record = aside.get(&path).cloned();
        let mut node = Node::new(path, level, found, Rc::clone(parts), here);
        let mut owners = owners;
        if record.is_none()
            && let Some(below) = self.copied_up_from(&node, name, index, candidates)?
        {
            record = node.inherit(below, &mut owners);
        }
        node.own(owners, record);
        Ok(Some(node))
    }

    /// The file of a lower level that a container's file is a copy of, as far as can be told.
    fn copied_up_from(
        &self,
        node: &Node,
        name: &[u8],
        index: usize,
        candidates: &[usize],
    ) -> Result<Option<Node>, Error> {
        let may_be = self.copy || node.may_be_copied_up(name, index);
        if !self.levels[node.level].is_upper || !may_be {
            return Ok(None);
        }
        let lower: Vec<usize> = candidates.iter().copied().filter(|i| *i > index).collect();
        let folder = node.path.len() - name.len();
        let folder = &node.path[..folder.saturating_sub(1)];
        let below = self.child_of(&node.parents, folder, name, &lower)?;
        Ok(below.filter(|b| node.same_type(b)))
    }

    /// The names in a folder, sorted, each with the parts that have it.
    fn names(&self, folder: &Node, parts: &[Part]) -> Result<Vec<Named>, Error> {
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let shown = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| !self.copy || part.level == 0);
        for (index, part) in shown {
            for name in list(part.fd.as_fd(), &folder.path)? {
                let all = if self.copy {
                    // What the name was copied from is further down.
                    (index..parts.len()).collect()
                } else {
                    vec![index]
                };
                let known = names.entry(self.levels[part.level].name_meant(name));
                let known: &mut Vec<usize> = known.or_default();
                known.extend(all);
                known.dedup();
            }
        }
        Ok(names.into_iter().collect())
    }

    /// A folder's entries, sorted by name.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn children(&self, folder: &Node) -> Result<Vec<Node>, Error> {
        let parts = folder.open_parts()?;
        let mut nodes = Vec::new();
        for (name, indices) in self.names(folder, &parts)? {
            nodes.extend(self.child_of(&parts, &folder.path, &name, &indices)?);
        }
        Ok(nodes)
    }
}

/// Whether a file next to a name that is not there whites it out.
fn is_named_whiteout(folder: BorrowedFd<'_>, name: &[u8]) -> bool {
    stat(folder, &[NAMED, name].concat()).is_ok_and(|found| found.is_some())
}

/// The components of a path, last first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .rev()
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// The names in one folder, in no order.
pub(crate) fn list(folder: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |e| Error::file("list", path)(e);
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::new(readable).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if ![&b"."[..], b"..", FUSE_OPAQUE].contains(&name.as_slice()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a level's folder hides what lower levels have in it.
pub(crate) fn is_opaque(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    let Some(path) = attributes::proc_path(parent, name) else {
        return false;
    };
    OPAQUE.iter().any(|mark| {
        let mut value = [0_u8; 8];
        rustix::fs::lgetxattr(&path, *mark, &mut value[..])
            .is_ok_and(|n| value.get(..n) == Some(b"y"))
    })
}
