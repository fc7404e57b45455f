//! `index.json`: which images there are and what they are called.
//!
//! It is the index of an OCI image layout. Each image is one descriptor of its manifest per name,
//! with what `images` shows kept in annotations, so that listing a thousand images reads one file.

use std::collections::HashMap;
use std::path::Path;

use minidock_oci::{Descriptor, Digest, ImageIndex, MediaType, Reference};
use oci_spec::image::{DescriptorBuilder, ImageIndexBuilder};

use crate::fs::{Durability, read_json, replace_json};
use crate::lock::{Lock, LockMode};
use crate::{Store, StoreError};

/// The reference in full; unique in the index, so `skopeo copy oci:STORE:REFERENCE` finds it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const REPOSITORY: &str = "io.minidock.repository";
const TAG: &str = "io.minidock.tag";
const REPO_DIGEST: &str = "io.minidock.digest";
const IMAGE_ID: &str = "io.minidock.image-id";
const CREATED: &str = "io.minidock.created";
const SIZE: &str = "io.minidock.size";
const LAST_TAGGED: &str = "io.minidock.last-tagged";

/// One name of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// `docker.io/library/busybox`; `None` for an image that lost or never had a name.
    pub repository: Option<String>,
    /// `latest`; `None` when pulled by digest, or when the tag has moved on.
    pub tag: Option<String>,
    /// The digest that the registry knows the reference by: of the index or the manifest.
    pub digest: Option<Digest>,
    /// Digest of the manifest for this platform.
    pub manifest: Digest,
    /// Size of the manifest in bytes.
    pub manifest_size: u64,
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the config: what Docker shows as IMAGE ID.
    pub image_id: Digest,
    /// When it was made (RFC 3339, from the config; may be empty).
    pub created: String,
    /// Sum of the sizes of the files in its layers, in bytes.
    pub size: u64,
    /// When `tag` gave it this name, in seconds since 1970; images that were pulled or loaded have none.
    pub last_tagged: Option<u64>,
}

impl ImageRecord {
    /// The full reference under which this record is stored, if it has a name.
    pub fn reference(&self) -> Option<String> {
        let repository = self.repository.as_ref()?;
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(format!("{repository}:{tag}")),
            (None, Some(digest)) => Some(format!("{repository}@{digest}")),
            (None, None) => None,
        }
    }

    /// Sets the name from a reference.
    #[must_use]
    pub fn named(mut self, reference: &Reference) -> Self {
        self.repository = Some(reference.name());
        self.tag = reference.tag().map(str::to_owned);
        self
    }

    fn to_descriptor(&self) -> Option<Descriptor> {
        let mut annotations: HashMap<String, String> = HashMap::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                annotations.insert(key.to_owned(), value);
            }
        };
        put(REF_NAME, self.reference());
        put(REPOSITORY, self.repository.clone());
        put(TAG, self.tag.clone());
        put(REPO_DIGEST, self.digest.as_ref().map(ToString::to_string));
        put(IMAGE_ID, Some(self.image_id.to_string()));
        put(CREATED, Some(self.created.clone()));
        put(SIZE, Some(self.size.to_string()));
        put(LAST_TAGGED, self.last_tagged.map(|t| t.to_string()));
        DescriptorBuilder::default()
            .media_type(MediaType::from(self.media_type.as_str()))
            .digest(
                self.manifest
                    .to_string()
                    .parse::<oci_spec::image::Digest>()
                    .ok()?,
            )
            .size(self.manifest_size)
            .annotations(annotations)
            .build()
            .ok()
    }

    pub(crate) fn from_descriptor(descriptor: &Descriptor) -> Option<Self> {
        let annotations = descriptor.annotations().as_ref()?;
        let get = |key: &str| annotations.get(key).cloned();
        Some(Self {
            repository: get(REPOSITORY),
            tag: get(TAG),
            digest: get(REPO_DIGEST).and_then(|d| d.parse().ok()),
            manifest: descriptor.digest().to_string().parse().ok()?,
            manifest_size: descriptor.size(),
            media_type: descriptor.media_type().to_string(),
            image_id: get(IMAGE_ID)?.parse().ok()?,
            created: get(CREATED).unwrap_or_default(),
            size: get(SIZE)?.parse().ok()?,
            last_tagged: get(LAST_TAGGED).and_then(|t| t.parse().ok()),
        })
    }
}

pub(crate) fn write_empty(root: &Path) -> Result<(), StoreError> {
    let path = root.join("index.json");
    if path.exists() {
        return Ok(());
    }
    write(&root.join("tmp"), &path, &[])
}

fn write(tmp: &Path, path: &Path, records: &[ImageRecord]) -> Result<(), StoreError> {
    let damaged = |problem: String| StoreError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let manifests: Option<Vec<Descriptor>> =
        records.iter().map(ImageRecord::to_descriptor).collect();
    let index: ImageIndex = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests.ok_or_else(|| damaged("a record cannot be written".into()))?)
        .build()
        .map_err(|e| damaged(e.to_string()))?;
    replace_json(tmp, path, &index, Durability::Durable)
}

impl Store {
    /// All images, one record a name, in the order in which they came.
    ///
    /// # Errors
    /// When `index.json` cannot be read or is damaged.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        let path = self.path("index.json");
        let Some(index) = read_json::<ImageIndex>(&path)? else {
            return Err(StoreError::Damaged {
                path,
                problem: "it is missing".into(),
            });
        };
        index
            .manifests()
            .iter()
            .map(|d| {
                ImageRecord::from_descriptor(d).ok_or_else(|| StoreError::Damaged {
                    path: path.clone(),
                    problem: format!("the entry for {} was not written by minidock", d.digest()),
                })
            })
            .collect()
    }

    /// Puts another index in the place of a damaged one.
    pub(crate) fn replace_index(&self, records: &[ImageRecord]) -> Result<(), StoreError> {
        let _lock = Lock::wait(&self.lock_file("index"), LockMode::Exclusive)?;
        write(&self.tmp(), &self.path("index.json"), records)
    }

    /// Changes the index under its lock.
    pub(crate) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Vec<ImageRecord>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _lock = Lock::wait(&self.lock_file("index"), LockMode::Exclusive)?;
        let mut records = self.images()?;
        let before = records.clone();
        let result = change(&mut records)?;
        if records != before {
            let act = || write(&self.tmp(), &self.path("index.json"), &records);
            if records.len() < before.len() {
                self.with_reserve(act)?;
            } else {
                act()?;
            }
        }
        Ok(result)
    }
}

impl Store {
    /// Gives an image another name, which its former image loses. Returns whether that left something unreferred to.
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`] when the image was removed meanwhile, or a write error.
    pub fn tag(&self, image: &ImageRecord, name: &Reference, now: u64) -> Result<bool, StoreError> {
        self.change_index(|records| {
            let same = |r: &&ImageRecord| r.image_id == image.image_id;
            let known = records
                .iter()
                .find(|r| *r == image)
                .or(records.iter().find(same));
            let Some(known) = known else {
                return Err(StoreError::NoSuchImage(image.image_id.to_string()));
            };
            let mut new = known.clone().named(name);
            new.last_tagged = Some(now);
            if known.repository != new.repository {
                // A digest is what one registry knows the image by.
                new.digest = None;
            }
            let already = records.iter_mut().find(|r| {
                r.tag.is_some()
                    && r.repository == new.repository
                    && r.tag == new.tag
                    && r.image_id == new.image_id
            });
            if let Some(already) = already {
                already.last_tagged = Some(now);
                return Ok(false);
            }
            Ok(add(records, new).left)
        })
    }
}

/// What adding a record did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// Something was new: the image, or the name for it.
    pub new: bool,
    /// Another manifest of the same image is referred to no more.
    pub left: bool,
}

/// Adds a record; a name it takes over leaves its former image without tag, as in Docker.
///
/// Says what became of it.
pub(crate) fn add(records: &mut Vec<ImageRecord>, new: ImageRecord) -> Added {
    let before: Vec<Digest> = records.iter().map(|r| r.manifest.clone()).collect();
    let new = add_record(records, new);
    let left = |manifest: &Digest| !records.iter().any(|r| r.manifest == *manifest);
    Added {
        new,
        left: before.iter().any(left),
    }
}

fn add_record(records: &mut Vec<ImageRecord>, new: ImageRecord) -> bool {
    if records.contains(&new) {
        return false;
    }
    let same_name =
        |r: &ImageRecord| r.tag.is_some() && r.repository == new.repository && r.tag == new.tag;
    if let Some(at) = records.iter().position(same_name) {
        let old = &records[at];
        if old.image_id == new.image_id && old.manifest == new.manifest && new.digest.is_none() {
            // Loading what was pulled does not make its registry's digest forgotten.
            return false;
        }
        if old.image_id == new.image_id {
            // The same image, with a digest learned or packed anew.
            let changed = old.digest != new.digest;
            let last_tagged = new.last_tagged.or(old.last_tagged);
            records[at] = ImageRecord { last_tagged, ..new };
            return changed;
        }
        let mut old = records.remove(at);
        old.tag = None;
        if old.digest.is_none() {
            old.repository = None;
        }
        let elsewhere = records
            .iter()
            .any(|r| r.manifest == old.manifest && (r.tag.is_some() || r.digest == old.digest));
        if !elsewhere {
            records.push(old);
        }
    }
    // A name makes the nameless record of the same image superfluous.
    records.retain(|r| r.manifest != new.manifest || r.repository.is_some());
    if new.repository.is_none() && records.iter().any(|r| r.manifest == new.manifest) {
        return false;
    }
    records.push(new);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: Option<(&str, Option<&str>)>, content: &str) -> ImageRecord {
        let digest = Digest::sha256(content.as_bytes());
        ImageRecord {
            repository: name.map(|(r, _)| r.to_owned()),
            tag: name.and_then(|(_, t)| t.map(str::to_owned)),
            digest: None,
            manifest: digest.clone(),
            manifest_size: 1,
            media_type: minidock_oci::OCI_MANIFEST.to_owned(),
            image_id: digest,
            created: String::new(),
            size: 7,
            last_tagged: None,
        }
    }

    #[test]
    fn a_descriptor_keeps_the_whole_record() {
        let mut r = record(Some(("docker.io/library/a", Some("1"))), "x");
        r.digest = Some(Digest::sha256(b"index"));
        r.last_tagged = Some(1_700_000_000);
        let d = r.to_descriptor().unwrap();
        assert_eq!(ImageRecord::from_descriptor(&d).unwrap(), r);
        assert_eq!(
            d.annotations().as_ref().unwrap()[REF_NAME],
            "docker.io/library/a:1"
        );
    }

    #[test]
    fn a_moved_tag_leaves_the_old_image_without_one() {
        let mut records = Vec::new();
        assert!(add_record(
            &mut records,
            record(Some(("r", Some("t"))), "old")
        ));
        assert!(!add_record(
            &mut records,
            record(Some(("r", Some("t"))), "old")
        ));
        assert!(add_record(
            &mut records,
            record(Some(("r", Some("t"))), "new")
        ));
        assert_eq!(
            records,
            [record(None, "old"), record(Some(("r", Some("t"))), "new")]
        );
    }

    #[test]
    fn the_same_image_packed_otherwise_takes_the_name_over() {
        let mut records = Vec::new();
        let old = record(Some(("r", Some("t"))), "old");
        let mut new = old.clone();
        new.manifest = Digest::sha256(b"another manifest of the same config");
        add(&mut records, old);
        add(&mut records, new.clone());
        assert_eq!(records, [new.clone()]);
        new.digest = Some(Digest::sha256(b"index"));
        assert!(add_record(&mut records, new.clone()));
        let mut loaded = new.clone();
        loaded.digest = None;
        assert!(!add_record(&mut records, loaded));
        assert_eq!(records, [new]);
    }

    #[test]
    fn a_moved_tag_forgets_an_image_that_has_another_name() {
        let mut records = Vec::new();
        add(&mut records, record(Some(("r", Some("t"))), "old"));
        add(&mut records, record(Some(("r", Some("u"))), "old"));
        add(&mut records, record(Some(("r", Some("t"))), "new"));
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|r| r.tag.is_some()));
    }

    #[test]
    fn a_nameless_image_gains_a_name() {
        let mut records = Vec::new();
        add(&mut records, record(None, "x"));
        add(&mut records, record(Some(("r", Some("t"))), "x"));
        assert_eq!(records, [record(Some(("r", Some("t"))), "x")]);
        assert!(!add_record(&mut records, record(None, "x")));
    }
}
