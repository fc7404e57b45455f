//! `flat/<hex>/fs`: an image's layers as one plain folder, for containers of [`Driver::Flat`](crate::Driver::Flat).
//!
//! The name is a digest of the names of the layers' folders, so images with the same layers share it, and whoever knows the
//! layers of an image or a container knows which folder must stay. It is made when the first container needs it, by one
//! process while others wait, and nobody ever writes to it: its files may be further names of the layers' own.

use std::path::{Path, PathBuf};

use minidock_oci::{Algorithm, Hasher};

use crate::fs::make_dir;
use crate::lock::{Lock, LockMode};
use crate::tmp::Entry;
use crate::{Store, StoreError};

/// The folder of all flat images.
pub(crate) const FLAT: &str = "flat";
/// How the locks are called under which they are made.
pub(crate) const LOCK_PREFIX: &str = "flat-";

/// The name in `flat/` for an image of these layers.
pub(crate) fn name(layers: &[String]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(layers.join("\n").as_bytes());
    hasher.finish().hex().to_owned()
}

impl Store {
    /// The flat folder of an image with these layers (relative to the store, base first), if it is there.
    pub fn flat_image(&self, layers: &[String]) -> Option<PathBuf> {
        let folder = self.path(FLAT).join(name(layers)).join("fs");
        folder.exists().then_some(folder)
    }

    /// The same, made by `build` in an empty folder where it is not there yet. The layers have to be referred to by an
    /// image or a container meanwhile.
    ///
    /// # Errors
    /// When it cannot be written; and what `build` returns.
    pub fn make_flat_image<E: From<StoreError>>(
        &self,
        layers: &[String],
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(folder) = self.flat_image(layers) {
            return Ok(folder);
        }
        let name = name(layers);
        let lock = self.lock_file(&format!("{LOCK_PREFIX}{name}"));
        let _making = Lock::wait(&lock, LockMode::Exclusive)?;
        if let Some(folder) = self.flat_image(layers) {
            return Ok(folder);
        }
        make_dir(&self.path(FLAT))?;
        let folder = self.path(FLAT).join(&name);
        let entry = Entry::folder(&self.tmp(), FLAT)?;
        make_dir(&entry.path().join("fs"))?;
        let built = build(&entry.path().join("fs"));
        if let Err(error) = built {
            entry.discard(self)?;
            return Err(error);
        }
        // As for layers: what has a name is whole, even after a power cut.
        rustix::fs::syncfs(entry.open()).map_err(|e| StoreError::io("sync", &folder)(e.into()))?;
        entry
            .publish(&folder)
            .map_err(StoreError::io("publish", &folder))?;
        Ok(folder.join("fs"))
    }
}
