//! What a layer could not know by itself, taken from the layers below it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};

use crate::walk::{is_whiteout, stat};
use crate::{Error, NeedsLower, Options, Ownership};

/// Gives folders without an entry the attributes that they have below, and makes hard links to files of lower layers by
/// copying these up first, as overlayfs would.
///
/// # Errors
/// When a link's target is nowhere, or files cannot be read or made.
pub fn complete(
    tree: BorrowedFd<'_>,
    needs: &NeedsLower,
    lower: &[BorrowedFd<'_>],
    options: &Options,
) -> Result<(), Error> {
    for (path, target) in &needs.lower_links {
        link_to_lower(tree, path, target, lower, options)?;
    }
    for path in &needs.opaque_dirs {
        hide_lower(tree, path, lower)?;
    }
    // Longest first: a parent may become inaccessible.
    let mut folders: Vec<&Vec<u8>> = needs.implicit_dirs.iter().collect();
    folders.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for path in folders {
        if let Some(found) = lower_stat(lower, path)?
            && FileType::from_raw_mode(found.st_mode) == FileType::Directory
        {
            copy_attributes(tree, path, &found, options)?;
        }
    }
    Ok(())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Opens a folder by its real path, without following anything.
fn open_folder(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at =
        rustix::fs::openat(root, ".", flags, Mode::empty()).map_err(Error::file("open", path))?;
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Ok(next) => at = next,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(None);
            }
            Err(e) => return Err(Error::file("open", path)(e)),
        }
    }
    Ok(Some(at))
}

/// What the uppermost of the lower layers has at a path.
fn lower_stat(lower: &[BorrowedFd<'_>], path: &[u8]) -> Result<Option<rustix::fs::Stat>, Error> {
    let (parent, name) = split(path);
    for layer in lower {
        let Some(folder) = open_folder(*layer, parent)? else {
            continue;
        };
        if let Some(found) = stat(folder.as_fd(), name).map_err(Error::file("look at", path))? {
            return Ok((!is_whiteout(&found)).then_some(found));
        }
    }
    Ok(None)
}

/// Whites out what the layers below have in a folder and this layer has not; what both have as folders is hidden further
/// down.
fn hide_lower(tree: BorrowedFd<'_>, path: &[u8], lower: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut todo = vec![path.to_vec()];
    while let Some(path) = todo.pop() {
        let Some(folder) = open_folder(tree, &path)? else {
            continue;
        };
        for layer in lower {
            let Some(below) = open_folder(*layer, &path)? else {
                continue;
            };
            for name in names(below.as_fd(), &path)? {
                let inside = if path.is_empty() {
                    name.clone()
                } else {
                    [&path, &b"/"[..], &name].concat()
                };
                match stat(folder.as_fd(), &name).map_err(Error::file("look at", &inside))? {
                    None => rustix::fs::mknodat(
                        &folder,
                        name.as_slice(),
                        FileType::CharacterDevice,
                        Mode::empty(),
                        0,
                    )
                    .map_err(Error::file("create the whiteout", &inside))?,
                    Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => {
                        if !todo.contains(&inside) {
                            todo.push(inside);
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }
    Ok(())
}

/// The names in a folder.
fn names(folder: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |e| Error::file("list", path)(e);
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(failed)?;
    let mut dir = rustix::fs::Dir::new(readable).map_err(failed)?;
    let mut names = Vec::new();
    while let Some(entry) = dir.read() {
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn times(stat: &rustix::fs::Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn copy_attributes(
    tree: BorrowedFd<'_>,
    path: &[u8],
    from: &rustix::fs::Stat,
    options: &Options,
) -> Result<(), Error> {
    let (parent, name) = split(path);
    let Some(folder) = open_folder(tree, parent)? else {
        return Ok(());
    };
    if options.ownership == Ownership::Host {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(from.st_uid),
            rustix::fs::Gid::from_raw(from.st_gid),
        );
        rustix::fs::chownat(
            &folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(Error::file("change the owner of", path))?;
    }
    rustix::fs::utimensat(&folder, name, &times(from), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::file("set the time of", path))?;
    rustix::fs::chmodat(
        &folder,
        name,
        Mode::from_raw_mode(from.st_mode & 0o7777),
        AtFlags::empty(),
    )
    .map_err(Error::file("change the mode of", path))
}

fn link_to_lower(
    tree: BorrowedFd<'_>,
    path: &[u8],
    target: &[u8],
    lower: &[BorrowedFd<'_>],
    options: &Options,
) -> Result<(), Error> {
    let missing = || {
        Error::entry(
            path,
            format!(
                "is a hard link to {:?}, which no layer has",
                String::from_utf8_lossy(target)
            ),
        )
    };
    let (target_parent, target_name) = split(target);
    let (parent, name) = split(path);
    let to = open_folder(tree, parent)?.ok_or_else(missing)?;
    for layer in lower {
        let Some(folder) = open_folder(*layer, target_parent)? else {
            continue;
        };
        let Some(found) =
            stat(folder.as_fd(), target_name).map_err(Error::file("look at", target))?
        else {
            continue;
        };
        return match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => copy_up(
                folder.as_fd(),
                target_name,
                &found,
                to.as_fd(),
                name,
                path,
                options,
            ),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&folder, target_name, Vec::new())
                    .map_err(Error::file("read the link", target))?;
                rustix::fs::symlinkat(link, &to, name)
                    .map_err(Error::file("create the symlink", path))
            }
            _ => Err(missing()),
        };
    }
    Err(missing())
}

fn copy_up(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    found: &rustix::fs::Stat,
    to: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    options: &Options,
) -> Result<(), Error> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, from_name, read, Mode::empty())
        .map_err(Error::file("open", path))?;
    let write = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))
        .map_err(Error::file("create", path))?;
    std::io::copy(
        &mut std::fs::File::from(source),
        &mut std::fs::File::from(copy.try_clone().map_err(Error::Read)?),
    )
    .map_err(|source| Error::File {
        operation: "write",
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    })?;
    if options.ownership == Ownership::Host {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(found.st_uid),
            rustix::fs::Gid::from_raw(found.st_gid),
        );
        rustix::fs::fchown(&copy, Some(uid), Some(gid))
            .map_err(Error::file("change the owner of", path))?;
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(found.st_mode & 0o7777))
        .map_err(Error::file("change the mode of", path))?;
    rustix::fs::futimens(&copy, &times(found)).map_err(Error::file("set the time of", path))
}
