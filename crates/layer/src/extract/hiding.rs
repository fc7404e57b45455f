//! What is not there: whiteouts, opaque folders, what an entry replaces.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode};

use super::{Extractor, join};
use crate::Error;
use crate::tar_reader::Kind;
use crate::walk::stat;

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
            return self.known.make_opaque(parent, b".", folder);
        }
        if hidden.starts_with(b".wh.") {
            // Other names of this kind are aufs's own bookkeeping.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(path, "is a whiteout of nothing"));
        }
        match stat(parent, hidden).map_err(Error::file("look at", path))? {
            Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => self
                .known
                .make_opaque(parent, hidden, &join(folder, hidden)),
            Some(_) => Ok(()),
            None => {
                rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(Error::file("create the whiteout", path))
            }
        }
    }

    /// Makes room for an entry. Returns whether something that hides a folder of the layers below stood there: a folder
    /// that comes in its place becomes opaque.
    pub(super) fn clear(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
        path: &[u8],
    ) -> Result<bool, Error> {
        let Some(old) = stat(parent, name).map_err(Error::file("look at", path))? else {
            return Ok(false);
        };
        let old_kind = FileType::from_raw_mode(old.st_mode);
        if old_kind == FileType::Directory && kind == Kind::Directory {
            return Ok(false);
        }
        self.known.gone(path)?;
        if matches!(old_kind, FileType::Directory | FileType::Symlink) {
            self.walker.forget();
        }
        if old_kind == FileType::Directory {
            crate::remove::remove_tree(parent, std::ffi::OsStr::from_bytes(name)).map_err(
                |source| Error::File {
                    operation: "replace",
                    path: String::from_utf8_lossy(path).into_owned(),
                    source,
                },
            )?;
            return Ok(false);
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(Error::file("replace", path))?;
        Ok(true)
    }
}
