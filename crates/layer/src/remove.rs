//! Deleting what a stranger's layer or container left.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Folders deeper than this are first moved up, so that neither stack nor descriptors run out.
const MAX_DEPTH: usize = 64;

/// Deletes a file or a whole folder, never following a symlink. Folders that their owner made inaccessible (mode 000)
/// are opened up first.
///
/// # Errors
/// The kernel's, for the first thing that cannot be deleted.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    match rustix::fs::unlinkat(parent, &*name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let top = open(parent, &name)?;
    let mut moved: u64 = 0;
    empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
    // What was too deep is now directly in the top folder; each round may move more up.
    while has_entries(top.as_fd())? {
        empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
    }
    rustix::fs::unlinkat(parent, &*name, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn open(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, &**name, flags, Mode::empty()) {
        Ok(fd) => {
            // Deleting needs write and search permission.
            let mode = rustix::fs::fstat(&fd)?.st_mode;
            if mode & 0o700 != 0o700 {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700))?;
            }
            Ok(fd)
        }
        Err(Errno::ACCESS) => {
            // A folder of ours without read permission: its type is checked, so nothing is followed.
            let stat = rustix::fs::statat(parent, &**name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::ACCESS.into());
            }
            rustix::fs::chmodat(
                parent,
                &**name,
                Mode::from_raw_mode(0o700),
                AtFlags::empty(),
            )?;
            Ok(rustix::fs::openat(parent, &**name, flags, Mode::empty())?)
        }
        Err(e) => Err(e.into()),
    }
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<(CString, FileType)>> {
    let mut dir = Dir::read_from(folder)?;
    let mut names = Vec::new();
    while let Some(entry) = dir.read() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

fn has_entries(folder: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(!names(folder)?.is_empty())
}

fn empty(
    top: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> io::Result<()> {
    for (name, kind) in names(folder)? {
        if kind != FileType::Directory {
            match rustix::fs::unlinkat(folder, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The file system did not tell the type.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if depth >= MAX_DEPTH {
            *moved += 1;
            let name_up = format!(".minidock-deep-{moved}");
            rustix::fs::renameat(folder, &*name, top, name_up)?;
            continue;
        }
        let child = open(folder, &name)?;
        empty(top, child.as_fd(), depth + 1, moved)?;
        match rustix::fs::unlinkat(folder, &*name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
