//! HTTP/1.1, as much as a registry's clients use.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use minidock_oci::Digest;
use rustls::{ServerConnection, StreamOwned};

use crate::{Fault, Login, Shared, upload};

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
    /// The `Content-Range` header.
    pub content_range: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub fn error(status: u16, code: &str) -> Self {
        Self::new(status, serde_json::json!({"errors": [{"code": code, "message": code.to_lowercase().replace('_', " ")}]}).to_string())
            .header("Content-Type", "application/json")
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A connection, with TLS or without.
pub trait Wire: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// Serves one connection until it ends.
pub fn serve(wire: impl Wire, address: SocketAddr, shared: &Shared) {
    let mut reader = BufReader::new(wire);
    while let Some(request) = read_request(&mut reader, address, shared) {
        shared.log.lock().unwrap().push(request.clone());
        let answer = answer(&request, shared);
        let fault = take_fault(&request, shared);
        shared.gate.pass(&request.path);
        if !send(reader.get_mut(), &request, answer, fault, shared) {
            // The connection ends as its descriptor is closed: with a reset where that was asked for.
            return;
        }
    }
}

fn read_request(
    reader: &mut impl BufRead,
    address: SocketAddr,
    shared: &Shared,
) -> Option<Request> {
    // Somebody tries whether this is TLS: its first record is a handshake.
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return None;
    }
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
        content_range: None,
        content_type: None,
        body: Vec::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            let cut = cut(&request, shared);
            request.body = vec![0; cut.unwrap_or(length).min(length)];
            reader.read_exact(&mut request.body).ok()?;
            if cut.is_some() {
                upload::append(&request, &request.body, shared);
                shared.log.lock().unwrap().push(request);
                return None;
            }
            return Some(request);
        }
        let (name, value) = line.split_once(": ")?;
        let field = match name.to_ascii_lowercase().as_str() {
            "authorization" => &mut request.authorization,
            "range" => &mut request.range,
            "accept" => &mut request.accept,
            "content-range" => &mut request.content_range,
            "content-type" => &mut request.content_type,
            "content-length" => {
                length = value.parse().ok()?;
                continue;
            }
            _ => continue,
        };
        *field = Some(value.to_owned());
    }
}

/// After how many bytes of its body the connection of a request is to be cut.
fn cut(request: &Request, shared: &Shared) -> Option<usize> {
    let mut plans = shared.plans.lock().unwrap();
    let plan = plans.iter_mut().find(|p| {
        p.times > 0
            && matches!(p.fault, Fault::CutBody(_))
            && format!("{} {}", request.method, request.path).contains(&p.path)
    })?;
    plan.times -= 1;
    match plan.fault {
        Fault::CutBody(bytes) => Some(bytes),
        _ => None,
    }
}

fn take_fault(request: &Request, shared: &Shared) -> Option<Fault> {
    let mut plans = shared.plans.lock().unwrap();
    let plan = plans.iter_mut().find(|p| {
        p.times > 0 && !matches!(p.fault, Fault::CutBody(_)) && request.path.contains(&p.path)
    })?;
    plan.times -= 1;
    Some(plan.fault.clone())
}

fn answer(request: &Request, shared: &Shared) -> Answer {
    if request.path.starts_with("/token") {
        return token(request, shared);
    }
    if request.host == shared.other.to_string() {
        // As the object stores behind registries do.
        if request.authorization.is_some() {
            shared.leaked.store(true, Ordering::SeqCst);
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
    if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
        return upload::answer(request, repository, shared);
    }
    if let Some((repository, name)) = path.split_once("/manifests/") {
        if request.method == "PUT" {
            return put_manifest(request, repository, name, shared);
        }
        return manifest(request, &format!("{repository}/{name}"), shared);
    }
    match path.split_once("/blobs/") {
        Some((_, digest)) if shared.redirect_blobs.load(Ordering::SeqCst) => {
            Answer::new(307, "").header("Location", format!("{}/data/{digest}", shared.data))
        }
        Some((_, digest)) => blob(request, digest, shared),
        None => Answer::error(404, "NAME_UNKNOWN"),
    }
}

/// A token for the scope that was asked for.
fn token(request: &Request, shared: &Shared) -> Answer {
    let form = String::from_utf8_lossy(&request.body).into_owned();
    match &*shared.login.lock().unwrap() {
        Some(Login::Password(pair)) if request.authorization.as_ref() != Some(pair) => {
            return Answer::error(401, "UNAUTHORIZED");
        }
        Some(Login::Identity(secret))
            if request.method != "POST"
                || !form.contains("grant_type=refresh_token")
                || !form.contains(&format!("refresh_token={secret}")) =>
        {
            return Answer::error(401, "UNAUTHORIZED");
        }
        _ => {}
    }
    let asked = format!("{}&{form}", request.path);
    let scope = asked
        .split(['?', '&'])
        .find_map(|pair| pair.strip_prefix("scope="));
    let scope = scope.unwrap_or_default();
    let scope = scope
        .replace("%3A", ":")
        .replace("%2F", "/")
        .replace("%2C", ",");
    let mut tokens = shared.tokens.lock().unwrap();
    let Some(tokens) = tokens.as_mut() else {
        return Answer::error(404, "NO_TOKENS");
    };
    let number = shared.log.lock().unwrap().len();
    let token = Digest::sha256(format!("token {number}").as_bytes())
        .hex()
        .to_owned();
    tokens.push((token.clone(), scope));
    Answer::new(
        200,
        serde_json::json!({"token": token, "access_token": token, "expires_in": 300}).to_string(),
    )
}

/// The refusal of a request without a token that fits.
fn challenge(request: &Request, shared: &Shared) -> Option<Answer> {
    if let Some(Login::Basic(pair)) = &*shared.login.lock().unwrap() {
        return (request.authorization.as_ref() != Some(pair)).then(|| {
            Answer::error(401, "UNAUTHORIZED")
                .header("WWW-Authenticate", "Basic realm=\"registry\"")
        });
    }
    let tokens = shared.tokens.lock().unwrap();
    let tokens = tokens.as_ref()?;
    let given = request
        .authorization
        .as_deref()
        .and_then(|a| a.strip_prefix("Bearer "));
    let path = request.path.trim_start_matches("/v2/");
    let repository = path.split("/manifests/").next().unwrap();
    let repository = repository.split("/blobs/").next().unwrap();
    let actions = match request.method.as_str() {
        "GET" | "HEAD" => "pull",
        _ => "pull,push",
    };
    let scope = match repository {
        "/v2/" | "" => String::new(),
        repository => format!("repository:{repository}:{actions}"),
    };
    // Who may push may pull.
    let fits = tokens
        .iter()
        .any(|(token, of)| Some(token.as_str()) == given && of.starts_with(&scope));
    let denied = shared.denied.lock().unwrap().contains(repository);
    if fits && !denied {
        return None;
    }
    let mut value = format!(
        "Bearer realm=\"{}/token\",service=\"registry.docker.io\"",
        shared.token
    );
    if !scope.is_empty() {
        value.push_str(&format!(",scope=\"{scope}\""));
    }
    if fits {
        // Docker Hub hands out tokens for what does not exist or is private, and then refuses them.
        value.push_str(",error=\"insufficient_scope\"");
    }
    Some(Answer::error(401, "UNAUTHORIZED").header("WWW-Authenticate", value))
}

/// Stores a manifest, under its tag and its digest.
fn put_manifest(request: &Request, repository: &str, name: &str, shared: &Shared) -> Answer {
    let digest = Digest::sha256(&request.body).to_string();
    let media_type = request.content_type.clone().unwrap();
    let mut content = shared.content.lock().unwrap();
    for name in [name, &digest] {
        content.manifests.insert(
            format!("{repository}/{name}"),
            (media_type.clone(), request.body.clone()),
        );
    }
    Answer::new(201, "").header("Docker-Content-Digest", digest)
}

fn manifest(request: &Request, name: &str, shared: &Shared) -> Answer {
    let content = shared.content.lock().unwrap();
    let accepted = |media_type: &str| {
        let accept = request.accept.as_deref().unwrap_or_default();
        accept.contains(media_type) || accept.contains("*/*")
    };
    match content.manifests.get(name) {
        Some((media_type, bytes)) if accepted(media_type) => Answer::new(200, bytes.clone())
            .header("Content-Type", media_type.clone())
            .header("Docker-Content-Digest", Digest::sha256(bytes).to_string()),
        _ => Answer::error(404, "MANIFEST_UNKNOWN"),
    }
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

/// Sends an answer, or what the fault makes of it; `false` when the connection is to end.
fn send(
    stream: &mut dyn Wire,
    request: &Request,
    mut answer: Answer,
    fault: Option<Fault>,
    shared: &Shared,
) -> bool {
    let mut sent = usize::MAX;
    let mut then = Then::Close;
    match fault {
        Some(Fault::Truncate(bytes)) => sent = bytes,
        Some(Fault::Stall(bytes)) => (sent, then) = (bytes, Then::Stall),
        Some(Fault::Reset(bytes)) => (sent, then) = (bytes, Then::Reset),
        Some(Fault::Drip) => (sent, then) = (0, Then::Drip),
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
        Some(Fault::Endless) => {
            let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
            return endless(stream, "Transfer-Encoding: chunked\r\n\r\n", &chunk);
        }
        Some(Fault::EndlessHeaders) => return endless(stream, "", "X-More: and more\r\n"),
        // A cut happened while the request was read.
        Some(Fault::CutBody(_)) | None => {}
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
    let (now, later) = body.split_at(body.len().min(sent));
    if stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(now))
        .is_err()
    {
        return false;
    }
    match then {
        Then::Close => return sent == usize::MAX,
        Then::Stall => linger(stream, &mut std::iter::empty(), shared),
        Then::Drip => linger(stream, &mut later.iter().copied(), shared),
        Then::Reset => {
            rustix::net::sockopt::set_socket_linger(stream.tcp(), Some(Duration::ZERO)).unwrap()
        }
    }
    false
}

/// What follows the part of the body that is sent.
enum Then {
    Close,
    Stall,
    Reset,
    Drip,
}

/// Sends a byte now and then, until the client gives up or the test ends.
fn linger(stream: &mut dyn Wire, bytes: &mut dyn Iterator<Item = u8>, shared: &Shared) {
    let _ = stream
        .tcp()
        .set_read_timeout(Some(Duration::from_millis(20)));
    while !shared.closing.load(Ordering::SeqCst) {
        if let Some(byte) = bytes.next()
            && stream.write_all(&[byte]).is_err()
        {
            return;
        }
        match stream.read(&mut [0]) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => return,
        }
    }
}

fn endless(stream: &mut dyn Wire, headers: &str, piece: &str) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}");
    if stream.write_all(head.as_bytes()).is_ok() {
        while stream.write_all(piece.as_bytes()).is_ok() {}
    }
    false
}
