//! Layers that their registry may not hand out (image specification, "Non-distributable Layers"): fetched from where the
//! manifest says they are, as nobody: without our credentials and client certificates, over TLS, and like every blob only
//! believed for its digest. Plain HTTP is spoken where a redirect could lead to it too: on loopback, from loopback.

use minidock_oci::Descriptor;
use reqwest::header::RANGE;
use reqwest::{Response, Url};

use crate::Error;
use crate::client::{is_loopback, web_client};
use crate::http::Registry;
use crate::manifest::Layer;

/// Addresses that are tried of one layer.
const MAX_URLS: usize = 8;

/// Whether a layer is one that registries need not have.
pub fn is_foreign(descriptor: &Descriptor) -> bool {
    let kind = descriptor.media_type().to_string();
    kind.contains("nondistributable") || kind.contains("foreign")
}

/// Where else a layer is, of the places that we would go to.
pub fn places(registry: &Registry<'_>, descriptor: &Descriptor) -> Vec<Url> {
    let from_loopback = registry.base.borrow().host_str().is_some_and(is_loopback);
    let urls = descriptor.urls().iter().flatten();
    urls.filter_map(|text| Url::parse(text).ok())
        .filter(|url| {
            let loopback = url.host_str().is_some_and(is_loopback);
            url.scheme() == "https" || url.scheme() == "http" && loopback && from_loopback
        })
        .take(MAX_URLS)
        .collect()
}

/// A layer from one of its other places, `offset` bytes skipped.
pub async fn fetch(registry: &Registry<'_>, layer: &Layer, offset: u64) -> Result<Response, Error> {
    let mut last = Error::NotDistributable(layer.blob.clone());
    for url in &layer.urls {
        match from_stranger(registry, url, layer, offset).await {
            Ok(response) => return Ok(response),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn from_stranger(
    registry: &Registry<'_>,
    url: &Url,
    layer: &Layer,
    offset: u64,
) -> Result<Response, Error> {
    let what = format!("the blob {}", layer.blob.short());
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let mut options = registry.options.clone();
    // Folders of certificates also hold those that we show.
    options.certificates.clear();
    let client = web_client(&options, &host, is_loopback(&host), false)?;
    let mut failures = 0;
    loop {
        let mut request = client.get(url.clone());
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let error = match registry.exchange(request, &what).await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => registry.refused(&what, response).await,
            Err(error) => error,
        };
        failures += 1;
        registry.pause(failures, &what, error).await?;
    }
}
