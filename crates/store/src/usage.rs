//! What things take on the disk, for `system df` and the words of `prune`.
//!
//! A layer never changes, so its size is measured once and kept in `layer.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use minidock_oci::{Digest, ImageManifest, MAX_MANIFEST_SIZE};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::fs::{Durability, list, replace_json};
use crate::partial::PARTIAL;
use crate::{Container, ImageRecord, Store, StoreError, Volume, flat};

/// Folders deeper than this are not measured: each level keeps a descriptor open.
const MAX_DEPTH: usize = 256;
/// What `st_blocks` counts in (stat(3type)).
const BLOCK: u64 = 512;

/// A size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the sizes of the files, in bytes.
    pub content: u64,
    /// What they take on the disk, in bytes.
    pub disk: u64,
}

/// Blobs and layers on disk, each with the bytes that it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeMap<String, u64>);

impl Parts {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those of them that are in a set.
    pub fn total_of(&self, names: &BTreeSet<String>) -> u64 {
        names.iter().filter_map(|name| self.0.get(name)).sum()
    }
}

impl Store {
    /// Everything below `blobs/`, `layers/`, `partial/` and `flat/`, by its path in the store. Of flat images only what is not the
    /// layers' as well.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn parts(&self) -> Result<Parts, StoreError> {
        let mut parts = BTreeMap::new();
        for algorithm in ["sha256", "sha512"] {
            for name in list(&self.path("blobs").join(algorithm))? {
                let name = format!("blobs/{algorithm}/{}", name.to_string_lossy());
                // What was removed meanwhile takes nothing.
                let meta = std::fs::symlink_metadata(self.path(&name));
                parts.insert(name, meta.map_or(0, |m| m.blocks() * BLOCK));
            }
            for name in list(&self.path("layers").join(algorithm))? {
                let name = format!("layers/{algorithm}/{}", name.to_string_lossy());
                let size = self.layer_disk_size(&self.path(&name));
                parts.insert(name, size);
            }
        }
        // Nothing refers to what came of layers whose transfer ended early.
        for name in self.partial_names()? {
            let name = format!("{PARTIAL}/{}", name.to_string_lossy());
            let meta = std::fs::symlink_metadata(self.path(&name));
            parts.insert(name, meta.map_or(0, |m| m.blocks() * BLOCK));
        }
        for name in self.flat_names()? {
            let name = format!("{}/{name}", flat::FLAT);
            let size = measure_own(&self.path(&name));
            parts.insert(name, size);
        }
        Ok(Parts(parts))
    }

    /// What an image consists of: the names in [`Store::parts`] of its blobs and layers. Of a damaged image, what can
    /// still be told.
    pub fn parts_of_image(&self, record: &ImageRecord) -> BTreeSet<String> {
        let blob =
            |digest: &Digest| format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
        let mut names = BTreeSet::from([blob(&record.image_id), blob(&record.manifest)]);
        names.extend(record.digest.as_ref().map(blob));
        let manifest = self.read_blob(&record.manifest, MAX_MANIFEST_SIZE);
        let manifest = manifest.map(|bytes| serde_json::from_slice::<ImageManifest>(&bytes));
        if let Ok(Ok(manifest)) = manifest {
            let digests = manifest.layers().iter().map(|l| l.digest().to_string());
            names.extend(digests.filter_map(|d| d.parse().ok()).map(|d| blob(&d)));
        }
        let layers = self
            .image_config(&record.image_id)
            .and_then(|config| self.image_layers(&record.image_id, &config));
        if let Ok(layers) = layers {
            names.insert(Self::flat_part(&layers.folders));
            names.extend(layers.folders);
        }
        names
    }

    /// The name in [`Store::parts`] that a flat image of these layers has, if there is one.
    pub fn flat_part(layers: &[String]) -> String {
        format!("{}/{}", flat::FLAT, flat::name(layers))
    }

    /// What a volume holds.
    pub fn volume_usage(&self, volume: &Volume) -> Usage {
        measure(&volume.data())
    }

    /// What a container wrote; of one whose root file system is a copy, all of it.
    pub fn container_usage(&self, container: &Container) -> Usage {
        let [upper, tree] = ["upper", "tree"].map(|name| measure(&container.folder().join(name)));
        Usage {
            content: upper.content.saturating_add(tree.content),
            disk: upper.disk.saturating_add(tree.disk),
        }
    }

    /// What a layer's folder takes.
    pub(crate) fn layer_disk_size(&self, folder: &Path) -> u64 {
        let Ok(info) = self.layer_info(folder) else {
            return measure(folder).disk;
        };
        if let Some(size) = info.disk_size {
            return size;
        }
        let size = measure(folder).disk;
        let info = crate::LayerInfo {
            disk_size: Some(size),
            ..info
        };
        // Where it cannot be kept, it is measured again.
        let _ = replace_json(
            &self.tmp(),
            &folder.join("layer.json"),
            &info,
            Durability::Volatile,
        );
        size
    }
}

/// The size of a file or of everything in a folder, a file of several names counted once. What cannot be read counts
/// nothing.
fn measure(path: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    if let Ok(stat) = rustix::fs::lstat(path) {
        add(&mut usage, &stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && let Ok(folder) = crate::layers::open_dir(path)
        {
            descend(folder.as_fd(), 0, &mut seen, &mut usage);
        }
    }
    usage
}

/// What only this folder holds, in bytes on the disk: a file with further names elsewhere is somebody else's.
fn measure_own(path: &Path) -> u64 {
    let mut seen = HashMap::new();
    if let Ok(folder) = crate::layers::open_dir(path) {
        names_within(folder.as_fd(), 0, &mut seen);
    }
    let foreign = seen.values().filter(|file| file.within < file.links);
    let foreign: u64 = foreign.map(|file| file.disk).sum();
    measure(path).disk.saturating_sub(foreign)
}

/// A file of several names.
struct Linked {
    within: u128,
    links: u128,
    disk: u64,
}

/// How many bits a number of links has depends on the machine.
fn wide(links: impl Into<u128>) -> u128 {
    links.into()
}

fn names_within(folder: BorrowedFd<'_>, depth: usize, seen: &mut HashMap<(u64, u64), Linked>) {
    let Ok(mut entries) = Dir::read_from(folder) else {
        return;
    };
    while let Some(Ok(entry)) = entries.read() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if stat.st_nlink > 1 {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                let file = seen.entry((stat.st_dev, stat.st_ino)).or_insert(Linked {
                    within: 0,
                    links: wide(stat.st_nlink),
                    disk: blocks.saturating_mul(BLOCK),
                });
                file.within += 1;
            }
        } else if depth < MAX_DEPTH
            && let Ok(inner) = open(folder, name)
        {
            names_within(inner.as_fd(), depth + 1, seen);
        }
    }
}

fn add(usage: &mut Usage, stat: &rustix::fs::Stat) {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    usage.disk = usage.disk.saturating_add(blocks.saturating_mul(BLOCK));
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        usage.content = usage.content.saturating_add(size);
    }
}

fn descend(
    folder: BorrowedFd<'_>,
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    usage: &mut Usage,
) {
    let Ok(mut entries) = Dir::read_from(folder) else {
        return;
    };
    while let Some(Ok(entry)) = entries.read() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_folder && stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        add(usage, &stat);
        if is_folder
            && depth < MAX_DEPTH
            && let Ok(inner) = open(folder, name)
        {
            descend(inner.as_fd(), depth + 1, seen, usage);
        }
    }
}

fn open(folder: BorrowedFd<'_>, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_measured_once_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join("t").join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("a/b/file"), vec![1; 10_000]).unwrap();
        std::fs::write(path("small"), b"abc").unwrap();
        std::fs::hard_link(path("a/b/file"), path("again")).unwrap();
        std::os::unix::fs::symlink("/", path("root")).unwrap();
        let sparse = std::fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let usage = measure(&dir.path().join("t"));
        assert_eq!(usage.content, 10_003 + (1 << 40));
        assert!((10_003..1_000_000).contains(&usage.disk), "{usage:?}");
        assert_eq!(measure(&dir.path().join("nosuch")), Usage::default());
        // All names within: its own. One elsewhere: not.
        assert_eq!(measure_own(&dir.path().join("t")), usage.disk);
        std::fs::hard_link(path("small"), dir.path().join("elsewhere")).unwrap();
        let own = measure_own(&dir.path().join("t"));
        assert!(own < usage.disk, "{own} of {usage:?}");
    }
}
