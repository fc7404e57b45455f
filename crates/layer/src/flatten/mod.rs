//! A stack of layers as one plain folder: what the overlay would show, made of files, for hosts where nothing can be
//! mounted. Of one layer this is a faithful copy of a tree, hard links within it included.

mod copy;

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::merged::{Merged, Next, NodeKind};
use crate::walk::{open_folder, split};
use crate::{Error, Ownership};

use copy::Copier;

/// How files come into the flat folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As further names of the layers' own files, where the file system allows that: takes no space, and nobody may write
    /// to them.
    Linked,
    /// As copies that share no file with the layers; their data is shared until written where the file system can do that.
    Copied,
}

/// Makes of `layers`, the uppermost first, one tree in the empty folder `target`.
///
/// The caller has to be able to read every file; with mode 000 only the superuser of some user namespace can.
///
/// # Errors
/// For the first file that cannot be read or made.
pub fn flatten(
    layers: &[BorrowedFd<'_>],
    target: BorrowedFd<'_>,
    files: Files,
    ownership: Ownership,
) -> Result<(), Error> {
    if layers.is_empty() {
        return Ok(());
    }
    let merged = Merged::bare(layers)?;
    let mut copier = Copier::new(target, files, ownership);
    let mut folders: Vec<(Vec<u8>, usize)> = Vec::new();
    merged.walk(&merged.root()?, &mut |node| {
        let (parent, name) = split(&node.path);
        if node.kind == NodeKind::Directory {
            if !node.path.is_empty() {
                copier.make_folder(parent, name, &node.path)?;
            }
            folders.push((node.path.clone(), node.level));
            return Ok::<_, Error>(Next::Into);
        }
        let (from, _) = node.place()?;
        copier.file(from, parent, name, &node.path)?;
        Ok(Next::Past)
    })?;
    // When nothing more is put into them, and what is inside before what it is in, which may become inaccessible.
    for (path, layer) in folders.iter().rev() {
        let source = open_folder(layers[*layer], path)?
            .ok_or_else(|| Error::file("open the folder", path)(Errno::NOENT))?;
        copier.folder_attributes(source.as_fd(), path)?;
    }
    Ok(())
}
