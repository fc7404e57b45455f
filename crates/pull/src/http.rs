//! Requests to one registry: scheme, retries, what a refusal means, bounded bodies.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use minidock_oci::Reference;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use crate::answer::{Body, Broken, Reason, retry_after};
use crate::authorize::Grant;
use crate::client::{client, is_loopback};
use crate::credentials::{Credential, Credentials};
use crate::registries::Endpoint;
use crate::transport::{TransportCause, TransportKind, classify};
use crate::upload::Content;
use crate::{Error, Event, PullOptions, RetryPolicy, rate_limit};

/// A document has this many stall timeouts to arrive.
const PATIENCE: u32 = 10;

/// The registry of one pull.
pub struct Registry<'a> {
    pub client: Client,
    pub base: RefCell<Url>,
    /// Until one of plain HTTP and TLS has been understood: on loopback the former is tried first, elsewhere, where the
    /// configuration allows it, the latter.
    scheme_unproven: Cell<bool>,
    /// Host as the user knows it.
    pub host: String,
    /// The repository there; empty for the registry itself.
    pub repository: String,
    pub subject: Subject,
    connect_timeout: Duration,
    pub stall_timeout: Duration,
    /// For the clients of other hosts that are to be asked.
    pub options: PullOptions,
    retry: RetryPolicy,
    events: &'a (dyn Fn(Event) + Sync),
    /// What the last challenge gave. Whoever needs one waits for the one who is getting it.
    pub grant: Mutex<Option<Grant>>,
    /// Scopes that tokens are to have beside what a challenge asks for.
    pub also: RefCell<Vec<String>>,
    pub credentials: Credentials,
    /// Looked up once, when the registry first wants to know who we are.
    pub credential: OnceCell<Option<Credential>>,
}

/// What is asked about, for addresses and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A repository, by the reference that was given.
    Image(Reference),
    /// The registry itself.
    Registry,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub method: Method,
    /// Below `/v2/REPOSITORY/`, or a whole address.
    pub path: String,
    /// What it is, for messages.
    pub what: String,
    pub accept: &'a [&'a str],
    /// Skip that many bytes.
    pub offset: u64,
    /// What is sent.
    pub content: Content,
}

impl Ask<'_> {
    /// A request for the whole of something, with nothing sent.
    pub fn new(method: Method, path: String, what: impl Into<String>) -> Self {
        Self {
            method,
            path,
            what: what.into(),
            accept: &[],
            offset: 0,
            content: Content::None,
        }
    }
}

impl<'a> Registry<'a> {
    pub fn new(
        endpoint: &Endpoint,
        subject: Subject,
        options: &PullOptions,
        events: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        let host = endpoint.host.as_str();
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
        let slash = if endpoint.repository.is_empty() {
            ""
        } else {
            "/"
        };
        let base = format!("{scheme}://{address}/v2/{}{slash}", endpoint.repository);
        let base = Url::parse(&base).map_err(|e| malformed(e.to_string()))?;
        Ok(Self {
            client: client(options, host, local, endpoint.insecure)?,
            base: RefCell::new(base),
            scheme_unproven: Cell::new(local || endpoint.insecure),
            host: host.to_owned(),
            repository: endpoint.repository.clone(),
            subject,
            connect_timeout: options.connect_timeout,
            stall_timeout: options.stall_timeout,
            options: options.clone(),
            retry: options.retry,
            events,
            grant: Mutex::new(None),
            also: RefCell::default(),
            credentials: options.credentials.clone(),
            credential: OnceCell::new(),
        })
    }

    /// What the user calls it.
    pub fn image(&self) -> String {
        match &self.subject {
            Subject::Image(reference) => reference.familiar(),
            Subject::Registry => self.host.clone(),
        }
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

    /// Sends a request once; anything but success is an error.
    pub async fn send_once(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let response = self.attempt(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(&ask.what, response).await)
    }

    /// Asks for the right to read another repository as well, from the next token on.
    pub fn also_pull(&self, repository: &str) {
        let scope = format!("repository:{repository}:pull");
        let mut scopes = self.also.borrow_mut();
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }

    /// Sends a request until it is answered with success, or failed for good.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let mut failures = 0;
        loop {
            let error = match self.send_once(ask).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            failures += 1;
            self.pause(failures, &ask.what, error).await?;
        }
    }

    pub async fn once(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let result = self.request(ask, authorization).await;
        if !self.scheme_unproven.get() {
            return result;
        }
        let plain = self.base.borrow().scheme() == "http";
        let understood = match &result {
            Ok(response) => !plain || response.status() != StatusCode::BAD_REQUEST,
            Err(_) => false,
        };
        let other = match (&result, plain) {
            _ if understood => None,
            (_, true) => self.speaks_tls().await.then_some("https"),
            (
                Err(Error::Transport {
                    kind: TransportKind::Plain | TransportKind::Connect,
                    ..
                }),
                false,
            ) => Some("http"),
            _ => None,
        };
        let Some(other) = other else {
            self.scheme_unproven.set(!understood);
            return result;
        };
        if self.base.borrow_mut().set_scheme(other).is_err() {
            return result;
        }
        let second = self.request(ask, authorization).await;
        if plain || second.is_ok() {
            self.scheme_unproven.set(false);
            return second;
        }
        // Neither is understood: what TLS said is the one to tell.
        let _ = self.base.borrow_mut().set_scheme("https");
        result
    }

    async fn request(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let url = self.base.borrow().join(&ask.path);
        let at = url.map_err(|e| self.malformed("address", e.to_string()))?;
        let mut request = self.client.request(ask.method.clone(), at.clone());
        if !ask.accept.is_empty() {
            request = request.header(ACCEPT, ask.accept.join(", "));
        }
        if ask.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.offset));
        }
        // An address that the registry gave may be another host's.
        if let Some(value) = authorization.filter(|_| self.is_here(&at)) {
            request = request.header(AUTHORIZATION, value);
        }
        match &ask.content {
            Content::None => self.exchange(request, &ask.what).await,
            content => self.upload(request, content, &ask.what).await,
        }
    }

    /// Whether somebody on loopback who does not understand HTTP understands TLS, as Docker would try. A certificate that
    /// is refused is an answer too, and so is a redirect that is not followed: the request itself then tells about it.
    async fn speaks_tls(&self) -> bool {
        let mut url = self.base.borrow().clone();
        if url.set_scheme("https").is_err() {
            return false;
        }
        url.set_path("/v2/");
        match timeout(self.connect_timeout, self.client.get(url).send()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => matches!(
                classify(&error).0,
                TransportKind::Certificate(_) | TransportKind::Redirect
            ),
            Err(_) => false,
        }
    }

    /// Sends, and waits for the head of the answer.
    pub async fn exchange(&self, request: RequestBuilder, what: &str) -> Result<Response, Error> {
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
            Broken::Http(e) => {
                let proxy = e.url().and_then(|url| self.options.proxies.shown(url));
                let place = self.place(at.or(e.url()));
                let (kind, mut source) = classify(&e.without_url());
                if matches!(kind, TransportKind::Connect | TransportKind::Proxy) {
                    source = source.through(proxy);
                }
                (place, (kind, source))
            }
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

    pub fn is_here(&self, url: &Url) -> bool {
        let base = self.base.borrow();
        url.host_str() == base.host_str()
            && url.port_or_known_default() == base.port_or_known_default()
    }

    /// What an answer other than success means.
    pub async fn refused(&self, what: &str, response: Response) -> Error {
        let status = response.status();
        let registry = self.place(Some(response.url()));
        let is_here = self.is_here(response.url());
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let account = self.account().filter(|_| is_here);
        let limit = rate_limit::words(response.headers(), account);
        let Reason { code, message } = Reason::of(response, self.stall_timeout).await;
        let unknown = status == StatusCode::NOT_FOUND && code.as_deref() == Some("NAME_UNKNOWN");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_here => self.denied(message),
            _ if unknown && is_here => self.denied(message),
            StatusCode::TOO_MANY_REQUESTS => Error::RateLimited {
                registry,
                limit,
                detail: message,
                retry_after,
                anonymous: is_here && account.is_none(),
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
    pub async fn body(&self, response: Response, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
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
