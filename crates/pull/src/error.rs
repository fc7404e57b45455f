//! What can go wrong between here and a registry.

use minidock_oci::{ConfigError, Digest};
use minidock_store::StoreError;

/// An error of pulling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime, no thread.
    #[error("cannot start the transfer")]
    Runtime(#[source] std::io::Error),
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// The registry could not be talked to.
    #[error("cannot reach the registry {registry}: the request for {what} failed")]
    Transport {
        /// Its host.
        registry: String,
        /// What was asked for.
        what: String,
        /// In which way it failed.
        kind: TransportKind,
        /// Why it failed.
        source: TransportCause,
    },
    /// The image does not exist, or not for us.
    #[error("pull access denied for {0}: the repository does not exist, or may require a login")]
    Denied(String),
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
    #[error("the registry {registry} refuses more requests for now (429 Too Many Requests){}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    RateLimited {
        /// The host.
        registry: String,
        /// What it says about it.
        detail: Option<String>,
    },
    /// An answer that is no success.
    #[error("the registry {registry} answered {status} to the request for {what}{}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Status {
        /// The host.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer, with the standard words.
        status: String,
        /// What it says about it.
        detail: Option<String>,
        /// Whether it may go better the next time.
        transient: bool,
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
    #[error("the layer {0} is not distributable: its registry does not serve it")]
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
            Self::Transport { kind, .. } => {
                matches!(kind, TransportKind::Connect | TransportKind::Broken)
            }
            Self::RateLimited { .. } => true,
            Self::Status { transient, .. } => *transient,
            _ => false,
        }
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transport { kind: TransportKind::Certificate, .. } => {
                Some("if the registry's certificate is signed by a private authority, name it with SSL_CERT_FILE".into())
            }
            Self::Transport { kind: TransportKind::Connect, registry, .. } => {
                Some(format!("check that {registry} is the right name, and that this machine reaches it (proxy: HTTPS_PROXY)"))
            }
            Self::Denied(_) => Some("check the spelling; images of a private repository cannot be pulled yet".into()),
            Self::NotFound(_) => Some("check the tag; without one, `latest` is asked for".into()),
            Self::RateLimited { .. } => Some("wait for a while, or use a mirror".into()),
            Self::Platform { offered, .. } if !offered.is_empty() => Some("choose one of them with --platform".into()),
            Self::Schema1(_) => Some("push the image again with a current tool".into()),
            Self::Digest { .. } => Some("the registry or something on the way to it sends damaged or forged content".into()),
            Self::Store(e) => e.hint(),
            _ => None,
        }
    }
}

/// In which way a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection: name, address, port.
    Connect,
    /// The other side's certificate was refused: nothing that time heals.
    Certificate,
    /// It was redirected to where we do not go.
    Redirect,
    /// The connection broke or stalled.
    Broken,
}

/// The innermost reason of a failed request; the layers of the HTTP client around it say nothing to a user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportCause(String);

pub(crate) fn classify(error: &reqwest::Error) -> (TransportKind, TransportCause) {
    let mut reason = error.to_string();
    let mut certificate = false;
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        certificate |= is_certificate(inner);
        cause = inner.source();
    }
    let kind = if certificate {
        TransportKind::Certificate
    } else if error.is_redirect() || error.is_builder() {
        TransportKind::Redirect
    } else if error.is_connect() {
        TransportKind::Connect
    } else {
        TransportKind::Broken
    };
    if error.is_timeout() {
        reason = if kind == TransportKind::Connect {
            "it did not answer in time"
        } else {
            "no byte came for too long"
        }
        .into();
    }
    (kind, TransportCause(reason))
}

fn is_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let refused = |e: &(dyn std::error::Error + 'static)| {
        matches!(e.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    };
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    refused(error) || wrapped.is_some_and(|inner| refused(inner))
}
