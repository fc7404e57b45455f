//! Small images made in memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use minidock_oci::{Digest, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST};

/// An image: layers as stored, config and manifest.
#[derive(Clone, Debug)]
pub struct Image {
    /// Compressed layers, base first.
    pub layers: Vec<Vec<u8>>,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

impl Image {
    /// An image for linux/amd64 of these uncompressed tars, gzipped.
    pub fn of(tars: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<Digest> = tars.iter().map(|t| Digest::sha256(t)).collect();
        Self::claiming(tars, &diff_ids, "amd64")
    }

    /// An image whose config claims these diff_ids and this architecture.
    pub fn claiming(tars: &[Vec<u8>], diff_ids: &[Digest], architecture: &str) -> Self {
        let config = serde_json::json!({
            "created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": architecture,
            "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let layers = tars.iter().map(|t| gzip(t)).collect();
        Self::with_config(layers, config.to_string().into_bytes())
    }

    /// An image of stored layers and a config.
    pub fn with_config(layers: Vec<Vec<u8>>, config: Vec<u8>) -> Self {
        let descriptors: Vec<_> = layers
            .iter()
            .map(|l| serde_json::json!({"mediaType": format!("{OCI_LAYER_TAR}+gzip"), "digest": Digest::sha256(l), "size": l.len()}))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": descriptors,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest::sha256(&config), "size": config.len()},
        });
        Self {
            layers,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// Digest of the config.
    pub fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    /// Config and layers by digest.
    pub fn blobs(&self) -> Vec<(Digest, &[u8])> {
        let all = self.layers.iter().chain(std::iter::once(&self.config));
        all.map(|b| (Digest::sha256(b), b.as_slice())).collect()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar of files with mode 0644.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}
