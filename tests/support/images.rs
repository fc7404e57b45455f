//! The images of the tests: the official ones where the project has them beside it, its own otherwise,
//! and tarballs put together byte by byte for what no honest tool writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::Digest as _;

use super::say;

/// The project's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that `fixtures/make-images.sh` filled.
pub fn fixtures() -> &'static Path {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
        let script = repository().join("fixtures/make-images.sh");
        let status = Command::new(script).arg(&folder).status().unwrap();
        assert!(status.success(), "the fixtures cannot be made: {status}");
        folder
    });
    &MADE
}

/// The official images, where they lie beside the project. Where they do not, says so once.
pub fn shared() -> Option<&'static Path> {
    static FOUND: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let folder = repository().parent().unwrap().join("shared/images");
        if folder.is_dir() {
            return Some(folder);
        }
        say(
            "../shared/images is absent: the tests use images made of this machine's busybox-static",
        );
        None
    });
    FOUND.as_deref()
}

/// A tarball with `busybox:latest` and `app:1` as Docker 25 and later save them, for this machine.
pub fn saved() -> PathBuf {
    match shared() {
        Some(shared) if cfg!(target_arch = "x86_64") => shared.join("docker-save/docker-26.tar.gz"),
        _ => fixtures().join("docker-26.tar.gz"),
    }
}

/// `sha256:` and the digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// The digest of the first entry of an OCI layout's index.
pub fn layout_manifest(layout: &Path) -> String {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// An OCI layout as one tarball.
pub fn layout_tar(layout: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", layout).unwrap();
    tar.into_inner().unwrap()
}

/// The members of a tarball, in order: name, header type and link or content.
pub fn members(tarball: &[u8]) -> Vec<(tar::Header, Vec<u8>)> {
    let mut archive = tar::Archive::new(tarball);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        (entry.header().clone(), content)
    });
    entries.collect()
}

/// A tarball of members.
pub fn tarball<'a>(members: impl IntoIterator<Item = &'a (tar::Header, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (header, content) in members {
        tar.append(header, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The output of a program that turns standard input into standard output: gzip, zstd and their kind.
pub fn piped(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    output.stdout
}

/// A layer under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds a regular file.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    /// The plain tar.
    pub fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An image to be written as a tarball.
pub struct ImageTar {
    /// `name:tag`; an image can be without.
    pub name: Option<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The config's own part: Env, Cmd and so on.
    pub config: Value,
    /// Plain tars, from the bottom up.
    pub layers: Vec<Vec<u8>>,
    /// What the config claims the layers' diff_ids to be, when not the truth.
    pub diff_ids: Option<Vec<String>>,
}

impl ImageTar {
    /// An image `name` of one layer.
    pub fn new(name: &str, layer: Vec<u8>, config: Value) -> Self {
        Self {
            name: Some(name.to_owned()),
            created: "2024-01-01T00:00:00Z".to_owned(),
            config,
            layers: vec![layer],
            diff_ids: None,
        }
    }

    /// The tarball that `docker save` of version 25 writes, less what only Docker reads.
    pub fn tar(&self) -> Vec<u8> {
        let diff_ids = self
            .diff_ids
            .clone()
            .unwrap_or_else(|| self.layers.iter().map(|layer| sha256(layer)).collect());
        let architecture = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let config = json!({
            "created": self.created,
            "architecture": architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string();
        let path = |bytes: &[u8]| sha256(bytes).replace("sha256:", "blobs/sha256/");
        let manifest = json!([{
            "Config": path(config.as_bytes()),
            "RepoTags": self.name.iter().collect::<Vec<_>>(),
            "Layers": self.layers.iter().map(|layer| path(layer)).collect::<Vec<_>>(),
        }])
        .to_string();
        let mut tar = Layer::new().file(&path(config.as_bytes()), 0o644, config.as_bytes());
        for layer in &self.layers {
            tar = tar.file(&path(layer), 0o644, layer);
        }
        tar.file("manifest.json", 0o644, manifest.as_bytes()).tar()
    }
}
