//! Removing names, and what nothing refers to any more.
//!
//! Collection is mark and sweep under the exclusive store lock: the marks are what `index.json` and
//! the containers refer to; everything else under `blobs/`, `diffs/`, `layers/`, `images/` and all
//! of `tmp/` goes. Folders are first renamed below `tmp/`, so that no half-deleted layer is ever
//! found under its name, and deleted after the lock is released.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use minidock_oci::{Digest, ImageManifest, MAX_MANIFEST_SIZE};

use crate::fs::{Lock, random_hex};
use crate::{ImageRecord, Store, StoreError};

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Ids of images that are gone.
    pub images: Vec<Digest>,
    /// Names of the layer folders that are gone, `sha256:…`.
    pub layers: Vec<String>,
    /// The store was in use by a pull or load: it will be collected when that ends.
    pub postponed: bool,
}

impl Store {
    /// Removes records from the index; content stays until [`Store::collect`].
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn forget(&self, gone: &[ImageRecord]) -> Result<(), StoreError> {
        self.change_index(|records| {
            records.retain(|r| !gone.contains(r));
            Ok(())
        })
    }

    /// Removes what no image and no container refers to.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        self.remove_left_containers()?;
        let mark = self.path("tmp").join("collect-later");
        let Some(lock) = Lock::try_exclusive(&self.lock_file("store"))? else {
            File::create(&mark).map_err(StoreError::io("create", &mark))?;
            return Ok(Collected {
                postponed: true,
                ..Collected::default()
            });
        };
        let trash = self
            .path("tmp")
            .join(format!("trash-{}", &random_hex()?[..16]));
        crate::fs::make_dir(&trash)?;
        let result = self.sweep(&trash);
        let dead = list(&self.path("tmp"))?;
        drop(lock);
        remove_all(&self.path("tmp"), &dead)?;
        result
    }

    /// Removes what killed processes left below `tmp/`, unless somebody is at work.
    pub(crate) fn sweep_dead_sessions(&self) -> Result<(), StoreError> {
        let tmp = self.path("tmp");
        if let Some(_alone) = Lock::try_exclusive(&self.lock_file("store"))? {
            remove_all(&tmp, &list(&tmp)?)?;
        }
        Ok(())
    }

    /// Collects if an earlier collection was postponed.
    pub(crate) fn collect_if_marked(&self) -> Result<(), StoreError> {
        if self.path("tmp").join("collect-later").exists() {
            self.collect()?;
        }
        Ok(())
    }

    fn sweep(&self, trash: &Path) -> Result<Collected, StoreError> {
        let live = self.mark()?;
        let mut gone = Collected::default();
        let mut number = 0_u64;
        let mut discard = |path: PathBuf| -> Result<(), StoreError> {
            number += 1;
            std::fs::rename(&path, trash.join(number.to_string()))
                .map_err(StoreError::io("remove", path))
        };
        for name in list(&self.path("images"))? {
            let hex = name.to_string_lossy().replace(".json", "");
            let digest = format!("sha256:{hex}").parse::<Digest>().ok();
            if !digest.as_ref().is_some_and(|d| live.images.contains(d)) {
                discard(self.path("images").join(&name))?;
                gone.images.extend(digest);
            }
        }
        for algorithm in ["sha256", "sha512"] {
            let folder = self.path("layers").join(algorithm);
            for name in list(&folder)? {
                let relative = format!("layers/{algorithm}/{}", name.to_string_lossy());
                if !live.layers.contains(&relative) {
                    discard(folder.join(&name))?;
                    gone.layers
                        .push(format!("{algorithm}:{}", name.to_string_lossy()));
                }
            }
            let folder = self.path("blobs").join(algorithm);
            for name in list(&folder)? {
                let digest = format!("{algorithm}:{}", name.to_string_lossy());
                if !live.blobs.contains(&digest) {
                    discard(folder.join(&name))?;
                }
            }
        }
        for name in list(&self.path("diffs"))? {
            let digest = name.to_string_lossy().replacen('-', ":", 1);
            if !live.blobs.contains(&digest) {
                discard(self.path("diffs").join(&name))?;
            }
        }
        for name in list(&self.path("locks"))? {
            // Nobody can be waiting for a layer's lock: that takes the store's lock first.
            if name.to_string_lossy().starts_with("layer-") {
                discard(self.path("locks").join(&name))?;
            }
        }
        Ok(gone)
    }

    fn mark(&self) -> Result<Live, StoreError> {
        let mut live = Live::default();
        for record in self.images()? {
            let config = self.image_config(&record.image_id)?;
            live.blobs.insert(record.image_id.to_string());
            live.blobs.insert(record.manifest.to_string());
            live.blobs.extend(record.digest.map(|d| d.to_string()));
            let manifest = self.read_blob(&record.manifest, MAX_MANIFEST_SIZE)?;
            let manifest: ImageManifest =
                serde_json::from_slice(&manifest).map_err(|e| StoreError::Damaged {
                    path: self.blob_path(&record.manifest),
                    problem: e.to_string(),
                })?;
            let layers = manifest.layers().iter().map(|l| l.digest().to_string());
            live.blobs.extend(layers);
            if let Ok(layers) = self.image_layers(&record.image_id, &config) {
                live.layers.extend(layers.folders);
            }
            live.images.insert(record.image_id);
        }
        for container in self.containers()? {
            if let Some(state) = container.state()? {
                live.layers.extend(state.layers);
            }
        }
        Ok(live)
    }
}

#[derive(Default)]
struct Live {
    blobs: HashSet<String>,
    layers: HashSet<String>,
    images: HashSet<Digest>,
}

fn list(folder: &Path) -> Result<Vec<OsString>, StoreError> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect())
        .map_err(StoreError::io("list", folder))
}

fn remove_all(folder: &Path, names: &[OsString]) -> Result<(), StoreError> {
    let dir = File::open(folder).map_err(StoreError::io("open", folder))?;
    for name in names {
        match minidock_layer::remove_tree(dir.as_fd(), name) {
            // Two collectors may empty the same trash.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", folder.join(name))(e));
            }
            _ => {}
        }
    }
    Ok(())
}
