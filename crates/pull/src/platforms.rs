//! An image for all platforms of its index, with its attestations, so that it can be pushed as it is.

use std::sync::Arc;

use minidock_oci::{Descriptor, Platform, Reference};
use minidock_store::{Store, is_attachment};

use crate::http::Registry;
use crate::manifest::{self, Document, digest_and_size};
use crate::{Error, Event, PullOptions, Pulled, blobs, bring, on_thread};

/// Bytes of one attestation, in memory; a bill of materials can have some ten million.
const MAX_ATTACHMENT: u64 = 64 << 20;

/// Pulls the images of all platforms. The name is given to the one for the platform that was asked for, else to this
/// machine's, else to the first; the others are known by the digest of the index.
pub async fn pull(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Pulled, Error> {
    let wanted = reference.wanted();
    let top = manifest::fetch(registry, reference, &wanted, reference.digest()).await?;
    registry.event(Event::Resolved {
        reference: reference.clone(),
    });
    let any = PullOptions {
        platform: None,
        ..options.clone()
    };
    if !top.is_index() {
        let resolved = manifest::understand(registry, reference, top.clone(), top)?;
        return bring(store, registry, reference, options, resolved).await;
    }
    let index = top.index(registry)?;
    let platform = options
        .platform
        .clone()
        .unwrap_or_else(Platform::host_at_its_best);
    let chosen = platform.choose(&index);
    if let (None, Some(platform)) = (chosen, &options.platform) {
        return Err(Error::Platform {
            image: reference.familiar(),
            wanted: platform.to_string(),
            offered: Platform::offered(&index),
        });
    }
    let (attachments, images): (Vec<_>, Vec<_>) = index
        .manifests()
        .iter()
        .partition(|entry| is_attachment(entry));
    let Some(named) = chosen.or(images.first().copied()) else {
        return Err(Error::Platform {
            image: reference.familiar(),
            wanted: platform.to_string(),
            offered: Vec::new(),
        });
    };
    let by_digest = reference.at_digest(&top.digest);
    let mut new = false;
    // The one with the name comes last: should this end early, the name still means what it meant.
    let others = images.into_iter().filter(|entry| *entry != named);
    for (entry, name) in others.map(|e| (e, &by_digest)).chain([(named, reference)]) {
        let found = manifest::entry(Some(store), registry, reference, entry).await?;
        if found.is_index() {
            return Err(registry.malformed(
                "index",
                "another index is in it: such images can be pulled for one platform at a time only",
            ));
        }
        let resolved = manifest::understand(registry, reference, top.clone(), found)?;
        let pulled = bring(store, registry, name, &any, resolved).await?;
        new |= pulled.new;
        if std::ptr::eq(entry, named) {
            attach(store, registry, reference, options, &attachments).await?;
            return Ok(Pulled { new, ..pulled });
        }
    }
    Err(Error::NotFound(reference.familiar()))
}

/// Brings what is said about the images. The index that they hang on is in the store, and keeps them there.
async fn attach(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    options: &PullOptions,
    attachments: &[&Descriptor],
) -> Result<(), Error> {
    for entry in attachments {
        let document = match manifest::entry(Some(store), registry, reference, entry).await {
            // Registries let them be deleted; the images are none the worse.
            Err(Error::NotFound(_)) => continue,
            document => document?,
        };
        let parts = parts(registry, &document).await?;
        let (store, bounds) = (store.clone(), options.bounds);
        on_thread(move || {
            let writer = Arc::new(store.writer_with(bounds)?);
            for (digest, bytes) in &parts {
                writer.put_blob(bytes, digest)?;
            }
            Ok(writer.put_blob(&document.bytes, &document.digest)?)
        })
        .await?;
    }
    Ok(())
}

async fn parts(
    registry: &Registry<'_>,
    document: &Document,
) -> Result<Vec<(minidock_oci::Digest, Vec<u8>)>, Error> {
    let manifest = document.manifest(registry)?;
    let mut parts = Vec::new();
    for part in [manifest.config()].into_iter().chain(manifest.layers()) {
        let (digest, size) = digest_and_size(registry, part)?;
        let bytes = blobs::verified(registry, &digest, size, MAX_ATTACHMENT, "attestation").await?;
        parts.push((digest, bytes));
    }
    Ok(parts)
}
