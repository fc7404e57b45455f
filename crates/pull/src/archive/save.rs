//! Images to an archive: the layout that Docker writes since version 25, or an OCI image layout alone.
//!
//! Blobs are written as they are stored, that is as they came, so that an image keeps its digests on its way. Nothing in the
//! archive tells when or where it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use minidock_layer::write::{Header, TarWriter};
use minidock_oci::{
    DOCKER_MANIFEST, Digest, Hasher, ImageManifest, MAX_MANIFEST_SIZE, OCI_INDEX, Platform,
    Reference,
};
use minidock_store::{Found, ImageRecord, Store, StoreError};
use serde_json::{Value, json};

const BUFFER: usize = 256 << 10;

/// What an archive looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout with `manifest.json` and `repositories`: what `docker save` writes, and every engine loads.
    #[default]
    DockerArchive,
    /// An OCI image layout.
    OciArchive,
}

/// What could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// An image cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image is for another platform.
    #[error("image {image} is for {have}, but {wanted} was asked for")]
    Platform {
        /// Which image.
        image: String,
        /// What it is for.
        have: String,
        /// What was asked for.
        wanted: String,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[from] io::Error),
}

/// One image and the names that it is saved under.
struct Image {
    record: ImageRecord,
    manifest: ImageManifest,
    names: Vec<Reference>,
}

/// Writes images, with all they consist of, as a tar.
///
/// What is named without a tag stands for all of its tags, what is named by its id has no name in the archive.
///
/// # Errors
/// When an image is missing, damaged or for another platform, or the archive cannot be written. What was written until then
/// is of no use.
pub fn save(
    store: &Store,
    queries: &[String],
    platform: Option<&Platform>,
    format: Format,
    to: impl Write,
) -> Result<(), SaveError> {
    let images = find(store, queries, platform)?;
    let mut tar = TarWriter::new(to);
    let mut blobs: BTreeSet<Digest> = BTreeSet::new();
    for image in &images {
        blobs.insert(image.record.manifest.clone());
        blobs.insert(image.record.image_id.clone());
        blobs.extend(layers(image)?);
    }
    tar.entry(&Header::folder(b"blobs", 0))?;
    let mut algorithm = "";
    for digest in &blobs {
        if digest.algorithm().as_str() != algorithm {
            algorithm = digest.algorithm().as_str();
            tar.entry(&Header::folder(format!("blobs/{algorithm}").as_bytes(), 0))?;
        }
        write_blob(store, digest, &mut tar)?;
    }
    tar.small_file(b"index.json", text(&index(&images, format)).as_bytes(), 0)?;
    if format == Format::DockerArchive {
        tar.small_file(
            b"manifest.json",
            text(&manifest_json(&images)?).as_bytes(),
            0,
        )?;
    }
    tar.small_file(b"oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0)?;
    if format == Format::DockerArchive {
        let repositories = repositories(&images)?;
        if !repositories.is_empty() {
            tar.small_file(b"repositories", text(&json!(repositories)).as_bytes(), 0)?;
        }
    }
    tar.finish()?.flush()?;
    Ok(())
}

fn text(value: &Value) -> String {
    value.to_string()
}

/// The images that are asked for, each once.
fn find(
    store: &Store,
    queries: &[String],
    platform: Option<&Platform>,
) -> Result<Vec<Image>, SaveError> {
    let mut images: Vec<Image> = Vec::new();
    for query in queries {
        for (record, name) in matching(store, query)? {
            let record = for_platform(store, record, query, platform)?;
            let at = images
                .iter()
                .position(|i| i.record.manifest == record.manifest);
            let image = match at {
                Some(at) => &mut images[at],
                None => {
                    let manifest = read_manifest(store, &record)?;
                    images.push(Image {
                        record,
                        manifest,
                        names: Vec::new(),
                    });
                    match images.last_mut() {
                        Some(last) => last,
                        None => continue,
                    }
                }
            };
            if let Some(name) = name.filter(|n| !image.names.contains(n)) {
                image.names.push(name);
            }
        }
    }
    Ok(images)
}

fn matching(
    store: &Store,
    query: &str,
) -> Result<Vec<(ImageRecord, Option<Reference>)>, SaveError> {
    let tagged = |r: &ImageRecord| -> Option<Reference> {
        r.tag.as_ref()?;
        r.reference()?.parse().ok()
    };
    if Reference::tag_is_implied(query)
        && let Ok(reference) = query.parse::<Reference>()
    {
        let all: Vec<_> = store
            .images()?
            .into_iter()
            .filter(|r| r.repository.as_deref() == Some(&reference.name()))
            .filter_map(|r| tagged(&r).map(|name| (r, Some(name))))
            .collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    match store.find_image(query)? {
        Found::Name(record) => {
            let name = tagged(&record);
            Ok(vec![(record, name)])
        }
        Found::Id(records) => Ok(records.into_iter().take(1).map(|r| (r, None)).collect()),
    }
}

/// The image itself, or that for the platform that is wanted, if it came with the same index.
fn for_platform(
    store: &Store,
    record: ImageRecord,
    query: &str,
    wanted: Option<&Platform>,
) -> Result<ImageRecord, SaveError> {
    let Some(wanted) = wanted else {
        return Ok(record);
    };
    let own = store.image_config(&record.image_id)?.platform();
    if own.as_ref().is_some_and(|have| wanted.admits(have)) {
        return Ok(record);
    }
    let platform = |r: &ImageRecord| store.image_config(&r.image_id).ok()?.platform();
    let mut family = store.family(&record)?.into_iter();
    family
        .find(|r| platform(r).is_some_and(|have| wanted.admits(&have)))
        .ok_or_else(|| SaveError::Platform {
            image: query.to_owned(),
            have: own.map_or_else(|| "an unknown platform".into(), |p| p.to_string()),
            wanted: wanted.to_string(),
        })
}

fn damaged(digest: &Digest, problem: impl Into<String>) -> SaveError {
    SaveError::Store(StoreError::Damaged {
        path: format!("blob {digest}").into(),
        problem: problem.into(),
    })
}

fn read_manifest(store: &Store, record: &ImageRecord) -> Result<ImageManifest, SaveError> {
    let bytes = store.read_blob(&record.manifest, MAX_MANIFEST_SIZE)?;
    serde_json::from_slice(&bytes).map_err(|e| damaged(&record.manifest, e.to_string()))
}

/// Base first.
fn layers(image: &Image) -> Result<Vec<Digest>, SaveError> {
    image
        .manifest
        .layers()
        .iter()
        .map(|l| {
            let text = l.digest().to_string();
            text.parse()
                .map_err(|_| damaged(&image.record.manifest, format!("it names a layer {text:?}")))
        })
        .collect()
}

fn member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// Writes one blob, and finds out whether the store still has what it took in.
fn write_blob<W: Write>(
    store: &Store,
    digest: &Digest,
    tar: &mut TarWriter<W>,
) -> Result<(), SaveError> {
    let mut file = store.open_blob(digest)?;
    let size = file
        .metadata()
        .map_err(|e| damaged(digest, e.to_string()))?
        .len();
    tar.entry(&Header::file(member(digest).as_bytes(), size, 0))?;
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(damaged(digest, e.to_string())),
        };
        hasher.update(&buffer[..n]);
        tar.data(&buffer[..n])?;
    }
    let actual = hasher.finish();
    if actual != *digest {
        return Err(damaged(digest, format!("its content has digest {actual}")));
    }
    Ok(())
}

/// `index.json`: a descriptor for each name.
fn index(images: &[Image], format: Format) -> Value {
    let mut manifests = Vec::new();
    for image in images {
        let record = &image.record;
        let media_type = match record.media_type.as_str() {
            "" => DOCKER_MANIFEST,
            given => given,
        };
        let plain = json!({
            "mediaType": media_type,
            "digest": record.manifest,
            "size": record.manifest_size,
        });
        for name in &image.names {
            let mut named = plain.clone();
            let full = name.to_string();
            // Docker and containerd write the tag here; skopeo and podman look for the whole name.
            let short = match format {
                Format::DockerArchive => name.tag().unwrap_or_default().to_owned(),
                Format::OciArchive => full.clone(),
            };
            named["annotations"] = json!({
                "io.containerd.image.name": full,
                "org.opencontainers.image.ref.name": short,
            });
            manifests.push(named);
        }
        if image.names.is_empty() {
            manifests.push(plain);
        }
    }
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
}

/// Docker's own index.
fn manifest_json(images: &[Image]) -> Result<Value, SaveError> {
    let mut entries = Vec::new();
    for image in images {
        let layers = layers(image)?;
        let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
        entries.push(json!({
            "Config": member(&image.record.image_id),
            "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Layers": layers.iter().map(member).collect::<Vec<_>>(),
        }));
    }
    Ok(Value::Array(entries))
}

/// What Docker before version 1.10 read: repository, tag, uppermost layer.
fn repositories(images: &[Image]) -> Result<BTreeMap<String, BTreeMap<String, String>>, SaveError> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let top = layers(image)?.last().map(|d| d.hex().to_owned());
        for name in &image.names {
            repositories
                .entry(name.familiar_name())
                .or_default()
                .insert(
                    name.tag().unwrap_or_default().to_owned(),
                    top.clone().unwrap_or_default(),
                );
        }
    }
    Ok(repositories)
}
