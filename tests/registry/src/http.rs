//! HTTP/1.1, as much as a registry's clients use.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

use minidock_oci::Digest;

use crate::{Fault, Shared};

/// A request as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `127.0.0.1:PORT` of the listener that it reached.
    pub host: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Accept` header.
    pub accept: Option<String>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, serde_json::json!({"errors": [{"code": code, "message": code.to_lowercase().replace('_', " ")}]}).to_string())
            .header("Content-Type", "application/json")
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Serves one connection until it ends.
pub fn serve(stream: &TcpStream, address: SocketAddr, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, address) {
        shared.log.lock().unwrap().push(request.clone());
        let answer = answer(&request, shared);
        let fault = take_fault(&request, shared);
        if !send(stream, &request, answer, fault, shared) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead, address: SocketAddr) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        host: address.to_string(),
        authorization: None,
        range: None,
        accept: None,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(request);
        }
        let (name, value) = line.split_once(": ")?;
        let field = match name.to_ascii_lowercase().as_str() {
            "authorization" => &mut request.authorization,
            "range" => &mut request.range,
            "accept" => &mut request.accept,
            _ => continue,
        };
        *field = Some(value.to_owned());
    }
}

fn take_fault(request: &Request, shared: &Shared) -> Option<Fault> {
    let mut plans = shared.plans.lock().unwrap();
    let plan = plans
        .iter_mut()
        .find(|p| p.times > 0 && request.path.contains(&p.path))?;
    plan.times -= 1;
    Some(plan.fault.clone())
}

fn answer(request: &Request, shared: &Shared) -> Answer {
    if request.path.starts_with("/token") {
        return token(shared);
    }
    if request.host == shared.other.to_string() {
        // As the object stores behind registries do.
        if request.authorization.is_some() {
            return Answer::new(400, "only one auth mechanism allowed");
        }
        return blob(request, request.path.rsplit('/').next().unwrap(), shared);
    }
    if let Some(challenge) = challenge(request, shared) {
        return challenge;
    }
    let Some(path) = request.path.strip_prefix("/v2/").filter(|p| !p.is_empty()) else {
        return Answer::new(200, "{}");
    };
    if let Some((repository, name)) = path.split_once("/manifests/") {
        return manifest(&format!("{repository}/{name}"), shared);
    }
    match path.split_once("/blobs/") {
        Some((_, digest)) if shared.redirect_blobs.load(Ordering::SeqCst) => Answer::new(307, "")
            .header("Location", format!("http://{}/data/{digest}", shared.other)),
        Some((_, digest)) => blob(request, digest, shared),
        None => Answer::error(404, "NAME_UNKNOWN"),
    }
}

fn token(shared: &Shared) -> Answer {
    let mut tokens = shared.tokens.lock().unwrap();
    let Some(tokens) = tokens.as_mut() else {
        return Answer::error(404, "NO_TOKENS");
    };
    let token = Digest::sha256(format!("token {}", shared.log.lock().unwrap().len()).as_bytes())
        .hex()
        .to_owned();
    tokens.push(token.clone());
    Answer::new(
        200,
        serde_json::json!({"token": token, "access_token": token, "expires_in": 300}).to_string(),
    )
}

fn challenge(request: &Request, shared: &Shared) -> Option<Answer> {
    let tokens = shared.tokens.lock().unwrap();
    let tokens = tokens.as_ref()?;
    let given = request
        .authorization
        .as_deref()
        .and_then(|a| a.strip_prefix("Bearer "));
    if given.is_some_and(|t| tokens.iter().any(|known| known == t)) {
        return None;
    }
    let path = request.path.trim_start_matches("/v2/");
    let repository = path
        .split("/manifests/")
        .next()
        .unwrap()
        .split("/blobs/")
        .next()
        .unwrap();
    let value = format!(
        "Bearer realm=\"http://{}/token\",service=\"registry.docker.io\",scope=\"repository:{repository}:pull\"",
        shared.main
    );
    Some(Answer::error(401, "UNAUTHORIZED").header("WWW-Authenticate", value))
}

fn manifest(name: &str, shared: &Shared) -> Answer {
    let content = shared.content.lock().unwrap();
    let Some((media_type, bytes)) = content.manifests.get(name) else {
        return Answer::error(404, "MANIFEST_UNKNOWN");
    };
    Answer::new(200, bytes.clone())
        .header("Content-Type", media_type.clone())
        .header("Docker-Content-Digest", Digest::sha256(bytes).to_string())
}

fn blob(request: &Request, digest: &str, shared: &Shared) -> Answer {
    let content = shared.content.lock().unwrap();
    let Some(bytes) = content.blobs.get(digest) else {
        return Answer::error(404, "BLOB_UNKNOWN");
    };
    let start = request.range.as_deref().and_then(|r| {
        r.strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    match start.filter(|s| *s < bytes.len() && shared.ranges.load(Ordering::SeqCst)) {
        Some(start) => Answer::new(206, &bytes[start..]).header(
            "Content-Range",
            format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        None => Answer::new(200, bytes.clone()),
    }
}

/// Sends an answer; `false` when the connection is to end.
fn send(
    mut stream: &TcpStream,
    request: &Request,
    mut answer: Answer,
    fault: Option<Fault>,
    shared: &Shared,
) -> bool {
    let mut sent = usize::MAX;
    let mut stall = false;
    match fault {
        Some(Fault::Truncate(bytes)) => sent = bytes,
        Some(Fault::Stall(bytes)) => (sent, stall) = (bytes, true),
        Some(Fault::Corrupt) => {
            if let Some(byte) = answer.body.last_mut() {
                *byte ^= 1;
            }
        }
        Some(Fault::Status(status, headers, body)) => {
            answer = Answer {
                status,
                headers,
                body: body.into_bytes(),
            }
        }
        Some(Fault::Redirect(to)) => answer = Answer::new(307, "").header("Location", to),
        Some(Fault::Endless) => return endless(stream),
        None => {}
    }
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body: &[u8] = if request.method == "HEAD" {
        &[]
    } else {
        &answer.body
    };
    let body = &body[..body.len().min(sent)];
    if stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .is_err()
    {
        return false;
    }
    if stall {
        // Until the client gives up, or the test ends.
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(50)));
        let mut byte = [0];
        while !shared.closing.load(Ordering::SeqCst) {
            match std::io::Read::read(&mut stream, &mut byte) {
                Ok(0) => break,
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                _ => break,
            }
        }
        return false;
    }
    sent == usize::MAX
}

fn endless(mut stream: &TcpStream) -> bool {
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    if stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .is_ok()
    {
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    }
    false
}
