//! `index.json`, and what can be saved of a damaged one.

use minidock_oci::{Digest, ImageConfig, ImageIndex, ImageManifest, MAX_MANIFEST_SIZE};

use super::Report;
use crate::fs::{list, read_optional};
use crate::{ImageRecord, Store, StoreError};

/// Checks that the index can be read. A damaged one is put together anew, from the entries that can still be read or else
/// from the manifests under `blobs/`, which do not know their names.
pub(super) fn check(
    store: &Store,
    repair: bool,
    report: &mut Report<'_>,
) -> Result<(), StoreError> {
    let problem = match store.images() {
        Ok(_) => return Ok(()),
        Err(StoreError::Damaged { problem, .. }) => problem,
        Err(e) => return Err(e),
    };
    let mut affects = Vec::new();
    let mut done = None;
    if repair {
        let mut records = readable(store)?;
        let names = records.len();
        for record in from_blobs(store)? {
            if !records.iter().any(|r| r.image_id == record.image_id) {
                affects.push(format!("image {}", record.image_id.short()));
                records.push(record);
            }
        }
        store.replace_index(&records)?;
        done = Some(format!(
            "made anew: {names} names kept, {} images found that have lost theirs",
            affects.len()
        ));
    } else {
        affects.push("all images".into());
    }
    report.found("index.json".into(), problem, affects, done);
    Ok(())
}

/// The entries of a damaged index that are whole.
fn readable(store: &Store) -> Result<Vec<ImageRecord>, StoreError> {
    let bytes = read_optional(&store.path("index.json"))?.unwrap_or_default();
    let Ok(index) = serde_json::from_slice::<ImageIndex>(&bytes) else {
        return Ok(Vec::new());
    };
    let records = index.manifests().iter();
    Ok(records.filter_map(ImageRecord::from_descriptor).collect())
}

/// The images whose manifests and configs are among the blobs.
fn from_blobs(store: &Store) -> Result<Vec<ImageRecord>, StoreError> {
    let mut found = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        for name in list(&store.path("blobs").join(algorithm))? {
            let digest = format!("{algorithm}:{}", name.to_string_lossy()).parse::<Digest>();
            if let Ok(digest) = digest {
                found.extend(image_of(store, &digest));
            }
        }
    }
    Ok(found)
}

fn image_of(store: &Store, digest: &Digest) -> Option<ImageRecord> {
    let size = store.blob_path(digest).metadata().ok()?.len();
    if size > MAX_MANIFEST_SIZE {
        return None;
    }
    let bytes = store.read_blob(digest, MAX_MANIFEST_SIZE).ok()?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes).ok()?;
    let image_id: Digest = manifest.config().digest().to_string().parse().ok()?;
    let config: ImageConfig = store.image_config(&image_id).ok()?;
    config.check_layer_count(manifest.layers().len()).ok()?;
    let media_type = manifest.media_type().as_ref();
    Some(ImageRecord {
        repository: None,
        tag: None,
        digest: None,
        manifest: digest.clone(),
        manifest_size: size,
        media_type: media_type.map_or_else(
            || minidock_oci::OCI_MANIFEST.to_owned(),
            ToString::to_string,
        ),
        image_id,
        created: config.created,
        size: 0,
        last_tagged: None,
    })
}
