//! What is not there: whiteouts, opaque folders, what an entry replaces.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType};

use super::{Extractor, join};
use crate::Error;
use crate::merged::list;
use crate::tar_reader::Kind;
use crate::walk::{Reached, Walker, components, stat};
use crate::whiteout::is_whiteout;

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
            Reached::Folder((_, folder)) if self.known.hides_all(&folder) => return Ok(()),
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
            return self.hide_all(parent, b".", &folder_path);
        }
        let path = join(&folder_path, hidden);
        let failed = |e| Error::file("look at", &path)(e);
        match stat(parent, hidden).map_err(failed)? {
            None => {}
            Some(own) if FileType::from_raw_mode(own.st_mode) != FileType::Directory => {
                return Ok(());
            }
            Some(_) if !self.known.is_vain(parent, hidden, &path)? => {
                return self.hide_all(parent, hidden, &path);
            }
            Some(_) => self.remove(parent, hidden, &path)?,
        }
        self.whiteouts
            .make(parent, hidden)
            .map_err(Error::file("create the whiteout of", &path))?;
        self.known.whiteout_in(&folder_path)
    }

    /// Makes a folder opaque. Whiteouts in it have nothing to hide any more, and the kernel would list them.
    fn hide_all(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
        self.known.make_opaque(parent, name, path)?;
        self.known.no_whiteouts_in(path);
        let mut todo = vec![path.to_vec()];
        while let Some(path) = todo.pop() {
            let parts = components(&path).unwrap_or_default();
            let Reached::Folder((folder, _)) = self.walker.walk(&parts, None)? else {
                continue;
            };
            for name in list(folder.as_fd(), &path)? {
                let inside = join(&path, &name);
                let failed = |e| Error::file("look at", &inside)(e);
                match stat(folder.as_fd(), &name).map_err(failed)? {
                    Some(found) if is_whiteout(&found) => {
                        rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::empty())
                            .map_err(Error::file("remove a needless whiteout at", &inside))?;
                    }
                    Some(f) if FileType::from_raw_mode(f.st_mode) == FileType::Directory => {
                        if self.known.is_vain(folder.as_fd(), &name, &inside)? {
                            self.remove(folder.as_fd(), &name, &inside)?;
                        } else if !self.known.is_marked(&inside) {
                            todo.push(inside);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
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

/// Removes the whiteouts in a folder.
pub(crate) fn remove_whiteouts(walker: &mut Walker, path: &[u8]) -> Result<(), Error> {
    let parts = components(path).unwrap_or_default();
    let Reached::Folder((folder, _)) = walker.walk(&parts, None)? else {
        return Ok(());
    };
    let failed = |e| Error::file("remove a needless whiteout in", path)(e);
    for name in list(folder.as_fd(), path)? {
        let found = stat(folder.as_fd(), &name).map_err(failed)?;
        if found.is_some_and(|found| is_whiteout(&found)) {
            rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::empty()).map_err(failed)?;
        }
    }
    Ok(())
}
