//! Deleting what a stranger's layer or container left.
//!
//! A folder is read in large pieces and its names are deleted as they are read, relative to its descriptor: one system
//! call a file, as `rm -rf` has it, and no look at any file before. The kernel tells types with the names; only a file
//! system that does not makes us find out.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

/// Folders deeper than this are first moved up, so that neither stack nor descriptors run out.
const MAX_DEPTH: usize = 64;
/// Room for the names of a folder that one system call brings.
const NAMES: usize = 32 << 10;

/// Deletes a file or a whole folder, never following a symlink. Folders that their owner made inaccessible (mode 000)
/// are opened up first.
///
/// # Errors
/// The kernel's, for the first thing that cannot be deleted.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mut budget = u64::MAX;
    remove_some(parent, name, &mut budget).map(drop)
}

/// [`remove_tree`] for as long as `budget` lasts, which each deleted name lessens by one. Returns whether all is gone;
/// if not, another call goes on.
///
/// # Errors
/// As for [`remove_tree`].
pub fn remove_some(parent: BorrowedFd<'_>, name: &OsStr, budget: &mut u64) -> io::Result<bool> {
    let name = CString::new(name.as_bytes())?;
    match rustix::fs::unlinkat(parent, &*name, AtFlags::empty()) {
        Ok(()) => {
            *budget = budget.saturating_sub(1);
            return Ok(true);
        }
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let top = open(parent, &name)?;
    let mut remover = Remover {
        top: top.as_fd(),
        budget,
        moved: 0,
        buffers: Vec::new(),
    };
    remover.folder(parent, &name, top.as_fd(), 0)
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    budget: &'a mut u64,
    /// Folders that were moved up.
    moved: u64,
    /// Buffers that no folder needs just now.
    buffers: Vec<Vec<u8>>,
}

impl Remover<'_> {
    /// Empties and deletes an open folder. `false`: the budget is used up.
    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        folder: BorrowedFd<'_>,
        depth: usize,
    ) -> io::Result<bool> {
        loop {
            let before = (*self.budget, self.moved);
            if !self.names(folder, depth)? {
                return Ok(false);
            }
            // The parent of the top is the caller's: its mode is not touched.
            let removed = match depth {
                0 => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
                _ => unlink(parent, name, AtFlags::REMOVEDIR),
            };
            match removed {
                Ok(()) => {
                    *self.budget = self.budget.saturating_sub(1);
                    return Ok(true);
                }
                Err(Errno::NOENT) => return Ok(true),
                // Folders came up from the depth, or the file system skips names when others are deleted while it lists.
                Err(Errno::NOTEMPTY | Errno::EXIST) if (*self.budget, self.moved) != before => {
                    rustix::fs::seek(folder, SeekFrom::Start(0))?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn names(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<bool> {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.reserve(NAMES);
        let result = self.each_name(folder, depth, buffer.spare_capacity_mut());
        self.buffers.push(buffer);
        result
    }

    fn each_name(
        &mut self,
        folder: BorrowedFd<'_>,
        depth: usize,
        buffer: &mut [MaybeUninit<u8>],
    ) -> io::Result<bool> {
        let mut dir = RawDir::new(folder, buffer);
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if *self.budget == 0 {
                return Ok(false);
            }
            if entry.file_type() != FileType::Directory {
                match unlink(folder, name, AtFlags::empty()) {
                    Ok(()) => {
                        *self.budget -= 1;
                        continue;
                    }
                    Err(Errno::NOENT) => continue,
                    // The file system did not tell the type.
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let child = match open(folder, name) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    rustix::fs::fchmod(folder, Mode::from_raw_mode(0o700))?;
                    open(folder, name)?
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                result => result?,
            };
            if depth >= MAX_DEPTH {
                self.move_up(folder, name, child.as_fd())?;
                continue;
            }
            if !self.folder(folder, name, child.as_fd(), depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn move_up(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        child: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let open = Mode::from_raw_mode(0o700);
        // Moving a folder changes its `..`, which takes the right to write into it.
        rustix::fs::fchmod(child, open)?;
        loop {
            self.moved += 1;
            let up = format!(".minidock-deep-{}", self.moved);
            match rustix::fs::renameat(folder, name, self.top, up) {
                // An earlier call moved one here, or a stranger thought of the same name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(Errno::ACCESS) if self.moved == 1 => rustix::fs::fchmod(folder, open)?,
                result => return result,
            }
        }
    }
}

/// Deletes a name; a folder that forbids it is told to allow it.
fn unlink(folder: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(folder, Mode::from_raw_mode(0o700))?;
            rustix::fs::unlinkat(folder, name, flags)
        }
        result => result,
    }
}

/// Opens a folder that may not be readable yet. The right to look at it at all is its parent's matter.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Its type is checked, so nothing is followed.
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::ACCESS.into());
            }
            let mode = Mode::from_raw_mode(0o700);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    /// Wide, deeper than the limit, with folders in all states of inaccessibility.
    fn tree(at: &std::path::Path) -> u64 {
        let mut names = 1;
        let deep = at.join("t").join("d/".repeat(150));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("end"), "x").unwrap();
        names += 151;
        for mode in [0o000, 0o100, 0o200, 0o400, 0o500, 0o600] {
            let folder = at.join(format!("t/{mode:o}"));
            fs::create_dir_all(folder.join("sub/sub")).unwrap();
            fs::write(folder.join("sub/file"), "x").unwrap();
            std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
            fs::set_permissions(folder.join("sub"), Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            names += 5;
        }
        for i in 0..2_000 {
            fs::write(at.join(format!("t/a-name-of-some-length-{i}")), "").unwrap();
        }
        names + 2_000
    }

    #[test]
    fn a_tree_goes_in_pieces_or_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let parent = fs::File::open(dir.path()).unwrap();
        let name = OsStr::new("t");
        tree(dir.path());
        remove_tree(parent.as_fd(), name).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let names = tree(dir.path());
        let mut calls = 0;
        loop {
            calls += 1;
            let mut budget = 100;
            if remove_some(parent.as_fd(), name, &mut budget).unwrap() {
                break;
            }
            assert_eq!(budget, 0);
        }
        assert_eq!(calls, names.div_ceil(100));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_folder_above_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("up/t/sub")).unwrap();
        let up = dir.path().join("up");
        fs::set_permissions(&up, Permissions::from_mode(0o500)).unwrap();
        let parent = fs::File::open(&up).unwrap();
        let removed = remove_tree(parent.as_fd(), OsStr::new("t"));
        let mode = fs::metadata(&up).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(&up, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(mode, 0o500);
        // Root is not held by modes.
        assert_eq!(removed.is_ok(), rustix::process::geteuid().is_root());
    }
}
