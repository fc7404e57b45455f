//! `commit` and `import`: images made here.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;

use minidock_layer::write::{ArchiveOptions, BlobWriter, Compression, TarWriter, changes_to_tar};
use minidock_layer::{Expect, Identified};
use minidock_oci::{
    ChainId, DiffId, Digest, ImageConfig, ImageManifest, MAX_MANIFEST_SIZE, OCI_CONFIG,
    OCI_LAYER_TAR, OCI_MANIFEST, Platform, Reference,
};
use minidock_store::{ImageRecord, LayerRequest, LayerSlot, StoreError, Writer};
use serde_json::{Map, Value, json};

use crate::events::Event;
use crate::view::View;
use crate::{Engine, Error, dockerfile, effective};

/// What `commit` and `import` have in common.
#[derive(Clone, Debug, Default)]
pub struct Labelling {
    /// Name of the image; without one it has only its id.
    pub reference: Option<Reference>,
    /// Instructions of a Dockerfile, applied to the config.
    pub changes: Vec<String>,
    /// A remark for the history.
    pub message: String,
    /// When it was made, in seconds since 1970, and how old its files may be at most. The present, if not given.
    pub timestamp: Option<i64>,
}

/// A container to make an image of.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Name or id.
    pub container: String,
    /// The container must not write meanwhile.
    pub pause: bool,
    /// Who made it.
    pub author: String,
    /// Name, changes, remark, time.
    pub labelling: Labelling,
    /// How the layer is stored.
    pub compression: Compression,
}

/// A tar to make an image of.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// What the files are for.
    pub platform: Platform,
    /// Name, changes, remark, time.
    pub labelling: Labelling,
}

/// A layer that is in the store.
struct NewLayer {
    diff_id: DiffId,
    descriptor: Value,
}

/// The parts of a new image.
struct Parts {
    config: Map<String, Value>,
    layers: Vec<Value>,
}

impl Engine {
    /// Makes an image of a container: its image's layers and one of what it changed. A container that runs goes on running.
    ///
    /// # Errors
    /// When there is no such container, its image is gone, a change makes no sense, or something cannot be read or written.
    pub fn commit(&self, request: &CommitRequest) -> Result<Digest, Error> {
        let labelling = &request.labelling;
        // Before any work: what is wrong on the command line is told at once.
        dockerfile::apply(&mut Map::new(), &labelling.changes)?;
        let view = self.view(&request.container)?;
        if request.pause && view.state.is_alive() {
            return Err(Error::CannotPause(view.state.name.clone()));
        }
        let writer = self.store.writer()?;
        let image_id = view
            .state
            .image_id
            .parse::<Digest>()
            .map_err(|_| Error::ImageNotFound(view.state.image_id.clone()))?;
        let Parts {
            mut config,
            mut layers,
        } = self.parent(&image_id)?;
        let layer = self.commit_layer(&view, &writer, request)?;
        let mut run_config = effective::read(&view.container)
            .or_else(|| config.get("config").and_then(Value::as_object).cloned())
            .unwrap_or_default();
        let command = words(&run_config, "Cmd").join(" ");
        dockerfile::apply(&mut run_config, &labelling.changes)?;
        let created = time(labelling.timestamp);
        let mut history = json!({
            "created": created,
            "created_by": command,
        });
        let mut note = |key: &str, value: &str| {
            if !value.is_empty() {
                history[key] = value.into();
            }
        };
        note("author", &request.author);
        note("comment", &labelling.message);
        if layer.is_none() {
            history["empty_layer"] = true.into();
        }
        config.insert("created".into(), created.into());
        config.remove("author");
        if !request.author.is_empty() {
            config.insert("author".into(), request.author.as_str().into());
        }
        config.insert("config".into(), Value::Object(run_config));
        // They were about how the parent was made.
        for gone in [
            "container",
            "container_config",
            "docker_version",
            "id",
            "parent",
        ] {
            config.remove(gone);
        }
        push(&mut config, "history", history);
        if let Some(layer) = layer {
            let rootfs = config
                .entry("rootfs")
                .or_insert_with(|| json!({"type": "layers"}));
            if let Some(rootfs) = rootfs.as_object_mut() {
                push(rootfs, "diff_ids", json!(layer.diff_id));
            }
            layers.push(layer.descriptor);
        }
        let id = self.publish(&writer, &Parts { config, layers }, labelling)?;
        let name = labelling.reference.as_ref().map(Reference::familiar);
        let event = Event::container(&view.state, "commit")
            .with("comment", &labelling.message)
            .with("imageID", id.to_string())
            .with("imageRef", name.clone().unwrap_or_default());
        self.tell(&event);
        if let Some(name) = name {
            self.tell_image(&id.to_string(), &name, "tag", Some(&id));
        }
        Ok(id)
    }

    /// Config and layers of the image that a container was made of.
    fn parent(&self, image_id: &Digest) -> Result<Parts, Error> {
        let gone = || Error::ImageNotFound(image_id.to_string());
        let record = match self.store.find_image(&image_id.to_string()) {
            Ok(found) => found.record().cloned().ok_or_else(gone)?,
            Err(StoreError::NoSuchImage(_)) => return Err(gone()),
            Err(e) => return Err(e.into()),
        };
        let damaged = |problem: String| {
            Error::Store(StoreError::Damaged {
                path: format!("image {}", image_id.short()).into(),
                problem,
            })
        };
        let config = self.store.read_blob(image_id, MAX_MANIFEST_SIZE)?;
        let config = serde_json::from_slice(&config).map_err(|e| damaged(e.to_string()))?;
        let manifest = self.store.read_blob(&record.manifest, MAX_MANIFEST_SIZE)?;
        let manifest: ImageManifest =
            serde_json::from_slice(&manifest).map_err(|e| damaged(e.to_string()))?;
        let layers = manifest
            .layers()
            .iter()
            .map(|l| {
                json!({
                    "mediaType": oci_layer_type(l.media_type().as_ref()),
                    "digest": l.digest().to_string(),
                    "size": l.size(),
                })
            })
            .collect();
        Ok(Parts { config, layers })
    }

    /// Puts what a container changed into the store as a layer; `None` if that is nothing.
    fn commit_layer(
        &self,
        view: &View,
        writer: &Writer,
        request: &CommitRequest,
    ) -> Result<Option<NewLayer>, Error> {
        let changes = view.changes()?;
        if changes.is_empty() {
            return Ok(None);
        }
        let path = writer.temporary();
        let failed = |source| {
            Error::Store(StoreError::Io {
                operation: "write",
                path: path.clone(),
                source,
            })
        };
        let file = File::create_new(&path).map_err(failed)?;
        let blob = BlobWriter::new(&file, request.compression).map_err(failed)?;
        let mut tar = TarWriter::new(blob);
        let options = ArchiveOptions {
            latest: request.labelling.timestamp,
        };
        changes_to_tar(&view.merged, &changes, &mut tar, &options).map_err(|e| view.failed(e))?;
        let written = tar.finish().and_then(BlobWriter::finish).map_err(failed)?;
        writer.put_file(&path, &written.blob)?;
        let below = self.below(&view.state.image_id)?;
        let layer = NewLayer {
            descriptor: json!({
                "mediaType": match request.compression {
                    Compression::Gzip => format!("{OCI_LAYER_TAR}+gzip"),
                    Compression::Zstd => format!("{OCI_LAYER_TAR}+zstd"),
                    Compression::None => OCI_LAYER_TAR.to_owned(),
                },
                "digest": written.blob,
                "size": written.blob_size,
            }),
            diff_id: written.diff_id,
        };
        unpack(
            writer,
            &written.blob,
            written.blob_size,
            &layer.diff_id,
            below,
        )?;
        Ok(Some(layer))
    }

    fn below(&self, image_id: &str) -> Result<Vec<DiffId>, Error> {
        let gone = |_| Error::ImageNotFound(image_id.to_owned());
        let config = self.store.image_config(&image_id.parse().map_err(gone)?)?;
        Ok(config.rootfs.diff_ids)
    }

    /// Makes an image of one layer from a tar, plain or compressed with gzip or zstd. Its bytes are kept as they came.
    ///
    /// # Errors
    /// When it is no tar, a change makes no sense, or something cannot be written.
    pub fn import(
        &self,
        archive: impl Read + Send,
        request: &ImportRequest,
    ) -> Result<Digest, Error> {
        let labelling = &request.labelling;
        let mut run_config = Map::new();
        dockerfile::apply(&mut run_config, &labelling.changes)?;
        self.enter()?;
        let writer = self.store.writer()?;
        let path = writer.temporary();
        let (seen, magic) = set_down(archive, &path, &writer)?;
        writer.put_file(&path, &seen.blob)?;
        unpack(
            &writer,
            &seen.blob,
            seen.blob_size,
            &seen.diff_id,
            Vec::new(),
        )?;
        let platform = &request.platform;
        let created = time(labelling.timestamp);
        let mut config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": created,
            "config": run_config,
            "rootfs": {"type": "layers", "diff_ids": [seen.diff_id]},
            "history": [{"created": created, "comment": labelling.message}],
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = variant.as_str().into();
        }
        let parts = Parts {
            config: config.as_object().cloned().unwrap_or_default(),
            layers: vec![json!({
                "mediaType": format!("{OCI_LAYER_TAR}{}", suffix(magic)),
                "digest": seen.blob,
                "size": seen.blob_size,
            })],
        };
        let id = self.publish(&writer, &parts, labelling)?;
        let shown = id.to_string();
        let name = labelling.reference.as_ref().map(Reference::familiar);
        self.tell_image(&shown, name.as_ref().unwrap_or(&shown), "import", Some(&id));
        Ok(id)
    }

    fn publish(
        &self,
        writer: &Writer,
        parts: &Parts,
        labelling: &Labelling,
    ) -> Result<Digest, Error> {
        let bytes = Value::Object(parts.config.clone()).to_string().into_bytes();
        let image_id = Digest::sha256(&bytes);
        let config = ImageConfig::parse(&bytes)
            .and_then(|c| c.check_layer_count(parts.layers.len()).map(|()| c))
            .map_err(Error::NewConfig)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": image_id, "size": bytes.len()},
            "layers": parts.layers,
        })
        .to_string()
        .into_bytes();
        let digest = Digest::sha256(&manifest);
        writer.put_blob(&bytes, &image_id)?;
        writer.put_blob(&manifest, &digest)?;
        let mut record = ImageRecord {
            repository: None,
            tag: None,
            digest: None,
            manifest: digest,
            manifest_size: manifest.len() as u64,
            media_type: OCI_MANIFEST.to_owned(),
            image_id: image_id.clone(),
            created: String::new(),
            size: 0,
            last_tagged: labelling.reference.as_ref().map(|_| crate::run::now().0),
        };
        if let Some(reference) = &labelling.reference {
            record = record.named(reference);
        }
        writer.publish(record, &config)?;
        Ok(image_id)
    }
}

/// Unpacks a layer whose blob is in the store, on top of others.
fn unpack(
    writer: &Writer,
    blob: &Digest,
    size: u64,
    diff_id: &DiffId,
    mut stack: Vec<DiffId>,
) -> Result<(), Error> {
    stack.push(diff_id.clone());
    let chain = ChainId::of_stack(&stack);
    let Some(chain_id) = chain.last() else {
        return Ok(());
    };
    let request = LayerRequest {
        blob,
        blob_size: Some(size),
        diff_id,
        chain_id,
    };
    match writer.layer(&request)? {
        LayerSlot::Present => Ok(()),
        // Only if somebody removed the blob from the store by hand in between.
        LayerSlot::Vacant(_) => Err(Error::Store(StoreError::Damaged {
            path: format!("blob {blob}").into(),
            problem: "it is missing".into(),
        })),
    }
}

/// Writes an archive to a file, and says what it is.
fn set_down(
    archive: impl Read + Send,
    path: &std::path::Path,
    writer: &Writer,
) -> Result<(Identified, [u8; 4]), Error> {
    let failed = |source| {
        Error::Store(StoreError::Io {
            operation: "write",
            path: path.to_owned(),
            source,
        })
    };
    let file = File::create_new(path).map_err(failed)?;
    let copy = Copying {
        from: BufReader::with_capacity(256 << 10, archive),
        to: &file,
        writer,
        until: 0,
    };
    // Whoever sends without end meets the disk's bound, not its end.
    let seen = minidock_layer::identify(copy, &Expect::default()).map_err(|e| {
        match writer.check_space() {
            Err(full) => full.into(),
            Ok(()) => Error::Import(e),
        }
    })?;
    let mut magic = [0; 4];
    let n = rustix::io::pread(file.as_fd(), &mut magic, 0).map_err(|e| failed(e.into()))?;
    magic[n..].fill(0);
    Ok((seen, magic))
}

/// Bytes between two looks at the space that is left.
const INTERVAL: usize = 16 << 20;

struct Copying<'a, R> {
    from: R,
    to: &'a File,
    writer: &'a Writer,
    until: usize,
}

impl<R: Read> Read for Copying<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::io::Write;
        if self.until == 0 {
            self.writer.check_space().map_err(std::io::Error::other)?;
            self.until = INTERVAL;
        }
        let n = self.from.read(buffer)?;
        self.until = self.until.saturating_sub(n);
        self.to.write_all(&buffer[..n])?;
        Ok(n)
    }
}

fn suffix(magic: [u8; 4]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    }
}

/// A layer's media type in OCI's words. Docker's differ.
fn oci_layer_type(media_type: &str) -> String {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            format!("{OCI_LAYER_TAR}+gzip")
        }
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => format!("{OCI_LAYER_TAR}+zstd"),
        "application/vnd.docker.image.rootfs.diff.tar" => OCI_LAYER_TAR.to_owned(),
        other => other.to_owned(),
    }
}

fn push(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            object.insert(key.to_owned(), json!([value]));
        }
    }
}

fn words(config: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = config.get(key).and_then(Value::as_array);
    list.map(|l| {
        l.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    })
    .unwrap_or_default()
}

/// RFC 3339 in UTC.
fn time(timestamp: Option<i64>) -> String {
    let now = jiff::Timestamp::now();
    timestamp
        .map_or(Ok(now), jiff::Timestamp::from_second)
        .unwrap_or(now)
        .to_string()
}
