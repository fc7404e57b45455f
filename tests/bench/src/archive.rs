//! Trees to layers, layers to OCI archives.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use minidock_oci::{Algorithm, Digest, Hasher};
use serde_json::json;

use crate::Result;
use crate::tar_writer::TarWriter;
use crate::tree::Tree;

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A layer in a file.
#[derive(Clone, Debug)]
pub struct Layer {
    pub file: PathBuf,
    pub packing: Packing,
    pub digest: Digest,
    pub diff_id: Digest,
    pub size: u64,
}

/// Hashes and counts what passes.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Layer {
    /// Packs a tree, as `gzip -6`, `zstd -3` or not at all.
    pub fn write(tree: &Tree, packing: Packing, file: &Path) -> Result<Self> {
        let stored = Hashed::new(BufWriter::with_capacity(1 << 20, File::create(file)?));
        let (stored, diff_id) = match packing {
            Packing::Plain => {
                let mut plain = Hashed::new(stored);
                tree.write_tar(&mut plain)?;
                (plain.out, plain.hasher.finish())
            }
            Packing::Gzip => {
                let level = flate2::Compression::new(6);
                let mut plain = Hashed::new(flate2::write::GzEncoder::new(stored, level));
                tree.write_tar(&mut plain)?;
                (plain.out.finish()?, plain.hasher.finish())
            }
            Packing::Zstd => {
                let mut plain = Hashed::new(zstd::Encoder::new(stored, 3)?);
                tree.write_tar(&mut plain)?;
                (plain.out.finish()?, plain.hasher.finish())
            }
        };
        let Hashed {
            mut out,
            hasher,
            size,
        } = stored;
        out.flush()?;
        Ok(Self {
            file: file.to_owned(),
            packing,
            digest: hasher.finish(),
            diff_id,
            size,
        })
    }
}

impl Layer {
    /// A plain tar as it is.
    pub fn plain(tar: &[u8], file: &Path) -> Result<Self> {
        std::fs::write(file, tar)?;
        let digest = Digest::sha256(tar);
        Ok(Self {
            file: file.to_owned(),
            packing: Packing::Plain,
            digest: digest.clone(),
            diff_id: digest,
            size: tar.len() as u64,
        })
    }
}

/// Config and manifest of an image.
#[derive(Debug)]
pub struct Documents {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Documents {
    pub fn new(layers: &[Layer]) -> Self {
        let machine = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let diff_ids: Vec<String> = layers.iter().map(|l| l.diff_id.to_string()).collect();
        let config = json!({
            "created": "2024-01-01T00:00:00Z", "architecture": machine, "os": "linux",
            "config": { "Cmd": ["/bin/true"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes();
        let described: Vec<_> = layers
            .iter()
            .map(|l| json!({ "mediaType": l.packing.media_type(), "digest": l.digest.to_string(), "size": l.size }))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(&config).to_string(), "size": config.len(),
            },
            "layers": described,
        })
        .to_string()
        .into_bytes();
        Self { config, manifest }
    }
}

/// Writes an image as an OCI archive.
pub fn write(layers: &[Layer], name: &str, file: &Path) -> Result<()> {
    let documents = Documents::new(layers);
    let mut tar = TarWriter {
        out: BufWriter::with_capacity(1 << 20, File::create(file)?),
    };
    let mut small = |path: &str, content: &[u8]| tar.file(path, 0o644, content);
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let manifest = Digest::sha256(&documents.manifest);
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifest.to_string(), "size": documents.manifest.len(),
        "annotations": {
            "io.containerd.image.name": format!("docker.io/library/{name}:latest"),
            "org.opencontainers.image.ref.name": "latest",
        },
    }]});
    small("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    small("index.json", index.to_string().as_bytes())?;
    small(&blob(&manifest), &documents.manifest)?;
    small(&blob(&Digest::sha256(&documents.config)), &documents.config)?;
    for layer in layers {
        let mut content: Box<dyn Read> = Box::new(File::open(&layer.file)?);
        tar.stream(&blob(&layer.digest), layer.size, &mut content)?;
    }
    tar.finish()?.flush()?;
    Ok(())
}
