//! An in-process registry for tests. It imitates Docker Hub on loopback: a token challenge, blobs redirected to another
//! host, an image index with attestation entries. Every request is logged, and a [`Fault`] can be planned for each. A test
//! fails when its registry goes if an `Authorization` header came to the host that blobs are redirected to.
//!
//! Test support only: it panics where a server would answer politely.
#![expect(clippy::unwrap_used, reason = "test support")]

mod http;
mod image;
mod proxy;
mod tls;
mod upload;

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use minidock_oci::{Digest, OCI_INDEX, OCI_MANIFEST};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use http::Request;
pub use image::{Image, tar};
pub use proxy::Proxy;
pub use tls::Authority;

/// How an answer goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The body breaks off after so many bytes.
    Truncate(usize),
    /// After so many bytes of the body nothing more comes, and the connection stays open.
    Stall(usize),
    /// After so many bytes of the body the connection is reset.
    Reset(usize),
    /// The body comes byte by byte, so slowly that it would take for ever.
    Drip,
    /// One bit of the body is wrong.
    Corrupt,
    /// Another status, with these headers and this body.
    Status(u16, Vec<(String, String)>, String),
    /// A body without end and without length.
    Endless,
    /// Headers without end.
    EndlessHeaders,
    /// A redirect to this address.
    Redirect(String),
    /// After so many bytes of the request's body the connection is cut, and they are kept. Planned for `METHOD PATH`.
    CutBody(usize),
}

#[derive(Debug)]
struct Plan {
    /// Part of the path.
    path: String,
    fault: Fault,
    times: usize,
}

#[derive(Debug, Default)]
struct Content {
    /// `repository/tag-or-digest` to media type and bytes.
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
}

/// What a registry asks for. The header value is compared as it is.
#[derive(Clone, Debug)]
pub enum Login {
    /// `Basic …` with every request.
    Basic(String),
    /// `Basic …` for a token.
    Password(String),
    /// This refresh token for a token.
    Identity(String),
}

#[derive(Debug)]
struct Shared {
    content: Mutex<Content>,
    log: Mutex<Vec<Request>>,
    plans: Mutex<Vec<Plan>>,
    /// Tokens that are accepted, each with its scope; `None`: none is asked for.
    tokens: Mutex<Option<Vec<(String, String)>>>,
    /// Repositories that no token opens.
    denied: Mutex<HashSet<String>>,
    /// Who is let in; `None`: everybody.
    login: Mutex<Option<Login>>,
    /// Whether the other host saw credentials.
    leaked: AtomicBool,
    main: SocketAddr,
    other: SocketAddr,
    /// Where tokens and redirected blobs are, as addresses for clients.
    token: String,
    data: String,
    /// Answers that wait.
    gate: Gate,
    redirect_blobs: AtomicBool,
    ranges: AtomicBool,
    /// Uploads that are under way, by id.
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    uploads_begun: AtomicUsize,
    /// Bytes of the largest body that is taken.
    max_body: AtomicUsize,
    closing: AtomicBool,
}

/// Answers that are held back until somebody lets them go, in the order in which they came.
#[derive(Debug, Default)]
struct Gate {
    path: Mutex<Option<String>>,
    /// How many came, and how many may go.
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self, path: &str) {
        let held = self.path.lock().unwrap().clone();
        if held.is_none_or(|held| !path.contains(&held)) {
            return;
        }
        let mut counts = self.counts.lock().unwrap();
        let mine = counts.0;
        counts.0 += 1;
        drop(self.changed.wait_while(counts, |(_, free)| *free <= mine));
    }
}

/// Where a registry is, and what it calls itself.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it listens.
    pub main: String,
    /// Where the host listens that blobs are redirected to.
    pub other: String,
    /// Where else the registry listens: other names of its own.
    pub also: Vec<String>,
    /// How clients are told to reach the token service, `https://HOST`. `None`: by the registry's address.
    pub token: Option<String>,
    /// How clients are told to reach the other host. `None`: by its address.
    pub data: Option<String>,
    /// TLS, for both.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            main: "127.0.0.1:0".into(),
            other: "127.0.0.1:0".into(),
            also: Vec::new(),
            token: None,
            data: None,
            tls: None,
        }
    }
}

/// A running registry, gone when dropped.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
}

impl Registry {
    /// Starts one that wants no token and serves blobs itself.
    pub fn start() -> Self {
        Self::start_as(Setup::default())
    }

    /// Starts one at certain addresses, with TLS or without.
    pub fn start_as(setup: Setup) -> Self {
        let [main, other] = [setup.main, setup.other].map(|at| TcpListener::bind(at).unwrap());
        let [at, other_at] = [&main, &other].map(|l| l.local_addr().unwrap());
        let scheme = if setup.tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            content: Mutex::default(),
            log: Mutex::default(),
            plans: Mutex::default(),
            tokens: Mutex::new(None),
            denied: Mutex::default(),
            login: Mutex::default(),
            leaked: AtomicBool::new(false),
            main: at,
            other: other_at,
            token: setup.token.unwrap_or_else(|| format!("{scheme}://{at}")),
            data: setup
                .data
                .unwrap_or_else(|| format!("{scheme}://{other_at}")),
            gate: Gate::default(),
            redirect_blobs: AtomicBool::new(false),
            ranges: AtomicBool::new(true),
            uploads: Mutex::default(),
            uploads_begun: AtomicUsize::new(0),
            max_body: AtomicUsize::new(usize::MAX),
            closing: AtomicBool::new(false),
        });
        let also = setup.also.iter().map(|at| TcpListener::bind(at).unwrap());
        for listener in [main, other].into_iter().chain(also) {
            let shared = Arc::clone(&shared);
            let tls = setup.tls.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.closing.load(Ordering::SeqCst) {
                        return;
                    }
                    let (shared, tls) = (Arc::clone(&shared), tls.clone());
                    let address = listener.local_addr().unwrap();
                    let stream = stream.unwrap();
                    std::thread::spawn(move || match tls {
                        None => http::serve(stream, address, &shared),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            http::serve(StreamOwned::new(connection, stream), address, &shared);
                        }
                    });
                }
            });
        }
        Self { shared }
    }

    /// Starts one that behaves as Docker Hub does: anonymous tokens, blobs elsewhere.
    pub fn like_docker_hub() -> Self {
        Self::start().as_docker_hub()
    }

    /// Makes it ask for tokens, which anybody gets, and send clients elsewhere for blobs.
    pub fn as_docker_hub(self) -> Self {
        let registry = self;
        *registry.shared.tokens.lock().unwrap() = Some(Vec::new());
        registry.shared.redirect_blobs.store(true, Ordering::SeqCst);
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.shared.main.to_string()
    }

    /// `127.0.0.1:PORT` of the host that blobs are redirected to.
    pub fn blob_host(&self) -> String {
        self.shared.other.to_string()
    }

    /// Makes it refuse larger bodies (413).
    pub fn max_body(&self, bytes: usize) {
        self.shared.max_body.store(bytes, Ordering::SeqCst);
    }

    /// The bytes of a blob that it has.
    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let content = self.shared.content.lock().unwrap();
        content.blobs.get(&digest.to_string()).cloned()
    }

    /// The manifest under `REPOSITORY/TAG`, with its media type.
    pub fn manifest(&self, name: &str) -> Option<(String, Vec<u8>)> {
        self.shared
            .content
            .lock()
            .unwrap()
            .manifests
            .get(name)
            .cloned()
    }

    /// Makes it ignore `Range`.
    pub fn without_ranges(&self) {
        self.shared.ranges.store(false, Ordering::SeqCst);
    }

    /// Makes all tokens given out so far worthless.
    pub fn expire_tokens(&self) {
        if let Some(tokens) = &mut *self.shared.tokens.lock().unwrap() {
            tokens.clear();
        }
    }

    /// Lets in only who has this; `None`: everybody.
    pub fn require(&self, login: impl Into<Option<Login>>) {
        *self.shared.login.lock().unwrap() = login.into();
    }

    /// Makes a repository private: no anonymous token opens it.
    pub fn deny(&self, repository: &str) {
        self.shared
            .denied
            .lock()
            .unwrap()
            .insert(repository.to_owned());
    }

    /// Puts the first image of an OCI image layout under a tag, with everything that it refers to and that is there;
    /// returns the digest of its manifest or index.
    pub fn put_layout(&self, repository: &str, tag: &str, layout: &Path) -> Digest {
        let blob = |digest: &Digest| {
            let folder = layout.join("blobs").join(digest.algorithm().as_str());
            std::fs::read(folder.join(digest.hex())).ok()
        };
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let mut todo = descriptors(&index);
        let first = todo.first().unwrap().0.clone();
        while let Some((digest, media_type)) = todo.pop() {
            let Some(bytes) = blob(&digest) else { continue };
            if media_type.contains("manifest") || media_type.contains("index") {
                self.put_manifest(repository, &digest.to_string(), &media_type, &bytes);
                if digest == first {
                    self.put_manifest(repository, tag, &media_type, &bytes);
                }
                todo.extend(descriptors(&bytes));
            } else {
                self.put_blob(&digest, &bytes);
            }
        }
        first
    }

    /// Puts an image under a tag; returns the manifest's digest.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) -> Digest {
        for (digest, bytes) in image.blobs() {
            self.put_blob(&digest, bytes);
        }
        let digest = Digest::sha256(&image.manifest);
        for name in [tag.to_owned(), digest.to_string()] {
            self.put_manifest(repository, &name, OCI_MANIFEST, &image.manifest);
        }
        digest
    }

    /// Puts an index of images for platforms (`os/arch`) under a tag, with an attestation entry as BuildKit makes them.
    pub fn put_index(&self, repository: &str, tag: &str, images: &[(&str, &Image)]) -> Digest {
        let mut entries = Vec::new();
        for (platform, image) in images {
            let digest = self.put(
                repository,
                &format!("only-{}", platform.replace('/', "-")),
                image,
            );
            let (os, architecture) = platform.split_once('/').unwrap();
            entries.push(serde_json::json!({
                "mediaType": OCI_MANIFEST, "digest": digest, "size": image.manifest.len(),
                "platform": {"os": os, "architecture": architecture},
            }));
            entries.push(serde_json::json!({
                "mediaType": OCI_MANIFEST, "digest": Digest::sha256(b"attestation"), "size": 11,
                "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest},
            }));
        }
        let index =
            serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
                .to_string()
                .into_bytes();
        let digest = Digest::sha256(&index);
        for name in [tag.to_owned(), digest.to_string()] {
            self.put_manifest(repository, &name, OCI_INDEX, &index);
        }
        digest
    }

    /// Puts any bytes as a manifest.
    pub fn put_manifest(&self, repository: &str, name: &str, media_type: &str, bytes: &[u8]) {
        let mut content = self.shared.content.lock().unwrap();
        content.manifests.insert(
            format!("{repository}/{name}"),
            (media_type.to_owned(), bytes.to_vec()),
        );
    }

    /// Puts any bytes under any digest.
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) {
        self.shared
            .content
            .lock()
            .unwrap()
            .blobs
            .insert(digest.to_string(), bytes.to_vec());
    }

    /// Plans a fault for the next `times` requests whose path contains `path`.
    pub fn plan(&self, path: &str, times: usize, fault: Fault) {
        self.shared.plans.lock().unwrap().push(Plan {
            path: path.to_owned(),
            fault,
            times,
        });
    }

    /// Plans nothing any more.
    pub fn forget_plans(&self) {
        self.shared.plans.lock().unwrap().clear();
    }

    /// Holds answers to requests whose path contains `path` back, from now on.
    pub fn hold(&self, path: &str) {
        *self.shared.gate.path.lock().unwrap() = Some(path.to_owned());
    }

    /// How many answers are held back now.
    pub fn held(&self) -> usize {
        let (came, free) = *self.shared.gate.counts.lock().unwrap();
        came.saturating_sub(free)
    }

    /// Lets `number` more answers go.
    pub fn let_go(&self, number: usize) {
        self.shared.gate.counts.lock().unwrap().1 += number;
        self.shared.gate.changed.notify_all();
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.shared.log.lock().unwrap().clear();
    }
}

/// Digest and media type of all that an index or a manifest refers to.
fn descriptors(document: &[u8]) -> Vec<(Digest, String)> {
    let document: serde_json::Value = serde_json::from_slice(document).unwrap();
    let lists = ["manifests", "layers"].map(|name| document[name].as_array().cloned());
    let mut all: Vec<_> = lists.into_iter().flatten().flatten().collect();
    all.extend(document.get("config").cloned());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.iter()
        .map(|d| (text(&d["digest"]).parse().unwrap(), text(&d["mediaType"])))
        .collect()
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for address in [self.shared.main, self.shared.other] {
            // Wakes the thread that accepts.
            let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        }
        let leaked = self.shared.leaked.load(Ordering::SeqCst);
        assert!(
            !leaked || std::thread::panicking(),
            "credentials were sent to the host that blobs are redirected to"
        );
    }
}
