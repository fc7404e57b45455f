//! From a reference to the manifest for a platform.

use minidock_oci::{
    ChainId, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Descriptor, DiffId, Digest, Hasher,
    ImageConfig, ImageIndex, ImageManifest, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST, Platform,
    Reference,
};
use minidock_store::Store;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};

use crate::Error;
use crate::foreign;
use crate::http::{Ask, Registry};

const ACCEPT: [&str; 4] = [
    OCI_INDEX,
    DOCKER_MANIFEST_LIST,
    OCI_MANIFEST,
    DOCKER_MANIFEST,
];
/// Indexes within indexes: none but one level is in use.
const MAX_DEPTH: usize = 2;

/// A manifest or index as it came.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub media_type: String,
}

/// An image at its registry.
#[derive(Debug)]
pub struct Resolved {
    /// What the reference names.
    pub top: Document,
    /// The manifest for the platform; the same where there is no index.
    pub manifest: Document,
    pub config: Digest,
    pub config_size: u64,
    blobs: Vec<Blob>,
}

/// What the manifest says of a layer.
#[derive(Debug)]
struct Blob {
    digest: Digest,
    size: u64,
    foreign: bool,
    urls: Vec<Url>,
}

/// One layer to bring.
#[derive(Clone, Debug)]
pub struct Layer {
    pub blob: Digest,
    pub size: u64,
    pub diff_id: DiffId,
    pub chain_id: ChainId,
    /// Whether its registry need not have it.
    pub foreign: bool,
    /// Where it is then.
    pub urls: Vec<Url>,
}

impl Resolved {
    /// Parses the config and checks that it fits the manifest.
    pub fn check_config(&self, bytes: &[u8]) -> Result<ImageConfig, Error> {
        ImageConfig::parse(bytes)
            .and_then(|c| c.check_layer_count(self.blobs.len()).map(|()| c))
            .map_err(|source| Error::Config {
                digest: self.config.clone(),
                source,
            })
    }

    pub fn layers(&self, config: &ImageConfig) -> Vec<Layer> {
        let diff_ids = &config.rootfs.diff_ids;
        let chain = ChainId::of_stack(diff_ids);
        self.blobs
            .iter()
            .zip(diff_ids)
            .zip(chain)
            .map(|((blob, diff_id), chain_id)| Layer {
                blob: blob.digest.clone(),
                size: blob.size,
                diff_id: diff_id.clone(),
                chain_id,
                foreign: blob.foreign,
                urls: blob.urls.clone(),
            })
            .collect()
    }
}

fn ask(method: Method, wanted: &str) -> Ask<'static> {
    let what = format!("the manifest {wanted}");
    Ask {
        accept: &ACCEPT,
        ..Ask::new(method, format!("manifests/{wanted}"), what)
    }
}

/// The digest that the registry has for a reference; `None` when it does not say.
pub async fn head(registry: &Registry<'_>, reference: &Reference) -> Result<Option<Digest>, Error> {
    let response = registry
        .send(&ask(Method::HEAD, &reference.wanted()))
        .await
        .map_err(|e| missing(e, reference))?;
    Ok(promised(response.headers()))
}

pub fn promised(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// A 404 on a manifest has one meaning.
fn missing(error: Error, reference: &Reference) -> Error {
    match error {
        Error::Status { status: 404, .. } => Error::NotFound(reference.familiar()),
        other => other,
    }
}

pub async fn fetch(
    registry: &Registry<'_>,
    reference: &Reference,
    wanted: &str,
    expected: Option<&Digest>,
) -> Result<Document, Error> {
    let (headers, bytes) = registry
        .fetch(&ask(Method::GET, wanted), MAX_MANIFEST_SIZE)
        .await
        .map_err(|e| missing(e, reference))?;
    let promised = promised(&headers);
    let expected = expected.or(promised.as_ref());
    let digest = match expected {
        Some(expected) => {
            let mut hasher = Hasher::new(expected.algorithm());
            hasher.update(&bytes);
            let actual = hasher.finish();
            if actual != *expected {
                return Err(Error::Digest {
                    what: "manifest",
                    expected: expected.to_string(),
                    actual,
                });
            }
            actual
        }
        None => Digest::sha256(&bytes),
    };
    let header = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .map(|v| v.split(';').next().unwrap_or(v).trim().to_owned());
    let media_type = media_type(registry, &bytes, header)?;
    Ok(Document {
        bytes,
        digest,
        media_type,
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// What came instead of the JSON that was wanted: often it is the page of some proxy.
pub fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    format!("it is not the JSON that it should be ({error}); it begins with {start:?}")
}

/// The document's own word on what it is, checked against its shape: a header alone may lie.
fn media_type(
    registry: &Registry<'_>,
    bytes: &[u8],
    header: Option<String>,
) -> Result<String, Error> {
    let outline: Outline = serde_json::from_slice(bytes)
        .map_err(|e| registry.malformed("manifest", not_json(bytes, &e)))?;
    if outline.schema_version == Some(1) {
        return Err(Error::Schema1(registry.image()));
    }
    if outline.manifests.is_some() && outline.layers.is_some() {
        return Err(registry.malformed(
            "manifest",
            "it claims to be an index and a manifest at once",
        ));
    }
    let is_index = outline.manifests.is_some();
    let known = |t: &String| ACCEPT.contains(&t.as_str());
    let named = outline.media_type.or(header).filter(known);
    let fits = |t: &String| (t == OCI_INDEX || t == DOCKER_MANIFEST_LIST) == is_index;
    match named {
        Some(named) if !fits(&named) => Err(registry.malformed(
            "manifest",
            format!("it is named {named}, but has another shape"),
        )),
        Some(named) => Ok(named),
        None => Ok(if is_index { OCI_INDEX } else { OCI_MANIFEST }.to_owned()),
    }
}

/// A document that an index names: from the store, where another image brought it.
async fn named(
    store: Option<&Store>,
    registry: &Registry<'_>,
    reference: &Reference,
    digest: &Digest,
) -> Result<Document, Error> {
    let known = store.and_then(|s| s.read_blob(digest, MAX_MANIFEST_SIZE).ok());
    match known {
        Some(bytes) => Ok(Document {
            media_type: media_type(registry, &bytes, None)?,
            digest: digest.clone(),
            bytes,
        }),
        None => fetch(registry, reference, &digest.to_string(), Some(digest)).await,
    }
}

/// Fetches the manifest of a reference for a platform.
pub async fn resolve(
    store: Option<&Store>,
    registry: &Registry<'_>,
    reference: &Reference,
    platform: &Platform,
) -> Result<Resolved, Error> {
    let top = fetch(registry, reference, &reference.wanted(), reference.digest()).await?;
    let mut at = top.clone();
    let mut depth = 0;
    while at.is_index() {
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(registry.malformed("index", "indexes are nested too deeply"));
        }
        let index = at.index(registry)?;
        let chosen = platform.choose(&index).ok_or_else(|| Error::Platform {
            image: reference.familiar(),
            wanted: platform.to_string(),
            offered: Platform::offered(&index),
        })?;
        at = entry(store, registry, reference, chosen).await?;
    }
    understand(registry, reference, top, at)
}

impl Document {
    pub fn is_index(&self) -> bool {
        self.media_type == OCI_INDEX || self.media_type == DOCKER_MANIFEST_LIST
    }

    pub fn index(&self, registry: &Registry<'_>) -> Result<ImageIndex, Error> {
        serde_json::from_slice(&self.bytes).map_err(|e| registry.malformed("index", e.to_string()))
    }

    pub fn manifest(&self, registry: &Registry<'_>) -> Result<ImageManifest, Error> {
        serde_json::from_slice(&self.bytes)
            .map_err(|e| registry.malformed("manifest", e.to_string()))
    }
}

/// What an entry of an index names.
pub async fn entry(
    store: Option<&Store>,
    registry: &Registry<'_>,
    reference: &Reference,
    entry: &Descriptor,
) -> Result<Document, Error> {
    let (digest, size) = digest_and_size(registry, entry)?;
    if size > MAX_MANIFEST_SIZE {
        return Err(Error::TooLarge {
            what: "manifest".into(),
            limit: MAX_MANIFEST_SIZE,
        });
    }
    let found = named(store, registry, reference, &digest).await?;
    if found.bytes.len() as u64 != size {
        return Err(registry.malformed(
            "manifest",
            format!("it has {} bytes, the index says {size}", found.bytes.len()),
        ));
    }
    Ok(found)
}

/// What a manifest consists of.
pub fn understand(
    registry: &Registry<'_>,
    reference: &Reference,
    top: Document,
    at: Document,
) -> Result<Resolved, Error> {
    let manifest = at.manifest(registry)?;
    check_kind(&manifest, reference)?;
    let (config, config_size) = digest_and_size(registry, manifest.config())?;
    let blobs = manifest
        .layers()
        .iter()
        .map(|layer| {
            let (digest, size) = digest_and_size(registry, layer)?;
            Ok(Blob {
                digest,
                size,
                foreign: foreign::is_foreign(layer),
                urls: foreign::places(registry, layer),
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Resolved {
        top,
        manifest: at,
        config,
        config_size,
        blobs,
    })
}

/// Registries hold other things than images: charts, signatures, attestations.
fn check_kind(manifest: &ImageManifest, reference: &Reference) -> Result<(), Error> {
    let media_type = manifest.config().media_type().to_string();
    let image = [
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",
    ];
    if image.contains(&media_type.as_str()) {
        return Ok(());
    }
    Err(Error::NotAnImage {
        image: reference.familiar(),
        media_type,
    })
}

pub fn digest_and_size(
    registry: &Registry<'_>,
    descriptor: &Descriptor,
) -> Result<(Digest, u64), Error> {
    let text = descriptor.digest().to_string();
    let digest = text
        .parse()
        .map_err(|e: minidock_oci::DigestError| registry.malformed("descriptor", e.to_string()))?;
    Ok((digest, descriptor.size()))
}
