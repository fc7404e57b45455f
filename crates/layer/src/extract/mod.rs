//! Entries to files.
//!
//! Here is who does what to an entry and what is remembered of it; `content` makes it, `attributes` says whose and how old
//! it is, `hiding` removes what it replaces and hides what lower layers have.

mod attributes;
mod content;
mod hiding;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use crate::aside::AsideWriter;
use crate::tar_reader::{Entry, Kind, TarReader};
use crate::walk::{Walker, components};
use crate::{Error, Limits, Options, Ownership, Target};

use attributes::{FolderAttributes, set_folder};
use hiding::Implicit;

const BUFFER: usize = 128 << 10;

/// What a layer can only know together with the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedsLower {
    /// Folders without an entry of their own: their attributes are those of the layer below.
    pub implicit_dirs: Vec<Vec<u8>>,
    /// Hard links to files of a lower layer: (name, target).
    pub lower_links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Opaque folders on a file system without extended attributes of users (tmpfs before Linux 6.6, NFS before 5.9): what
    /// they hide is whited out name by name.
    pub opaque_dirs: Vec<Vec<u8>>,
}

impl NeedsLower {
    /// Whether the layer stands by itself.
    pub fn is_empty(&self) -> bool {
        self.implicit_dirs.is_empty() && self.lower_links.is_empty() && self.opaque_dirs.is_empty()
    }
}

/// Applies entries to a folder.
pub struct Extractor<'a> {
    walker: Walker,
    ownership: Ownership,
    limits: Limits,
    /// Real path to attributes; `None` for a folder without an entry.
    folders: BTreeMap<Vec<u8>, Option<FolderAttributes>>,
    lower_links: HashMap<Vec<u8>, Vec<u8>>,
    /// Folders that should be opaque and could not be marked.
    opaque: BTreeSet<Vec<u8>>,
    root: Option<FolderAttributes>,
    aside: Option<AsideWriter<&'a File>>,
    buffer: Vec<u8>,
    pub entries: u64,
    pub content_size: u64,
}

impl<'a> Extractor<'a> {
    pub fn new(target: &Target<'a>, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            walker: Walker::new(target.tree)?,
            ownership: options.ownership,
            limits: options.limits,
            folders: BTreeMap::new(),
            lower_links: HashMap::new(),
            opaque: BTreeSet::new(),
            root: None,
            aside: target.aside.map(AsideWriter::new).transpose()?,
            buffer: vec![0; BUFFER],
            entries: 0,
            content_size: 0,
        })
    }

    /// Applies all entries of an archive.
    pub fn run<R: Read>(&mut self, tar: &mut TarReader<R>) -> Result<(), Error> {
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
        Ok(())
    }

    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), Error> {
        if entry.path.contains(&0) {
            return Err(Error::entry(&entry.path, "has a NUL byte in its name"));
        }
        let parts = components(&entry.path)
            .ok_or_else(|| Error::entry(&entry.path, "has a name that leads out of the layer"))?;
        let Some((name, parents)) = parts.split_last() else {
            return self.apply_root(entry);
        };
        let mut implicit = Implicit {
            folders: &mut self.folders,
            opaque: &mut self.opaque,
            aside: self.aside.as_mut(),
        };
        let (folder, folder_path) = self
            .walker
            .folder(parents, Some(&mut implicit))?
            .ok_or_else(|| Error::entry(&entry.path, "has no parent folder"))?;
        let parent = folder.as_fd();
        let path = join(&folder_path, name);
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(parent, hidden, &folder_path, &path);
        }
        let mut device = None;
        let hides = self.clear(parent, name, entry.kind, &path)?;
        match entry.kind {
            Kind::Directory => return self.directory(parent, name, &path, entry, hides),
            Kind::File => return self.file(parent, name, &path, entry, tar),
            Kind::HardLink => return self.hard_link(parent, name, &path, entry),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Error::entry(&entry.path, "is a symlink to nowhere"));
                }
                rustix::fs::symlinkat(entry.link.as_slice(), parent, *name)
                    .map_err(Error::file("create the symlink", &path))?;
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                device = self.special(parent, name, &path, entry)?;
            }
        }
        self.own_and_date(parent, name, &path, entry, device)
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

    /// Sets the folders' attributes, children before parents, and says what the layers below have to tell.
    pub fn finish(mut self) -> Result<(bool, NeedsLower), Error> {
        if let Some(aside) = self.aside.take() {
            aside.finish()?;
        }
        let folders = std::mem::take(&mut self.folders);
        // In reverse order of names, so that a folder comes before the one it is in, which may become inaccessible.
        for (path, attributes) in folders.iter().rev() {
            let attributes = attributes.unwrap_or(FolderAttributes {
                mode: 0o755,
                mtime: (0, 0),
            });
            let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
            let Some((name, parents)) = parts.split_last() else {
                continue;
            };
            let Some((folder, _)) = self.walker.folder(parents, None)? else {
                continue;
            };
            set_folder(folder.as_fd(), name, path, attributes)?;
        }
        let (root, _) = self.walker.root();
        let attributes = self.root.unwrap_or(FolderAttributes {
            mode: 0o755,
            mtime: (0, 0),
        });
        set_folder(root.as_fd(), b".", b".", attributes)?;
        let needs = NeedsLower {
            implicit_dirs: folders
                .into_iter()
                .filter(|(_, a)| a.is_none())
                .map(|(p, _)| p)
                .collect(),
            lower_links: self.lower_links.into_iter().collect(),
            opaque_dirs: self.opaque.into_iter().collect(),
        };
        Ok((self.root.is_some(), needs))
    }
}

/// The path of a name in a folder.
fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}
