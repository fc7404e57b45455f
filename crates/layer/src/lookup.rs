//! A file as the merged overlay would show it, found without mounting anything.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::Error;
use crate::merged::{Merged, NodeKind};

/// Opens a regular file of a stack of layers, uppermost first, for reading. Symlinks are followed within the layers.
///
/// # Errors
/// When the path is something else than a regular file, a folder cannot be searched, or links have no end.
pub fn open_in_layers(layers: &[BorrowedFd<'_>], path: &Path) -> Result<Option<File>, Error> {
    if layers.is_empty() {
        return Ok(None);
    }
    let Some(node) = Merged::bare(layers)?.resolve(path)? else {
        return Ok(None);
    };
    let kind = match node.kind {
        NodeKind::File => return node.open().map(Some),
        NodeKind::Directory => "folder",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::Device(..) => "device",
        NodeKind::Symlink => "symbolic link",
    };
    Err(Error::NotAFile {
        path: path.display().to_string(),
        kind,
    })
}
