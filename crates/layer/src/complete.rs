//! What a layer could not know by itself, taken from the layers below it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::aside::{Aside, AsideWriter, Record};
use crate::extract::{FolderAttributes, remove_whiteouts, set_folders};
use crate::merged::{Merged, Node, NodeKind, is_opaque, list as names};
use crate::walk::{Reached, Walker, split, stat};
use crate::whiteout::is_whiteout;
use crate::{Error, NeedsLower, Options, Ownership, Whiteouts, xattr};

/// A complete layer below.
#[derive(Debug)]
pub struct Lower {
    tree: OwnedFd,
    aside: PathBuf,
    read: OnceCell<Aside>,
}

impl Lower {
    /// A layer's folder of files, and the file with what is kept aside of it, which is read when it is needed.
    pub fn new(tree: OwnedFd, aside: impl Into<PathBuf>) -> Self {
        Self {
            tree,
            aside: aside.into(),
            read: OnceCell::new(),
        }
    }

    /// The folder of files.
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    fn record(&self, path: &[u8]) -> Result<Record, Error> {
        let aside = match self.read.get() {
            Some(aside) => aside,
            None => {
                let aside = match File::open(&self.aside) {
                    Ok(file) => Aside::read(file)?,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Aside::default(),
                    Err(e) => return Err(Error::ReadAside(e)),
                };
                self.read.get_or_init(|| aside)
            }
        };
        Ok(aside.get(path).cloned().unwrap_or_default())
    }
}

/// Gives folders without an entry the attributes that they have below, makes hard links to files of lower layers, and hides
/// what folders hide that could not be marked. Returns whether the layer now has whiteouts.
///
/// `lower` is uppermost first; `aside` is open for appending.
///
/// # Errors
/// When a link's target is nowhere, or files cannot be read or made.
pub fn complete(
    tree: BorrowedFd<'_>,
    aside: Option<&File>,
    needs: NeedsLower,
    lower: &[&Lower],
    options: &Options,
) -> Result<bool, Error> {
    let mut attributes: BTreeMap<_, _> = needs.attributes.into_iter().collect();
    let mut work = Work {
        tree,
        walker: Walker::new(tree)?,
        aside: aside.map(AsideWriter::append),
        below: Merged::bare(&lower.iter().map(|l| l.tree()).collect::<Vec<_>>())?,
        lower,
        ownership: options.ownership,
        whiteouts: options.whiteouts,
        hides: false,
    };
    for (path, target) in &needs.lower_links {
        work.link(path, target)?;
    }
    for path in &needs.opaque_dirs {
        work.hide(path)?;
    }
    // Children first: a folder that goes takes nothing with it that stays.
    for path in needs.implicit_dirs.iter().rev() {
        match work.folder_below(path)? {
            Some(folder) => {
                let found = work.inherit(path, &folder)?;
                attributes.insert(path.clone(), found);
            }
            None => {
                if work.remove_if_vain(path)? {
                    attributes.remove(path);
                }
            }
        }
    }
    for path in &needs.whiteout_dirs {
        if work.folder_below(path)?.is_none() {
            remove_whiteouts(&mut work.walker, path)?;
        } else {
            work.hides = true;
        }
    }
    if let Some(aside) = work.aside.take() {
        aside.finish()?;
    }
    let attributes: Vec<_> = attributes.into_iter().collect();
    set_folders(&mut work.walker, &attributes)?;
    Ok(work.hides)
}

struct Work<'a> {
    tree: BorrowedFd<'a>,
    walker: Walker,
    aside: Option<AsideWriter<&'a File>>,
    /// The layers below, with the attributes that are on disk.
    below: Merged,
    lower: &'a [&'a Lower],
    ownership: Ownership,
    whiteouts: Whiteouts,
    /// There are whiteouts.
    hides: bool,
}

impl Work<'_> {
    fn folder(&mut self, path: &[u8]) -> Result<Option<std::rc::Rc<OwnedFd>>, Error> {
        let parts: Vec<&[u8]> = path
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty())
            .collect();
        Ok(match self.walker.walk(&parts, None)? {
            Reached::Folder((folder, _)) => Some(folder),
            Reached::Missing(_) | Reached::NotFolder => None,
        })
    }

    fn folder_below(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let found = match self.lower {
            [] => None,
            _ => self.below.lookup(path)?,
        };
        Ok(found.filter(|node| node.kind == NodeKind::Directory))
    }

    fn set_aside(&mut self, path: &[u8], record: &Record) -> Result<(), Error> {
        match &mut self.aside {
            Some(aside) => aside.set(path, record),
            None => Ok(()),
        }
    }

    /// The link is made across the layers' folders: no layer's file ever changes, and the overlay copies before it writes.
    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        let wrong = |problem: &str| {
            let target = String::from_utf8_lossy(target);
            Error::entry(path, format!("is a hard link to {target:?}, {problem}"))
        };
        let nowhere = "which neither it nor a layer below has";
        let (target_parent, target_name) = split(target);
        let target_parent = Path::new(OsStr::from_bytes(target_parent));
        let folder = match self.lower {
            [] => None,
            _ => self.below.resolve(target_parent)?,
        };
        let found = match folder.filter(|node| node.kind == NodeKind::Directory) {
            Some(folder) => self.below.child(&folder, target_name)?,
            None => None,
        };
        let found = found.ok_or_else(|| wrong(nowhere))?;
        if found.kind == NodeKind::Directory {
            return Err(wrong("which is a folder"));
        }
        let (parent, name) = split(path);
        let Some(to) = self.folder(parent)? else {
            return Ok(());
        };
        let failed = |e| Error::file("create the hard link", path)(e);
        // The empty file that held its place.
        rustix::fs::unlinkat(&to, name, AtFlags::empty()).map_err(failed)?;
        let (folder, target_name) = found.place()?;
        rustix::fs::linkat(folder, target_name, &to, name, AtFlags::empty()).map_err(failed)?;
        let record = self.lower[found.level].record(&found.path)?;
        self.set_aside(path, &record)
    }

    /// Whites out what the layers below have in a folder and this layer has not; what both have as folders is hidden
    /// further down.
    fn hide(&mut self, path: &[u8]) -> Result<(), Error> {
        let mut todo = BTreeSet::from([path.to_vec()]);
        while let Some(path) = todo.pop_first() {
            let Some(folder) = self.folder(&path)? else {
                continue;
            };
            let Some(below) = self.folder_below(&path)? else {
                continue;
            };
            for node in self.below.children(&below)? {
                if self.white_out(folder.as_fd(), node.name(), &node.path)? {
                    todo.insert(node.path);
                }
            }
        }
        Ok(())
    }

    /// Hides a name; `true`: it is a folder, and what is in it is to be hidden.
    fn white_out(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Error> {
        match stat(folder, name).map_err(Error::file("look at", path))? {
            Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => {
                Ok(!is_opaque(folder, name))
            }
            Some(_) => Ok(false),
            None => {
                self.hides = true;
                let made = self.whiteouts.make(folder, name);
                made.map_err(Error::file("create the whiteout", path))?;
                Ok(false)
            }
        }
    }

    /// A folder without an entry is the one that was there already.
    fn inherit(&mut self, path: &[u8], from: &Node) -> Result<FolderAttributes, Error> {
        let failed = |operation| Error::file(operation, path);
        let (parent, name) = split(path);
        if let Some(folder) = self.folder(parent)? {
            if self.ownership == Ownership::Host {
                let (uid, gid) = (Uid::from_raw(from.uid), Gid::from_raw(from.gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&folder, name, Some(uid), Some(gid), flags)
                    .map_err(failed("change the owner of"))?;
            }
            copy_xattrs(from.open_folder()?.as_fd(), folder.as_fd(), name, path)?;
        }
        let record = self.lower[from.level].record(path)?;
        self.set_aside(path, &record)?;
        Ok(FolderAttributes {
            mode: from.mode,
            mtime: from.mtime,
        })
    }

    /// A folder that was only made to hold whiteouts, where the layers below have no folder: there is nothing to hide.
    fn remove_if_vain(&mut self, path: &[u8]) -> Result<bool, Error> {
        let Some(folder) = self.folder(path)? else {
            return Ok(true);
        };
        let failed = |e| Error::file("remove a needless whiteout in", path)(e);
        let inside = names(folder.as_fd(), path)?;
        for name in &inside {
            let found = stat(folder.as_fd(), name).map_err(failed)?;
            if !found.is_some_and(|s| is_whiteout(&s)) {
                return Ok(false);
            }
        }
        for name in &inside {
            rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::empty()).map_err(failed)?;
        }
        drop(folder);
        self.walker.forget();
        let (parent, name) = split(path);
        match self.folder(parent)? {
            Some(parent) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(failed)?
            }
            None => rustix::fs::unlinkat(self.tree, name, AtFlags::REMOVEDIR).map_err(failed)?,
        }
        Ok(true)
    }
}

/// Copies the layer's attributes of a folder, as they are on disk. Not those of the overlay's own.
fn copy_xattrs(
    from: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
) -> Result<(), Error> {
    let failed = |e| Error::file("copy the extended attributes of", path)(e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = match rustix::fs::openat(from, ".", flags, Mode::empty()) {
        Ok(fd) => fd,
        // A folder that its owner cannot read has none that anybody without privileges can see.
        Err(Errno::ACCESS) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let attributes = match xattr::names(&from) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let wanted = attributes.iter().filter(|n| {
        let name = n.to_bytes();
        name.starts_with(b"user.") && xattr::in_layer(name).is_some()
    });
    for attribute in wanted {
        let value = xattr::value(&from, attribute).map_err(failed)?;
        let to = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
        rustix::fs::fsetxattr(&to, &**attribute, &value, XattrFlags::empty()).map_err(failed)?;
    }
    Ok(())
}
