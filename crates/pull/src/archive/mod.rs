//! Image archives: what `docker save`, `podman save` and `skopeo` write, into the store.
//!
//! Three shapes are read, compressed or not:
//! - Docker before version 25: `manifest.json` names a config and a `layer.tar` a layer; a
//!   `layer.tar` may be a symlink to another layer's.
//! - Docker since version 25: an OCI image layout that carries `manifest.json` as well.
//! - An OCI image layout alone: `index.json` and `blobs/`.
//!
//! Names inside an archive are only ever looked up among its members, never in a file system, so none of them can point
//! anywhere else. Layers are read once, from where they are in the archive; what cannot seek is set down in the session's
//! folder first (`members`). A layer's digest is known from its name, or is its diff_id where it is not compressed, and is
//! verified while it is unpacked.

mod docker;
mod error;
mod guard;
mod layout;
mod members;
mod save;

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use minidock_oci::{ChainId, DiffId, Digest, ImageConfig, Platform, Reference};
use minidock_store::{Bounds, ImageRecord, LayerRequest, LayerSlot, Store, StoreError, Writer};

pub use error::Error;
use members::{Member, Members, Place};
pub use save::{Format, SaveError, save};

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its name; `None` when the archive gives it none.
    pub reference: Option<Reference>,
    /// Digest of its config.
    pub image_id: Digest,
}

/// An image as found in an archive, before anything of it is in the store.
struct Found<'m> {
    references: Vec<Reference>,
    config: &'m Member,
    /// Base first.
    layers: Vec<&'m Member>,
    /// The manifest as it is in the archive; made anew where there is none.
    manifest: Option<&'m Member>,
    manifest_type: String,
}

/// Reads an archive to its end and publishes its images.
///
/// Of several images for different platforms under one name, the one for `platform` is taken.
///
/// # Errors
/// When it is no image archive, lacks something, or something is not what its name says. None of its
/// images is published then.
pub fn load(
    store: &Store,
    archive: File,
    platform: &Platform,
    bounds: Bounds,
) -> Result<Vec<Loaded>, Error> {
    let writer = store.writer_with(bounds).map_err(Error::Store)?;
    let members = Members::read(&writer, archive)?;
    let found = if members.has("manifest.json") {
        docker::find(&members)?
    } else if members.has("index.json") {
        layout::find(&members, platform)?
    } else if members.has("repositories") {
        return Err(Error::Ancient);
    } else {
        return Err(Error::NoImage);
    };
    // All images or none: nothing gets its name before the content of all is there.
    let prepared = found
        .into_iter()
        .map(|image| bring(&writer, image))
        .collect::<Result<Vec<_>, _>>()?;
    let mut loaded = Vec::new();
    for image in prepared {
        loaded.extend(publish(&writer, image)?);
    }
    Ok(loaded)
}

/// An image whose content is in the store, and which has no name there yet.
struct Prepared {
    references: Vec<Reference>,
    config: ImageConfig,
    record: ImageRecord,
}

/// Brings the content of one image into the store.
fn bring(writer: &Writer, found: Found<'_>) -> Result<Prepared, Error> {
    let config_bytes = found.config.read()?;
    let config = ImageConfig::parse(&config_bytes)
        .and_then(|c| c.check_layer_count(found.layers.len()).map(|()| c))
        .map_err(|source| Error::Config {
            member: found.config.name.clone(),
            source,
        })?;
    let image_id = Digest::sha256(&config_bytes);
    let layers = found
        .layers
        .iter()
        .zip(&config.rootfs.diff_ids)
        .map(|(layer, diff_id)| Ok((*layer, stored_digest(layer, diff_id)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    bring_layers(writer, &config.rootfs.diff_ids, &layers)?;
    writer.put_blob(&config_bytes, &image_id)?;
    let manifest = match found.manifest {
        Some(member) => member.read()?,
        None => docker::make_manifest(&image_id, config_bytes.len() as u64, &layers),
    };
    let manifest_digest = match found.manifest {
        Some(member) => member.digest()?,
        None => Digest::sha256(&manifest),
    };
    writer.put_blob(&manifest, &manifest_digest)?;
    let record = ImageRecord {
        repository: None,
        tag: None,
        digest: None,
        manifest: manifest_digest,
        manifest_size: manifest.len() as u64,
        media_type: found.manifest_type,
        image_id: image_id.clone(),
        created: String::new(),
        size: 0,
        last_tagged: None,
    };
    writer.finish_layers(&config)?;
    Ok(Prepared {
        references: found.references,
        config,
        record,
    })
}

/// Makes an image visible under all its names.
fn publish(writer: &Writer, image: Prepared) -> Result<Vec<Loaded>, Error> {
    let image_id = &image.record.image_id;
    let names: Vec<Option<Reference>> = if image.references.is_empty() {
        vec![None]
    } else {
        image.references.into_iter().map(Some).collect()
    };
    let mut loaded = Vec::new();
    for reference in names {
        let named = match &reference {
            Some(r) => image.record.clone().named(r),
            None => image.record.clone(),
        };
        writer.publish(named, &image.config)?;
        loaded.push(Loaded {
            reference,
            image_id: image_id.clone(),
        });
    }
    Ok(loaded)
}

/// Layers do not depend on each other until they are published, so two are unpacked at a time.
fn bring_layers(
    writer: &Writer,
    diff_ids: &[DiffId],
    layers: &[(&Member, Digest)],
) -> Result<(), Error> {
    let chain = ChainId::of_stack(diff_ids);
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some((member, digest)), Some(diff_id), Some(chain_id)) =
                (layers.get(i), diff_ids.get(i), chain.get(i))
            else {
                return;
            };
            if let Err(error) = bring_layer(writer, member, digest, diff_id, chain_id) {
                // The others stop after the layer they are at.
                next.store(layers.len(), Ordering::Relaxed);
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        if layers.len() > 1 {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The digest of a layer's bytes without reading them, if that can be. What is promised is verified when it is unpacked.
fn stored_digest(layer: &Member, diff_id: &DiffId) -> Result<Digest, Error> {
    match layer.known_digest() {
        Some(digest) => Ok(digest),
        None if !minidock_layer::is_compressed(&layer.magic) => Ok(diff_id.0.clone()),
        None => layer.digest(),
    }
}

fn bring_layer(
    writer: &Writer,
    member: &Member,
    digest: &Digest,
    diff_id: &DiffId,
    chain_id: &ChainId,
) -> Result<(), Error> {
    let request = LayerRequest {
        blob: digest,
        blob_size: Some(member.size),
        diff_id,
        chain_id,
    };
    let LayerSlot::Vacant(layer) = writer.layer(&request)? else {
        return Ok(());
    };
    let unpacked = match &member.place {
        Place::SetDown(file) => layer.unpack_file(file),
        Place::Within(..) => {
            let content = member.open().map_err(|source| Error::Spool {
                operation: "read",
                member: member.name.clone(),
                source,
            })?;
            layer.unpack(content)
        }
    };
    unpacked.map_err(|error| match error {
        StoreError::Layer { source, .. } if member.known_digest().is_some() => match *source {
            minidock_layer::Error::BlobDigest { actual, .. } => Error::Digest {
                member: member.name.clone(),
                actual,
            },
            source => Error::Store(StoreError::Layer {
                digest: digest.clone(),
                source: Box::new(source),
            }),
        },
        // Nobody promised more than the config does.
        StoreError::Layer { digest, source } => Error::Store(StoreError::Layer {
            digest,
            source: Box::new(match *source {
                minidock_layer::Error::BlobDigest { actual, .. } => minidock_layer::Error::DiffId {
                    expected: diff_id.clone(),
                    actual: DiffId(actual),
                },
                source => source,
            }),
        }),
        error => Error::Store(error),
    })
}
