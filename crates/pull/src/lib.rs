//! Registries and archives: from a reference to verified content in the store.
//!
//! The only asynchronous crate, and only inside: [`pull`] builds a runtime, which is gone when it returns.
//!
//! # One pass
//! Each layer goes from the network through a bounded channel to a blocking thread, where the store's transaction checks
//! digest and size, inflates, checks the diff_id and makes the files. Several layers are on their way at once; nothing of
//! the image is visible before all of it is there. A transfer that breaks is taken up where it stopped (`Range`), under
//! the same hash. What came before a pull ended, be it by Ctrl-C or `kill -9`, is in the store, and the next pull asks for
//! the rest only.
//!
//! # Who does what
//! | module | task |
//! |---|---|
//! | `manifest` | from a reference to the manifest for a platform |
//! | `blobs` | configs into memory, layers through the store, resumed where they broke |
//! | `pipe` | from the network to the thread that makes files |
//! | `foreign` | layers that are elsewhere than at their registry |
//! | `remote`, `search` | looking at a repository or a registry without bringing anything |
//! | `platforms` | an image for all platforms of its index |
//! | `pages` | lists that come in pages |
//! | `push`, `cargo`, `upload` | from the store to a repository; what is sent; bodies that can be sent again |
//! | `http` | one registry: requests, tokens, retries, what a refusal means |
//! | `credentials`, `authorize` | who we are; what is sent to be let in |
//! | `transport` | why a request got no answer, in words |
//! | `auth`, `retry`, `answer` | challenges and tokens; when to try again; bodies and reasons, within bounds |
//! | `rate_limit` | how many pulls a registry allows, in words |
//! | `registries` | mirrors, prefixes, blocked and insecure registries |
//! | `client` | TLS, trust, redirects, where plain HTTP is spoken |
//! | `proxy` | through which proxy which address is reached |
//! | `web` | a file from the web, for `import` |
//! | [`archive`] | the same from a file: `docker save`, OCI layouts |
//!
//! # Why `reqwest` and not a registry client crate
//! The OCI distribution protocol is spoken here directly. The crate that would be the natural choice, `oci-client`, reads
//! manifests, token answers and error bodies into memory whatever their size, drops the status line and `Retry-After` of a
//! failed answer, and offers no place for a redirect policy or for renewing a token in the middle of a pull. Around it,
//! each of these would need the request made again by other means.
//!
//! # What is never done
//! No plain HTTP except where the user wrote `http://` himself, to the loopback interface (where TLS is tried if HTTP is not understood) and to registries that
//! `registries.conf` calls insecure, no `Authorization` to
//! another host than the one that asked for it, no redirect from HTTPS to HTTP, no body read beyond its descriptor's size
//! or, where there is none, [`minidock_oci::MAX_MANIFEST_SIZE`], no waiting for a body that only drips.

mod answer;
pub mod archive;
mod auth;
mod authorize;
mod blobs;
mod cargo;
mod certificates;
mod client;
mod credentials;
mod error;
mod foreign;
mod http;
mod manifest;
mod pages;
mod pipe;
mod platforms;
mod proxy;
mod push;
mod rate_limit;
mod registries;
mod remote;
mod retry;
mod search;
mod transport;
mod upload;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, TryStreamExt};
use minidock_oci::{DOCKER_MANIFEST_LIST, DiffId, Digest, OCI_INDEX, Platform, Reference};
use minidock_store::{Bounds, Found, ImageRecord, Store, Writer};

pub use credentials::{Credential, CredentialError, Credentials, Kept};
pub use error::Error;
pub use proxy::{Proxies, ProxyVariables};
pub use push::{Pushed, Which, push};
pub use registries::{Endpoint, Registries};
pub use remote::{RemoteImage, remote_document, remote_image, remote_tags};
pub use retry::RetryPolicy;
pub use search::{SearchResult, search};
pub use transport::{CertificateProblem, TransportCause, TransportKind};
pub use web::Download;

use http::{Ask, Registry, Subject};
use manifest::Resolved;

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// For which platform. `None`: this machine's, and of an image without index whatever it is for.
    pub platform: Option<Platform>,
    /// Pull the images for all platforms; `platform` then says which of them gets the name.
    pub all_platforms: bool,
    /// Layers on their way at the same time.
    pub max_concurrent: usize,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// A connection that brings next to nothing for this long is given up.
    pub stall_timeout: Duration,
    /// What is tried again, and when.
    pub retry: RetryPolicy,
    /// Certificates (DER) that are trusted beside the system's.
    pub extra_roots: Vec<Vec<u8>>,
    /// Where to look for who we are.
    pub credentials: Credentials,
    /// Mirrors, rewriting, and where plain HTTP is allowed.
    pub registries: Registries,
    /// What is reached through a proxy.
    pub proxies: Proxies,
    /// Folders with a folder a registry in them, of certificates to trust (`*.crt`) and to show (`*.cert`, `*.key`).
    pub certificates: Vec<PathBuf>,
    /// How much may be added to the store.
    pub bounds: Bounds,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: None,
            all_platforms: false,
            max_concurrent: 4,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            extra_roots: Vec::new(),
            credentials: Credentials::default(),
            registries: Registries::default(),
            proxies: Proxies::default(),
            certificates: Vec::new(),
            bounds: Bounds::default(),
        }
    }
}

/// What happens during a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The reference was found at its registry.
    Resolved {
        /// Which.
        reference: Reference,
    },
    /// The layer is in the store already.
    AlreadyExists {
        /// Its blob.
        layer: Digest,
    },
    /// The layer waits for its turn.
    Waiting {
        /// Its blob.
        layer: Digest,
        /// Bytes in all.
        size: u64,
    },
    /// Bytes of the layer came in.
    Downloading {
        /// Its blob.
        layer: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All bytes are here; the last files are being made.
    Extracting {
        /// Its blob.
        layer: Digest,
    },
    /// The layer is in the store.
    Complete {
        /// Its blob.
        layer: Digest,
    },
    /// The layer will be sent, unless the registry has it.
    Preparing {
        /// Its diff_id.
        layer: DiffId,
    },
    /// Bytes of the layer went out.
    Uploading {
        /// Its diff_id.
        layer: DiffId,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The layer is at the registry.
    Pushed {
        /// Its diff_id.
        layer: DiffId,
        /// How it came there.
        how: Arrival,
    },
    /// A mirror could not help; the next place is asked.
    MirrorFailed {
        /// Its host.
        mirror: String,
        /// Why not.
        why: String,
    },
    /// Credentials could not be read; the registry is asked without.
    NoCredentials {
        /// For which registry.
        registry: String,
        /// Why not.
        why: String,
    },
    /// Something failed that may go better the next time.
    Retrying {
        /// What is tried again.
        what: String,
        /// Why it failed.
        why: String,
        /// When it is tried again.
        delay: Duration,
    },
}

/// How a blob came to be at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Existed,
    /// It was in another repository of the registry.
    Mounted {
        /// In which.
        from: String,
    },
    /// It was sent.
    Sent,
}

/// An image that is now in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Digest of its config.
    pub image_id: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of what the reference names at the registry: an index or a manifest.
    pub digest: Digest,
    /// Whether the store did not have it under this name.
    pub new: bool,
    /// The digest that the tag had in the store before, where that was another one.
    pub before: Option<Digest>,
}

/// Pulls an image into the store.
///
/// # Errors
/// When the registry cannot be reached, refuses, or does not keep its word. Layers that were complete stay in the store
/// until they are collected.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Pulled, Error> {
    store.check_writable()?;
    block_on(async {
        at_places(reference, options, events, async |registry| {
            pull_from(store, registry, reference, options).await
        })
        .await
    })
}

/// Runs to the end. Waits for the threads that make files: when this returns, nothing is being written any more.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(work);
    drop(runtime);
    result
}

/// Does something with a repository at the first of its places that can do it: mirrors first.
async fn at_places<T>(
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
    act: impl AsyncFn(&Registry<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let subject = || Subject::Image(reference.clone());
    let mut places = options.registries.endpoints(reference)?;
    let own = places.pop();
    for mirror in places {
        let registry = Registry::new(&mirror, subject(), &hasty(options), events)?;
        match act(&registry).await {
            // What the store or the image itself is to blame for is no better elsewhere.
            Err(error) if error.is_of_the_registry() => events(Event::MirrorFailed {
                mirror: mirror.host,
                why: error.to_string(),
            }),
            result => return result,
        }
    }
    match own {
        Some(own) => act(&Registry::new(&own, subject(), options, events)?).await,
        None => Err(Error::NotFound(reference.familiar())),
    }
}

/// Mirrors are asked once: others can do what they cannot.
fn hasty(options: &PullOptions) -> PullOptions {
    let mut hasty = options.clone();
    hasty.retry.connects = 1;
    hasty.retry.attempts = hasty.retry.attempts.min(2);
    hasty
}

async fn pull_from(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Pulled, Error> {
    if options.all_platforms {
        return platforms::pull(store, registry, reference, options).await;
    }
    let resolved = |registry: &Registry<'_>| {
        registry.event(Event::Resolved {
            reference: reference.clone(),
        });
    };
    if let Some(pulled) = up_to_date(store, registry, reference, options).await? {
        resolved(registry);
        return Ok(pulled);
    }
    let platform = options
        .platform
        .clone()
        .unwrap_or_else(Platform::host_at_its_best);
    let found = manifest::resolve(Some(store), registry, reference, &platform).await?;
    resolved(registry);
    bring(store, registry, reference, options, found).await
}

/// Checks a login with its registry, and keeps it.
///
/// # Errors
/// When the registry cannot be reached or refuses it, or it cannot be kept.
pub fn login(
    registry: &str,
    login: &Credential,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Kept, Error> {
    block_on(async {
        let endpoint = options.registries.registry(registry);
        let at = Registry::new(&endpoint, Subject::Registry, options, events)?;
        // Not what is known already: this one.
        let _ = at.credential.set(Some(login.clone()));
        at.send(&Ask::new(reqwest::Method::GET, String::new(), "the login"))
            .await
    })?;
    Ok(options.credentials.store(registry, login)?)
}

/// Whether the store has what the registry has: one HEAD request tells.
async fn up_to_date(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Option<Pulled>, Error> {
    let Ok(Found::Name(record)) = store.find_image(&reference.to_string()) else {
        return Ok(None);
    };
    let Some(known) = &record.digest else {
        return Ok(None);
    };
    let fits = is_what_is_wanted(store, &record, options);
    if !fits {
        return Ok(None);
    }
    // What a digest names does not change; of what a tag names, a registry without HEAD is asked with GET.
    let same = reference.digest() == Some(known)
        || match manifest::head(registry, reference).await {
            Ok(digest) => digest.as_ref() == Some(known),
            Err(Error::Status { .. }) => false,
            Err(e) => return Err(e),
        };
    Ok(same.then(|| Pulled {
        image_id: record.image_id.clone(),
        manifest: record.manifest.clone(),
        digest: known.clone(),
        new: false,
        before: None,
    }))
}

/// Whether an image that is in the store is the one that its index has for the platform.
fn is_what_is_wanted(store: &Store, record: &ImageRecord, options: &PullOptions) -> bool {
    let wanted = options.platform.clone();
    let wanted = wanted.unwrap_or_else(Platform::host_at_its_best);
    if record.digest.as_ref() != Some(&record.manifest)
        && let Ok(Some(stored)) = store.index_of(record)
        && Some(&stored.digest) == record.digest.as_ref()
        && let Some(chosen) = wanted.choose(&stored.index)
        && ![OCI_INDEX, DOCKER_MANIFEST_LIST].contains(&chosen.media_type().to_string().as_str())
    {
        return chosen.digest().to_string() == record.manifest.to_string();
    }
    let single = record.digest.as_ref() == Some(&record.manifest);
    let config = store.image_config(&record.image_id);
    config.is_ok_and(|c| (single && options.platform.is_none()) || is_for(&c, &wanted))
}

async fn bring(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    options: &PullOptions,
    resolved: Resolved,
) -> Result<Pulled, Error> {
    let writer = Arc::new(
        on_thread({
            let (store, bounds) = (store.clone(), options.bounds);
            move || store.writer_with(bounds).map_err(Error::Store)
        })
        .await?,
    );
    let config_bytes =
        blobs::kept(registry, &writer, &resolved.config, resolved.config_size).await?;
    let config = resolved.check_config(&config_bytes)?;
    if let Some(wanted) = options.platform.as_ref().filter(|w| !is_for(&config, w)) {
        return Err(Error::OtherPlatform {
            image: reference.familiar(),
            have: config
                .platform()
                .map_or_else(|| "an unknown platform".into(), |p| p.to_string()),
            wanted: wanted.to_string(),
        });
    }
    let before = match store.find_image(&reference.to_string()) {
        Ok(Found::Name(known)) if reference.digest().is_none() => known.digest,
        _ => None,
    };
    let layers = resolved.layers(&config);
    for layer in &layers {
        registry.event(Event::Waiting {
            layer: layer.blob.clone(),
            size: layer.size,
        });
    }
    stream::iter(layers.iter().map(Ok::<_, Error>))
        .try_for_each_concurrent(options.max_concurrent.max(1), |layer| {
            blobs::bring_layer(registry, &writer, layer)
        })
        .await?;
    let pulled = Pulled {
        image_id: resolved.config.clone(),
        manifest: resolved.manifest.digest.clone(),
        digest: resolved.top.digest.clone(),
        new: true,
        before: before.filter(|digest| *digest != resolved.top.digest),
    };
    let record = ImageRecord {
        repository: None,
        tag: None,
        digest: Some(resolved.top.digest.clone()),
        manifest: resolved.manifest.digest.clone(),
        manifest_size: resolved.manifest.bytes.len() as u64,
        media_type: resolved.manifest.media_type.clone(),
        image_id: resolved.config.clone(),
        created: String::new(),
        size: 0,
        last_tagged: None,
    }
    .named(reference);
    let new = on_thread(move || {
        let put =
            |bytes: &[u8], digest: &Digest| writer.put_blob(bytes, digest).map_err(Error::Store);
        put(&config_bytes, &resolved.config)?;
        put(&resolved.manifest.bytes, &resolved.manifest.digest)?;
        put(&resolved.top.bytes, &resolved.top.digest)?;
        publish(&writer, record, &config)
    })
    .await?;
    Ok(Pulled { new, ..pulled })
}

fn publish(
    writer: &Writer,
    record: ImageRecord,
    config: &minidock_oci::ImageConfig,
) -> Result<bool, Error> {
    writer.publish(record, config).map_err(Error::Store)
}

/// Whether an image is for a platform. One that does not say is for any; a variant counts only where both have one, for
/// an index may have chosen an older one on purpose.
fn is_for(config: &minidock_oci::ImageConfig, wanted: &Platform) -> bool {
    config
        .platform()
        .is_none_or(|p| p.os == wanted.os && p.architecture == wanted.architecture)
}

/// Runs what blocks (disk, locks) beside the network.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Runtime(std::io::Error::other(e))),
    }
}
