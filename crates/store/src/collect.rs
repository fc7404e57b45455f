//! Removing names, and what nothing refers to any more.
//!
//! Collection is mark and sweep while nobody else holds the store, which takes a moment only: the marks are what
//! `index.json`, the containers and the pins of sessions at work refer to; everything else under `blobs/`, `diffs/`,
//! `layers/` and `images/` goes. It is first renamed into a session's folder, so that no half-deleted layer is ever found
//! under its name, and put into the trash as one after the lock is released. Since that session begins before a name is removed from the
//! index, whoever finds its folder after a crash knows that there is something to collect.
//!
//! What cannot be read is no reason to delete: an image with a damaged config keeps every layer, one with a damaged
//! manifest every blob, until it is removed or repaired.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use minidock_oci::{Digest, ImageManifest, MAX_MANIFEST_SIZE};

use crate::fs::list;
use crate::lock::Lock;
use crate::tmp::{Entry, PINS, SESSION};
use crate::{ImageRecord, Store, StoreError, flat, session};

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Ids of images that are gone.
    pub images: Vec<Digest>,
    /// Names of the layer folders that are gone, `sha256:…`.
    pub layers: Vec<String>,
    /// What the blobs that are gone took on the disk, and those layers whose size [`Store::parts`] has found out.
    pub bytes: u64,
}

impl Store {
    /// Removes records from the index, and what nothing refers to then.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn remove_images(&self, gone: &[ImageRecord]) -> Result<Collected, StoreError> {
        self.replace_images(gone, &[])
    }

    /// [`Store::remove_images`], and puts others into the index instead.
    ///
    /// # Errors
    /// As for [`Store::remove_images`].
    pub fn replace_images(
        &self,
        gone: &[ImageRecord],
        instead: &[ImageRecord],
    ) -> Result<Collected, StoreError> {
        self.collect_after(|| {
            self.change_index(|records| {
                records.retain(|r| !gone.contains(r));
                records.extend_from_slice(instead);
                Ok(())
            })
        })
    }

    /// Removes what no image, no container and nobody at work refers to, and what killed processes left.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        self.collect_after(|| Ok(()))
    }

    fn collect_after(
        &self,
        change: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<Collected, StoreError> {
        self.remove_left_containers()?;
        self.sweep_tmp()?;
        self.sweep_partial()?;
        let trash = Entry::folder(&self.tmp(), SESSION)?;
        let result = {
            let _hold = self.hold_alone()?;
            change().and_then(|()| self.sweep(trash.path()))
        };
        trash.discard(self)?;
        result
    }

    fn sweep(&self, trash: &Path) -> Result<Collected, StoreError> {
        let live = self.mark()?;
        let keeps_layer = |name: &str| live.every_layer || live.layers.contains(name);
        let keeps_blob = |digest: &str| live.every_blob || live.blobs.contains(digest);
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
        for name in self.flat_names()? {
            if !live.every_layer && !live.flat.contains(&name) {
                discard(self.path(flat::FLAT).join(&name))?;
            }
        }
        for algorithm in ["sha256", "sha512"] {
            let folder = self.path("layers").join(algorithm);
            for name in list(&folder)? {
                let relative = format!("layers/{algorithm}/{}", name.to_string_lossy());
                if !keeps_layer(&relative) {
                    let path = folder.join(&name);
                    let size = self.layer_info(&path).ok().and_then(|info| info.disk_size);
                    gone.bytes = gone.bytes.saturating_add(size.unwrap_or(0));
                    discard(path)?;
                    gone.layers
                        .push(format!("{algorithm}:{}", name.to_string_lossy()));
                }
            }
            let folder = self.path("blobs").join(algorithm);
            for name in list(&folder)? {
                let digest = format!("{algorithm}:{}", name.to_string_lossy());
                if !keeps_blob(&digest) {
                    let path = folder.join(&name);
                    let size = path.symlink_metadata().map_or(0, |m| m.blocks() * 512);
                    gone.bytes = gone.bytes.saturating_add(size);
                    discard(path)?;
                }
            }
        }
        for name in list(&self.path("diffs"))? {
            let digest = name.to_string_lossy().replacen('-', ":", 1);
            if !keeps_blob(&digest) {
                discard(self.path("diffs").join(&name))?;
            }
        }
        for name in list(&self.path("locks"))? {
            let path = self.path("locks").join(&name);
            // Whoever waits for it then finds that it is no more, and makes a new one.
            if ["layer-", session::TURN_PREFIX, flat::LOCK_PREFIX]
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
                && let Some(_lock) = Lock::try_exclusive(&path)?
            {
                std::fs::remove_file(&path).map_err(StoreError::io("remove", path))?;
            }
        }
        Ok(gone)
    }

    /// The names in `flat/`, which only some stores have.
    pub(crate) fn flat_names(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.path(flat::FLAT);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let names = list(&folder)?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn mark(&self) -> Result<Live, StoreError> {
        let mut live = Live::default();
        for record in self.images()? {
            self.mark_image(&record, &mut live);
            live.images.insert(record.image_id);
        }
        for container in self.containers()? {
            // Without its state a container cannot run, so it needs no layers.
            if let Ok(Some(state)) = container.state() {
                live.flat.insert(flat::name(&state.layers));
                live.layers.extend(state.layers);
            }
        }
        for session in self.sessions()? {
            // One that has just begun or ended needs nothing.
            let pins = std::fs::read_to_string(session.join(PINS)).unwrap_or_default();
            for pin in pins.lines() {
                match pin.split_once(' ') {
                    Some(("blob", digest)) => live.blobs.insert(digest.to_owned()),
                    Some(("layer", digest)) => live
                        .layers
                        .insert(format!("layers/{}", digest.replacen(':', "/", 1))),
                    _ => false,
                };
            }
        }
        Ok(live)
    }

    fn mark_image(&self, record: &ImageRecord, live: &mut Live) {
        live.blobs.insert(record.image_id.to_string());
        live.blobs.insert(record.manifest.to_string());
        live.blobs
            .extend(record.digest.as_ref().map(ToString::to_string));
        let attachments = self.attachments(record);
        live.blobs
            .extend(attachments.iter().map(ToString::to_string));
        let manifest = self
            .read_blob(&record.manifest, MAX_MANIFEST_SIZE)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<ImageManifest>(&bytes).ok());
        match manifest {
            Some(manifest) => {
                let layers = manifest.layers().iter();
                live.blobs.extend(layers.map(|l| l.digest().to_string()));
            }
            None => live.every_blob = true,
        }
        let layers = self
            .image_config(&record.image_id)
            .and_then(|config| self.image_layers(&record.image_id, &config));
        match layers {
            Ok(layers) => {
                live.flat.insert(flat::name(&layers.folders));
                live.layers.extend(layers.folders);
            }
            Err(_) => live.every_layer = true,
        }
    }
}

#[derive(Default)]
struct Live {
    blobs: HashSet<String>,
    layers: HashSet<String>,
    flat: HashSet<String>,
    images: HashSet<Digest>,
    every_blob: bool,
    every_layer: bool,
}
