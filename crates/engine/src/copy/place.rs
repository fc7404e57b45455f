//! Paths below a root folder, by descriptor.
//!
//! A path is walked one component at a time. No component is ever opened through a symlink by the kernel: one that stands in
//! the way is read, and resolved here, where `/` and a `..` too many mean the root. So whatever a container does to its files
//! meanwhile, nothing outside its root is reached; and no call is needed that an old kernel or a filter lacks. The links of
//! `/proc` that lead elsewhere by magic are texts here like any other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

/// Symlinks on one path, as in the kernel.
const MAX_LINKS: usize = 40;

pub const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::PATH)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What a path leads to.
#[derive(Debug)]
pub struct Place {
    /// The folder that it is in.
    pub parent: OwnedFd,
    /// Its name there; `.` for the root.
    pub name: Vec<u8>,
    /// Its real path, without a slash in front.
    pub path: Vec<u8>,
    /// What is there, if anything.
    pub stat: Option<Stat>,
}

impl Place {
    pub fn is_folder(&self) -> bool {
        self.is(FileType::Directory)
    }

    fn is(&self, kind: FileType) -> bool {
        self.stat
            .as_ref()
            .is_some_and(|s| FileType::from_raw_mode(s.st_mode) == kind)
    }

    /// Opens the folder that is there.
    pub fn open_folder(&self) -> io::Result<OwnedFd> {
        Ok(openat(
            &self.parent,
            self.name.as_slice(),
            FOLDER,
            Mode::empty(),
        )?)
    }
}

/// Components of a path, with `..` taken away with what is before it, as Docker does with what its users write.
pub fn clean(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

/// Finds what a path names below a root. Its last component may be missing; with `follow`, it may be a symlink.
///
/// # Errors
/// `ENOENT` and `ENOTDIR` for what is missing on the way, `ELOOP`, and whatever the kernel says.
pub fn find(root: &OwnedFd, path: &[u8], follow: bool) -> io::Result<Place> {
    let mut todo: Vec<Vec<u8>> = clean(path).into_iter().rev().collect();
    // The folders on the way, each in the one before it: what `..` goes back to.
    let mut stack: Vec<(OwnedFd, Vec<u8>)> = vec![(root.try_clone()?, Vec::new())];
    let mut links = 0;
    loop {
        let Some(name) = todo.pop() else {
            return last(stack);
        };
        if name == b".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let Some((here, at)) = stack.last() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let inside = join(at, &name);
        let stat = match statat(here, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) if todo.is_empty() => None,
            Err(e) => return Err(e.into()),
        };
        let kind = stat.map(|s| FileType::from_raw_mode(s.st_mode));
        if kind == Some(FileType::Symlink) && (follow || !todo.is_empty()) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(here, name.as_slice(), Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                stack.truncate(1);
            }
            let parts = target.split(|b| *b == b'/').rev();
            todo.extend(
                parts
                    .filter(|p| !p.is_empty() && *p != b".")
                    .map(<[u8]>::to_vec),
            );
            continue;
        }
        if todo.is_empty() {
            return Ok(Place {
                parent: here.try_clone()?,
                name,
                path: inside,
                stat,
            });
        }
        let next = openat(here, name.as_slice(), FOLDER, Mode::empty())?;
        stack.push((next, inside));
    }
}

/// A path that ended at a folder by way of `..` or of a link to the root.
fn last(mut stack: Vec<(OwnedFd, Vec<u8>)>) -> io::Result<Place> {
    let Some((folder, path)) = stack.pop() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let stat = rustix::fs::fstat(folder.as_fd())?;
    Ok(Place {
        parent: folder,
        name: b".".to_vec(),
        path,
        stat: Some(stat),
    })
}

pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}
