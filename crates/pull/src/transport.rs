//! Why a request got no answer: what the HTTP client says, in words for people.

use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

/// How a cause begins that has to do with a proxy.
const THROUGH: &str = "through the proxy ";

/// In which way a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection: name, address, port.
    Connect,
    /// A certificate was refused: nothing that time heals.
    Certificate(CertificateProblem),
    /// The other side does not speak TLS, and is not on loopback, where it need not.
    Plain,
    /// It was redirected to where we do not go.
    Redirect,
    /// The proxy wants to know who we are.
    Proxy,
    /// The connection broke or stalled.
    Broken,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// Nobody whom we trust has signed it.
    Issuer,
    /// It is another host's.
    Name,
    /// It is not good at this time.
    Time,
    /// The other side wants one of ours, or another one.
    Ours,
    /// Anything else.
    Other,
}

impl CertificateProblem {
    /// What can be done about it.
    pub(crate) fn hint(self, host: &str) -> String {
        match self {
            Self::Issuer => "if the registry's certificate is signed by a private authority, name it with SSL_CERT_FILE".into(),
            Self::Name => format!("check that {host} is the right name, and that nothing on the way answers in its place"),
            Self::Time => "check this machine's clock (`date`), else whoever runs the registry has to renew it".into(),
            Self::Ours => format!("put it with its key into ~/.docker/certs.d/{host}, as client.cert and client.key"),
            Self::Other => "whoever runs the registry has to mend it".into(),
        }
    }
}

/// The innermost reason of a failed request; the layers of the HTTP client around it say nothing to a user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportCause(String);

impl TransportCause {
    pub(crate) fn stalled(limit: Duration) -> Self {
        Self(format!("next to nothing came for {limit:?}"))
    }

    /// Says through which proxy it was tried, if through one.
    pub(crate) fn through(self, proxy: Option<String>) -> Self {
        match proxy {
            Some(proxy) => Self(format!("{THROUGH}{proxy}: {}", self.0)),
            None => self,
        }
    }

    /// Whether it was tried through a proxy.
    pub(crate) fn is_through_proxy(&self) -> bool {
        self.0.starts_with(THROUGH)
    }

    pub(crate) fn cut(done: u64, total: u64) -> Self {
        Self(format!("the body ended after {done} of {total} bytes"))
    }
}

pub(crate) fn classify(error: &reqwest::Error) -> (TransportKind, TransportCause) {
    let mut reason = error.to_string();
    let (mut tls, mut name) = (None, false);
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // The client has no type for it.
        name |= reason == "dns error";
        reason = inner.to_string();
        tls = tls.or_else(|| tls_error(inner));
        cause = inner.source();
    }
    if let Some((kind, words)) = tls.and_then(tls_words) {
        return (kind, TransportCause(words));
    }
    let kind = match reason.as_str() {
        _ if error.is_redirect() || error.is_builder() => TransportKind::Redirect,
        // Of proxies the client tells by these words only.
        "tunnel error: proxy authorization required" => {
            reason = "it wants a name and a password".into();
            TransportKind::Proxy
        }
        "tunnel error: unsuccessful" => {
            reason = "it does not connect us".into();
            TransportKind::Connect
        }
        _ if error.is_connect() => TransportKind::Connect,
        _ => TransportKind::Broken,
    };
    if error.is_timeout() {
        reason = "it did not answer in time".into();
    } else if name {
        let why = reason.trim_start_matches("failed to lookup address information: ");
        reason = format!("its name is not found: {why}");
    }
    (kind, TransportCause(reason))
}

/// The TLS error in an error; input and output wrap it more than once.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// What TLS says, where it is more than that the connection broke.
fn tls_words(error: &rustls::Error) -> Option<(TransportKind, String)> {
    match error {
        rustls::Error::InvalidCertificate(problem) => {
            let (problem, words) = certificate_words(problem);
            Some((TransportKind::Certificate(problem), words))
        }
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            Some((TransportKind::Plain, "it does not speak TLS".into()))
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => Some((
            TransportKind::Certificate(CertificateProblem::Ours),
            "it wants a certificate of ours that it trusts".into(),
        )),
        _ => None,
    }
}

fn certificate_words(error: &CertificateError) -> (CertificateProblem, String) {
    let date = |time: &rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| "some time".into(), |t| t.strftime("%F").to_string())
    };
    match error {
        CertificateError::UnknownIssuer => (
            CertificateProblem::Issuer,
            "its certificate is not signed by an authority that this machine trusts".into(),
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            // `DnsName("a.example")`, `IpAddress(…)`.
            let names: Vec<&str> = presented
                .iter()
                .map(|name| name.split('"').nth(1).unwrap_or(name))
                .collect();
            let words = format!("its certificate is for {}", names.join(", "));
            (CertificateProblem::Name, words)
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            let words = format!("its certificate ended {}", date(not_after));
            (CertificateProblem::Time, words)
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let words = format!("its certificate begins only {}", date(not_before));
            (CertificateProblem::Time, words)
        }
        other => (
            CertificateProblem::Other,
            format!("its certificate is refused: {other}"),
        ),
    }
}
