//! A session: one process adding to the store.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use minidock_layer::Limits;
use minidock_oci::{ChainId, Digest, Hasher, ImageConfig};

use crate::fs::{Lock, LockMode, create_file, make_dir, random_hex};
use crate::layers::Pending;
use crate::{ImageLayers, ImageRecord, Store, StoreError, index};

/// Something to write with: holds the store's lock shared and owns a folder below `tmp/`, which
/// goes when the writer does.
#[derive(Debug)]
pub struct Writer {
    pub(crate) store: Store,
    pub(crate) folder: PathBuf,
    pub(crate) pending: Mutex<HashMap<ChainId, Pending>>,
    pub(crate) limits: Limits,
    counter: AtomicU64,
    /// Released last: until then nobody collects what was just added.
    in_use: Option<Lock>,
}

impl Store {
    /// Starts adding. Waits only while somebody collects.
    ///
    /// # Errors
    /// When the store cannot be locked or written.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        self.writer_with(Limits::default())
    }

    /// [`Store::writer`] with other limits on what a layer may grow to.
    ///
    /// # Errors
    /// As for [`Store::writer`].
    pub fn writer_with(&self, limits: Limits) -> Result<Writer, StoreError> {
        self.sweep_dead_sessions()?;
        let in_use = Lock::wait(&self.lock_file("store"), LockMode::Shared)?;
        let folder = self.path("tmp").join(&random_hex()?[..16]);
        make_dir(&folder)?;
        Ok(Writer {
            store: self.clone(),
            folder,
            pending: Mutex::default(),
            limits,
            counter: AtomicU64::new(0),
            in_use: Some(in_use),
        })
    }
}

impl Writer {
    /// The store that is written to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A fresh path in this session's folder, on the store's file system.
    pub fn temporary(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.folder.join(number.to_string())
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
        if self.store.has_blob(digest) {
            return Ok(());
        }
        let temporary = self.temporary();
        create_file(&temporary)?
            .write_all(bytes)
            .map_err(StoreError::io("write", &temporary))?;
        self.adopt(&temporary, &self.store.blob_path(digest))
    }

    /// Takes a file of this session whose digest the caller has computed into the store's blobs.
    /// A blob that is there already stays.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn put_file(&self, file: &std::path::Path, digest: &Digest) -> Result<(), StoreError> {
        if self.store.has_blob(digest) {
            return Ok(());
        }
        self.adopt(file, &self.store.blob_path(digest))
    }

    pub(crate) fn adopt(
        &self,
        from: &std::path::Path,
        to: &std::path::Path,
    ) -> Result<(), StoreError> {
        std::fs::rename(from, to).map_err(StoreError::io("publish", to))
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
            created: config.created.clone(),
            ..record
        };
        layers.write(&self.store, &record.image_id)?;
        // Everything that the index entry will refer to is on disk before the entry is.
        self.sync()?;
        self.store
            .change_index(|records| Ok(index::add(records, record)))
    }

    /// Writes everything of the store's file system to disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.folder)
            .and_then(|f| rustix::fs::syncfs(&f).map_err(Into::into))
            .map_err(StoreError::io("sync", &self.folder))
    }

    pub(crate) fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<ChainId, Pending>> {
        // A panicking thread leaves a map that is still whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pending().clear();
        if let (Some(parent), Some(name)) = (self.folder.parent(), self.folder.file_name())
            && let Ok(parent) = File::open(parent)
        {
            let _ =
                minidock_layer::remove_tree(std::os::fd::AsFd::as_fd(&parent), OsStr::new(name));
        }
        self.in_use = None;
        let _ = self.store.collect_if_marked();
    }
}
