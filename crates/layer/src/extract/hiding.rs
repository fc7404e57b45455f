//! What is not there: whiteouts, opaque folders, what an entry replaces, folders that nobody mentions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::{Extractor, FolderAttributes};
use crate::Error;
use crate::aside::AsideWriter;
use crate::tar_reader::Kind;
use crate::walk::{Maker, is_whiteout, stat};

const OPAQUE: &str = "user.overlay.opaque";

/// Makes missing folders and remembers that they had no entry.
pub(super) struct Implicit<'a, 'f> {
    pub(super) folders: &'a mut BTreeMap<Vec<u8>, Option<FolderAttributes>>,
    pub(super) opaque: &'a mut BTreeSet<Vec<u8>>,
    pub(super) aside: Option<&'a mut AsideWriter<&'f File>>,
}

impl Maker for Implicit<'_, '_> {
    fn make(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
        let failed = |e| Error::file("create the folder", path)(e);
        let hidden = match stat(parent, name).map_err(failed)? {
            None => false,
            Some(old) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
                if let Some(aside) = &mut self.aside {
                    aside.gone(path)?;
                }
                is_whiteout(&old)
            }
        };
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        if hidden {
            make_opaque(parent, name, path, self.opaque)?;
        }
        self.folders.insert(path.to_vec(), None);
        Ok(())
    }
}

impl Extractor<'_> {
    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all they have in the folder. What this layer itself
    /// puts there stays, wherever it stands in the archive.
    pub(super) fn whiteout(
        &mut self,
        parent: BorrowedFd<'_>,
        hidden: &[u8],
        folder: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        if hidden == b".wh..opq" {
            return make_opaque(parent, b".", folder, &mut self.opaque);
        }
        if hidden.starts_with(b".wh.") {
            // Other names of this kind are aufs's own bookkeeping.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(path, "is a whiteout of nothing"));
        }
        match stat(parent, hidden).map_err(Error::file("look at", path))? {
            Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => {
                make_opaque(parent, hidden, &sibling(path, hidden), &mut self.opaque)
            }
            Some(_) => Ok(()),
            None => {
                rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(Error::file("create the whiteout", path))
            }
        }
    }

    /// Makes room for an entry. Returns whether a whiteout stood there, which a folder must go on being for the layers
    /// below: it becomes opaque.
    pub(super) fn clear(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
        path: &[u8],
    ) -> Result<bool, Error> {
        self.lower_links.remove(path);
        let Some(old) = stat(parent, name).map_err(Error::file("look at", path))? else {
            return Ok(false);
        };
        let is_folder = FileType::from_raw_mode(old.st_mode) == FileType::Directory;
        if is_folder && kind == Kind::Directory {
            return Ok(false);
        }
        if let Some(aside) = &mut self.aside
            && !is_whiteout(&old)
        {
            aside.gone(path)?;
        }
        if is_folder {
            self.walker.forget();
            let below = [path, b"/"].concat();
            self.folders
                .retain(|p, _| p != path && !p.starts_with(&below));
            self.lower_links.retain(|p, _| !p.starts_with(&below));
            self.opaque.retain(|p| p != path && !p.starts_with(&below));
            crate::remove::remove_tree(parent, std::os::unix::ffi::OsStrExt::from_bytes(name))
                .map_err(|source| Error::File {
                    operation: "replace",
                    path: String::from_utf8_lossy(path).into_owned(),
                    source,
                })?;
            return Ok(false);
        }
        if FileType::from_raw_mode(old.st_mode) == FileType::Symlink {
            self.walker.forget();
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(Error::file("replace", path))?;
        Ok(is_whiteout(&old))
    }
}

/// The path of another name in the same folder.
fn sibling(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => [&path[..=at], name].concat(),
        None => name.to_vec(),
    }
}

/// Marks a folder as hiding all that the layers below have in it. Where the file system has no place for the mark, the
/// folder is remembered instead.
pub(super) fn make_opaque(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    unmarked: &mut BTreeSet<Vec<u8>>,
) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(Error::file("open the folder", path))?;
    match rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => {
            unmarked.insert(path.to_vec());
            Ok(())
        }
        result => result.map_err(Error::file("make opaque the folder", path)),
    }
}
