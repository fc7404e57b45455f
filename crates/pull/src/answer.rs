//! What an answer says beyond its status: bodies within bounds of time and size, reasons, and how long to wait.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::{Instant, timeout};

/// Bytes that must come while the network is waited for during one stall timeout. Whoever sends less only keeps us busy.
const FLOOR: u64 = 4 << 10;
/// Bytes of an error answer that are read for its message.
const MAX_ERROR_BODY: usize = 16 << 10;

/// Why a body ended early.
#[derive(Debug)]
pub enum Broken {
    /// The connection says why.
    Http(reqwest::Error),
    /// Nothing came, or next to nothing.
    Stalled(Duration),
}

/// A body that comes at some pace.
pub struct Body {
    response: Response,
    stall: Duration,
    /// Time spent waiting for the network, and what it brought meanwhile. Time in which nobody reads does not count.
    waited: Duration,
    brought: u64,
}

impl Body {
    pub fn of(response: Response, stall: Duration) -> Self {
        Self {
            response,
            stall,
            waited: Duration::ZERO,
            brought: 0,
        }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let start = Instant::now();
        let chunk = timeout(self.stall, self.response.chunk())
            .await
            .map_err(|_| Broken::Stalled(self.stall))?
            .map_err(Broken::Http)?;
        self.waited += start.elapsed();
        self.brought += chunk.as_ref().map_or(0, |c| c.len() as u64);
        if self.waited >= self.stall {
            if chunk.is_some() && self.brought < FLOOR {
                return Err(Broken::Stalled(self.stall));
            }
            (self.waited, self.brought) = (Duration::ZERO, 0);
        }
        Ok(chunk)
    }
}

/// What an error answer says (distribution specification, "Error Codes").
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// `NAME_UNKNOWN`, …
    pub code: Option<String>,
    /// On one line.
    pub message: Option<String>,
}

impl Reason {
    pub async fn of(response: Response, stall: Duration) -> Self {
        let mut body = Body::of(response, stall);
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = body.next().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ERROR_BODY {
                return Self::default();
            }
        }
        Self::parse(&bytes)
    }

    /// Anything that is not as specified has no reason: an HTML page of some proxy helps nobody.
    fn parse(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
            return Self::default();
        };
        let error = value.get("errors").and_then(|e| e.get(0)).unwrap_or(&value);
        let text = |name: &str| {
            let text = error.get(name)?.as_str()?.trim();
            (!text.is_empty()).then(|| {
                text.chars()
                    .filter(|c| !c.is_control())
                    .take(300)
                    .collect::<String>()
            })
        };
        let code = text("code");
        Self {
            message: text("message")
                .or_else(|| text("details"))
                .or_else(|| code.clone()),
            code,
        }
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3). A date that has passed means now.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
        let parse = |text: &str| {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            retry_after(&headers, now)
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            parse("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(90))
        );
        assert_eq!(parse("Sat, 05 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1e9", "99999999999999999999"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn reasons_are_read_where_they_are_as_specified() {
        let reason = |code: Option<&str>, message: Option<&str>| Reason {
            code: code.map(str::to_owned),
            message: message.map(str::to_owned),
        };
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no\nsuch name"}]}"#,
                reason(Some("NAME_UNKNOWN"), Some("nosuch name")),
            ),
            (
                r#"{"errors":[{"code":"DENIED"}]}"#,
                reason(Some("DENIED"), Some("DENIED")),
            ),
            (
                r#"{"details":"incorrect username"}"#,
                reason(None, Some("incorrect username")),
            ),
            (r#"{"errors":[]}"#, reason(None, None)),
            (r#"{"errors":"x"}"#, reason(None, None)),
            ("<html>", reason(None, None)),
            ("", reason(None, None)),
        ] {
            assert_eq!(Reason::parse(body.as_bytes()), expected, "{body}");
        }
    }
}
