//! A registry on loopback that serves one image from files, and remembers nothing, so that this program stays small: a
//! child's peak memory counts from its parent's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use minidock_oci::Digest;

use crate::Result;
use crate::archive::{Documents, Layer};

enum Blob {
    Bytes(Vec<u8>),
    File(PathBuf, u64),
}

/// A running registry; it lasts as long as the program.
pub struct Registry {
    port: u16,
}

struct Image {
    manifest: Vec<u8>,
    blobs: Vec<(String, Blob)>,
}

impl Registry {
    /// Serves an image under every name.
    pub fn start(documents: Documents, layers: &[Layer]) -> Result<Self> {
        let mut blobs: Vec<(String, Blob)> = layers
            .iter()
            .map(|l| (l.digest.to_string(), Blob::File(l.file.clone(), l.size)))
            .collect();
        let config = Digest::sha256(&documents.config).to_string();
        blobs.push((config, Blob::Bytes(documents.config)));
        let image = Arc::new(Image {
            manifest: documents.manifest,
            blobs,
        });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let image = Arc::clone(&image);
                std::thread::spawn(move || serve(stream, &image));
            }
        });
        Ok(Self { port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The name of an image in it.
    pub fn reference(&self, name: &str) -> String {
        format!("localhost:{}/{name}:latest", self.port)
    }
}

fn serve(stream: TcpStream, image: &Image) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let digest = path.rsplit('/').next().unwrap_or_default();
        let json = "application/vnd.oci.image.manifest.v1+json";
        let found = image
            .blobs
            .iter()
            .find(|(d, _)| d == digest)
            .map(|(_, blob)| blob);
        let (kind, size) = match found {
            _ if path.contains("/manifests/") => (json, image.manifest.len() as u64),
            Some(Blob::Bytes(bytes)) => ("application/octet-stream", bytes.len() as u64),
            Some(Blob::File(_, size)) => ("application/octet-stream", *size),
            None => ("application/json", 2),
        };
        let digest = Digest::sha256(&image.manifest);
        let extra = if kind == json {
            format!("Docker-Content-Digest: {digest}\r\n")
        } else {
            String::new()
        };
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{extra}\r\n"
        )?;
        if method == "HEAD" {
            continue;
        }
        match found {
            _ if kind == json => out.write_all(&image.manifest)?,
            Some(Blob::Bytes(bytes)) => out.write_all(bytes)?,
            Some(Blob::File(path, _)) => io::copy(&mut File::open(path)?, &mut out).map(drop)?,
            None => out.write_all(b"{}")?,
        }
    }
    Ok(())
}
