//! A session: one process adding to the store.
//!
//! Its folder below `tmp/` is locked while it lasts. In it, `pins` lists what the session needs of the store, a line each:
//! whatever it found there or brought, and nothing refers to yet. A collector reads the pins of all sessions, so neither
//! has to wait for the other: pinning takes the store's lock for a moment, and what is pinned before it is looked for
//! stays when it is found.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use minidock_layer::Whiteouts;
use minidock_oci::{ChainId, Digest, Hasher, ImageConfig, MAX_MANIFEST_SIZE};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::fs::create_file;
use crate::layers::Pending;
use crate::lock::{Lock, LockMode};
use crate::space::Bounds;
use crate::tmp::{Entry, PINS, SESSION};
use crate::{ImageLayers, ImageRecord, Store, StoreError, index};

/// How the locks are called that [`Turn`]s hold.
pub(crate) const TURN_PREFIX: &str = "blob-";

/// The right and duty to bring one small blob, until dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Lock,
}

/// Something to write with: owns a folder below `tmp/`, which goes when the writer does, together with what it brought and
/// no image refers to.
#[derive(Debug)]
pub struct Writer {
    pub(crate) store: Store,
    pub(crate) folder: PathBuf,
    pub(crate) pending: Mutex<HashMap<ChainId, Pending>>,
    pub(crate) bounds: Bounds,
    pub(crate) whiteouts: OnceLock<Whiteouts>,
    counter: AtomicU64,
    session: Option<Entry>,
    pins: Mutex<Pins>,
    /// There may be content that nothing refers to: our own until it is published, or a killed process's.
    unreferred: AtomicBool,
    inherited: bool,
}

/// Something in the store that a session needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pin<'a> {
    Blob(&'a Digest),
    /// A folder under `layers/`, by either of the names it can have.
    Layer(&'a Digest),
}

impl std::fmt::Display for Pin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Layer(digest) => write!(f, "layer {digest}"),
        }
    }
}

#[derive(Debug)]
struct Pins {
    file: File,
    known: HashSet<String>,
}

impl Store {
    /// Whether something can be added: asked before much work is done for it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let tmp = self.tmp();
        match accessat(CWD, &tmp, Access::WRITE_OK, AtFlags::EACCESS) {
            Err(e @ (Errno::ROFS | Errno::ACCESS)) => Err(StoreError::io("write", &tmp)(e.into())),
            // Some sandboxes refuse the question itself (faccessat2 is of Linux 5.8).
            _ => Ok(()),
        }
    }

    /// Starts adding. What killed processes left unfinished is removed first.
    ///
    /// # Errors
    /// When the store cannot be locked or written.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        self.writer_with(Bounds::default())
    }

    /// [`Store::writer`] with other bounds on what may be added.
    ///
    /// # Errors
    /// As for [`Store::writer`].
    pub fn writer_with(&self, bounds: Bounds) -> Result<Writer, StoreError> {
        let inherited = self.sweep_tmp()?;
        self.keep_reserve();
        let session = Entry::folder(&self.tmp(), SESSION)?;
        let folder = session.path().to_owned();
        let path = folder.join(PINS);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        Ok(Writer {
            store: self.clone(),
            folder,
            pending: Mutex::default(),
            bounds,
            whiteouts: OnceLock::new(),
            counter: AtomicU64::new(0),
            session: Some(session),
            pins: Mutex::new(Pins {
                file,
                known: HashSet::new(),
            }),
            unreferred: AtomicBool::new(false),
            inherited,
        })
    }
}

impl Writer {
    /// The store that is written to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How much may be added.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A fresh path in this session's folder, on the store's file system.
    pub fn temporary(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.folder.join(number.to_string())
    }

    /// Waits for whoever else is bringing a small blob, so that it is brought once. What is found in the store from here on
    /// stays.
    ///
    /// # Errors
    /// When the store cannot be locked or written.
    pub fn turn(&self, digest: &Digest) -> Result<Turn, StoreError> {
        let name = format!("{TURN_PREFIX}{}", digest.hex());
        let lock = Lock::wait(&self.store.lock_file(&name), LockMode::Exclusive)?;
        self.pin(&[Pin::Blob(digest)])?;
        Ok(Turn { _lock: lock })
    }

    /// Stores a small blob (manifest, index, config). Storing it again is fine.
    ///
    /// # Errors
    /// When the bytes do not have the digest, or cannot be written.
    pub fn put_blob(&self, bytes: &[u8], digest: &Digest) -> Result<(), StoreError> {
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(StoreError::BlobDigest {
                expected: digest.clone(),
                actual,
            });
        }
        self.pin(&[Pin::Blob(digest)])?;
        // A power cut can leave a file that never got its content, so the name alone proves nothing.
        if self.store.read_blob(digest, MAX_MANIFEST_SIZE).is_ok() {
            return Ok(());
        }
        let temporary = self.temporary();
        create_file(&temporary)?
            .write_all(bytes)
            .map_err(StoreError::io("write", &temporary))?;
        self.adopt(&temporary, digest)
    }

    /// Takes a file of this session whose digest the caller has computed into the store's blobs.
    /// A blob that is there already stays.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn put_file(&self, file: &Path, digest: &Digest) -> Result<(), StoreError> {
        self.pin(&[Pin::Blob(digest)])?;
        if self.store.has_blob(digest) {
            return Ok(());
        }
        self.adopt(file, digest)
    }

    fn adopt(&self, from: &Path, digest: &Digest) -> Result<(), StoreError> {
        let to = self.store.blob_path(digest);
        std::fs::rename(from, &to).map_err(StoreError::io("publish", to))
    }

    /// Leaves what is in the store to others: this session only looked at it.
    pub(crate) fn only_looked(&self) {
        self.unreferred.store(false, Ordering::Relaxed);
    }

    /// Keeps collectors from these, whether they are in the store already or are about to come.
    pub(crate) fn pin(&self, pins: &[Pin<'_>]) -> Result<(), StoreError> {
        self.unreferred.store(true, Ordering::Relaxed);
        let mut known = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for pin in pins {
            let line = format!("{pin}\n");
            if !known.known.contains(&line) {
                text.push_str(&line);
                known.known.insert(line);
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let _hold = self.store.hold()?;
        let written = known.file.write_all(text.as_bytes());
        written.map_err(StoreError::io("write", self.folder.join(PINS)))
    }

    /// Makes an image visible under its name, after all its layers, its config and its manifest
    /// are in the store. Returns whether anything was new.
    ///
    /// # Errors
    /// When a layer is missing or cannot be completed from those below it, or on a write error.
    pub fn publish(&self, record: ImageRecord, config: &ImageConfig) -> Result<bool, StoreError> {
        self.finish_layers(config)?;
        let layers = ImageLayers::derive(&self.store, &record.image_id, config)?;
        let record = ImageRecord {
            size: layers.size,
            created: config.created_shown().to_owned(),
            ..record
        };
        // Everything that the index entry will refer to is on disk before the entry is.
        self.sync()?;
        let new = {
            let _hold = self.store.hold()?;
            layers.write(&self.store, &record.image_id)?;
            self.store
                .change_index(|records| Ok(index::add(records, record)))?
        };
        self.unreferred.store(new.left, Ordering::Relaxed);
        Ok(new.new)
    }

    /// Writes everything of the store's file system to disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.folder)
            .and_then(|f| rustix::fs::syncfs(&f).map_err(Into::into))
            .map_err(StoreError::io("sync", &self.folder))
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, HashMap<ChainId, Pending>> {
        // A panicking thread leaves a map that is still whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    /// Nobody could be told of a failure here; whoever comes next finds the session's folder and tries again.
    fn drop(&mut self) {
        self.pending().clear();
        if self.inherited || self.unreferred.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(self.folder.join(PINS));
            let _ = self.store.collect();
        }
        if let Some(session) = self.session.take() {
            let _ = session.discard(&self.store);
        }
    }
}
