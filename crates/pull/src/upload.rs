//! Bodies that are sent, from memory or from a file, with bounded memory and as often as it takes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use minidock_oci::DiffId;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::answer::Broken;
use crate::http::Registry;
use crate::{Error, Event};

/// Bytes that are read from a file at a time.
const CHUNK: usize = 256 << 10;
/// Chunks between the file and the network.
const CHUNKS: usize = 4;
/// How often progress is told, and a stall looked for.
const TICK: Duration = Duration::from_millis(200);

/// What a request sends.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    None,
    /// A document, under its media type.
    Bytes(Bytes, String),
    /// Part of a file.
    File(Part),
}

/// Part of a file that is sent.
#[derive(Clone, Debug)]
pub struct Part {
    pub file: Arc<File>,
    /// First byte.
    pub start: u64,
    /// One after the last byte.
    pub end: u64,
    /// As one of several chunks, with its place among them.
    pub ranged: bool,
    /// Counts what went out, of the file as a whole.
    pub sent: Arc<AtomicU64>,
    /// The layer that progress is told of.
    pub about: Option<DiffId>,
}

/// A body that a thread reads from a file.
struct FileBody {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl FileBody {
    fn of(part: &Part) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let part = part.clone();
        let left = part.end.saturating_sub(part.start);
        part.sent.store(part.start, Ordering::Relaxed);
        let sent = Arc::clone(&part.sent);
        tokio::task::spawn_blocking(move || {
            let mut at = part.start;
            while at < part.end {
                let size = usize::try_from(part.end - at).unwrap_or(CHUNK).min(CHUNK);
                let mut chunk = vec![0; size];
                let read = part.file.read_exact_at(&mut chunk, at);
                at += size as u64;
                let failed = read.is_err();
                if sender
                    .blocking_send(read.map(|()| Bytes::from(chunk)))
                    .is_err()
                    || failed
                {
                    return;
                }
            }
        });
        Self { chunks, left, sent }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.chunks.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| {
                chunk.map(|bytes| {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Frame::data(bytes)
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Registry<'_> {
    /// Sends a request with a body, and waits for the head of the answer. A body may take its time as long as it moves.
    pub async fn upload(
        &self,
        request: RequestBuilder,
        content: &Content,
        what: &str,
    ) -> Result<Response, Error> {
        let part = match content {
            Content::None => return self.exchange(request, what).await,
            Content::Bytes(bytes, media_type) => {
                let request = request.header(CONTENT_TYPE, media_type).body(bytes.clone());
                return self.exchange(request, what).await;
            }
            Content::File(part) => part,
        };
        let mut request = request
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, part.end - part.start);
        if part.ranged {
            let range = format!("{}-{}", part.start, part.end - 1);
            request = request.header(CONTENT_RANGE, range);
        }
        let request = request.body(reqwest::Body::wrap(FileBody::of(part)));
        let mut sending = pin!(request.send());
        let mut moved = (Instant::now(), part.start);
        loop {
            if let Ok(answer) = timeout(TICK, &mut sending).await {
                return answer.map_err(|e| self.broken(what, None, Broken::Http(e)));
            }
            let sent = part.sent.load(Ordering::Relaxed);
            if sent != moved.1 {
                moved = (Instant::now(), sent);
                if let Some(layer) = &part.about {
                    self.event(Event::Uploading {
                        layer: layer.clone(),
                        done: sent,
                        total: part.end,
                    });
                }
            }
            if moved.0.elapsed() > self.stall_timeout {
                return Err(self.broken(what, None, Broken::Stalled(self.stall_timeout)));
            }
        }
    }
}
