//! Nodes of the merged view to entries of an archive.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{Header, TarWriter, sparse};
use crate::Error;
use crate::change::{Change, ChangeKind};
use crate::merged::{Merged, Next, Node, NodeKind};

const BUFFER: usize = 256 << 10;

/// What an archive of a tree is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveOptions {
    /// The latest time that a file may have, in seconds since 1970: later ones are given this one, so that archives of the
    /// same files made at different times are alike.
    pub latest: Option<i64>,
}

/// What is remembered of the entries written so far.
struct Files<'o> {
    options: &'o ArchiveOptions,
    /// First name of each file that has several.
    names: HashMap<(usize, u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

fn write_error(source: io::Error) -> Error {
    Error::WriteArchive(source)
}

impl<'o> Files<'o> {
    fn new(options: &'o ArchiveOptions) -> Self {
        Self {
            options,
            names: HashMap::new(),
            buffer: vec![0; BUFFER],
        }
    }

    fn time(&self, node: &Node) -> (i64, u32) {
        match self.options.latest {
            Some(latest) if node.mtime.0 >= latest => (latest, 0),
            _ => node.mtime,
        }
    }

    /// Writes one node under a name. Sockets have no place in an archive.
    fn write<W: Write>(
        &mut self,
        tar: &mut TarWriter<W>,
        node: &Node,
        path: &[u8],
    ) -> Result<(), Error> {
        if node.kind == NodeKind::Socket {
            return Ok(());
        }
        let mut header = Header {
            path,
            kind: Some(node.kind),
            link: b"",
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: self.time(node),
            size: 0,
            xattrs: &[],
        };
        let several = node.links > 1 && node.kind != NodeKind::Directory;
        let first = self.names.get(&node.inode()).filter(|_| several).cloned();
        if let Some(first) = &first {
            header.kind = None;
            header.link = first;
            return tar.entry(&header).map_err(write_error);
        }
        let target;
        if node.kind == NodeKind::Symlink {
            target = node.link_target()?;
            header.link = &target;
        }
        let xattrs = node.xattrs()?;
        header.xattrs = &xattrs;
        if node.kind == NodeKind::File {
            self.write_file(tar, node, &header)?;
        } else {
            tar.entry(&header).map_err(write_error)?;
        }
        if several {
            self.names.insert(node.inode(), path.to_vec());
        }
        Ok(())
    }

    fn write_file<W: Write>(
        &mut self,
        tar: &mut TarWriter<W>,
        node: &Node,
        header: &Header<'_>,
    ) -> Result<(), Error> {
        let mut file = node.open()?;
        let mut header = header.clone();
        header.size = node.size;
        let read = |source| Error::File {
            operation: "read",
            path: String::from_utf8_lossy(&node.path).into_owned(),
            source,
        };
        if node.has_holes()
            && let Some(pieces) =
                sparse::pieces(&file, node.size, &mut self.buffer).map_err(read)?
        {
            return tar
                .sparse(&header, &file, &pieces, &mut self.buffer)
                .map_err(write_error);
        }
        io::Seek::rewind(&mut file).map_err(read)?;
        tar.entry(&header).map_err(write_error)?;
        tar.copy(&mut file, &mut self.buffer).map_err(write_error)
    }
}

/// Writes all files of the view, as `docker export` does: without the root folder itself.
///
/// # Errors
/// When something cannot be read or written.
pub fn archive<W: Write>(
    merged: &Merged,
    tar: &mut TarWriter<W>,
    options: &ArchiveOptions,
) -> Result<(), Error> {
    let mut files = Files::new(options);
    merged.walk(&merged.root()?, &mut |node: &Node| {
        if !node.path.is_empty() {
            files.write(tar, node, &node.path)?;
        }
        Ok::<_, Error>(Next::Into)
    })
}

/// Writes a node and all below it, under another name than its own.
///
/// # Errors
/// When something cannot be read or written.
pub fn archive_node<W: Write>(
    merged: &Merged,
    node: &Node,
    name: &[u8],
    tar: &mut TarWriter<W>,
) -> Result<(), Error> {
    let options = ArchiveOptions::default();
    let mut files = Files::new(&options);
    merged.walk(node, &mut |below: &Node| {
        let rest = &below.path[node.path.len().min(below.path.len())..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let path = if rest.is_empty() {
            name.to_vec()
        } else {
            crate::merged::join(name, rest)
        };
        files.write(tar, below, &path)?;
        Ok::<_, Error>(Next::Into)
    })
}

/// Writes changes as a layer: what was added or modified with all its attributes, what was deleted as whiteouts.
///
/// # Errors
/// When something cannot be read or written.
pub fn changes_to_tar<W: Write>(
    merged: &Merged,
    changes: &[Change],
    tar: &mut TarWriter<W>,
    options: &ArchiveOptions,
) -> Result<(), Error> {
    let mut files = Files::new(options);
    // The folders from the root to the one of the last change: changes come in the order of a walk.
    let mut folders = vec![merged.root()?];
    for change in changes.iter().filter(|c| !c.only_listed) {
        let (folder, name) = split(&change.path);
        if name.starts_with(b".wh.") {
            // In a layer it would delete another file.
            continue;
        }
        if change.kind == ChangeKind::Deleted {
            let whiteout = crate::merged::join(folder, &[b".wh.", name].concat());
            let mut header = Header::file(&whiteout, 0, 0);
            header.mode = 0;
            tar.entry(&header).map_err(write_error)?;
            continue;
        }
        let Some(node) = enter(merged, &mut folders, folder, name)? else {
            continue; // A container that runs has removed it meanwhile.
        };
        files.write(tar, &node, &change.path)?;
    }
    Ok(())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Finds a node, with the folders on the way to the last one at hand.
fn enter(
    merged: &Merged,
    folders: &mut Vec<Node>,
    folder: &[u8],
    name: &[u8],
) -> Result<Option<Node>, Error> {
    let inside = |outer: &[u8]| {
        outer.is_empty()
            || folder == outer
            || (folder.starts_with(outer) && folder.get(outer.len()) == Some(&b'/'))
    };
    while folders.last().is_some_and(|last| !inside(&last.path)) {
        folders.pop();
    }
    let Some(mut here) = folders.last().cloned() else {
        return Ok(None);
    };
    let rest = folder[here.path.len()..].to_vec();
    for step in rest.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        match merged.child(&here, step)? {
            Some(next) if next.kind == NodeKind::Directory => {
                folders.push(next.clone());
                here = next;
            }
            _ => return Ok(None),
        }
    }
    merged.child(&here, name)
}
