//! Opening a store: its folder, its format, whose it is.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use minidock_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::fs::{
    Durability, create_or_keep, hash, make_dir, read_json, read_limited, replace, replace_json,
};
use crate::lock::{Lock, LockMode};
use crate::{IdMap, IdMapping, StoreError};

/// The on-disk format this code reads and writes.
const FORMAT: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    format: u64,
    #[serde(flatten)]
    ids: IdMapping,
}

/// A store on disk. Cheap to open: no folder is listed.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    ids: IdMapping,
}

/// All folders of a store, parents first.
pub(crate) const FOLDERS: [&str; 13] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "diffs",
    "layers",
    "layers/sha256",
    "layers/sha512",
    "images",
    "containers",
    "names",
    "tmp",
    "trash",
    "locks",
];

/// Whether a name is one that a store has, finished or, while another process makes it, not yet.
fn is_ours(name: &str) -> bool {
    let files = ["version.json", "oci-layout", "index.json", "reserve"];
    FOLDERS.contains(&name)
        || [
            "volumes",
            "events",
            crate::flat::FLAT,
            crate::partial::PARTIAL,
        ]
        .contains(&name)
        || files.iter().any(|f| name.starts_with(f))
}

impl Store {
    /// Opens the store in `root`, making it when nothing is there.
    ///
    /// # Errors
    /// When the folder cannot be made or read, belongs to another user, has a newer format, or was
    /// made with another id map than `ids`.
    pub fn open(root: &Path, ids: impl Into<IdMapping>) -> Result<Self, StoreError> {
        let ids = ids.into();
        let store = match Self::find(root)? {
            Some(store) => store,
            None => Self::at(root, Self::create(root, &ids)?)?,
        };
        if store.ids != ids {
            return Err(StoreError::IdMap {
                path: root.to_owned(),
                found: store.ids.map,
                wanted: ids.map,
            });
        }
        Ok(store)
    }

    /// Opens the store in `root` with the map that it was made with, whichever that is. `None` when nothing is there.
    /// Whether this process can work with that map is for the caller to see.
    ///
    /// # Errors
    /// When the folder cannot be read, belongs to another user, or has a newer format.
    pub fn find(root: &Path) -> Result<Option<Self>, StoreError> {
        match read_json::<Version>(&root.join("version.json"))? {
            Some(version) => Self::at(root, version).map(Some),
            None => Ok(None),
        }
    }

    fn at(root: &Path, version: Version) -> Result<Self, StoreError> {
        if version.format != FORMAT {
            return Err(StoreError::Format {
                path: root.to_owned(),
                found: version.format,
                known: FORMAT,
            });
        }
        check_folder(root)?;
        Ok(Self {
            root: root.to_owned(),
            ids: version.ids,
        })
    }

    /// Makes the folders; `version.json` comes last, so that a killed creation is simply repeated.
    fn create(root: &Path, ids: &IdMapping) -> Result<Version, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(StoreError::io("create the store", root))?;
        check_owner(root)?;
        let occupied = std::fs::read_dir(root)
            .map_err(StoreError::io("open", root))?
            .flatten()
            .any(|e| !e.file_name().to_str().is_some_and(is_ours));
        if occupied {
            return Err(StoreError::NotAStore(root.to_owned()));
        }
        // An empty folder that was there already may be open to others.
        if mode(root)? & 0o077 != 0 {
            Self::close_to_others(root)?;
        }
        for folder in FOLDERS {
            make_dir(&root.join(folder))?;
        }
        let _creating = Lock::wait(&root.join("locks/store"), LockMode::Exclusive)?;
        if let Some(version) = read_json(&root.join("version.json"))? {
            return Ok(version);
        }
        // Blobs without a version are no new store, but one that lost it; the index may be gone as well.
        if ["blobs/sha256", "containers"]
            .iter()
            .any(|f| !is_empty(&root.join(f)))
        {
            return Err(StoreError::Damaged {
                path: root.join("version.json"),
                problem: "it is missing".into(),
            });
        }
        // What removes things locks these, and on a disk without room they could not be made any more.
        for name in ["turn", "index", "containers", "trash"] {
            create_or_keep(&root.join("locks").join(name))?;
        }
        write_layout(root)?;
        crate::index::write_empty(root)?;
        write_version(root, ids)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which ids the files can have.
    pub fn id_map(&self) -> IdMap {
        self.ids.map
    }

    /// The map that made the files, with its ranges.
    pub fn id_mapping(&self) -> &IdMapping {
        &self.ids
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Whether a blob has the content that its name says.
    pub(crate) fn is_intact(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        let actual = hash(&path, digest).map_err(StoreError::io("read", path))?;
        Ok(actual == *digest)
    }

    /// Reads a small blob (manifest, index, config) and checks its digest again.
    ///
    /// # Errors
    /// When it is missing, larger than `limit` bytes, or not what its name says.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let bytes = read_limited(&path, limit)?;
        let mut hasher = minidock_oci::Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(StoreError::Damaged {
                path,
                problem: format!("its content has digest {actual}"),
            });
        }
        Ok(bytes)
    }

    /// Opens a blob for reading. Its bytes were verified when it came.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<std::fs::File, StoreError> {
        let path = self.blob_path(digest);
        std::fs::File::open(&path).map_err(StoreError::io("read", &path))
    }

    pub(crate) fn lock_file(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }
}

/// Writes `oci-layout`, which tells other tools that this is an OCI image layout.
pub(crate) fn write_layout(root: &Path) -> Result<(), StoreError> {
    let bytes = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let path = root.join("oci-layout");
    replace(&root.join("tmp"), &path, bytes, Durability::Durable)
}

pub(crate) fn write_version(root: &Path, ids: &IdMapping) -> Result<Version, StoreError> {
    let version = Version {
        format: FORMAT,
        ids: ids.clone(),
    };
    let path = root.join("version.json");
    replace_json(&root.join("tmp"), &path, &version, Durability::Durable)?;
    Ok(version)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn mode(root: &Path) -> Result<u32, StoreError> {
    let meta = std::fs::metadata(root).map_err(StoreError::io("open", root))?;
    Ok(meta.mode() & 0o7777)
}

fn check_owner(root: &Path) -> Result<(), StoreError> {
    let owner = std::fs::metadata(root)
        .map_err(StoreError::io("open", root))?
        .uid();
    let caller = rustix::process::geteuid().as_raw();
    if owner == caller {
        return Ok(());
    }
    Err(StoreError::Owner {
        path: root.to_owned(),
        owner,
        caller,
    })
}

/// Whoever can write into the store's folder can put anything into its owner's containers.
fn check_folder(root: &Path) -> Result<(), StoreError> {
    check_owner(root)?;
    match mode(root)? {
        mode if mode & 0o022 == 0 => Ok(()),
        mode => Err(StoreError::Open {
            path: root.to_owned(),
            mode,
        }),
    }
}
