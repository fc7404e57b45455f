//! Looking at a repository without bringing anything: its tags, its manifests, an image's config.

use minidock_oci::{Digest, ImageConfig, Platform, Reference};
use reqwest::Method;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;

use crate::http::{Ask, Registry};
use crate::{Error, Event, PullOptions, at_places, blobs, block_on, manifest};

/// Tags that are asked for at a time.
const PAGE: usize = 1000;
/// Most tags; the largest repositories have some ten thousand.
const MAX_TAGS: usize = 1_000_000;
/// Bytes of one page.
const MAX_PAGE: u64 = 8 << 20;

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

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
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
    let mut all: Vec<String> = Vec::new();
    let mut path = format!("tags/list?n={PAGE}");
    loop {
        let ask = Ask::new(Method::GET, path.clone(), "the list of tags");
        let (headers, body) =
            registry
                .fetch(&ask, MAX_PAGE)
                .await
                .map_err(|error| match error {
                    Error::Status { status: 404, .. } => registry.denied(None),
                    error => error,
                })?;
        let page: TagList = serde_json::from_slice(&body)
            .map_err(|e| registry.malformed("list of tags", e.to_string()))?;
        let before = all.len();
        all.extend(page.tags.unwrap_or_default());
        if all.len() > MAX_TAGS {
            return Err(registry.malformed("list of tags", "it has no end"));
        }
        let Some(next) = next(&headers) else {
            // The specification wants them so; older registries do not do it.
            all.sort();
            all.dedup();
            return Ok(all);
        };
        if next == path || all.len() == before {
            return Err(registry.malformed("list of tags", "its pages lead nowhere"));
        }
        path = next;
    }
}

/// The address of the next page (RFC 8288): `</v2/x/tags/list?n=2&last=b>; rel="next"`.
fn next(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(LINK)?.to_str().ok()?;
    let (address, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    // Within the registry: nobody is sent elsewhere for a list.
    let here = address.starts_with('/') && !address.starts_with("//");
    (here && rest.replace(['"', ' '], "").contains("rel=next")).then(|| address.to_owned())
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
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    block_on(at_places(reference, options, events, async |registry| {
        let found = manifest::resolve(registry, reference, &platform).await?;
        let bytes = blobs::small(registry, &found.config, found.config_size).await?;
        let config = found.check_config(&bytes)?;
        Ok(RemoteImage {
            size: found.layers(&config).iter().map(|l| l.size).sum(),
            digest: found.top.digest,
            manifest: found.manifest.digest,
            image_id: found.config,
            config,
            config_bytes: bytes,
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_as_links_say() {
        let link = |text: &str| {
            let headers = [(LINK, text.parse().unwrap())].into_iter().collect();
            next(&headers)
        };
        let address = Some("/v2/a/tags/list?n=1&last=x".to_owned());
        assert_eq!(link("</v2/a/tags/list?n=1&last=x>; rel=\"next\""), address);
        assert_eq!(link("</v2/a/tags/list?n=1&last=x>;rel=next"), address);
        for none in [
            "",
            "</v2/a>; rel=\"prev\"",
            "/v2/a; rel=next",
            "<",
            "<http://192.0.2.1/>; rel=next",
            "<//192.0.2.1/>; rel=next",
        ] {
            assert_eq!(link(none), None, "{none}");
        }
    }
}
