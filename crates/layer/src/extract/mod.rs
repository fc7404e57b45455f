//! Entries to files.
//!
//! Here is who does what to an entry and what is remembered of it; `content` makes it, `attributes` says whose and how old
//! it is, `hiding` removes what it replaces and hides what lower layers have.

mod attributes;
mod content;
mod fill;
mod hiding;
mod known;

use std::os::fd::{AsFd, BorrowedFd};

use crate::aside::AsideWriter;
use crate::buffers::Shared;
use crate::tar_reader::{Entry, Kind, TarReader};
use crate::walk::{Folder, Reached, Walker, components, join};
use crate::{Error, Limits, Options, Ownership, Target, Whiteouts};

use attributes::Modes;
pub(crate) use attributes::{FolderAttributes, set_folders};
use fill::Filler;
pub use fill::filler;
pub(crate) use hiding::remove_whiteouts;
use known::{DEFAULT, Known};

/// Longest name of an entry in bytes; what programs pass to the kernel ends there as well (`PATH_MAX`, less its NUL).
const MAX_PATH: usize = 4095;
/// Longest component (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// Where aufs, and with it old layers, keeps files that only hard links point to.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// What a layer can only know together with the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedsLower {
    /// Folders without an entry of their own: their attributes are those of the layer below.
    pub implicit_dirs: Vec<Vec<u8>>,
    /// Hard links to files of a lower layer: (name, target).
    pub lower_links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Opaque folders that cannot be marked: what they hide is whited out name by name. The root is one, which overlayfs
    /// merges whatever it says, and all on a file system without extended attributes of users (tmpfs before Linux 6.6, NFS
    /// before 5.9).
    pub opaque_dirs: Vec<Vec<u8>>,
    /// Folders with whiteouts: where the layers below have no such folder, they would show, as names of nothing.
    pub whiteout_dirs: Vec<Vec<u8>>,
    /// The folders' attributes, set last: they may forbid what has to be done before.
    pub(crate) attributes: Vec<(Vec<u8>, FolderAttributes)>,
}

impl NeedsLower {
    /// Whether the layer stands by itself.
    pub fn is_empty(&self) -> bool {
        self.implicit_dirs.is_empty()
            && self.lower_links.is_empty()
            && self.opaque_dirs.is_empty()
            && self.whiteout_dirs.is_empty()
    }
}

/// Applies entries to a folder.
pub struct Extractor<'a> {
    walker: Walker,
    ownership: Ownership,
    limits: Limits,
    whiteouts: Whiteouts,
    known: Known<'a>,
    root: Option<FolderAttributes>,
    modes: Modes,
    filler: Option<Filler>,
    /// Memory for the path of the entry that is being made.
    path: Vec<u8>,
    pub entries: u64,
    pub content_size: u64,
}

impl<'a> Extractor<'a> {
    pub fn new(target: &Target<'a>, options: &Options, filler: Filler) -> Result<Self, Error> {
        Ok(Self {
            walker: Walker::new(target.tree)?,
            ownership: options.ownership,
            limits: options.limits,
            whiteouts: options.whiteouts,
            known: Known::new(target.aside.map(AsideWriter::new).transpose()?),
            root: None,
            modes: Modes::new(),
            filler: Some(filler),
            path: Vec::new(),
            entries: 0,
            content_size: 0,
        })
    }

    /// Applies all entries of an archive.
    pub fn run<R: Shared>(&mut self, tar: &mut TarReader<R>) -> Result<(), Error> {
        while let Some(entry) = tar.next()? {
            self.entries += 1;
            if self.entries > self.limits.max_entries {
                return Err(Error::TooMuch {
                    what: "entries",
                    limit: self.limits.max_entries,
                });
            }
            // A sparse file claims more than its data: 8 EiB cost nothing to write down.
            if entry.size > self.limits.max_size {
                return Err(Error::TooMuch {
                    what: "bytes in one file",
                    limit: self.limits.max_size,
                });
            }
            self.apply(&entry, tar)?;
        }
        self.filler.as_mut().map_or(Ok(()), Filler::flush)
    }

    /// Lets the other thread end, once it has filled what it was given.
    pub fn no_more(&mut self) {
        self.filler = None;
    }

    fn apply<R: Shared>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), Error> {
        // Entries of one folder usually come together.
        let (raw_parent, name) = split(&entry.path);
        let usual = is_usual(name) && entry.path.len() <= MAX_PATH;
        if usual && let Some(folder) = self.walker.same_as_last(raw_parent) {
            return self.apply_in(&folder, name, entry, tar);
        }
        let parts = checked(&entry.path)?;
        let Some((name, parents)) = parts.split_last() else {
            return self.apply_root(entry);
        };
        // Aufs's own, of old layers, except that files may have been moved there for hard links to point to.
        if parents.iter().any(|p| p.starts_with(b".wh..wh.")) && parents != [AUFS_LINKS] {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(parents, hidden, &entry.path);
        }
        let folder = match self.walker.walk(parents, Some(&mut self.known))? {
            Reached::Folder(folder) => folder,
            Reached::Missing(_) | Reached::NotFolder => {
                return Err(Error::entry(&entry.path, "has no parent folder"));
            }
        };
        if usual {
            self.walker.set_last(raw_parent, &folder);
        }
        self.apply_in(&folder, name, entry, tar)
    }

    /// Makes an entry in its folder. That nothing stands there yet is the usual case, so it is tried before it is looked.
    fn apply_in<R: Shared>(
        &mut self,
        (folder, folder_path): &Folder,
        name: &[u8],
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        if !folder_path.is_empty() {
            path.extend_from_slice(folder_path);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let made = self.make(folder.as_fd(), name, &path, entry, tar);
        self.path = path;
        made
    }

    fn make<R: Shared>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let mut device = None;
        match entry.kind {
            Kind::HardLink => return self.hard_link(parent, name, path, entry),
            Kind::Directory => return self.directory(parent, name, path, entry),
            Kind::File => return self.file(parent, name, path, entry, tar),
            Kind::Symlink => self.symlink(parent, name, path, entry)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                self.clear(parent, name, entry.kind, path)?;
                device = self.special(parent, name, path, entry)?;
            }
        }
        self.own_and_date(parent, name, path, entry, device)
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::entry(&entry.path, "would replace the root folder"));
        }
        self.root = Some(FolderAttributes {
            mode: entry.mode,
            mtime: entry.mtime,
        });
        let (root, _) = self.walker.root();
        self.own(root.as_fd(), b".", b"", entry, None)
    }

    /// Sets the folders' attributes, unless the layers below have to tell something first.
    pub fn finish(mut self) -> Result<(bool, NeedsLower), Error> {
        if self.known.folders.contains_key(AUFS_LINKS) {
            let (root, _) = self.walker.root();
            self.clear(root.as_fd(), AUFS_LINKS, Kind::File, AUFS_LINKS)?;
        }
        let (mut folders, mut needs) = self.known.into_needs()?;
        folders.insert(0, (Vec::new(), self.root.unwrap_or(DEFAULT)));
        if needs.is_empty() {
            set_folders(&mut self.walker, &folders)?;
        } else {
            needs.attributes = folders;
        }
        Ok((self.root.is_some(), needs))
    }
}

/// The components of an entry's name, which may be of any kind, but must fit a file system.
fn checked(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    if path.len() > MAX_PATH {
        let problem = format!("has a name of {} bytes; {MAX_PATH} is the most", path.len());
        return Err(Error::entry(path, problem));
    }
    let parts = components(path)
        .ok_or_else(|| Error::entry(path, "has a name that leads out of the layer"))?;
    // A whiteout's own name is never made, so it may be longer.
    let length = |part: &[u8]| part.strip_prefix(b".wh.").unwrap_or(part).len();
    match parts.iter().map(|p| length(p)).find(|n| *n > MAX_NAME) {
        Some(n) => Err(Error::entry(
            path,
            format!("has {n} bytes between two slashes of its name; {MAX_NAME} is the most"),
        )),
        None => Ok(parts),
    }
}

/// An entry's name in two: its folder as the archive writes it, and the rest without slashes at its end.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1);
    match path[..end].iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..end]),
        None => (b"", &path[..end]),
    }
}

/// Whether a component is a name, no way to walk and no whiteout.
fn is_usual(name: &[u8]) -> bool {
    name.len() <= MAX_NAME && !matches!(name, b"" | b"." | b"..") && !name.starts_with(b".wh.")
}
