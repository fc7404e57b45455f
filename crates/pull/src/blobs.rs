//! Blobs: small ones into memory, layers through the store's transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minidock_oci::{Digest, Hasher, MAX_MANIFEST_SIZE};
use minidock_store::{LayerRequest, LayerSlot, StoreError, Writer};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::oneshot;

use crate::http::{Ask, Registry};
use crate::manifest::Layer;
use crate::pipe::{Inlet, pipe};
use crate::{Error, Event, foreign, on_thread};

/// Bytes that a connection must bring to count as a good one; else breaking off again and again would never end.
const PROGRESS: u64 = 64 << 10;

fn ask(digest: &Digest, offset: u64) -> Ask<'static> {
    let what = format!("the blob {}", digest.short());
    Ask {
        offset,
        ..Ask::new(Method::GET, format!("blobs/{digest}"), what)
    }
}

fn missing(error: Error, registry: &Registry<'_>, digest: &Digest) -> Error {
    match error {
        Error::Status { status: 404, .. } => Error::BlobNotFound {
            registry: registry.host.clone(),
            digest: digest.clone(),
            image: registry.image(),
        },
        other => other,
    }
}

/// Fetches a config into memory and verifies it.
pub async fn small(registry: &Registry<'_>, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
    verified(registry, digest, size, MAX_MANIFEST_SIZE, "image config").await
}

/// Fetches any blob of limited size into memory and verifies it.
pub async fn verified(
    registry: &Registry<'_>,
    digest: &Digest,
    size: u64,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, Error> {
    if size > limit {
        return Err(Error::TooLarge {
            what: what.into(),
            limit,
        });
    }
    let (_, bytes) = registry
        .fetch(&ask(digest, 0), size)
        .await
        .map_err(|e| missing(e, registry, digest))?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual != *digest {
        return Err(Error::Digest {
            what,
            expected: digest.to_string(),
            actual,
        });
    }
    if bytes.len() as u64 != size {
        let problem = format!("it has {} bytes, its descriptor says {size}", bytes.len());
        return Err(registry.malformed(what, problem));
    }
    Ok(bytes)
}

/// A config, from the store or into it: fetched once, however many processes need it.
pub async fn kept(
    registry: &Registry<'_>,
    writer: &Arc<Writer>,
    digest: &Digest,
    size: u64,
) -> Result<Vec<u8>, Error> {
    let (turn, known) = on_thread({
        let (writer, digest) = (Arc::clone(writer), digest.clone());
        move || {
            let turn = writer.turn(&digest)?;
            let known = writer.store().read_blob(&digest, MAX_MANIFEST_SIZE).ok();
            Ok((turn, known))
        }
    })
    .await?;
    if let Some(bytes) = known.filter(|bytes| bytes.len() as u64 == size) {
        return Ok(bytes);
    }
    let bytes = small(registry, digest, size).await?;
    on_thread({
        let (writer, digest) = (Arc::clone(writer), digest.clone());
        move || {
            writer.put_blob(&bytes, &digest)?;
            drop(turn);
            Ok(bytes)
        }
    })
    .await
}

/// Brings one layer into the store, unless it is there.
pub async fn bring_layer(
    registry: &Registry<'_>,
    writer: &Arc<Writer>,
    layer: &Layer,
) -> Result<(), Error> {
    let resumed = AtomicBool::new(false);
    match bring_rest(registry, writer, layer, &resumed).await {
        // What an earlier process left may be damaged (a power cut): it is gone now, so this one begins at the start.
        Err(Error::Store(StoreError::Layer { .. })) if resumed.into_inner() => {
            bring_rest(registry, writer, layer, &AtomicBool::new(false)).await
        }
        result => result,
    }
}

/// Brings what is missing of a layer, and says whether some of it was there.
async fn bring_rest(
    registry: &Registry<'_>,
    writer: &Arc<Writer>,
    layer: &Layer,
    resumed: &AtomicBool,
) -> Result<(), Error> {
    let name = || layer.blob.clone();
    let (wanted, is_wanted) = oneshot::channel();
    let (inlet, outlet) = pipe();
    // Asking for a layer may wait for another process that is bringing it, so it happens on the thread as well.
    let unpacking = on_thread({
        let (writer, layer) = (Arc::clone(writer), layer.clone());
        move || {
            let request = LayerRequest {
                blob: &layer.blob,
                blob_size: Some(layer.size),
                diff_id: &layer.diff_id,
                chain_id: &layer.chain_id,
            };
            match writer.layer(&request)? {
                LayerSlot::Present => {
                    let _ = wanted.send(None);
                    Ok(false)
                }
                LayerSlot::Vacant(mut txn) => {
                    let _ = wanted.send(Some(txn.resume()?));
                    txn.unpack(Box::new(outlet))?;
                    Ok(true)
                }
            }
        }
    });
    let fetching = async {
        // No answer: the thread failed, and says itself why.
        let Ok(Some(have)) = is_wanted.await else {
            return Ok(());
        };
        resumed.store(have > 0, Ordering::Relaxed);
        stream_layer(registry, layer, have, inlet).await
    };
    let (unpacked, fetched) = futures_util::future::join(unpacking, fetching).await;
    // What the network says explains a stream that ended early; otherwise the store knows best what was wrong.
    fetched?;
    registry.event(if unpacked? {
        Event::Complete { layer: name() }
    } else {
        Event::AlreadyExists { layer: name() }
    });
    Ok(())
}

/// Fetches a blob's bytes after those that are there, resuming where a connection broke, and hands them on.
async fn stream_layer(
    registry: &Registry<'_>,
    layer: &Layer,
    have: u64,
    inlet: Inlet,
) -> Result<(), Error> {
    let mut done = have;
    let mut failures = 0;
    if have > 0 && have == layer.size {
        inlet.end().await;
        return Ok(());
    }
    loop {
        let before = done;
        let ask = ask(&layer.blob, done);
        let response = match registry.send(&ask).await {
            Err(Error::Status { status: 404, .. }) if layer.foreign => {
                foreign::fetch(registry, layer, done).await?
            }
            result => result.map_err(|e| missing(e, registry, &layer.blob))?,
        };
        match transfer(registry, layer, &inlet, response, &mut done).await {
            // The store wants no more: it has found something wrong, and says what.
            Ok(Outcome::Unwanted) => return Ok(()),
            Err(error) if done < layer.size => {
                // A connection that brought something was a good one.
                failures = if done - before >= PROGRESS {
                    1
                } else {
                    failures + 1
                };
                registry.pause(failures, &ask.what, error).await?;
            }
            // All bytes are here, however the connection ended.
            Ok(Outcome::Complete) | Err(_) => {
                registry.event(Event::Extracting {
                    layer: layer.blob.clone(),
                });
                inlet.end().await;
                return Ok(());
            }
        }
    }
}

enum Outcome {
    Complete,
    Unwanted,
}

/// Hands on the body of one answer.
async fn transfer(
    registry: &Registry<'_>,
    layer: &Layer,
    inlet: &Inlet,
    response: Response,
    done: &mut u64,
) -> Result<Outcome, Error> {
    let url = response.url().clone();
    let declared = response.content_length();
    let what = format!("the blob {}", layer.blob.short());
    let mut skip = overlap(registry, &response, *done)?;
    let mut body = registry.stream(response);
    while let Some(mut chunk) = body
        .next()
        .await
        .map_err(|e| registry.broken(&what, Some(&url), e))?
    {
        let pass = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= pass as u64;
        let _ = chunk.split_to(pass);
        if chunk.is_empty() {
            continue;
        }
        *done += chunk.len() as u64;
        registry.event(Event::Downloading {
            layer: layer.blob.clone(),
            done: *done,
            total: layer.size,
        });
        if inlet.send(&chunk).await.is_err() {
            return Ok(Outcome::Unwanted);
        }
        if *done > layer.size {
            break;
        }
    }
    // Without a length, an early end looks like a regular one; with one, the blob is shorter than its descriptor says.
    if *done < layer.size && declared.is_none() {
        return Err(registry.cut(&what, &url, *done, layer.size));
    }
    Ok(Outcome::Complete)
}

/// How many bytes at the start of an answer are known already: a server without ranges starts anew.
fn overlap(registry: &Registry<'_>, response: &Response, done: u64) -> Result<u64, Error> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(done);
    }
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if range.starts_with(&format!("bytes {done}-")) {
        return Ok(0);
    }
    Err(registry.malformed(
        "range",
        format!("bytes from {done} on were asked for, it sent {range:?}"),
    ))
}
