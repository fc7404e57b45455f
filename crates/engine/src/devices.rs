//! Devices of the host's that a container is given. It gets the host's node itself, bound: the file's own permissions decide
//! what it may do with it, as they do for the caller.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::Error;
use crate::spec::DeviceWish;

/// What every container has already, or has of its own.
const OWN: [&str; 13] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/fd",
    "/dev/core",
];

/// The nodes to bind: (path on the host, path inside). A folder stands for the nodes in it.
pub(crate) fn find(
    wishes: &[DeviceWish],
    privileged: bool,
) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut found = Vec::new();
    for wish in wishes {
        let failed = |source| Error::Path {
            operation: "open the device",
            path: wish.source.clone(),
            source,
        };
        let meta = std::fs::metadata(&wish.source).map_err(failed)?;
        if meta.is_dir() {
            below(&wish.source, &wish.target, 0, &mut found);
            continue;
        }
        let kind = meta.file_type();
        if !kind.is_char_device() && !kind.is_block_device() {
            return Err(Error::Device {
                path: wish.source.clone(),
                why: "it is not a device node".to_owned(),
            });
        }
        if !is_usable(&wish.source) {
            return Err(Error::Device {
                path: wish.source.clone(),
                why: format!(
                    "you may neither read nor write it: it belongs to uid {} and gid {} and has mode {:04o}",
                    meta.uid(),
                    meta.gid(),
                    meta.mode() & 0o7777
                ),
            });
        }
        found.push((wish.source.clone(), wish.target.clone()));
    }
    if privileged {
        below(Path::new("/dev"), "/dev", 0, &mut found);
    }
    let mut seen = Vec::new();
    found.retain(|(_, inside)| {
        let first = !seen.contains(inside);
        seen.push(inside.clone());
        first
    });
    Ok(found)
}

fn is_usable(path: &Path) -> bool {
    let may = |access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    may(Access::READ_OK) || may(Access::WRITE_OK)
}

/// Nodes that the caller may use; those that vanish meanwhile, and links, are left out.
fn below(folder: &Path, inside: &str, depth: usize, found: &mut Vec<(PathBuf, String)>) {
    const DEEPEST: usize = 8;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let target = format!("{inside}/{name}");
        let is_own = OWN.iter().any(|own| path == Path::new(own));
        if is_own {
            continue;
        }
        if kind.is_dir() && depth < DEEPEST {
            below(&path, &target, depth + 1, found);
        } else if (kind.is_char_device() || kind.is_block_device()) && is_usable(&path) {
            found.push((path, target));
        }
    }
}
