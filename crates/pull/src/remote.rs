//! Looking at a repository without bringing anything: its tags, its manifests, an image's config.

use minidock_oci::{Digest, ImageConfig, Platform, Reference};

use crate::http::Registry;
use crate::{Error, Event, PullOptions, at_places, blobs, block_on, manifest, pages};

/// An image as its registry has it.
#[derive(Clone, Debug)]
pub struct RemoteImage {
    /// Digest of what the reference names: an index or a manifest.
    pub digest: Digest,
    /// Digest of the manifest for the platform.
    pub manifest: Digest,
    /// Digest of the config.
    pub image_id: Digest,
    /// The config.
    pub config: ImageConfig,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
    /// Sum of the sizes of the layers as they are stored, in bytes.
    pub size: u64,
}

/// All tags of a reference's repository, in lexical order.
///
/// # Errors
/// When the registry cannot be reached, refuses, or talks nonsense.
pub fn remote_tags(
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Vec<String>, Error> {
    block_on(at_places(reference, options, events, async |registry| {
        tags(registry).await
    }))
}

async fn tags(registry: &Registry<'_>) -> Result<Vec<String>, Error> {
    let all = pages::list(registry, "tags/list", "list of tags", |_| false).await;
    all.map_err(|error| match error {
        Error::Status { status: 404, .. } => registry.denied(None),
        error => error,
    })
}

/// The index or manifest that a reference names, as it is.
///
/// # Errors
/// As for a pull.
pub fn remote_document(
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<(Digest, Vec<u8>), Error> {
    block_on(at_places(reference, options, events, async |registry| {
        let wanted = reference.wanted();
        let found = manifest::fetch(registry, reference, &wanted, reference.digest()).await?;
        Ok((found.digest, found.bytes))
    }))
}

/// An image's manifest and config, for a platform.
///
/// # Errors
/// As for a pull.
pub fn remote_image(
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<RemoteImage, Error> {
    let platform = options
        .platform
        .clone()
        .unwrap_or_else(Platform::host_at_its_best);
    block_on(at_places(reference, options, events, async |registry| {
        let found = manifest::resolve(None, registry, reference, &platform).await?;
        let bytes = blobs::small(registry, &found.config, found.config_size).await?;
        let config = found.check_config(&bytes)?;
        Ok(RemoteImage {
            size: found
                .layers(&config)
                .iter()
                .fold(0, |sum, layer| layer.size.saturating_add(sum)),
            digest: found.top.digest,
            manifest: found.manifest.digest,
            image_id: found.config,
            config,
            config_bytes: bytes,
        })
    }))
}
