//! What a push sends: one manifest, or the index with everything that it lists.

use minidock_oci::{
    Descriptor, Digest, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST, Platform, Reference,
};
use minidock_store::{ImageRecord, Store, StoreError, StoredIndex, is_attachment};

use crate::Error;
use crate::manifest::Document;
use crate::push::Which;

/// The documents of a push.
pub struct Cargo {
    /// What gets the tag.
    pub top: Document,
    /// Manifests; `top` alone, or all that are in it.
    pub manifests: Vec<Document>,
    /// The index of which this is one image only.
    pub part_of: Option<Digest>,
}

impl Cargo {
    fn one(document: Document, part_of: Option<Digest>) -> Self {
        Self {
            top: document.clone(),
            manifests: vec![document],
            part_of,
        }
    }

    /// The manifests that are to be there before the index.
    pub fn under_index(&self) -> impl Iterator<Item = &Document> {
        let below = self.manifests.iter();
        below.filter(|manifest| manifest.digest != self.top.digest)
    }
}

/// Finds what is to be sent.
pub fn choose(
    store: &Store,
    reference: &Reference,
    record: &ImageRecord,
    which: &Which,
) -> Result<Cargo, Error> {
    let own = || -> Result<Document, Error> {
        Ok(Document {
            bytes: store.read_blob(&record.manifest, MAX_MANIFEST_SIZE)?,
            digest: record.manifest.clone(),
            media_type: record.media_type.clone(),
        })
    };
    let stored = store.index_of(record)?;
    match (which, stored) {
        (Which::Platform(platform), stored) => {
            let entry = stored.as_ref().and_then(|s| offered(store, s, platform));
            match entry {
                Some(entry) => Ok(Cargo::one(read(store, &entry)?, None)),
                None if is_for(store, record, platform) => Ok(Cargo::one(own()?, None)),
                None => Err(Error::PlatformNotInStore {
                    image: reference.familiar(),
                    wanted: platform.to_string(),
                }),
            }
        }
        (_, None) => Ok(Cargo::one(own()?, None)),
        (which, Some(stored)) => {
            let missing = missing(store, &stored);
            match which {
                _ if missing.is_empty() => whole(store, stored),
                Which::All => Err(Error::Incomplete {
                    image: reference.familiar(),
                    missing,
                }),
                _ => Ok(Cargo::one(own()?, Some(stored.digest))),
            }
        }
    }
}

/// The best entry for a platform of those that the store has.
fn offered(store: &Store, stored: &StoredIndex, platform: &Platform) -> Option<Descriptor> {
    let mut index = stored.index.clone();
    let mut entries = index.manifests().clone();
    entries.retain(|entry| is_there(store, entry));
    index.set_manifests(entries);
    platform.choose(&index).cloned()
}

fn is_for(store: &Store, record: &ImageRecord, platform: &Platform) -> bool {
    let config = store.image_config(&record.image_id);
    config.is_ok_and(|c| c.platform().is_some_and(|have| platform.admits(&have)))
}

fn is_there(store: &Store, entry: &Descriptor) -> bool {
    let digest = entry.digest().to_string().parse::<Digest>();
    digest.is_ok_and(|digest| {
        let blobs = store.blobs_of(&digest);
        // One that lists nothing is not there, or is none.
        blobs.len() > 1 && blobs.iter().all(|blob| store.has_blob(blob))
    })
}

/// What the store lacks of an index, in words.
fn missing(store: &Store, stored: &StoredIndex) -> Vec<String> {
    let entries = stored.index.manifests().iter();
    let gone = entries.filter(|entry| !is_there(store, entry));
    let words = gone.map(|entry| match entry.platform() {
        Some(_) if is_attachment(entry) => "an attestation".to_owned(),
        Some(p) => {
            let variant = p.variant().as_ref().map(|v| format!("/{v}"));
            format!(
                "{}/{}{}",
                p.os(),
                p.architecture(),
                variant.unwrap_or_default()
            )
        }
        None => entry.digest().to_string(),
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    words
}

fn whole(store: &Store, stored: StoredIndex) -> Result<Cargo, Error> {
    let manifests = stored.index.manifests().iter();
    let media_type = stored.index.media_type().as_ref().map(ToString::to_string);
    Ok(Cargo {
        manifests: manifests
            .map(|entry| read(store, entry))
            .collect::<Result<_, _>>()?,
        top: Document {
            bytes: stored.bytes,
            digest: stored.digest,
            media_type: media_type.unwrap_or_else(|| OCI_INDEX.to_owned()),
        },
        part_of: None,
    })
}

fn read(store: &Store, entry: &Descriptor) -> Result<Document, Error> {
    let text = entry.digest().to_string();
    let digest: Digest = text.parse().map_err(|e: minidock_oci::DigestError| {
        damaged(store, &Digest::sha256(b""), &e.to_string())
    })?;
    let media_type = entry.media_type().to_string();
    Ok(Document {
        bytes: store.read_blob(&digest, MAX_MANIFEST_SIZE)?,
        digest,
        media_type: if media_type.is_empty() {
            OCI_MANIFEST.to_owned()
        } else {
            media_type
        },
    })
}

pub fn damaged(store: &Store, manifest: &Digest, problem: &str) -> Error {
    Error::Store(StoreError::Damaged {
        path: store.root().join("blobs"),
        problem: format!("the manifest {manifest}: {problem}"),
    })
}
