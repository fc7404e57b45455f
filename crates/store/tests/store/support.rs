//! Small images, and what is in a store.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use minidock_oci::{ChainId, Digest, ImageConfig, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST};
use minidock_store::{IdMap, ImageRecord, LayerRequest, LayerSlot, Store, StoreError, Writer};

/// Root makes stores with the host's ids, anybody else with their own.
pub fn id_map() -> IdMap {
    if rustix::process::geteuid().is_root() {
        IdMap::Host
    } else {
        IdMap::Single
    }
}

pub fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("store"), id_map()).unwrap()
}

/// A tar of regular files and, for names that end with `/`, folders.
pub fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mtime(1_600_000_000);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        if name.ends_with('/') {
            header.set_mode(0o750);
            header.set_entry_type(tar::EntryType::Directory);
        } else {
            header.set_mode(0o644);
        }
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

pub struct Image {
    pub layers: Vec<Vec<u8>>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Image {
    pub fn new(layers: &[Vec<u8>]) -> Self {
        let digests: Vec<Digest> = layers.iter().map(|l| Digest::sha256(l)).collect();
        Self::claiming(layers, &digests)
    }

    /// An image whose config claims these diff_ids.
    pub fn claiming(layers: &[Vec<u8>], diff_ids: &[Digest]) -> Self {
        let config = serde_json::json!({
            "created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let blobs: Vec<_> = layers
            .iter()
            .map(|l| {
                serde_json::json!({"mediaType": OCI_LAYER_TAR, "digest": Digest::sha256(l), "size": l.len()})
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": blobs,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest::sha256(&config), "size": config.len()},
        })
        .to_string()
        .into_bytes();
        Self {
            layers: layers.to_vec(),
            config,
            manifest,
        }
    }

    pub fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    pub fn add(&self, store: &Store, name: Option<&str>) -> Result<bool, StoreError> {
        let writer = store.writer()?;
        self.add_layers(&writer)?;
        self.publish(&writer, name)
    }

    pub fn add_layers(&self, writer: &Writer) -> Result<(), StoreError> {
        let diff_ids = ImageConfig::parse(&self.config).unwrap().rootfs.diff_ids;
        let chain = ChainId::of_stack(&diff_ids);
        for ((bytes, diff_id), chain_id) in self.layers.iter().zip(&diff_ids).zip(&chain) {
            let request = LayerRequest {
                blob: &Digest::sha256(bytes),
                blob_size: Some(bytes.len() as u64),
                diff_id,
                chain_id,
            };
            if let LayerSlot::Vacant(txn) = writer.layer(&request)? {
                txn.unpack(Box::new(Cursor::new(bytes.clone())))?;
            }
        }
        Ok(())
    }

    pub fn publish(&self, writer: &Writer, name: Option<&str>) -> Result<bool, StoreError> {
        let manifest = Digest::sha256(&self.manifest);
        writer.put_blob(&self.config, &self.id())?;
        writer.put_blob(&self.manifest, &manifest)?;
        let record = ImageRecord {
            repository: None,
            tag: None,
            digest: None,
            manifest,
            manifest_size: self.manifest.len() as u64,
            media_type: OCI_MANIFEST.into(),
            image_id: self.id(),
            created: String::new(),
            size: 0,
            last_tagged: None,
        };
        let record = match name {
            Some(name) => record.named(&name.parse().unwrap()),
            None => record,
        };
        writer.publish(record, &ImageConfig::parse(&self.config).unwrap())
    }
}

/// Every regular file and symlink below a folder, relative, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    pub fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), into);
            } else {
                into.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found
}

/// The names in one of the store's folders.
pub fn entries(store: &Store, folder: &str) -> Vec<String> {
    std::fs::read_dir(store.root().join(folder))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub fn content(store: &Store) -> Vec<PathBuf> {
    ["blobs", "layers", "diffs", "images", "tmp"]
        .iter()
        .flat_map(|f| files(&store.root().join(f)))
        .collect()
}
