//! Requests to one registry: scheme, tokens, redirects, retries, bounded bodies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minidock_oci::Reference;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use tokio::sync::Mutex;

use crate::auth::{Challenge, Token};
use crate::error::{TransportKind, classify};
use crate::{Error, Event, PullOptions, RetryPolicy};

/// Bytes of an error answer that are read for its message.
const MAX_ERROR_BODY: u64 = 16 << 10;
/// Bytes of a token answer. Real ones are below 10 KiB.
const MAX_TOKEN_BODY: u64 = 256 << 10;
const MAX_REDIRECTS: usize = 8;

/// The registry of one pull.
pub struct Registry<'a> {
    client: Client,
    base: Url,
    /// Host as the user knows it.
    pub host: String,
    reference: &'a Reference,
    retry: RetryPolicy,
    events: &'a (dyn Fn(Event) + Sync),
    /// The last challenge and its token. Whoever needs a token waits for the one who is getting it.
    token: Mutex<Option<(Challenge, Token)>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub method: Method,
    /// Below `/v2/REPOSITORY/`.
    pub path: String,
    /// What it is, for messages.
    pub what: String,
    pub accept: &'a [&'a str],
    /// Skip that many bytes.
    pub offset: u64,
}

impl<'a> Registry<'a> {
    pub fn new(
        reference: &'a Reference,
        options: &PullOptions,
        events: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        let host = reference.registry();
        // Docker Hub's registry is not where its name points to.
        let address = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        let local = is_loopback(address);
        let scheme = if local { "http" } else { "https" };
        let malformed = |problem: String| Error::Malformed {
            registry: host.to_owned(),
            what: "address",
            problem,
        };
        let base = format!("{scheme}://{address}/v2/{}/", reference.repository());
        let base = Url::parse(&base).map_err(|e| malformed(e.to_string()))?;
        Ok(Self {
            client: client(options, local)?,
            base,
            host: host.to_owned(),
            reference,
            retry: options.retry,
            events,
            token: Mutex::new(None),
        })
    }

    pub fn image(&self) -> String {
        self.reference.familiar()
    }

    pub fn event(&self, event: Event) {
        (self.events)(event);
    }

    pub fn malformed(&self, what: &'static str, problem: impl Into<String>) -> Error {
        Error::Malformed {
            registry: self.host.clone(),
            what,
            problem: problem.into(),
        }
    }

    /// Waits before the next attempt; gives the error back when it is final.
    pub async fn pause(
        &self,
        failures: u32,
        error: Error,
        asked: Option<Duration>,
    ) -> Result<(), Error> {
        let connecting = matches!(
            &error,
            Error::Transport {
                kind: TransportKind::Connect,
                ..
            }
        );
        let delay = self.retry.delay(failures, asked, connecting);
        let Some(delay) = delay.filter(|_| error.is_transient()) else {
            return Err(error);
        };
        let why = match &error {
            Error::Transport { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        self.event(Event::Retrying {
            what: self.image(),
            why,
            delay,
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Sends a request until it is answered with success, or failed for good.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let mut failures = 0;
        loop {
            let (error, asked) = match self.attempt(ask).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let asked = retry_after(response.headers());
                    (self.refused(ask, response).await, asked)
                }
                Err(error) => (error, None),
            };
            failures += 1;
            self.pause(failures, error, asked).await?;
        }
    }

    /// One attempt; a 401 is answered with a token, once.
    async fn attempt(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let known = self
            .token
            .lock()
            .await
            .as_ref()
            .filter(|(_, t)| t.until > Instant::now())
            .map(|(_, t)| t.secret.clone());
        let response = self.once(ask, known.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .find_map(Challenge::parse);
        let Some(challenge) = challenge else {
            return Ok(response);
        };
        let token = self.renew(challenge, known.as_deref()).await?;
        self.once(ask, Some(&token)).await
    }

    /// Gets a token, unless somebody else did since `used` was refused.
    async fn renew(&self, challenge: Challenge, used: Option<&str>) -> Result<String, Error> {
        let mut held = self.token.lock().await;
        if let Some((_, token)) = held.as_ref()
            && Some(token.secret.as_str()) != used
            && token.until > Instant::now()
        {
            return Ok(token.secret.clone());
        }
        let token = self.fetch_token(&challenge).await?;
        let secret = token.secret.clone();
        *held = Some((challenge, token));
        Ok(secret)
    }

    async fn fetch_token(&self, challenge: &Challenge) -> Result<Token, Error> {
        let failed = |problem: String| Error::Token {
            image: self.image(),
            realm: challenge.realm.clone(),
            problem,
        };
        let mut url = Url::parse(&challenge.realm).map_err(|e| failed(e.to_string()))?;
        let plain_is_fine = url.host_str().is_some_and(is_loopback) && self.base.scheme() == "http";
        if url.scheme() != "https" && !plain_is_fine {
            return Err(failed("it is not an https address".into()));
        }
        let scope = challenge
            .scope
            .clone()
            .unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository()));
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &challenge.service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &scope);
        }
        let response = self
            .client
            .get(url)
            .send()
            .await
            .map_err(|e| self.transport("the token", e))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(self.refused(&Ask::named("the token"), response).await);
        }
        if !status.is_success() {
            let detail = message(response)
                .await
                .map(|m| format!(": {m}"))
                .unwrap_or_default();
            return Err(failed(format!("it answered {status}{detail}")));
        }
        let body = self.body(response, "token", MAX_TOKEN_BODY).await?;
        Token::parse(&body, Instant::now()).map_err(|problem| failed(problem.into()))
    }

    async fn once(&self, ask: &Ask<'_>, token: Option<&str>) -> Result<Response, Error> {
        let url = self
            .base
            .join(&ask.path)
            .map_err(|e| self.malformed("address", e.to_string()))?;
        let mut request = self.client.request(ask.method.clone(), url);
        if !ask.accept.is_empty() {
            request = request.header(ACCEPT, ask.accept.join(", "));
        }
        if ask.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.offset));
        }
        if let Some(token) = token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request
            .send()
            .await
            .map_err(|e| self.transport(&ask.what, e))
    }

    pub fn transport(&self, what: &str, source: reqwest::Error) -> Error {
        // Addresses may hold signed queries; the host is named already.
        let (kind, source) = classify(&source.without_url());
        Error::Transport {
            registry: self.host.clone(),
            what: what.to_owned(),
            kind,
            source,
        }
    }

    /// What an answer other than success means.
    async fn refused(&self, ask: &Ask<'_>, response: Response) -> Error {
        let status = response.status();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Error::Denied(self.reference.familiar_name());
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return Error::RateLimited {
                    registry: self.host.clone(),
                    detail: message(response).await,
                };
            }
            _ => {}
        }
        Error::Status {
            registry: self.host.clone(),
            what: ask.what.clone(),
            status: status.to_string(),
            transient: status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
                || status == StatusCode::REQUEST_TIMEOUT,
            detail: message(response).await,
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub async fn body(
        &self,
        mut response: Response,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge {
            what: what.to_owned(),
            limit,
        };
        if response.content_length().is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| self.transport(what, e))?
        {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Ok(body)
    }

    /// [`Registry::send`] and [`Registry::body`] as one, both tried again where that may help.
    pub async fn fetch(&self, ask: &Ask<'_>, limit: u64) -> Result<(HeaderMap, Vec<u8>), Error> {
        let mut failures = 0;
        loop {
            let response = self.send(ask).await?;
            let headers = response.headers().clone();
            match self.body(response, &ask.what, limit).await {
                Ok(body) => return Ok((headers, body)),
                Err(error) => {
                    failures += 1;
                    self.pause(failures, error, None).await?;
                }
            }
        }
    }
}

impl Ask<'_> {
    fn named(what: &str) -> Self {
        Ask {
            method: Method::GET,
            path: String::new(),
            what: what.to_owned(),
            accept: &[],
            offset: 0,
        }
    }
}

/// `127.0.0.0/8`, `::1` and `localhost`, with or without port: Docker's rule for plain HTTP.
fn is_loopback(address: &str) -> bool {
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

fn client(options: &PullOptions, local: bool) -> Result<Client, Error> {
    let policy = redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        let from_https = attempt
            .previous()
            .last()
            .is_some_and(|u| u.scheme() == "https");
        let to = attempt.url();
        let plain = to.scheme() != "https";
        if plain && (from_https || !to.host_str().is_some_and(is_loopback)) {
            return attempt.error("a redirect to an address without TLS");
        }
        attempt.follow()
    });
    let mut builder = Client::builder()
        .user_agent(concat!("minidock/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.stall_timeout)
        .redirect(policy)
        .tls_backend_preconfigured(tls());
    if local {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Error::Client)
}

/// TLS with the system's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed), and with Mozilla's where the
/// system has none, as in a bare container.
fn tls() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
    let versioned = match builder.with_safe_default_protocol_versions() {
        Ok(versioned) => versioned,
        // Only a provider without cipher suites fails here; the next call then has nothing to offer a server.
        Err(_) => {
            return rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
        }
    };
    let mut config = versioned
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// `Retry-After` in seconds. A date is not understood: the own delay serves.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse::<u64>()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// The message in an error answer (distribution specification, "Error Codes"), on one line.
async fn message(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_ERROR_BODY {
            return None;
        }
    }
    let value: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let first = value.get("errors").and_then(|e| e.get(0));
    let text = match first {
        Some(error) => error.get("message").or_else(|| error.get("code")),
        None => value.get("details").or_else(|| value.get("message")),
    };
    let text = text?.as_str()?.trim();
    (!text.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).take(300).collect())
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
}
