//! From the store to a repository (distribution specification, "Push").
//!
//! What the registry has is not sent: a blob is asked for first, then mounted from another repository of the same registry
//! where the store knows one, and only then sent, in one request. Where that breaks, the registry is asked how far it came,
//! and the rest follows in chunks; so it does where the registry refuses bodies of that size. The manifest comes last, and
//! after it the index that it is in, so that nobody sees an image whose layers are not there.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::stream::{self, TryStreamExt};
use minidock_oci::{Descriptor, DiffId, Digest, ImageManifest, Platform, Reference};
use minidock_store::{Found, Store};
use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use crate::cargo::{self, Cargo};
use crate::http::{Ask, Registry, Subject};
use crate::manifest::Document;
use crate::upload::{Content, Part};
use crate::{Arrival, Error, Event, PullOptions, block_on, manifest};

/// Bytes of a chunk where a registry takes no larger bodies: what registries behind small proxies take, and no less than
/// object stores want.
const CHUNK: u64 = 8 << 20;

/// What of an image is pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The index that it came with, if the store has all of it, else the image for the platform that has the name.
    #[default]
    Available,
    /// The index: without all of it, nothing.
    All,
    /// The image for a platform, without an index.
    Platform(Platform),
}

/// An image that is now at its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What the tag named before, where that was something else.
    pub before: Option<Digest>,
    /// The index that could not be pushed, since the store has not all of it.
    pub part_of: Option<Digest>,
}

/// Something to send.
struct Blob {
    digest: Digest,
    size: u64,
    /// For a layer.
    diff_id: Option<DiffId>,
}

impl Blob {
    fn what(&self) -> String {
        format!("the blob {}", self.digest.short())
    }
}

/// Pushes the image that has this name in the store.
///
/// # Errors
/// When the store does not have it, or not for the platforms that are wanted, or the registry cannot be reached or refuses.
pub fn push(
    store: &Store,
    reference: &Reference,
    which: &Which,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Pushed, Error> {
    let record = match store.find_image(&reference.to_string()) {
        Ok(Found::Name(record)) => record,
        Ok(_) | Err(minidock_store::StoreError::NoSuchImage(_)) => {
            return Err(Error::NotInStore(reference.familiar()));
        }
        Err(e) => return Err(e.into()),
    };
    let cargo = cargo::choose(store, reference, &record, which)?;
    let blobs = blobs(store, &cargo)?;
    block_on(async {
        let places = options.registries.endpoints(reference)?;
        let own = places.into_iter().find(|place| !place.mirror);
        let own = own.ok_or_else(|| Error::NotInStore(reference.familiar()))?;
        let registry = Registry::new(&own, Subject::Image(reference.clone()), options, events)?;
        let elsewhere = Elsewhere::read(store, reference)?;
        for layer in blobs.iter().filter_map(|b| b.diff_id.clone()) {
            registry.event(Event::Preparing { layer });
        }
        // Alone: a registry that cannot be reached is tried for this, not for each blob.
        let before = standing(&registry, reference).await?;
        stream::iter(blobs.iter().map(Ok::<_, Error>))
            .try_for_each_concurrent(options.max_concurrent.max(1), |blob| async {
                let how = bring(store, &registry, &elsewhere, blob).await?;
                if let Some(layer) = blob.diff_id.clone() {
                    registry.event(Event::Pushed { layer, how });
                }
                Ok(())
            })
            .await?;
        for manifest in cargo.under_index() {
            put_manifest(&registry, &manifest.digest.to_string(), manifest).await?;
        }
        let digest = cargo.top.digest.to_string();
        put_manifest(&registry, reference.tag().unwrap_or(&digest), &cargo.top).await?;
        Ok(Pushed {
            digest: cargo.top.digest.clone(),
            size: cargo.top.bytes.len() as u64,
            before: before.filter(|b| *b != cargo.top.digest),
            part_of: cargo.part_of.clone(),
        })
    })
}

/// Config and layers of all manifests, each once.
fn blobs(store: &Store, cargo: &Cargo) -> Result<Vec<Blob>, Error> {
    let mut blobs: Vec<Blob> = Vec::new();
    for manifest in &cargo.manifests {
        for blob in blobs_of(store, manifest)? {
            if blobs.iter().all(|b| b.digest != blob.digest) {
                blobs.push(blob);
            }
        }
    }
    Ok(blobs)
}

fn blobs_of(store: &Store, document: &Document) -> Result<Vec<Blob>, Error> {
    let damaged = |problem: String| cargo::damaged(store, &document.digest, &problem);
    let parsed: ImageManifest =
        serde_json::from_slice(&document.bytes).map_err(|e| damaged(e.to_string()))?;
    let digest_of = |descriptor: &Descriptor| {
        let digest = descriptor.digest().to_string().parse();
        digest.map_err(|e: minidock_oci::DigestError| damaged(e.to_string()))
    };
    // An attestation has no config of an image's, and its layers are no file systems.
    let config = store.image_config(&digest_of(parsed.config())?);
    let diff_ids = config.map(|c| c.rootfs.diff_ids).unwrap_or_default();
    let diff_ids = diff_ids.into_iter().map(Some);
    let layers = parsed
        .layers()
        .iter()
        .zip(diff_ids.chain(std::iter::repeat(None)));
    layers
        .chain([(parsed.config(), None)])
        .map(|(descriptor, diff_id)| {
            Ok(Blob {
                digest: digest_of(descriptor)?,
                size: descriptor.size(),
                diff_id,
            })
        })
        .collect()
}

/// Which blobs the store knows to be in other repositories of the same registry.
struct Elsewhere(Vec<(Digest, String)>);

impl Elsewhere {
    fn read(store: &Store, reference: &Reference) -> Result<Self, Error> {
        let mut known = Vec::new();
        for record in store.images()? {
            let name = record.repository.as_deref().unwrap_or_default();
            let Some(repository) = name
                .strip_prefix(reference.registry())
                .and_then(|rest| rest.strip_prefix('/'))
                .filter(|repository| *repository != reference.repository())
            else {
                continue;
            };
            // Only what came from there is there.
            if record.digest.is_none() {
                continue;
            }
            let blobs = store.blobs_of(&record.manifest).into_iter().skip(1);
            known.extend(blobs.map(|blob| (blob, repository.to_owned())));
        }
        Ok(Self(known))
    }

    fn find(&self, digest: &Digest) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == digest);
        found.map(|(_, repository)| repository.as_str())
    }
}

/// Whether an answer says that there is no such thing, rather than that it cannot be told.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Status { status: 404, .. })
        // A repository that does not exist yet is refused like one that may not be read; sending tells which it is.
        || matches!(error, Error::Denied { .. })
}

/// Sees to it that a blob is in the repository.
async fn bring(
    store: &Store,
    registry: &Registry<'_>,
    elsewhere: &Elsewhere,
    blob: &Blob,
) -> Result<Arrival, Error> {
    let head = Ask::new(Method::HEAD, format!("blobs/{}", blob.digest), blob.what());
    match registry.send(&head).await {
        Ok(_) => return Ok(Arrival::Existed),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error),
    }
    let from = elsewhere.find(&blob.digest);
    let mut location = match begin(registry, blob, from).await? {
        Begun::Mounted => {
            return Ok(Arrival::Mounted {
                from: from.unwrap_or_default().to_owned(),
            });
        }
        Begun::At(location) => location,
    };
    let file = Arc::new(store.open_blob(&blob.digest)?);
    let mut failures = 0;
    let mut done = 0;
    let mut chunk = u64::MAX;
    loop {
        let error = match send(registry, blob, &file, &location, done, chunk).await {
            Ok(()) => return Ok(Arrival::Sent),
            Err(error) => error,
        };
        if matches!(error, Error::Status { status: 413, .. }) && chunk > CHUNK {
            chunk = CHUNK;
        } else {
            failures += 1;
            registry.pause(failures, &blob.what(), error).await?;
        }
        (location, done) = match how_far(registry, blob, &location).await {
            Some(state) => state,
            None => match begin(registry, blob, None).await? {
                Begun::At(location) => (location, 0),
                Begun::Mounted => return Ok(Arrival::Sent),
            },
        };
    }
}

enum Begun {
    /// The registry had it, and has it here now.
    Mounted,
    /// Where to send it.
    At(Url),
}

async fn begin(registry: &Registry<'_>, blob: &Blob, from: Option<&str>) -> Result<Begun, Error> {
    let mut path = "blobs/uploads/".to_owned();
    if let Some(from) = from {
        registry.also_pull(from);
        path.push_str(&format!("?mount={}&from={from}", blob.digest));
    }
    let response = registry
        .send(&Ask::new(Method::POST, path, blob.what()))
        .await?;
    if response.status() == StatusCode::CREATED {
        return Ok(Begun::Mounted);
    }
    location(registry, response.url(), response.headers()).map(Begun::At)
}

fn location(registry: &Registry<'_>, at: &Url, headers: &HeaderMap) -> Result<Url, Error> {
    let text = headers.get(LOCATION).and_then(|v| v.to_str().ok());
    let text = text.ok_or_else(|| {
        registry.malformed(
            "answer",
            "it does not say where to send the blob (Location)",
        )
    })?;
    let url = at
        .join(text)
        .map_err(|e| registry.malformed("address", e.to_string()))?;
    if url.scheme() != "https" && !(at.scheme() == "http" && registry.is_here(&url)) {
        return Err(registry.malformed("address", "it wants the blob sent without TLS"));
    }
    Ok(url)
}

/// Sends what the registry has not got yet.
async fn send(
    registry: &Registry<'_>,
    blob: &Blob,
    file: &Arc<File>,
    location: &Url,
    done: u64,
    chunk: u64,
) -> Result<(), Error> {
    let part = |start: u64, end: u64, ranged| {
        Content::File(Part {
            file: Arc::clone(file),
            start,
            end,
            ranged,
            sent: Arc::new(AtomicU64::new(start)),
            about: blob.diff_id.clone(),
        })
    };
    let ask = |method, url: Url, content| Ask {
        content,
        ..Ask::new(method, url.into(), blob.what())
    };
    let mut at = location.clone();
    let mut start = done;
    let whole = start == 0 && blob.size <= chunk;
    while !whole && start < blob.size {
        let end = blob.size.min(start.saturating_add(chunk));
        let patch = ask(Method::PATCH, at.clone(), part(start, end, true));
        let response = registry.send_once(&patch).await?;
        at = self::location(registry, response.url(), response.headers())?;
        start = end;
    }
    at.query_pairs_mut()
        .append_pair("digest", &blob.digest.to_string());
    let content = if whole && blob.size > 0 {
        part(0, blob.size, false)
    } else {
        Content::Bytes(bytes::Bytes::new(), "application/octet-stream".into())
    };
    registry
        .send_once(&ask(Method::PUT, at, content))
        .await
        .map(drop)
}

/// How much of a blob the registry has, and where the rest is to go. `None` where it has forgotten about it.
async fn how_far(registry: &Registry<'_>, blob: &Blob, location: &Url) -> Option<(Url, u64)> {
    let ask = Ask::new(Method::GET, location.clone().into(), blob.what());
    let response = registry.send_once(&ask).await.ok()?;
    let next = self::location(registry, response.url(), response.headers()).ok()?;
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = range
        .trim_start_matches("bytes=")
        .strip_prefix("0-")?
        .parse()
        .ok()?;
    // `0-0` is said of nothing as well as of one byte; nothing is the safe reading.
    let done = if last == 0 { 0 } else { last + 1 };
    (done <= blob.size).then_some((next, done))
}

/// What the reference names at the registry so far.
async fn standing(registry: &Registry<'_>, reference: &Reference) -> Result<Option<Digest>, Error> {
    match manifest::head(registry, reference).await {
        Ok(digest) => Ok(digest),
        // Nothing yet, or it cannot be told before a blob is sent.
        Err(Error::NotFound(_) | Error::Denied { .. } | Error::Status { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn put_manifest(
    registry: &Registry<'_>,
    name: &str,
    document: &Document,
) -> Result<(), Error> {
    let bytes = document.bytes.clone();
    let ask = Ask {
        content: Content::Bytes(bytes.into(), document.media_type.clone()),
        ..Ask::new(
            Method::PUT,
            format!("manifests/{name}"),
            format!("the manifest {name}"),
        )
    };
    let response = registry.send(&ask).await?;
    match manifest::promised(response.headers()) {
        Some(stored) if stored != document.digest => Err(Error::Digest {
            what: "manifest at the registry",
            expected: document.digest.to_string(),
            actual: stored,
        }),
        _ => Ok(()),
    }
}
