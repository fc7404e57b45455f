//! The HTTP client: TLS, trust, and where it may be sent on to.

use std::sync::Arc;

use reqwest::{Client, Proxy, Url, redirect};
use rustls::pki_types::CertificateDer;

use crate::certificates::{Anybody, Certificates};
use crate::{Error, PullOptions};

const MAX_REDIRECTS: usize = 8;

/// Builds the client for a registry. Where that is `insecure`, it takes any certificate.
///
/// Timeouts are kept by whoever waits: the client's own read timeout also counts the time in which nobody reads, so that a
/// slow disk would look like a stalled network.
pub fn client(
    options: &PullOptions,
    host: &str,
    local: bool,
    insecure: bool,
) -> Result<Client, Error> {
    build(options, host, local, insecure, insecure)
}

/// The client for a file from the web, `plain` where the user himself wrote `http://`: nothing is lost by being sent on to
/// another such address.
pub fn web_client(
    options: &PullOptions,
    host: &str,
    local: bool,
    plain: bool,
) -> Result<Client, Error> {
    build(options, host, local, false, plain)
}

fn build(
    options: &PullOptions,
    host: &str,
    local: bool,
    insecure: bool,
    plain: bool,
) -> Result<Client, Error> {
    let policy = redirect::Policy::custom(move |attempt| {
        match may_follow(attempt.previous(), attempt.url(), plain) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    });
    let proxies = options.proxies.clone();
    let builder = Client::builder()
        .user_agent(concat!("minidock/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        // Redirects carry signatures in their queries.
        .referer(false)
        .redirect(policy)
        // Ours, not those that the client would read from the environment itself.
        .no_proxy()
        .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
        .tls_backend_preconfigured(tls(options, host, local, insecure)?);
    builder.build().map_err(Error::Client)
}

/// Whether a redirect may be followed. `Authorization` does not go along to another host in any case.
fn may_follow(previous: &[Url], next: &Url, plain: bool) -> Result<(), &'static str> {
    if previous.len() > MAX_REDIRECTS {
        return Err("too many redirects");
    }
    let from_https = previous.last().is_some_and(|url| url.scheme() == "https");
    let to_loopback = next.host_str().is_some_and(is_loopback);
    if next.scheme() != "https" && (from_https || !(to_loopback || plain)) {
        return Err("a redirect to an address without TLS");
    }
    Ok(())
}

/// `127.0.0.0/8`, `::1` and `localhost`, with or without port: Docker's rule for plain HTTP.
pub fn is_loopback(address: &str) -> bool {
    let host = match address.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None if address.matches(':').count() > 1 => address,
        None => address.split(':').next().unwrap_or(address),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// TLS with the system's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed), and with Mozilla's where the
/// system has none, as in a bare container.
fn tls(
    options: &PullOptions,
    host: &str,
    local: bool,
    insecure: bool,
) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        match found.errors.into_iter().next() {
            // Somebody named certificates that are not there: trusting others instead is not what was asked for.
            Some(error) if !local => return Err(Error::Roots(error)),
            Some(_) => {}
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
    }
    let own = Certificates::of(&options.certificates, host)?;
    let extra = options
        .extra_roots
        .iter()
        .map(|c| CertificateDer::from(c.as_slice()));
    for certificate in extra.chain(own.roots) {
        roots.add(certificate).map_err(Error::Tls)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let builder = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots)
    };
    let mut config = match own.identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(Error::Tls)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for local in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:5000",
            "::1",
        ] {
            assert!(is_loopback(local), "{local}");
        }
        for remote in [
            "docker.io",
            "localhost.evil.com",
            "128.0.0.1:5000",
            "10.0.0.1",
            "[2001:db8::1]:5000",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(remote), "{remote}");
        }
    }

    #[test]
    fn redirects_never_leave_tls_and_end() {
        let follow = |previous: &[&str], next: &str| {
            let previous: Vec<Url> = previous.iter().map(|u| u.parse().unwrap()).collect();
            may_follow(&previous, &next.parse().unwrap(), false)
        };
        let no_tls = Err("a redirect to an address without TLS");
        assert_eq!(follow(&["https://a/"], "https://b/"), Ok(()));
        assert_eq!(follow(&["http://127.0.0.1/"], "https://b/"), Ok(()));
        assert_eq!(follow(&["http://127.0.0.1/"], "http://[::1]:5000/"), Ok(()));
        assert_eq!(follow(&["https://a/"], "http://b/"), no_tls);
        assert_eq!(follow(&["https://a/"], "http://127.0.0.1/"), no_tls);
        assert_eq!(follow(&["http://127.0.0.1/"], "http://b/"), no_tls);
        assert_eq!(
            follow(&["https://a/"; MAX_REDIRECTS + 1], "https://b/"),
            Err("too many redirects")
        );
    }
}
