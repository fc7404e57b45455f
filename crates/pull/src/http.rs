//! Requests to one registry: scheme, tokens, retries, bounded bodies.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime};

use minidock_oci::Reference;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::answer::{Body, Broken, Reason, retry_after};
use crate::auth::{Challenge, Token};
use crate::client::{client, is_loopback};
use crate::error::{TransportCause, TransportKind, classify};
use crate::{Error, Event, PullOptions, RetryPolicy};

/// Bytes of a token answer. Real ones are below 10 KiB.
const MAX_TOKEN_BODY: u64 = 256 << 10;
/// A document has this many stall timeouts to arrive.
const PATIENCE: u32 = 10;

/// The registry of one pull.
pub struct Registry<'a> {
    client: Client,
    base: RefCell<Url>,
    /// On loopback, until plain HTTP has been understood: it may be TLS after all.
    scheme_unproven: Cell<bool>,
    /// Host as the user knows it.
    pub host: String,
    reference: &'a Reference,
    connect_timeout: Duration,
    stall_timeout: Duration,
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
            base: RefCell::new(base),
            scheme_unproven: Cell::new(local),
            host: host.to_owned(),
            reference,
            connect_timeout: options.connect_timeout,
            stall_timeout: options.stall_timeout,
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
    pub async fn pause(&self, failures: u32, what: &str, error: Error) -> Result<(), Error> {
        let connecting = matches!(
            &error,
            Error::Transport {
                kind: TransportKind::Connect,
                ..
            }
        );
        let delay = self
            .retry
            .delay(failures, error.retry_after(), connecting)
            .filter(|_| error.is_transient());
        let Some(delay) = delay else {
            return Err(error);
        };
        let why = match &error {
            Error::Transport { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        self.event(Event::Retrying {
            what: what.to_owned(),
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
            let error = match self.attempt(ask).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => self.refused(&ask.what, response).await,
                Err(error) => error,
            };
            failures += 1;
            self.pause(failures, &ask.what, error).await?;
        }
    }

    /// One attempt; a 401 is answered with a token, once.
    async fn attempt(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let known = self.known_token().await?;
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

    /// The token in use; one that has run out is replaced before the registry refuses it.
    async fn known_token(&self) -> Result<Option<String>, Error> {
        let mut held = self.token.lock().await;
        if let Some((challenge, token)) = held.as_mut()
            && token.until <= Instant::now()
        {
            *token = self.fetch_token(challenge).await?;
        }
        Ok(held.as_ref().map(|(_, token)| token.secret.clone()))
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
        let plain_is_fine = self.base.borrow().scheme() == "http";
        if url.scheme() != "https" && !(plain_is_fine && url.host_str().is_some_and(is_loopback)) {
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
        let what = "the token";
        let response = self.exchange(self.client.get(url), what).await?;
        let status = response.status();
        if !status.is_success() {
            let error = self.refused(what, response).await;
            // Some registries refuse here already what does not exist or is not public.
            let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            return Err(match error {
                Error::Status { detail, .. } if denied => self.denied(detail),
                error if error.is_transient() || matches!(error, Error::Denied { .. }) => error,
                error => failed(error.to_string()),
            });
        }
        let body = self.body(response, what, MAX_TOKEN_BODY).await?;
        Token::parse(&body, Instant::now()).map_err(|problem| failed(problem.into()))
    }

    async fn once(&self, ask: &Ask<'_>, token: Option<&str>) -> Result<Response, Error> {
        let result = self.request(ask, token).await;
        if !self.scheme_unproven.get() {
            return result;
        }
        let understood = match &result {
            Ok(response) => response.status() != StatusCode::BAD_REQUEST,
            Err(_) => false,
        };
        if !understood && self.speaks_tls().await {
            let changed = self.base.borrow_mut().set_scheme("https");
            self.scheme_unproven.set(false);
            return match changed {
                Ok(()) => self.request(ask, token).await,
                Err(()) => result,
            };
        }
        self.scheme_unproven.set(!understood);
        result
    }

    async fn request(&self, ask: &Ask<'_>, token: Option<&str>) -> Result<Response, Error> {
        let url = self.base.borrow().join(&ask.path);
        let url = url.map_err(|e| self.malformed("address", e.to_string()))?;
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
        self.exchange(request, &ask.what).await
    }

    /// Whether somebody on loopback who does not understand HTTP understands TLS, as Docker would try. A certificate that
    /// is refused is an answer too: the request itself then tells about it.
    async fn speaks_tls(&self) -> bool {
        let mut url = self.base.borrow().clone();
        if url.set_scheme("https").is_err() {
            return false;
        }
        url.set_path("/v2/");
        match timeout(self.connect_timeout, self.client.get(url).send()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => classify(&error).0 == TransportKind::Certificate,
            Err(_) => false,
        }
    }

    /// Sends, and waits for the head of the answer.
    async fn exchange(&self, request: RequestBuilder, what: &str) -> Result<Response, Error> {
        let limit = self.connect_timeout + self.stall_timeout;
        match timeout(limit, request.send()).await {
            Ok(result) => result.map_err(|e| self.broken(what, None, Broken::Http(e))),
            Err(_) => Err(self.broken(what, None, Broken::Stalled(self.stall_timeout))),
        }
    }

    /// The error of a connection that failed; `at` is where it led to, where that is known.
    pub fn broken(&self, what: &str, at: Option<&Url>, broken: Broken) -> Error {
        let (place, (kind, source)) = match broken {
            // Without the address: it may hold a signed query.
            Broken::Http(e) => (self.place(at.or(e.url())), classify(&e.without_url())),
            Broken::Stalled(limit) => (
                self.place(at),
                (TransportKind::Broken, TransportCause::stalled(limit)),
            ),
        };
        Error::Transport {
            registry: place,
            what: what.to_owned(),
            kind,
            source,
        }
    }

    /// The host to name: the registry's as the user wrote it, or that of whoever it sent us to.
    fn place(&self, at: Option<&Url>) -> String {
        match at.and_then(|url| Some((url.host_str()?, url))) {
            Some((host, url)) if !self.is_here(url) => match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            _ => self.host.clone(),
        }
    }

    fn is_here(&self, url: &Url) -> bool {
        let base = self.base.borrow();
        url.host_str() == base.host_str()
            && url.port_or_known_default() == base.port_or_known_default()
    }

    fn denied(&self, detail: Option<String>) -> Error {
        Error::Denied {
            image: self.reference.familiar_name(),
            detail,
        }
    }

    /// What an answer other than success means.
    async fn refused(&self, what: &str, response: Response) -> Error {
        let status = response.status();
        let registry = self.place(Some(response.url()));
        let is_here = self.is_here(response.url());
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let Reason { code, message } = Reason::of(response, self.stall_timeout).await;
        let unknown = status == StatusCode::NOT_FOUND && code.as_deref() == Some("NAME_UNKNOWN");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_here => self.denied(message),
            _ if unknown && is_here => self.denied(message),
            StatusCode::TOO_MANY_REQUESTS => Error::RateLimited {
                registry,
                detail: message,
                retry_after,
            },
            _ => Error::Status {
                registry,
                what: what.to_owned(),
                status: status.as_u16(),
                detail: message,
                retry_after,
            },
        }
    }

    /// The error of a body that ended early, though the connection seemed fine.
    pub fn cut(&self, what: &str, at: &Url, done: u64, total: u64) -> Error {
        Error::Transport {
            registry: self.place(Some(at)),
            what: what.to_owned(),
            kind: TransportKind::Broken,
            source: TransportCause::cut(done, total),
        }
    }

    pub fn stream(&self, response: Response) -> Body {
        Body::of(response, self.stall_timeout)
    }

    /// Reads a body of at most `limit` bytes.
    async fn body(&self, response: Response, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge {
            what: what.to_owned(),
            limit,
        };
        if response.content_length().is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let url = response.url().clone();
        let mut stream = self.stream(response);
        let reading = async {
            let mut body = Vec::new();
            while let Some(chunk) = stream
                .next()
                .await
                .map_err(|e| self.broken(what, Some(&url), e))?
            {
                body.extend_from_slice(&chunk);
                if body.len() as u64 > limit {
                    return Err(too_large());
                }
            }
            Ok(body)
        };
        let patience = self.stall_timeout * PATIENCE;
        timeout(patience, reading)
            .await
            .unwrap_or_else(|_| Err(self.broken(what, Some(&url), Broken::Stalled(patience))))
    }

    /// [`Registry::send`] and the body of its answer as one, both tried again where that may help.
    pub async fn fetch(&self, ask: &Ask<'_>, limit: u64) -> Result<(HeaderMap, Vec<u8>), Error> {
        let mut failures = 0;
        loop {
            let response = self.send(ask).await?;
            let headers = response.headers().clone();
            match self.body(response, &ask.what, limit).await {
                Ok(body) => return Ok((headers, body)),
                Err(error) => {
                    failures += 1;
                    self.pause(failures, &ask.what, error).await?;
                }
            }
        }
    }
}
