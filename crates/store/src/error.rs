//! What can go wrong in the store, each with its subject.

use std::io;
use std::path::{Path, PathBuf};

use minidock_oci::{DiffId, Digest};

use crate::IdMap;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried: "create", "read", "lock", …
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something was to be changed in a store on a file system that takes no changes.
    #[error("the store {} is read-only: cannot {operation} {}", root.display(), path.strip_prefix(root).unwrap_or(path).display())]
    ReadOnly {
        /// The store.
        root: PathBuf,
        /// What was tried: "create", "lock", …
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A layer could not be applied or is not what it should be.
    #[error("layer {digest} cannot be unpacked")]
    Layer {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<minidock_layer::Error>,
    },
    /// Known bytes are claimed to be something that they are not.
    #[error("layer {blob} inflates to {actual}, but the image config says {claimed}")]
    DiffId {
        /// The blob.
        blob: Digest,
        /// What the config says.
        claimed: DiffId,
        /// What it was seen to be.
        actual: DiffId,
    },
    /// Bytes handed over do not have the digest they were promised to have.
    #[error("content has digest {actual}, expected {expected}")]
    BlobDigest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A stored file does not parse or contradicts itself.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// So little is left on the disk that adding stops.
    #[error("not enough space on the disk of the store {}: {} free, and {} to stay free", path.display(), room(*free), room(*keep))]
    KeepFree {
        /// The store.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that are to stay free.
        keep: u64,
    },
    /// The disk's file system has a fixed number of files, and nearly all are there.
    #[error("not enough inodes on the disk of the store {}: {left} files can still be made, and a hundredth of all are to stay free", path.display())]
    KeepFiles {
        /// The store.
        path: PathBuf,
        /// How many can still be made.
        left: u64,
    },
    /// Something else is in the folder.
    #[error("{} is not empty and no minidock store", _0.display())]
    NotAStore(PathBuf),
    /// Others may change what is in the store.
    #[error("others can write into the store {} (its mode is {mode:03o})", path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The store was made by a later release.
    #[error("the store {} has format {found}; this minidock knows format {known}", path.display())]
    Format {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The folder belongs to somebody else.
    #[error("the store {} belongs to uid {owner}, not to you (uid {caller})", path.display())]
    Owner {
        /// The store.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asks.
        caller: u32,
    },
    /// The store's files were made with another id map.
    #[error("the store {} was made with the id map `{found}`, not with `{wanted}`", path.display())]
    IdMap {
        /// The store.
        path: PathBuf,
        /// What made it.
        found: IdMap,
        /// What we would write.
        wanted: IdMap,
    },
    /// No image matches.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// An id prefix fits several images.
    #[error("image id {0} is ambiguous: it is the beginning of several")]
    AmbiguousImage(String),
    /// No container matches.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// An id prefix fits several containers.
    #[error("container id {0} is ambiguous: it is the beginning of several")]
    AmbiguousContainer(String),
    /// A container of that name exists.
    #[error("the container name {name:?} is already in use by container {}", &id[..12.min(id.len())])]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// What was meant as a volume's name is none.
    #[error(
        "{0:?} is no name for a volume: it needs 2 to 255 letters, digits, `_`, `.` or `-`, and starts with a letter or digit"
    )]
    VolumeName(String),
    /// No volume has that name.
    #[error("no such volume: {0}")]
    NoSuchVolume(String),
    /// A container has the volume.
    #[error("volume {name} is in use by {}", containers.iter().map(|id| &id[..12.min(id.len())]).collect::<Vec<_>>().join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Their ids.
        containers: Vec<String>,
    },
    /// A layer that an image needs is not there.
    #[error("layer {diff_id} of image {image} is missing from the store")]
    LayerMissing {
        /// The image's id.
        image: Digest,
        /// The layer.
        diff_id: DiffId,
    },
}

impl StoreError {
    /// What could not be done to a file of the store's; a file system that takes no writes is an error of its own.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| {
            if source.kind() == io::ErrorKind::ReadOnlyFilesystem
                && let Some(root) = store_of(&path)
            {
                return Self::ReadOnly {
                    root,
                    operation,
                    path,
                    source,
                };
            }
            Self::Io {
                operation,
                path,
                source,
            }
        }
    }

    /// Whether the store could not be changed because its file system, or the modes of its folders, do not let this
    /// process: what only reads may go on without.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::ReadOnly { .. } => true,
            Self::Io {
                operation, source, ..
            } => {
                source.kind() == io::ErrorKind::PermissionDenied
                    && !["read", "open", "list"].contains(operation)
            }
            _ => false,
        }
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ReadOnly { .. } => Some(
                "its images and containers can be looked at and saved; to change something, mount it writable, or use a store that you can write with --root or MINIDOCK_ROOT".into(),
            ),
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::QuotaExceeded => Some(format!(
                    "your quota is used up (`quota -s` shows it where that program is installed): free some space (`minidock rmi`, `minidock rm`), or use a store on another disk than that of {} with --root",
                    path.display()
                )),
                io::ErrorKind::StorageFull => Some(format!(
                    "free some space (`minidock rmi`, `minidock rm`), or use a store on another disk than that of {} with --root",
                    path.display()
                )),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Some("choose a folder that you can write with --root or MINIDOCK_ROOT".into())
                }
                _ => None,
            },
            Self::Layer { source, .. } => source.hint(),
            Self::Damaged { .. } => {
                Some("see what else is wrong with `minidock system check`; with --repair, it repairs what can be".into())
            }
            Self::KeepFiles { .. } => Some(
                "remove files there (`df -i` shows it; `minidock rmi`, `minidock rm`), use a store on another disk with --root, or let none stay free with --keep-free 0".into(),
            ),
            Self::KeepFree { .. } => Some(
                "free some space (`minidock rmi`, `minidock rm`), use a store on another disk with --root, or let less stay free with --keep-free SIZE".into(),
            ),
            Self::NotAStore(_) => Some("choose an empty or new folder".into()),
            Self::Open { path, .. } => Some(format!(
                "if you trust what is in it: `chmod go-w {}`",
                path.display()
            )),
            Self::Format { .. } => {
                Some("use the newer minidock, or another store with --root".into())
            }
            Self::Owner { .. } => {
                Some("use a store of your own: --root DIR or MINIDOCK_ROOT".into())
            }
            Self::IdMap { found, .. } => Some(format!(
                "owners cannot be mixed in one store: leave --id-map out, be who made it ({}), or use another store with --root DIR or MINIDOCK_ROOT",
                match found {
                    IdMap::Host => "root",
                    IdMap::Single | IdMap::Ranges => "an ordinary user",
                }
            )),
            Self::LayerMissing { .. } => {
                Some("remove the image with `minidock rmi -f` and pull or load it again".into())
            }
            Self::VolumeName(_) => {
                Some("for a folder of the host's, give an absolute path, or one that begins with `./`".into())
            }
            Self::VolumeInUse { containers, .. } => Some(format!(
                "remove what uses it first: `minidock rm {}`",
                containers.iter().map(|id| &id[..12.min(id.len())]).collect::<Vec<_>>().join(" ")
            )),
            Self::NameTaken { name, .. } => Some(format!(
                "remove it with `minidock rm {name}`, or choose another name"
            )),
            _ => None,
        }
    }
}

/// The store that a path lies in.
fn store_of(path: &Path) -> Option<PathBuf> {
    let is_store = |folder: &&Path| folder.join("version.json").exists();
    path.ancestors().skip(1).find(is_store).map(Path::to_owned)
}

/// Bytes in words: so many that a disk's tells something, so few that a nearly full one's does.
fn room(bytes: u64) -> String {
    let (amount, unit) = match bytes {
        0 => return "nothing is".into(),
        1..0x10_0000 => (bytes.div_ceil(1 << 10), "KiB"),
        0x10_0000..0x2_8000_0000 => (bytes >> 20, "MiB"),
        _ => (bytes >> 30, "GiB"),
    };
    format!("{amount} {unit} are")
}

#[cfg(test)]
mod tests {
    use super::{StoreError, room};

    #[test]
    fn room_is_told_in_a_unit_that_shows_it() {
        let told = [0, 1, 700 << 10, 5 << 20, 9 << 30, 12 << 30].map(room);
        assert_eq!(
            told,
            [
                "nothing is",
                "1 KiB are",
                "700 KiB are",
                "5 MiB are",
                "9216 MiB are",
                "12 GiB are"
            ]
        );
    }

    #[test]
    fn a_quota_that_is_used_up_is_told_from_a_full_disk() {
        let hint_of = |errno: rustix::io::Errno| {
            StoreError::io("write", "/data/store/tmp/x")(errno.into())
                .hint()
                .unwrap()
        };
        let quota = hint_of(rustix::io::Errno::DQUOT);
        assert!(quota.contains("`quota -s`"), "{quota}");
        assert!(quota.contains("/data/store/tmp/x"), "{quota}");
        let full = hint_of(rustix::io::Errno::NOSPC);
        assert!(!full.contains("quota"), "{full}");
        assert!(full.contains("minidock rmi"), "{full}");
    }
}
