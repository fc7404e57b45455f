//! `tmp/`: unfinished work, and what is on its way out.
//!
//! Each entry is locked by the process that works on it, from birth to end: a folder itself, a file itself. So an entry
//! whose lock is free was left by a killed process, and whoever comes by removes it, however many others are at work.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::fs::{list, make_dir, random_hex};
use crate::lock::Lock;
use crate::{Store, StoreError};

/// The file in a session's folder that says what the session needs.
pub const PINS: &str = "pins";

/// What the names of session folders begin with.
pub const SESSION: &str = "session";

fn is_session(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(SESSION)
}

/// An entry of `tmp/` that this process works on. Dropping it leaves it to be swept; see [`Entry::discard`].
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    lock: Lock,
}

impl Entry {
    /// Makes a folder.
    pub fn folder(tmp: &Path, kind: &str) -> Result<Self, StoreError> {
        loop {
            let path = fresh(tmp, kind)?;
            make_dir(&path)?;
            if let Some(lock) = lock_folder(&path)? {
                return Ok(Self { path, lock });
            }
            // Somebody who swept was faster than our lock, and has removed it.
        }
    }

    /// Makes a file, open for writing.
    pub fn file(tmp: &Path) -> Result<Self, StoreError> {
        loop {
            let path = fresh(tmp, "new")?;
            let file = crate::fs::create_file(&path)?;
            if let Some(lock) = Lock::try_open(file, &path)? {
                return Ok(Self { path, lock });
            }
        }
    }

    /// Moves a folder of the store here, so that it is gone from its place at once. `None` when it is not there, or
    /// somebody else is at it.
    pub fn take(tmp: &Path, folder: &Path, name: &str) -> Result<Option<Self>, StoreError> {
        let Some(lock) = lock_folder(folder)? else {
            return Ok(None);
        };
        let path = tmp.join(name);
        match std::fs::rename(folder, &path) {
            Ok(()) => Ok(Some(Self { path, lock })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("remove", folder)(e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file or folder.
    pub fn open(&self) -> &File {
        self.lock.file()
    }

    /// Gives a file its place. The lock goes with the value.
    pub fn publish(self, to: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, to)
    }

    /// Puts it into the trash with all that is in it.
    pub fn discard(self, store: &Store) -> Result<(), StoreError> {
        store.discard(&self.path)
    }
}

fn fresh(tmp: &Path, kind: &str) -> Result<PathBuf, StoreError> {
    Ok(tmp.join(format!("{kind}-{}", &random_hex()?[..16])))
}

/// Opens whatever a name in `tmp/` or a container's folder is; `None` when it is not there, or cannot be locked at all.
fn open(path: &Path) -> Result<Option<File>, StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let result = OpenOptions::new().read(true).custom_flags(flags).open(path);
    match result {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("open", path)(e)),
    }
}

fn lock_folder(path: &Path) -> Result<Option<Lock>, StoreError> {
    match open(path)? {
        Some(file) => Lock::try_open(file, path),
        None => Ok(None),
    }
}

impl Store {
    pub(crate) fn tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Removes what killed processes left below `tmp/`. Returns whether one of them was adding to the store: then there may
    /// be content that nothing refers to.
    pub(crate) fn sweep_tmp(&self) -> Result<bool, StoreError> {
        let tmp = self.tmp();
        let mut adding = false;
        for name in list(&tmp)? {
            let path = tmp.join(&name);
            // What cannot be opened (no folder of ours) cannot be anybody's work either.
            let file = open(&path).unwrap_or_default();
            let _lock = match file.map(|file| Lock::try_open(file, &path)).transpose()? {
                Some(None) => continue,
                lock => lock,
            };
            adding |= is_session(&name);
            self.discard(&path)?;
        }
        Ok(adding)
    }

    /// The session folders of all that are at work.
    pub(crate) fn sessions(&self) -> Result<Vec<PathBuf>, StoreError> {
        let tmp = self.tmp();
        Ok(list(&tmp)?
            .into_iter()
            .filter(|name| is_session(name))
            .map(|name| tmp.join(name))
            .collect())
    }
}
