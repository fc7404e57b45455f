//! `import URL`: a tar from the web.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::support::{Context, Layer, piped, scenarios};

scenarios!(
    a_tar_is_imported_from_its_address,
    what_cannot_be_fetched_is_told_and_leaves_nothing,
);

/// A server on loopback that answers each path by `answer`, for as long as the test runs. Returns where it listens.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if first.is_empty() {
                    first.clone_from(&line);
                }
                line.clear();
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            // A client that has seen enough goes.
            let _ = stream.write_all(&answer(path));
        }
    });
    address
}

fn ok(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn tar() -> Vec<u8> {
    Layer::new()
        .file("etc/os", 0o644, &b"web".repeat(100_000))
        .tar()
}

fn a_tar_is_imported_from_its_address(cx: &Context) {
    let plain = tar();
    let zipped = piped("gzip", &["-n"], &plain);
    let address = serve(move |path| {
        match path {
        "/plain.tar?sig=secret" => ok(&plain),
        "/zipped" => ok(&zipped),
        _ => b"HTTP/1.1 302 Found\r\nLocation: /zipped\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    }
    });
    let from_file = {
        std::fs::write(cx.work().join("plain.tar"), tar()).unwrap();
        let args = ["import", "--timestamp", "0", "-m", "same", "plain.tar"];
        cx.run(args).silent_ok().to_owned()
    };
    for path in ["plain.tar?sig=secret", "zipped", "sent-on"] {
        let url = format!("http://{address}/{path}");
        let output = cx.run(["import", "--timestamp", "0", "-m", "same", &url]);
        assert_eq!(output.silent_ok(), from_file, "{path}");
    }
    let url = format!("http://me:word@{address}/plain.tar?sig=secret");
    cx.run(["import", &url, "web:1"]).silent_ok();
    let history = cx.run(["history", "--format", "{{.Comment}}", "web:1"]);
    let expected = format!("Imported from http://{address}/plain.tar\n");
    assert_eq!(history.silent_ok(), expected, "no secrets are kept");
}

fn what_cannot_be_fetched_is_told_and_leaves_nothing(cx: &Context) {
    let whole = ok(&tar());
    let address = serve(move |path| {
        match path {
        "/cut" => whole[..whole.len() / 2].to_vec(),
        "/nonsense" => ok(b"<html>hello</html>"),
        "/to-file" => {
            b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nConnection: close\r\n\r\n"
                .to_vec()
        }
        "/circle" => {
            b"HTTP/1.1 302 Found\r\nLocation: /circle\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec()
        }
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    }
    });
    for (path, told) in [
        ("cut", "cannot fetch"),
        ("nonsense", "not a valid tar archive"),
        ("to-file", "cannot fetch"),
        ("circle", "too many redirects"),
        ("none", "the server answered 404 Not Found"),
    ] {
        let output = cx.run(["import", &format!("http://{address}/{path}")]);
        assert!(output.error(1).contains(told), "{path}: {output}");
    }
    let output = cx.run(["import", "http://"]);
    assert!(output.error(1).contains("cannot fetch http://"), "{output}");
    assert_eq!(cx.run(["images", "-aq"]).silent_ok(), "");
    cx.run(["system", "check"]).ok();
}
