//! Adding a layer: once, verified, and visible only when whole.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use minidock_layer::{Expect, Lower, NeedsLower, Options, Ownership, Target, Unpacked, Whiteouts};
use minidock_oci::{ChainId, DiffId, Digest, ImageConfig};
use serde::{Deserialize, Serialize};

use crate::fs::{
    Durability, create_file, make_dir, read_json, read_optional, replace, replace_json,
};
use crate::lock::{Lock, LockMode};
use crate::partial::Partial;
use crate::session::Pin;
use crate::space::Careful;
use crate::{Store, StoreError, Writer};

/// What is known of an extracted layer (`layer.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Sum of the sizes of its files in bytes.
    pub content_size: u64,
    /// Number of tar entries.
    pub entries: u64,
    /// Whether the tar had an entry for the root folder itself.
    pub root_seen: bool,
    /// Whether it has whiteouts that are sockets ([`Whiteouts::Sockets`]), which overlays do not understand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub socket_whiteouts: bool,
    /// What its folder takes on the disk, in bytes, once that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u64>,
}

/// A layer that an image needs.
#[derive(Clone, Copy, Debug)]
pub struct LayerRequest<'a> {
    /// Digest of the stored (usually compressed) bytes.
    pub blob: &'a Digest,
    /// Their number, where a descriptor says it.
    pub blob_size: Option<u64>,
    /// Digest of the uncompressed tar.
    pub diff_id: &'a DiffId,
    /// The layer's identity on top of those below it.
    pub chain_id: &'a ChainId,
}

/// Answer to a [`LayerRequest`].
#[derive(Debug)]
pub enum LayerSlot<'w> {
    /// Blob and files are in the store.
    Present,
    /// The bytes are needed; until the transaction ends, other processes that want this layer wait.
    Vacant(LayerTxn<'w>),
}

/// The right and duty to bring one layer.
#[derive(Debug)]
pub struct LayerTxn<'w> {
    writer: &'w Writer,
    blob: Digest,
    blob_size: Option<u64>,
    diff_id: DiffId,
    chain_id: ChainId,
    /// Where the blob is kept while it comes, once that was asked for.
    partial: Option<Partial>,
    _lock: Lock,
}

/// A layer that was unpacked, but refers to the layers below it.
#[derive(Debug)]
pub struct Pending {
    folder: PathBuf,
    needs: NeedsLower,
}

impl Writer {
    /// Asks for a layer. Blocks while another process or thread is bringing the same one.
    ///
    /// A blob that is in the store but was never unpacked here (or whose files are gone) is unpacked
    /// from there.
    ///
    /// # Errors
    /// When the known blob inflates to something else than the request says, or on an I/O error.
    pub fn layer(&self, request: &LayerRequest<'_>) -> Result<LayerSlot<'_>, StoreError> {
        let name = format!("layer-{}", request.diff_id.0.hex());
        let lock = Lock::wait(&self.store.lock_file(&name), LockMode::Exclusive)?;
        // What is found from here on stays.
        self.pin(&[
            Pin::Blob(request.blob),
            Pin::Layer(&request.diff_id.0),
            Pin::Layer(&request.chain_id.0),
        ])?;
        let has_blob = self.store.has_blob(request.blob);
        if has_blob && let Some(actual) = self.store.known_diff_id(request.blob)? {
            if actual != *request.diff_id {
                return Err(StoreError::DiffId {
                    blob: request.blob.clone(),
                    claimed: request.diff_id.clone(),
                    actual,
                });
            }
            if self
                .store
                .layer_folder(request.diff_id, request.chain_id)
                .is_some()
                || self.pending().contains_key(request.chain_id)
            {
                return Ok(LayerSlot::Present);
            }
        }
        let txn = LayerTxn {
            writer: self,
            blob: request.blob.clone(),
            blob_size: request.blob_size,
            diff_id: request.diff_id.clone(),
            chain_id: request.chain_id.clone(),
            partial: None,
            _lock: lock,
        };
        if !has_blob {
            return Ok(LayerSlot::Vacant(txn));
        }
        let path = self.store.blob_path(request.blob);
        let file = File::open(&path).map_err(StoreError::io("read", &path))?;
        match txn.bring(Source::Stored(file)) {
            Ok(()) => Ok(LayerSlot::Present),
            Err(StoreError::Layer { .. }) if !self.store.is_intact(request.blob)? => {
                // A power cut took its content, or the disk damaged it: it is brought anew.
                std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                Ok(LayerSlot::Vacant(txn))
            }
            Err(e) => Err(e),
        }
    }

    /// Completes the layers of an image that refer to those below them, base first. [`Writer::publish`] does so as well;
    /// whoever publishes several images at once calls this first, to learn of every failure before.
    ///
    /// # Errors
    /// When a layer refers to something that none below it has, or on a write error.
    pub fn finish_layers(&self, config: &ImageConfig) -> Result<(), StoreError> {
        let diff_ids = &config.rootfs.diff_ids;
        let chain = ChainId::of_stack(diff_ids);
        let mut lower: Vec<Lower> = Vec::new();
        for (diff_id, chain_id) in diff_ids.iter().zip(&chain) {
            let pending = self.pending().remove(chain_id);
            if let Some(pending) = pending {
                self.complete(&pending.folder, pending.needs, &lower, diff_id)?;
                self.sync()?;
                self.publish_folder(&pending.folder, &chain_id.0)?;
            }
            let Some(folder) = self.store.layer_folder(diff_id, chain_id) else {
                continue; // Reported with the image's id by whoever derives the image's layers.
            };
            lower.push(Self::open_lower(&folder)?);
        }
        Ok(())
    }

    /// Unpacks a known blob once more, into a folder of this session, to compare it with what is in the store. Returns the
    /// folder, and whether the layer can be understood without those below it.
    pub(crate) fn unpack_again(
        &self,
        request: &LayerRequest<'_>,
        lower: &[PathBuf],
    ) -> Result<(PathBuf, LayerInfo, bool), StoreError> {
        let name = format!("layer-{}", request.diff_id.0.hex());
        let txn = LayerTxn {
            writer: self,
            blob: request.blob.clone(),
            blob_size: request.blob_size,
            diff_id: request.diff_id.clone(),
            chain_id: request.chain_id.clone(),
            partial: None,
            _lock: Lock::wait(&self.store.lock_file(&name), LockMode::Exclusive)?,
        };
        let path = self.store.blob_path(request.blob);
        let file = File::open(&path).map_err(StoreError::io("read", &path))?;
        let folder = self.temporary();
        make_dir(&folder)?;
        let unpacked = txn.unpack_into(&folder, Box::new(file), None)?;
        let alone = unpacked.needs_lower.is_empty();
        if !alone {
            let lower = lower.iter().map(|folder| Self::open_lower(folder));
            let lower = lower.collect::<Result<Vec<_>, _>>()?;
            self.complete(&folder, unpacked.needs_lower, &lower, request.diff_id)?;
        }
        let info = self.store.layer_info(&folder)?;
        Ok((folder, info, alone))
    }

    /// Puts a folder of this session into the place of a damaged layer.
    pub(crate) fn replace_layer(&self, fresh: &Path, place: &Path) -> Result<(), StoreError> {
        self.sync()?;
        let damaged = self.temporary();
        match std::fs::rename(place, &damaged) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", place)(e));
            }
            _ => {}
        }
        std::fs::rename(fresh, place).map_err(StoreError::io("publish", place))
    }

    fn complete(
        &self,
        folder: &Path,
        needs: NeedsLower,
        lower: &[Lower],
        diff_id: &DiffId,
    ) -> Result<(), StoreError> {
        let tree = open_dir(&folder.join("fs"))?;
        let path = folder.join("aside");
        let aside = File::options().append(true).open(&path);
        let aside = aside.map_err(StoreError::io("write", &path))?;
        let below: Vec<_> = lower.iter().rev().collect();
        let options = self.options();
        let hides = minidock_layer::complete(tree.as_fd(), Some(&aside), needs, &below, &options)
            .map_err(|source| StoreError::Layer {
            digest: diff_id.0.clone(),
            source: Box::new(source),
        })?;
        if !hides || options.whiteouts == Whiteouts::Devices {
            return Ok(());
        }
        let info = LayerInfo {
            socket_whiteouts: true,
            ..self.store.layer_info(folder)?
        };
        replace_json(
            &self.store.tmp(),
            &folder.join("layer.json"),
            &info,
            Durability::Volatile,
        )
    }

    /// What the store's file system takes is tried once in a session.
    fn whiteouts(&self) -> Whiteouts {
        *self.whiteouts.get_or_init(|| {
            let folder = self.temporary();
            match make_dir(&folder).and_then(|()| open_dir(&folder)) {
                Ok(folder) => Whiteouts::possible_in(folder.as_fd(), "whiteout"),
                // Whatever is the matter is told by who makes the layer.
                Err(_) => Whiteouts::default(),
            }
        })
    }

    fn open_lower(folder: &Path) -> Result<Lower, StoreError> {
        let tree = open_dir(&folder.join("fs"))?;
        Ok(Lower::new(tree, folder.join("aside")))
    }

    fn options(&self) -> Options {
        Options {
            ownership: if self.store.id_map().has_owners() {
                Ownership::Host
            } else {
                Ownership::Single
            },
            limits: self.bounds.layer,
            whiteouts: self.whiteouts(),
        }
    }

    fn publish_folder(&self, from: &Path, name: &Digest) -> Result<(), StoreError> {
        self.pin(&[Pin::Layer(name)])?;
        let to = self.store.layer_path(name);
        match std::fs::rename(from, &to) {
            // Somebody else was first, with the same content; ours goes with the session.
            Err(_) if to.join("layer.json").exists() => Ok(()),
            result => result.map_err(StoreError::io("publish", to)),
        }
    }
}

impl LayerTxn<'_> {
    /// Keeps what comes of the blob even if it is not all of it, for the next one who wants it. Returns how many bytes
    /// the last one left: [`LayerTxn::unpack`] is given those after them.
    ///
    /// # Errors
    /// When it cannot be looked for.
    pub fn resume(&mut self) -> Result<u64, StoreError> {
        self.partial = self.writer.store.partial(&self.blob, self.blob_size)?;
        Ok(self.partial.as_ref().map_or(0, |partial| partial.have))
    }

    /// Reads the layer's bytes to their end, verifies blob digest, size and diff_id, unpacks them on
    /// the way and publishes blob and files.
    ///
    /// # Errors
    /// When the bytes are not what was promised, are no layer, or cannot be written. Nothing of them
    /// stays then, except of bytes that ended early after [`LayerTxn::resume`].
    pub fn unpack(self, bytes: Box<dyn Read + Send + '_>) -> Result<(), StoreError> {
        let Some(partial) = &self.partial else {
            return self.bring(Source::Stream(bytes));
        };
        let start = partial.reader()?.take(partial.have);
        let result = self.bring(Source::Resumed(partial, Box::new(start.chain(bytes))));
        let ended_early = matches!(&result, Err(StoreError::Layer { source, .. })
            if matches!(**source, minidock_layer::Error::Read(_)));
        let empty = partial.file().metadata().is_ok_and(|meta| meta.len() == 0);
        if !ended_early || empty {
            partial.remove()?;
        }
        result
    }

    /// [`LayerTxn::unpack`] of a file of this session, which becomes the blob.
    ///
    /// # Errors
    /// As for [`LayerTxn::unpack`].
    pub fn unpack_file(self, path: &Path) -> Result<(), StoreError> {
        self.bring(Source::Session(path))
    }

    fn bring(&self, source: Source<'_>) -> Result<(), StoreError> {
        let writer = self.writer;
        let (bytes, copy, publish): (Box<dyn Read + Send + '_>, Option<File>, Option<PathBuf>) =
            match source {
                Source::Resumed(partial, bytes) => {
                    let path = partial.path().to_owned();
                    let copy = partial.file().try_clone();
                    let copy = copy.map_err(StoreError::io("write", &path))?;
                    (bytes, Some(copy), Some(path))
                }
                Source::Stored(file) => (Box::new(file), None, None),
                Source::Session(path) => {
                    let file = File::open(path).map_err(StoreError::io("read", path))?;
                    (Box::new(file), None, Some(path.to_owned()))
                }
                Source::Stream(bytes) => {
                    let path = writer.temporary();
                    (bytes, Some(create_file(&path)?), Some(path))
                }
            };
        let have_files = writer
            .store
            .layer_folder(&self.diff_id, &self.chain_id)
            .is_some();
        if have_files {
            self.verify_only(bytes, copy.as_ref())?;
            return self.publish_blob(publish.as_deref());
        }
        let folder = writer.temporary();
        make_dir(&folder)?;
        let unpacked = self.unpack_into(&folder, bytes, copy.as_ref())?;
        drop(copy);
        writer.sync()?;
        self.publish_blob(publish.as_deref())?;
        if unpacked.needs_lower.is_empty() {
            writer.publish_folder(&folder, &self.diff_id.0)
        } else {
            let needs = unpacked.needs_lower;
            writer
                .pending()
                .insert(self.chain_id.clone(), Pending { folder, needs });
            Ok(())
        }
    }

    fn unpack_into(
        &self,
        folder: &Path,
        bytes: Box<dyn Read + Send + '_>,
        blob_file: Option<&File>,
    ) -> Result<Unpacked, StoreError> {
        let tree_path = folder.join("fs");
        make_dir(&tree_path)?;
        let tree = open_dir(&tree_path)?;
        let aside = create_file(&folder.join("aside"))?;
        let target = Target {
            tree: tree.as_fd(),
            blob: blob_file,
            aside: Some(&aside),
        };
        let full = AtomicBool::new(false);
        let bytes = Careful::new(self.writer, bytes, &full);
        let unpacked =
            minidock_layer::unpack(bytes, &self.expect(), &target, &self.writer.options())
                .map_err(|e| self.layer_error(e, &full))?;
        let info = LayerInfo {
            diff_id: unpacked.diff_id.clone(),
            content_size: unpacked.content_size,
            entries: unpacked.entries,
            root_seen: unpacked.root_seen,
            socket_whiteouts: false,
            disk_size: None,
        };
        let tmp = self.writer.store.tmp();
        replace_json(
            &tmp,
            &folder.join("layer.json"),
            &info,
            Durability::Volatile,
        )?;
        Ok(unpacked)
    }

    fn verify_only(
        &self,
        bytes: Box<dyn Read + Send + '_>,
        blob_file: Option<&File>,
    ) -> Result<(), StoreError> {
        let full = AtomicBool::new(false);
        let tee = Tee {
            from: Box::new(Careful::new(self.writer, bytes, &full)),
            to: blob_file,
        };
        minidock_layer::identify(tee, &self.expect())
            .map(|_| ())
            .map_err(|e| self.layer_error(e, &full))
    }

    fn expect(&self) -> Expect<'_> {
        Expect {
            blob: Some(&self.blob),
            blob_size: self.blob_size,
            diff_id: Some(&self.diff_id),
        }
    }

    fn publish_blob(&self, file: Option<&Path>) -> Result<(), StoreError> {
        if let Some(file) = file {
            self.writer.put_file(file, &self.blob)?;
        }
        let record = self.writer.store.diff_path(&self.blob);
        replace(
            &self.writer.store.tmp(),
            &record,
            self.diff_id.to_string().as_bytes(),
            Durability::Volatile,
        )
    }

    fn layer_error(&self, source: minidock_layer::Error, full: &AtomicBool) -> StoreError {
        // A layer that is read faster than its files are made may have met the end of the disk itself.
        let met_the_end = matches!(&source, minidock_layer::Error::File { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull);
        if (full.load(Ordering::Relaxed) || met_the_end)
            && let Err(error) = self.writer.check_space()
        {
            return error;
        }
        StoreError::Layer {
            digest: self.blob.clone(),
            source: Box::new(source),
        }
    }
}

/// Where a layer's bytes are.
enum Source<'a> {
    /// In the store, under the blob's name.
    Stored(File),
    /// In a file of the session, which is to become the blob.
    Session(&'a Path),
    /// On their way.
    Stream(Box<dyn Read + Send + 'a>),
    /// On their way, after those that came before.
    Resumed(&'a Partial, Box<dyn Read + Send + 'a>),
}

/// Copies what is read to a file.
struct Tee<'a> {
    from: Box<dyn Read + Send + 'a>,
    to: Option<&'a File>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(buffer)?;
        if let Some(mut to) = self.to {
            to.write_all(&buffer[..n])?;
        }
        Ok(n)
    }
}

impl Store {
    pub(crate) fn layer_path(&self, digest: &Digest) -> PathBuf {
        self.path("layers")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// The folder of a layer, under its own name or under that of the whole stack.
    pub(crate) fn layer_folder(&self, diff_id: &DiffId, chain_id: &ChainId) -> Option<PathBuf> {
        [&diff_id.0, &chain_id.0]
            .into_iter()
            .map(|d| self.layer_path(d))
            .find(|p| p.exists())
    }

    pub(crate) fn diff_path(&self, blob: &Digest) -> PathBuf {
        self.path("diffs")
            .join(format!("{}-{}", blob.algorithm().as_str(), blob.hex()))
    }

    /// What a blob was seen to inflate to.
    pub(crate) fn known_diff_id(&self, blob: &Digest) -> Result<Option<DiffId>, StoreError> {
        let bytes = read_optional(&self.diff_path(blob))?;
        // An unreadable note is as good as none: the blob is inflated again.
        Ok(bytes
            .and_then(|b| String::from_utf8(b).ok())
            .and_then(|text| text.parse().ok())
            .map(DiffId))
    }

    pub(crate) fn layer_info(&self, folder: &Path) -> Result<LayerInfo, StoreError> {
        let path = folder.join("layer.json");
        read_json(&path)?.ok_or_else(|| StoreError::Damaged {
            path,
            problem: "it is missing".into(),
        })
    }
}

pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd, StoreError> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(
        path,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .map_err(|e| StoreError::io("open", path)(e.into()))
}
