//! Images for several platforms under one name.
//!
//! A name stands for one image, that of this machine's platform as a rule. The images for other platforms that came with the
//! same index are records of the same repository with the same digest (the index's) and without a tag. The index itself
//! is a blob, and so are its attestations where they were brought along: they belong to every image of the index.

use minidock_oci::{Descriptor, Digest, ImageIndex, ImageManifest, MAX_MANIFEST_SIZE};

use crate::{ImageRecord, Store, StoreError};

/// An index that the store has.
#[derive(Clone, Debug)]
pub struct StoredIndex {
    /// Its digest.
    pub digest: Digest,
    /// As it came.
    pub bytes: Vec<u8>,
    /// What it lists.
    pub index: ImageIndex,
}

/// Whether an entry of an index is no image, but something about one (BuildKit's attestations have the platform
/// `unknown/unknown`).
pub fn is_attachment(entry: &Descriptor) -> bool {
    let platform = entry.platform().as_ref();
    platform.is_some_and(|p| p.os().to_string() == "unknown")
}

fn digest_of(entry: &Descriptor) -> Option<Digest> {
    entry.digest().to_string().parse().ok()
}

impl Store {
    /// The index that an image came with, under this name or another one of its names.
    ///
    /// # Errors
    /// When the images cannot be listed.
    pub fn index_of(&self, record: &ImageRecord) -> Result<Option<StoredIndex>, StoreError> {
        let records = self.images()?;
        let others = records.iter().filter(|r| r.manifest == record.manifest);
        let digests = [record].into_iter().chain(others);
        Ok(digests
            .filter_map(|r| r.digest.as_ref())
            .filter(|digest| **digest != record.manifest)
            .find_map(|digest| self.read_index(digest)))
    }

    fn read_index(&self, digest: &Digest) -> Option<StoredIndex> {
        let bytes = self.read_blob(digest, MAX_MANIFEST_SIZE).ok()?;
        let index = serde_json::from_slice(&bytes).ok()?;
        Some(StoredIndex {
            digest: digest.clone(),
            bytes,
            index,
        })
    }

    /// An image, and those for other platforms that came with it.
    ///
    /// # Errors
    /// When the images cannot be listed.
    pub fn family(&self, record: &ImageRecord) -> Result<Vec<ImageRecord>, StoreError> {
        let mut family = vec![record.clone()];
        let other = |r: &ImageRecord| {
            r.tag.is_none()
                && r.repository == record.repository
                && r.digest == record.digest
                && r.manifest != record.manifest
        };
        if record.digest.is_some() && record.repository.is_some() {
            family.extend(self.images()?.into_iter().filter(other));
        }
        Ok(family)
    }

    /// The blobs that a manifest or an attachment consists of, itself first. None of those that a damaged one names.
    pub fn blobs_of(&self, manifest: &Digest) -> Vec<Digest> {
        let parsed = self
            .read_blob(manifest, MAX_MANIFEST_SIZE)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<ImageManifest>(&bytes).ok());
        let parts = parsed.iter().flat_map(|m| {
            let parts = [m.config()].into_iter().chain(m.layers());
            parts.filter_map(digest_of).collect::<Vec<_>>()
        });
        [manifest.clone()].into_iter().chain(parts).collect()
    }

    /// The blobs of the attachments of an image's index that are in the store.
    pub(crate) fn attachments(&self, record: &ImageRecord) -> Vec<Digest> {
        let index = record.digest.as_ref().filter(|d| **d != record.manifest);
        let Some(stored) = index.and_then(|digest| self.read_index(digest)) else {
            return Vec::new();
        };
        let entries = stored.index.manifests().iter();
        entries
            .filter(|entry| is_attachment(entry))
            .filter_map(digest_of)
            .filter(|manifest| self.has_blob(manifest))
            .flat_map(|manifest| self.blobs_of(&manifest))
            .collect()
    }
}
