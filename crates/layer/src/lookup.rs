//! A file as the merged overlay would show it, found without mounting anything.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::walk::{is_whiteout, stat};

const MAX_LINKS: usize = 40;

/// One folder of the merged view: the layers' folders that make it up, uppermost first.
type Merged = Vec<OwnedFd>;

enum Found {
    Nothing,
    Folder(Merged),
    Link(Vec<u8>),
    File(File),
    Other(&'static str),
}

/// Opens a regular file of a stack of layers for reading. Symlinks are followed within the layers.
///
/// # Errors
/// When the path is something else than a regular file, a folder cannot be searched, or links have no end.
pub fn open_in_layers(layers: &[BorrowedFd<'_>], path: &Path) -> Result<Option<File>, Error> {
    let text = || path.display().to_string();
    let mut todo: Vec<Vec<u8>> = split(path.as_os_str().as_bytes());
    let mut stack: Vec<Merged> = vec![root(layers)?];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let Some(here) = stack.last() else {
            return Ok(None);
        };
        match step(here, &name, todo.is_empty())? {
            Found::Nothing => return Ok(None),
            Found::Folder(merged) => stack.push(merged),
            Found::File(file) if todo.is_empty() => return Ok(Some(file)),
            Found::File(_) | Found::Other(_) if !todo.is_empty() => return Ok(None),
            Found::File(file) => return Ok(Some(file)),
            Found::Other(kind) => return Err(Error::NotAFile { path: text(), kind }),
            Found::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::Loop(text()));
                }
                if target.starts_with(b"/") {
                    stack.truncate(1);
                }
                todo.extend(split(&target));
            }
        }
    }
    Err(Error::NotAFile {
        path: text(),
        kind: "folder",
    })
}

/// Components, last first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .rev()
        .filter(|p| !p.is_empty() && *p != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

fn root(layers: &[BorrowedFd<'_>]) -> Result<Merged, Error> {
    layers
        .iter()
        .map(|l| l.try_clone_to_owned().map_err(Error::Read))
        .collect()
}

fn step(here: &Merged, name: &[u8], last: bool) -> Result<Found, Error> {
    let failed = |e| Error::file("look at", name)(e);
    let mut folders = Merged::new();
    for layer in here {
        let found = match stat(layer.as_fd(), name) {
            Ok(Some(found)) => found,
            Ok(None) | Err(Errno::NOTDIR) => continue,
            Err(e) => return Err(failed(e)),
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Directory {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(layer, name, flags, Mode::empty()).map_err(failed)?;
            let opaque = is_opaque(layer.as_fd(), name);
            folders.push(fd);
            if opaque {
                break;
            }
            continue;
        }
        if !folders.is_empty() || is_whiteout(&found) {
            break;
        }
        return Ok(match kind {
            FileType::Symlink => Found::Link(
                rustix::fs::readlinkat(layer, name, Vec::new())
                    .map_err(failed)?
                    .into_bytes(),
            ),
            FileType::RegularFile if last => {
                let flags = OFlags::RDONLY
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::CLOEXEC
                    | OFlags::NOCTTY;
                Found::File(File::from(
                    rustix::fs::openat(layer, name, flags, Mode::empty()).map_err(failed)?,
                ))
            }
            FileType::RegularFile => Found::Other("file"),
            FileType::Fifo => Found::Other("fifo"),
            FileType::Socket => Found::Other("socket"),
            _ => Found::Other("device"),
        });
    }
    Ok(if folders.is_empty() {
        Found::Nothing
    } else {
        Found::Folder(folders)
    })
}

fn is_opaque(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut value = [0_u8; 8];
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .and_then(|fd| rustix::fs::fgetxattr(&fd, "user.overlay.opaque", &mut value[..]))
        .is_ok_and(|n| value.get(..n) == Some(b"y"))
}
