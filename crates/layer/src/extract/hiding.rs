//! What is not there: whiteouts, opaque folders, what an entry replaces.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode};

use super::{Extractor, join};
use crate::Error;
use crate::tar_reader::Kind;
use crate::walk::{Reached, stat};

impl Extractor<'_> {
    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all they have in the folder. What this layer itself
    /// puts there stays, wherever it stands in the archive. A whiteout alone brings no folder into being: one that is made
    /// to hold it goes again where the layers below have none.
    pub(super) fn whiteout(
        &mut self,
        parents: &[&[u8]],
        hidden: &[u8],
        entry: &[u8],
    ) -> Result<(), Error> {
        if hidden.starts_with(b".wh.") && hidden != b".wh..opq" {
            // Other names of this kind are aufs's own bookkeeping.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(entry, "is a whiteout of nothing"));
        }
        match self.walker.walk(parents, None)? {
            Reached::Folder(_) => {}
            // This layer's own file, or whiteout, hides all that could be there.
            Reached::NotFolder => return Ok(()),
            Reached::Missing(folder) if self.known.is_hidden(&join(&folder, hidden)) => {
                return Ok(());
            }
            Reached::Missing(_) => {}
        }
        let Reached::Folder((folder, folder_path)) =
            self.walker.walk(parents, Some(&mut self.known))?
        else {
            return Ok(());
        };
        let parent = folder.as_fd();
        if hidden == b".wh..opq" {
            return self.known.make_opaque(parent, b".", &folder_path);
        }
        let path = join(&folder_path, hidden);
        let failed = |e| Error::file("look at", &path)(e);
        match stat(parent, hidden).map_err(failed)? {
            None => {}
            Some(own) if FileType::from_raw_mode(own.st_mode) != FileType::Directory => {
                return Ok(());
            }
            Some(_) if !self.known.is_vain(parent, hidden, &path)? => {
                return self.known.make_opaque(parent, hidden, &path);
            }
            Some(_) => self.remove(parent, hidden, &path)?,
        }
        rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(Error::file("create the whiteout of", &path))
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
        self.known.gone(path)?;
        self.walker.forget();
        crate::remove::remove_tree(parent, std::ffi::OsStr::from_bytes(name)).map_err(|source| {
            Error::File {
                operation: "replace",
                path: String::from_utf8_lossy(path).into_owned(),
                source,
            }
        })
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
        if old_kind == FileType::Directory {
            self.remove(parent, name, path)?;
            return Ok(false);
        }
        self.known.gone(path)?;
        if old_kind == FileType::Symlink {
            self.walker.forget();
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(Error::file("replace", path))?;
        Ok(true)
    }
}
