//! What can go wrong between here and a registry.

use std::time::Duration;

use crate::rate_limit::span;
use minidock_oci::{ConfigError, Digest};
use minidock_store::StoreError;

use crate::CredentialError;
use crate::client::is_loopback;
use crate::transport::{TransportCause, TransportKind};

/// An error of pulling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime, no thread.
    #[error("cannot start the transfer")]
    Runtime(#[source] std::io::Error),
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// TLS could not be set up, or a certificate to trust is none.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// A variable that should name a proxy does not.
    #[error("{variable} names no proxy: {problem}")]
    Proxy {
        /// Which.
        variable: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The root certificates that the environment names cannot be read.
    #[error("cannot read the root certificates")]
    Roots(#[source] rustls_native_certs::Error),
    /// The registry, or a host that it sent us to, could not be talked to.
    #[error("cannot reach the registry {registry}: the request for {what} failed")]
    Transport {
        /// The host.
        registry: String,
        /// What was asked for.
        what: String,
        /// In which way it failed.
        kind: TransportKind,
        /// Why it failed.
        source: TransportCause,
    },
    /// An address that is none, or of another protocol.
    #[error("cannot fetch {address}: {problem}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of the web's that could not be had.
    #[error("cannot fetch {address}")]
    Web {
        /// Where it should be.
        address: String,
        /// In which way it failed.
        kind: TransportKind,
        /// Why it failed.
        source: TransportCause,
    },
    /// An answer of the web's that is no success.
    #[error("cannot fetch {address}: the server answered {}", status_line(*status))]
    WebStatus {
        /// What was asked for.
        address: String,
        /// The answer.
        status: u16,
    },
    /// The image does not exist, or not for us.
    #[error(
        "pull access denied for {image}: the repository does not exist, or {}{}",
        account.as_ref().map_or_else(|| "may require a login".to_owned(), |who| format!("{who} may not have it")),
        said(detail)
    )]
    Denied {
        /// The image's name, without a tag.
        image: String,
        /// The registry's host.
        registry: String,
        /// The account that was tried.
        account: Option<String>,
        /// What the registry says about it.
        detail: Option<String>,
    },
    /// A file that says where images come from is malformed.
    #[error("cannot use {}: {problem}", path.display())]
    RegistriesConf {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The registry is blocked by the configuration.
    #[error("{image} is blocked: registries.conf allows nothing from {prefix}")]
    Blocked {
        /// The image.
        image: String,
        /// The rule.
        prefix: String,
    },
    /// A rule leads nowhere.
    #[error(
        "registries.conf leads from {prefix} to {place:?}, which is no repository of a registry"
    )]
    BadLocation {
        /// The rule.
        prefix: String,
        /// Where it leads.
        place: String,
    },
    /// Certificates of the configuration cannot be used.
    #[error("cannot use the certificates in {}: {problem}", folder.display())]
    CertificateFolder {
        /// The folder of the registry.
        folder: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A registry that cannot be searched.
    #[error("cannot search {registry}: {problem}")]
    NotSearchable {
        /// The host.
        registry: String,
        /// Why not.
        problem: String,
    },
    /// What is to be pushed is not in the store.
    #[error("an image does not exist locally with the tag: {0}")]
    NotInStore(String),
    /// The store has an image for other platforms only.
    #[error("image {image} was found, but not for {wanted}")]
    PlatformNotInStore {
        /// The image.
        image: String,
        /// What was wanted.
        wanted: String,
    },
    /// The store has not all of an index.
    #[error("cannot push {image} for all platforms: the store lacks {}", missing.join(", "))]
    Incomplete {
        /// The image.
        image: String,
        /// What is missing.
        missing: Vec<String>,
    },
    /// Name and password are not those of an account.
    #[error("the registry {registry} refuses this login{}", said(detail))]
    LoginRefused {
        /// The registry's host.
        registry: String,
        /// What it says about it.
        detail: Option<String>,
    },
    /// Credentials could not be kept or forgotten.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The repository has no such tag or digest.
    #[error("manifest for {0} not found: the registry does not know this tag or digest")]
    NotFound(String),
    /// A blob that the manifest names is not there.
    #[error(
        "the registry {registry} does not have the blob {digest} that the manifest of {image} names"
    )]
    BlobNotFound {
        /// The host.
        registry: String,
        /// The blob.
        digest: Digest,
        /// The image.
        image: String,
    },
    /// Too many requests.
    #[error(
        "the registry {registry} refuses more requests for now (429 Too Many Requests){}{}",
        said(limit),
        said(detail)
    )]
    RateLimited {
        /// The host.
        registry: String,
        /// What it allows whom, in words.
        limit: Option<String>,
        /// What it says about it.
        detail: Option<String>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Whether it does not know who we are: accounts may have more.
        anonymous: bool,
    },
    /// An answer that is no success.
    #[error("the registry {registry} answered {} to the request for {what}{}", status_line(*status), said(detail))]
    Status {
        /// The host.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        status: u16,
        /// What it says about it.
        detail: Option<String>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The token service refused or talked nonsense.
    #[error("cannot get a token for {image} from {realm}: {problem}")]
    Token {
        /// The image.
        image: String,
        /// The token service.
        realm: String,
        /// What went wrong.
        problem: String,
    },
    /// An answer that makes no sense.
    #[error("the registry {registry} sent an invalid {what}: {problem}")]
    Malformed {
        /// The host.
        registry: String,
        /// Of what kind.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Content with the wrong digest.
    #[error("the {what} has digest {actual}, expected {expected}")]
    Digest {
        /// Manifest, config, …
        what: &'static str,
        /// What was promised.
        expected: String,
        /// What came.
        actual: Digest,
    },
    /// Content that is too large, or larger than promised.
    #[error("the {what} is larger than {limit} bytes")]
    TooLarge {
        /// Manifest, config, …
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Schema 1.
    #[error(
        "{0} is stored as manifest schema 1, which Docker gave up in 2019 and which cannot be verified"
    )]
    Schema1(String),
    /// The image is for one other platform.
    #[error("{image} is for {have}, but {wanted} was asked for")]
    OtherPlatform {
        /// The image.
        image: String,
        /// What it is for.
        have: String,
        /// What was wanted.
        wanted: String,
    },
    /// No manifest for the platform.
    #[error("no matching manifest for {wanted} in {image}; it offers {}", if offered.is_empty() { "no platform at all".to_owned() } else { offered.join(", ") })]
    Platform {
        /// The image.
        image: String,
        /// What was wanted.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// Not an image.
    #[error("{image} is no container image, but {media_type}")]
    NotAnImage {
        /// The reference.
        image: String,
        /// What it is.
        media_type: String,
    },
    /// A layer that its registry may not hand out.
    #[error(
        "the layer {0} is not distributable: its registry does not have it, and the manifest names no https address where it is"
    )]
    NotDistributable(Digest),
    /// The config is unusable.
    #[error("the image config {digest} is not usable")]
    Config {
        /// The config.
        digest: Digest,
        /// Why.
        source: ConfigError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { kind, .. } | Self::Web { kind, .. } => {
                matches!(kind, TransportKind::Connect | TransportKind::Broken)
            }
            Self::RateLimited { .. } => true,
            // 501 Not Implemented and 505 stay so.
            Self::Status { status, .. } | Self::WebStatus { status, .. } => {
                matches!(status, 408 | 500 | 502..=504 | 506..=599)
            }
            _ => false,
        }
    }

    /// Whether another place that has the same image may do better.
    pub fn is_of_the_registry(&self) -> bool {
        !matches!(
            self,
            Self::Runtime(_)
                | Self::OtherPlatform { .. }
                | Self::Platform { .. }
                | Self::NotAnImage { .. }
                | Self::Config { .. }
        ) && match self {
            Self::Store(StoreError::Layer { source, .. }) => source.is_of_the_bytes(),
            Self::Store(_) => false,
            _ => true,
        }
    }

    /// When the other side wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Status { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transport { kind: TransportKind::Certificate(problem), registry, .. } => Some(problem.hint(registry)),
            Self::Web { kind: TransportKind::Certificate(problem), address, .. } => Some(problem.hint(address)),
            Self::Transport { kind: TransportKind::Proxy, .. } | Self::Web { kind: TransportKind::Proxy, .. } => {
                Some("name them in the proxy's address: http://NAME:PASSWORD@HOST:PORT".into())
            }
            Self::Transport { kind: TransportKind::Plain, .. } => {
                Some("plain HTTP is spoken only with registries on this machine's loopback addresses".into())
            }
            Self::Transport { kind: TransportKind::Connect, source, registry, .. } if source.is_through_proxy() => {
                Some(format!("check the proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY); what needs none goes into NO_PROXY: NO_PROXY={registry}"))
            }
            Self::Transport { kind: TransportKind::Connect, registry, .. } => Some(if is_loopback(registry) {
                format!("check that a registry is running at {registry}")
            } else {
                format!("check that {registry} is the right name, and that this machine reaches it (proxy: HTTPS_PROXY)")
            }),
            Self::Web { kind: TransportKind::Connect, .. } => Some("check the address, and that this machine reaches it (proxy: HTTPS_PROXY, HTTP_PROXY)".into()),
            Self::Denied { registry, account: None, .. } => Some(format!("check the spelling, or log in: minidock login{}", login_argument(registry))),
            Self::Denied { registry, .. } => Some(format!("check the spelling, or log in with another account: minidock login{}", login_argument(registry))),
            Self::NotSearchable { problem, registry } if problem.starts_with("it refuses") => {
                Some(format!("log in with an account that may list its repositories: minidock login{}", login_argument(registry)))
            }
            Self::NotSearchable { .. } => Some("`minidock tags REPOSITORY` lists the tags of a repository whose name is known".into()),
            Self::NotInStore(_) => Some("see `minidock images`; another image gets a name with `minidock tag`".into()),
            Self::PlatformNotInStore { image, wanted } => Some(format!("if its registry has it: minidock pull --platform {wanted} {image}")),
            Self::Incomplete { .. } => Some("bring all of it with `minidock pull --all-platforms` from where it came from".into()),
            Self::LoginRefused { .. } => Some("check name and password; where the account has a second factor, a personal access token takes the password's place".into()),
            Self::Credentials(e) => e.hint(),
            Self::NotFound(image) if image.contains('@') => Some("check the digest, and that it is of this repository".into()),
            Self::NotFound(_) => Some("check the tag; without one, `latest` is asked for".into()),
            Self::RateLimited { registry, retry_after, anonymous, .. } => Some(format!(
                "{}{}, or use a mirror",
                retry_after.map_or_else(|| "wait for a while".into(), |wait| format!("try again in {}", span(wait))),
                if *anonymous { format!(", log in, which may allow more: minidock login{}", login_argument(registry)) } else { String::new() }
            )),
            Self::Proxy { .. } => Some("an address looks like http://HOST:PORT".into()),
            Self::Roots(_) => Some("check SSL_CERT_FILE and SSL_CERT_DIR".into()),
            Self::Platform { offered, .. } if !offered.is_empty() => Some("choose one of them with --platform".into()),
            Self::Schema1(_) => Some("push the image again with a current tool".into()),
            Self::Digest { .. } => Some("the registry or something on the way to it sends damaged or forged content".into()),
            Self::Store(e) => e.hint(),
            _ => None,
        }
    }
}

/// Docker Hub is where `login` goes by itself.
fn login_argument(registry: &str) -> String {
    if registry == "docker.io" {
        String::new()
    } else {
        format!(" {registry}")
    }
}

/// What the other side says, after what we say.
fn said(detail: &Option<String>) -> String {
    detail
        .as_deref()
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}

fn status_line(status: u16) -> String {
    reqwest::StatusCode::from_u16(status)
        .map_or_else(|_| status.to_string(), |known| known.to_string())
}
