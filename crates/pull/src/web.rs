//! A file from the web, read as it comes: for `import URL`.
//!
//! The address is the user's own words, so plain HTTP is spoken where he wrote `http://`, with whatever host; but nobody is
//! sent from HTTPS to HTTP. A file that breaks off is taken up where it stopped only if its server tells its versions apart
//! (a strong entity tag, `If-Range`): unlike blobs it has no digest by which the rest would be known to belong to what came
//! before.

use std::io::{self, Read};
use std::thread::JoinHandle;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answer::{Body, Broken};
use crate::client::{is_loopback, web_client};
use crate::transport::{TransportCause, TransportKind, classify};
use crate::{Error, PullOptions, block_on};

/// Bytes that a connection must bring to count as a good one.
const PROGRESS: u64 = 64 << 10;
/// Chunks between the network and the reader.
const CHUNKS: usize = 32;

/// A file to be fetched. Nothing is sent, and no thread started, before the first read.
#[derive(Debug)]
pub struct Download {
    address: String,
    state: State,
    chunk: Bytes,
}

#[derive(Debug)]
enum State {
    New(Box<(Url, PullOptions)>),
    Coming {
        receiver: mpsc::Receiver<Bytes>,
        thread: JoinHandle<Result<(), Error>>,
    },
    Ended,
}

impl Download {
    /// A file by its address, `http://…` or `https://…`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn new(address: &str, options: PullOptions) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Address {
            address: address.to_owned(),
            problem,
        };
        let url = Url::parse(address).map_err(|e| wrong(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http and https are spoken".into()));
        }
        Ok(Self {
            address: shown(&url),
            state: State::New(Box::new((url, options))),
            chunk: Bytes::new(),
        })
    }

    /// The address as it may be told: without account, password and query.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next bytes; empty at the end.
    fn next(&mut self) -> Result<Bytes, Error> {
        if let State::New(_) = &self.state
            && let State::New(request) = std::mem::replace(&mut self.state, State::Ended)
        {
            let (sender, receiver) = mpsc::channel(CHUNKS);
            let (url, options) = *request;
            let thread = std::thread::Builder::new()
                .name("download".into())
                .spawn(move || block_on(fetch(&url, &options, sender)))
                .map_err(Error::Runtime)?;
            self.state = State::Coming { receiver, thread };
        }
        let State::Coming { receiver, .. } = &mut self.state else {
            return Ok(Bytes::new());
        };
        if let Some(chunk) = receiver.blocking_recv() {
            return Ok(chunk);
        }
        let State::Coming { thread, .. } = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(Bytes::new());
        };
        let gone = |_| Error::Runtime(io::Error::other("the thread that fetches is gone"));
        thread.join().map_err(gone)?.map(|()| Bytes::new())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = self.next().map_err(io::Error::other)?;
        }
        let n = buffer.len().min(self.chunk.len());
        buffer[..n].copy_from_slice(&self.chunk[..n]);
        let _ = self.chunk.split_to(n);
        Ok(n)
    }
}

/// The address for messages: what may be secret in it is left out.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

async fn fetch(url: &Url, options: &PullOptions, sender: mpsc::Sender<Bytes>) -> Result<(), Error> {
    let failed = |(kind, source): (TransportKind, TransportCause)| Error::Web {
        address: shown(url),
        kind,
        source,
    };
    let response = ask(url, options, None).await?;
    let version = version(response.headers());
    let mut body = Body::of(response, options.stall_timeout);
    let (mut done, mut failures, mut last) = (0, 0, 0);
    loop {
        let error = match body.next().await {
            // Nobody reads any more: whoever did says why.
            Ok(Some(chunk)) if chunk.is_empty() => continue,
            Ok(Some(chunk)) => {
                done += chunk.len() as u64;
                if sender.send(chunk).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => return Ok(()),
            Err(Broken::Http(e)) => failed(classify(&e.without_url())),
            Err(Broken::Stalled(limit)) => {
                failed((TransportKind::Broken, TransportCause::stalled(limit)))
            }
        };
        // A connection that brought something was a good one.
        failures = if done - last >= PROGRESS {
            1
        } else {
            failures + 1
        };
        last = done;
        let (Some(version), Some(delay)) = (&version, options.retry.delay(failures, None, false))
        else {
            return Err(error);
        };
        tokio::time::sleep(delay).await;
        let rest = ask(url, options, Some((done, version))).await?;
        if !continues(&rest, done) {
            return Err(error);
        }
        body = Body::of(rest, options.stall_timeout);
    }
}

/// By what the server tells this version of the file from every other (RFC 9110, section 8.8.3: a strong entity tag).
fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers.get(ETAG)?;
    tag.as_bytes().starts_with(b"\"").then(|| tag.clone())
}

/// Whether an answer goes on where the other one ended.
fn continues(response: &Response, done: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|v| v.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {done}-"))
}

/// Sends the request until it is answered, or failed for good.
async fn ask(
    url: &Url,
    options: &PullOptions,
    rest: Option<(u64, &HeaderValue)>,
) -> Result<Response, Error> {
    let host = url.host_str().unwrap_or_default();
    let named = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let client = web_client(options, &named, is_loopback(host), url.scheme() == "http")?;
    let mut failures = 0;
    loop {
        let limit = options.connect_timeout + options.stall_timeout;
        let mut request = client.get(url.clone());
        if let Some((done, version)) = rest {
            let range = format!("bytes={done}-");
            request = request.header(RANGE, range).header(IF_RANGE, version);
        }
        let error = match timeout(limit, request.send()).await {
            Ok(Ok(response)) if response.status().is_success() => return Ok(response),
            Ok(Ok(response)) => Error::WebStatus {
                address: shown(url),
                status: response.status().as_u16(),
            },
            Ok(Err(e)) => {
                let (kind, source) = classify(&e.without_url());
                Error::Web {
                    address: shown(url),
                    kind,
                    source,
                }
            }
            Err(_) => Error::Web {
                address: shown(url),
                kind: TransportKind::Broken,
                source: TransportCause::stalled(limit),
            },
        };
        failures += 1;
        let connecting = matches!(
            &error,
            Error::Web {
                kind: TransportKind::Connect,
                ..
            }
        );
        let delay = options.retry.delay(failures, None, connecting);
        match delay.filter(|_| error.is_transient()) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_an_address_are_not_shown() {
        let url = Url::parse("https://me:word@host:8443/a/b.tar?sig=secret#x").unwrap();
        assert_eq!(shown(&url), "https://host:8443/a/b.tar");
    }

    #[test]
    fn only_the_webs_addresses_are_fetched() {
        for bad in ["file:///etc/passwd", "ftp://host/x", "http://", "nonsense"] {
            assert!(Download::new(bad, PullOptions::default()).is_err(), "{bad}");
        }
    }
}
