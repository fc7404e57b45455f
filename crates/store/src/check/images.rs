//! Images: manifest, config, layers, and what is derived from them.

use std::collections::BTreeMap;

use minidock_oci::{ChainId, DiffId, Digest, ImageConfig, ImageManifest, MAX_MANIFEST_SIZE};

use super::{Check, Repair, Verdict};
use crate::fs::read_json;
use crate::{ImageLayers, ImageRecord, LayerRequest, Store, StoreError};

/// What `images` calls it.
pub(super) fn name(record: &ImageRecord) -> String {
    match record.reference() {
        Some(reference) => format!("image {reference}"),
        None => format!("image {}", record.image_id.short()),
    }
}

pub(super) fn manifest(store: &Store, record: &ImageRecord) -> Result<ImageManifest, StoreError> {
    let bytes = store.read_blob(&record.manifest, MAX_MANIFEST_SIZE)?;
    serde_json::from_slice(&bytes).map_err(|e| StoreError::Damaged {
        path: store.blob_path(&record.manifest),
        problem: e.to_string(),
    })
}

pub(super) fn stack(config: &ImageConfig) -> Vec<(DiffId, ChainId)> {
    let diff_ids = &config.rootfs.diff_ids;
    let chain = ChainId::of_stack(diff_ids);
    diff_ids.iter().cloned().zip(chain).collect()
}

/// Blobs and their sizes.
pub(super) fn layers(manifest: &ImageManifest) -> Vec<(Digest, u64)> {
    let layers = manifest.layers().iter();
    layers
        .filter_map(|l| Some((l.digest().to_string().parse().ok()?, l.size())))
        .collect()
}

impl Check<'_> {
    /// Checks all images of the index.
    pub(super) fn images(&mut self, records: &[ImageRecord]) -> Result<(), StoreError> {
        // One image can have several names, and one layer several images.
        let mut by_manifest: BTreeMap<(&Digest, &Digest), Vec<&ImageRecord>> = BTreeMap::new();
        for record in records {
            let key = (&record.manifest, &record.image_id);
            by_manifest.entry(key).or_default().push(record);
        }
        for names in by_manifest.values() {
            self.report.done.images += 1;
            self.image(names)?;
        }
        Ok(())
    }

    fn image(&mut self, names: &[&ImageRecord]) -> Result<(), StoreError> {
        let Some(record) = names.first() else {
            return Ok(());
        };
        let affects: Vec<String> = names.iter().map(|r| name(r)).collect();
        self.blobs
            .extend([record.manifest.clone(), record.image_id.clone()]);
        let Some(manifest) =
            self.small(&record.manifest, names, |store| manifest(store, record))?
        else {
            return Ok(());
        };
        let Some(config) = self.small(&record.image_id, names, |store| {
            store.image_config(&record.image_id)
        })?
        else {
            return Ok(());
        };
        let blobs = layers(&manifest);
        self.blobs
            .extend(blobs.iter().map(|(blob, _)| blob.clone()));
        let fits = config.check_layer_count(blobs.len()).is_ok()
            && manifest.config().digest().to_string() == record.image_id.to_string();
        if !fits {
            let path = self.store.blob_path(&record.manifest);
            return self.remove(&path, "does not fit its config", names);
        }
        let mut lower = Vec::new();
        for ((blob, size), (diff_id, chain_id)) in blobs.iter().zip(stack(&config)) {
            let request = LayerRequest {
                blob,
                blob_size: Some(*size),
                diff_id: &diff_id,
                chain_id: &chain_id,
            };
            match self.layer(&request, &lower)? {
                Verdict::Good => {}
                // What lies above cannot be told without it.
                Verdict::Damaged => return Ok(()),
                Verdict::Lost => {
                    let path = self.store.blob_path(blob);
                    return self.remove(&path, "is damaged or missing", names);
                }
            }
            lower.extend(self.store.layer_folder(&diff_id, &chain_id));
        }
        self.derived(names, &config, &affects)
    }

    /// A manifest or config; an image without it is lost.
    fn small<T>(
        &mut self,
        digest: &Digest,
        names: &[&ImageRecord],
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.report.done.blobs += 1;
        let problem = match read(self.store) {
            Ok(value) => return Ok(Some(value)),
            Err(StoreError::Damaged { problem, .. }) => problem,
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                "is missing".to_owned()
            }
            Err(e) => return Err(e),
        };
        self.remove(&self.store.blob_path(digest), &problem, names)?;
        Ok(None)
    }

    /// Removes an image that cannot be had any more from what is here.
    fn remove(
        &mut self,
        path: &std::path::Path,
        problem: &str,
        names: &[&ImageRecord],
    ) -> Result<(), StoreError> {
        let affects = names.iter().map(|r| name(r)).collect();
        let gone: Vec<ImageRecord> = names.iter().map(|r| (*r).clone()).collect();
        let store = self.store;
        // Without a record, content stays until all is checked; a damaged blob must not be found by the next pull.
        let mut act = || {
            store.change_index(|records| {
                records.retain(|r| !gone.contains(r));
                Ok(())
            })?;
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::io("remove", path)(e))
                }
                _ => Ok(()),
            }
        };
        let done = "image removed; pull or load it again";
        self.found(path, problem, affects, Some(Repair::new(done, &mut act)))?;
        self.report.done.left_over += u64::from(self.repair);
        Ok(())
    }

    /// `images/<hex>.json`, and what the index says of the image beside its digests.
    fn derived(
        &mut self,
        names: &[&ImageRecord],
        config: &ImageConfig,
        affects: &[String],
    ) -> Result<(), StoreError> {
        let Some(first) = names.first() else {
            return Ok(());
        };
        let (store, image_id) = (self.store, &first.image_id);
        let layers = ImageLayers::derive(store, image_id, config)?;
        let path = ImageLayers::file(store, image_id);
        if !matches!(read_json::<ImageLayers>(&path), Ok(Some(there)) if there == layers) {
            let mut act = || layers.write(store, image_id);
            let repair = Repair::new("made anew", &mut act);
            let problem = "is not what config and layers say";
            self.found(&path, problem, affects.to_vec(), Some(repair))?;
        }
        let manifest_size = store
            .blob_path(&first.manifest)
            .metadata()
            .map_or(0, |m| m.len());
        let right = |r: &ImageRecord| ImageRecord {
            size: layers.size,
            created: config.created_shown().to_owned(),
            manifest_size,
            ..r.clone()
        };
        for record in names.iter().filter(|r| right(r) != ***r) {
            let mut act = || {
                store.change_index(|records| {
                    for r in records.iter_mut().filter(|r| *r == *record) {
                        *r = right(r);
                    }
                    Ok(())
                })
            };
            let repair = Repair::new("corrected", &mut act);
            self.found(
                &store.path("index.json"),
                "tells another size or time than the image's",
                vec![name(record)],
                Some(repair),
            )?;
        }
        Ok(())
    }
}
