//! `import URL`: a tar from the web.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::support::{Context, Layer, piped, scenarios};

scenarios!(
    a_tar_is_imported_from_its_address,
    what_cannot_be_fetched_is_told_and_leaves_nothing,
    a_file_that_breaks_off_is_taken_up_if_it_is_the_same,
);

/// A server on loopback that answers each path by `answer`, for as long as the test runs. Returns where it listens.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    serve_requests(move |head| answer(head.split(' ').nth(1).unwrap_or_default()))
}

/// The same, by the whole head of a request, in lower case.
fn serve_requests(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            // A client that has seen enough goes.
            let _ = stream.write_all(&answer(&head.to_lowercase()));
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

fn a_file_that_breaks_off_is_taken_up_if_it_is_the_same(cx: &Context) {
    let file = tar();
    let half = file.len() / 2;
    let address = serve_requests(move |head| {
        let size = file.len();
        let tag = if head.contains("/weak") {
            "W/\"a\""
        } else {
            "\"a\""
        };
        let rest = head.contains(&format!("range: bytes={half}-"));
        if !rest {
            let head = format!(
                "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
            );
            return [head.as_bytes(), &file[..half]].concat();
        }
        // One file has changed meanwhile, the other is asked for by its tag.
        if head.contains("/changed") || !head.contains("if-range: \"a\"") {
            return ok(&file);
        }
        let head = format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {half}-{}/{size}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            size - 1,
            size - half
        );
        [head.as_bytes(), &file[half..]].concat()
    });
    std::fs::write(cx.work().join("plain.tar"), tar()).unwrap();
    let import = |from: &str| cx.run(["import", "--timestamp", "0", "-m", "same", from]);
    let whole = import("plain.tar").silent_ok().to_owned();
    let resumed = import(&format!("http://{address}/same"));
    assert_eq!(resumed.silent_ok(), whole);
    for path in ["weak", "changed"] {
        let output = import(&format!("http://{address}/{path}"));
        assert!(output.error(1).contains("cannot fetch"), "{path}: {output}");
    }
}
