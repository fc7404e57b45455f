//! A proxy, as much as a registry's clients use: CONNECT (RFC 9110, section 9.3.6), and requests in absolute form.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running proxy. Whatever name it is to reach, it goes to one address: the names of tests are nobody's.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that leads to `to` (`ADDRESS:PORT`) whoever gives this `Proxy-Authorization`, if one is needed.
    pub fn start(to: String, wanted: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let wanted = wanted.map(str::to_owned);
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for stream in listener.incoming() {
                    let (to, wanted, log) = (to.clone(), wanted.clone(), Arc::clone(&log));
                    std::thread::spawn(move || serve(stream.unwrap(), &to, wanted, &log));
                }
            }
        });
        Self { address, log }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Method and target of each request, as it came.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// The head of a request: method, target, `Proxy-Authorization`, and all other headers.
struct Head {
    method: String,
    target: String,
    given: Option<String>,
    headers: String,
}

fn head(reader: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (mut headers, mut given) = (String::new(), None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            return Some(Head {
                method,
                target,
                given,
                headers,
            });
        }
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => {
                given = Some(value.trim_end().to_owned());
            }
            _ => headers.push_str(&line),
        }
    }
}

fn serve(
    mut client: TcpStream,
    to: &str,
    wanted: Option<String>,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut server = TcpStream::connect(to).unwrap();
    let (mut from, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    };
    let mut answers = Some(answers);
    // Requests in absolute form come one after another; a tunnel is the last.
    while let Some(head) = head(&mut reader) {
        log.lock()
            .unwrap()
            .push(format!("{} {}", head.method, head.target));
        if wanted.is_some() && wanted != head.given {
            let refusal = "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"here\"\r\nContent-Length: 0\r\n\r\n";
            client.write_all(refusal.as_bytes()).ok()?;
            continue;
        }
        let tunnel = head.method == "CONNECT";
        if tunnel {
            client.write_all(b"HTTP/1.1 200 X\r\n\r\n").ok()?;
        } else {
            let path = head.target.split_once("://")?.1.split_once('/')?.1;
            let request = format!("{} /{path} HTTP/1.1\r\n{}\r\n", head.method, head.headers);
            server.write_all(request.as_bytes()).ok()?;
        }
        answers.take().map(std::thread::spawn);
        if tunnel {
            let _ = std::io::copy(&mut reader, &mut server);
            break;
        }
    }
    server.shutdown(Shutdown::Both).ok()
}
