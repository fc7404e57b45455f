//! Finding an image, and what `run` needs of it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use minidock_oci::{ChainId, Digest, ImageConfig, MAX_MANIFEST_SIZE, Reference};
use serde::{Deserialize, Serialize};

use crate::fs::{Durability, read_json, replace_json};
use crate::layers::open_dir;
use crate::{ImageRecord, Store, StoreError};

/// How a query was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// By one of its names: that record.
    Name(ImageRecord),
    /// By (the beginning of) its id: all its records, at least one.
    Id(Vec<ImageRecord>),
}

impl Found {
    /// One record of the image.
    pub fn record(&self) -> Option<&ImageRecord> {
        match self {
            Self::Name(record) => Some(record),
            Self::Id(records) => records.first(),
        }
    }
}

/// Mode, owner and time of an image's root folder, which a container's upper folder must repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootAttributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner as stored.
    pub uid: u32,
    /// Group as stored.
    pub gid: u32,
}

/// An image's layers as folders of the store (`images/<hex>.json`, derived, not authoritative).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayers {
    /// Folder names relative to the store, base first.
    pub folders: Vec<String>,
    /// The root folder.
    pub root: RootAttributes,
    /// Sum of the sizes of all layers in bytes.
    pub size: u64,
    /// Whether a layer has whiteouts that overlays do not understand ([`LayerInfo::socket_whiteouts`]).
    ///
    /// [`LayerInfo::socket_whiteouts`]: crate::LayerInfo::socket_whiteouts
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub socket_whiteouts: bool,
}

impl ImageLayers {
    pub(crate) fn derive(
        store: &Store,
        image: &Digest,
        config: &ImageConfig,
    ) -> Result<Self, StoreError> {
        let diff_ids = &config.rootfs.diff_ids;
        let mut folders = Vec::with_capacity(diff_ids.len());
        let mut size: u64 = 0;
        let mut socket_whiteouts = false;
        // What overlayfs shows for `/` is the uppermost folder's, so it has to be the one that the
        // uppermost layer with an opinion wanted.
        let mut root = RootAttributes {
            mode: 0o755,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        for (diff_id, chain_id) in diff_ids.iter().zip(ChainId::of_stack(diff_ids)) {
            let folder =
                store
                    .layer_folder(diff_id, &chain_id)
                    .ok_or_else(|| StoreError::LayerMissing {
                        image: image.clone(),
                        diff_id: diff_id.clone(),
                    })?;
            let info = store.layer_info(&folder)?;
            if info.root_seen {
                let tree = folder.join("fs");
                let meta = std::fs::metadata(&tree).map_err(StoreError::io("read", &tree))?;
                root = RootAttributes {
                    mode: meta.mode() & 0o7777,
                    uid: meta.uid(),
                    gid: meta.gid(),
                };
            }
            size = size.saturating_add(info.content_size);
            socket_whiteouts |= info.socket_whiteouts;
            let name = folder
                .strip_prefix(store.root())
                .unwrap_or(&folder)
                .to_string_lossy()
                .into_owned();
            folders.push(name);
        }
        if !store.id_map().has_owners() {
            // All files are the caller's. How he is numbered depends on the user namespace that this process is in.
            (root.uid, root.gid) = (0, 0);
        }
        Ok(Self {
            folders,
            root,
            size,
            socket_whiteouts,
        })
    }

    pub(crate) fn file(store: &Store, image: &Digest) -> PathBuf {
        store.path("images").join(format!("{}.json", image.hex()))
    }

    pub(crate) fn write(&self, store: &Store, image: &Digest) -> Result<(), StoreError> {
        replace_json(
            &store.tmp(),
            &Self::file(store, image),
            self,
            Durability::Volatile,
        )
    }

    /// The layers' trees, uppermost first, as overlayfs counts them.
    pub fn trees(&self, store: &Store) -> Vec<PathBuf> {
        self.folders
            .iter()
            .rev()
            .map(|f| store.root().join(f).join("fs"))
            .collect()
    }

    /// Sizes of the layers' files in bytes, base first.
    ///
    /// # Errors
    /// When what is known of a layer cannot be read.
    pub fn sizes(&self, store: &Store) -> Result<Vec<u64>, StoreError> {
        let size = |folder| Ok(store.layer_info(&store.root().join(folder))?.content_size);
        self.folders.iter().map(size).collect()
    }

    /// The layers' trees opened, uppermost first.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(&self, store: &Store) -> Result<Vec<OwnedFd>, StoreError> {
        self.trees(store).iter().map(|p| open_dir(p)).collect()
    }
}

impl Store {
    /// Finds an image by reference, by its whole id (`sha256:…`), or by the beginning of its id.
    ///
    /// A name wins over an id prefix, as in Docker.
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`], [`StoreError::AmbiguousImage`], or a read error.
    pub fn find_image(&self, query: &str) -> Result<Found, StoreError> {
        let records = self.images()?;
        if let Ok(reference) = query.parse::<Reference>()
            && let Some(record) = records.iter().find(|r| named(r, &reference))
        {
            return Ok(Found::Name(record.clone()));
        }
        let prefix = query.strip_prefix("sha256:").unwrap_or(query);
        let is_prefix = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_hexdigit());
        let matching: Vec<ImageRecord> = records
            .into_iter()
            .filter(|r| is_prefix && r.image_id.hex().starts_with(prefix))
            .collect();
        match matching.first() {
            None => Err(StoreError::NoSuchImage(query.to_owned())),
            Some(first) if matching.iter().any(|r| r.image_id != first.image_id) => {
                Err(StoreError::AmbiguousImage(query.to_owned()))
            }
            Some(_) => Ok(Found::Id(matching)),
        }
    }

    /// The config of an image.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn image_config(&self, image_id: &Digest) -> Result<ImageConfig, StoreError> {
        let bytes = self.read_blob(image_id, MAX_MANIFEST_SIZE)?;
        ImageConfig::parse(&bytes).map_err(|e| StoreError::Damaged {
            path: self.blob_path(image_id),
            problem: e.to_string(),
        })
    }

    /// The layers of an image, from the derived file, or derived anew where that is missing.
    ///
    /// # Errors
    /// When a layer is missing.
    pub fn image_layers(
        &self,
        image_id: &Digest,
        config: &ImageConfig,
    ) -> Result<ImageLayers, StoreError> {
        if let Ok(Some(layers)) = read_json(&ImageLayers::file(self, image_id)) {
            return Ok(layers);
        }
        ImageLayers::derive(self, image_id, config)
    }
}

/// Whether a record answers to a reference: by tag, or by one of its digests.
fn named(record: &ImageRecord, reference: &Reference) -> bool {
    if record.repository.as_deref() != Some(&reference.name()) {
        return false;
    }
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => record.digest.as_ref() == Some(digest) || record.manifest == *digest,
        (None, tag) => tag.is_some() && record.tag.as_deref() == tag,
    }
}
