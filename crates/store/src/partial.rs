//! `partial/<alg>-<hex>`: what came of a blob before its transfer ended, however that was.
//!
//! A layer that is fetched is kept here from its first byte on, in a file that is locked while somebody writes it. When the
//! transfer is given up, or its process is killed, the file stays, and whoever wants the blob next reads it in place of the
//! bytes that it need not ask for again. The digest is that of the whole all the same, so nothing in it is trusted.
//! Files that nobody came back to for [`KEPT`] go with the next collection, all that nobody writes with
//! [`Store::discard_partial`].

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use minidock_oci::Digest;
use rustix::fs::OFlags;

use crate::fs::{list, make_dir};
use crate::lock::Lock;
use crate::{Store, StoreError};

/// The folder of all of them. Stores made by an earlier release lack it.
pub(crate) const PARTIAL: &str = "partial";
/// How long one waits for somebody to come back to it.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The beginning of a blob, which nobody else is adding to.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    lock: Lock,
    /// Bytes of it that were there before.
    pub have: u64,
}

impl Partial {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be written from its start: over what is there already go the same bytes.
    pub fn file(&self) -> &File {
        self.lock.file()
    }

    /// Another view of the file, to be read from its start.
    pub fn reader(&self) -> Result<File, StoreError> {
        open(&self.path, OpenOptions::new().read(true))
    }

    /// Forgets what is there.
    pub fn remove(&self) -> Result<(), StoreError> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.path)(e))
            }
            _ => Ok(()),
        }
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<File, StoreError> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let options = options.mode(0o600).custom_flags(flags);
    options.open(path).map_err(StoreError::io("open", path))
}

impl Store {
    /// The beginning of a blob, empty where there is none; `None` while somebody else is adding to it.
    pub(crate) fn partial(
        &self,
        blob: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Partial>, StoreError> {
        let folder = self.path(PARTIAL);
        make_dir(&folder)?;
        let path = folder.join(format!("{}-{}", blob.algorithm().as_str(), blob.hex()));
        let mut options = OpenOptions::new();
        let file = open(&path, options.write(true).create(true).truncate(false))?;
        let Some(lock) = Lock::try_open(file, &path)? else {
            return Ok(None);
        };
        let failed = StoreError::io("read", &path);
        let mut have = lock.file().metadata().map_err(failed)?.len();
        if size.is_none_or(|size| have > size) {
            have = 0;
            let failed = StoreError::io("write", &path);
            lock.file().set_len(0).map_err(failed)?;
        }
        Ok(Some(Partial { path, lock, have }))
    }

    /// Removes all beginnings of blobs that nobody is adding to. Returns what they took on the disk, in bytes.
    ///
    /// # Errors
    /// When the folder cannot be listed or one of them not removed.
    pub fn discard_partial(&self) -> Result<u64, StoreError> {
        self.discard_partial_older(Duration::ZERO)
    }

    /// Removes those that nobody came back to.
    pub(crate) fn sweep_partial(&self) -> Result<(), StoreError> {
        self.discard_partial_older(KEPT).map(drop)
    }

    /// The files' names.
    pub(crate) fn partial_names(&self) -> Result<Vec<OsString>, StoreError> {
        let folder = self.path(PARTIAL);
        if folder.exists() {
            list(&folder)
        } else {
            Ok(Vec::new())
        }
    }

    fn discard_partial_older(&self, age: Duration) -> Result<u64, StoreError> {
        let folder = self.path(PARTIAL);
        let now = SystemTime::now();
        let mut bytes = 0_u64;
        for name in self.partial_names()? {
            let path = folder.join(name);
            // One that somebody has just completed is gone.
            let Ok(file) = open(&path, OpenOptions::new().write(true)) else {
                continue;
            };
            let Some(lock) = Lock::try_open(file, &path)? else {
                continue;
            };
            let Ok(meta) = lock.file().metadata() else {
                continue;
            };
            // A clock that was set back does not make it young for ever.
            let old = |time| {
                now.duration_since(time)
                    .map_or(true, |passed| passed >= age)
            };
            if meta.modified().is_ok_and(old) {
                bytes = bytes.saturating_add(meta.blocks() * 512);
                std::fs::remove_file(&path).map_err(StoreError::io("remove", path))?;
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::IdMap;

    #[test]
    fn beginnings_are_kept_for_a_day_and_never_while_somebody_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), IdMap::Single).unwrap();
        let (old, young) = (Digest::sha256(b"old"), Digest::sha256(b"young"));
        for blob in [&old, &young] {
            let partial = store.partial(blob, Some(100)).unwrap().unwrap();
            assert_eq!(partial.have, 0);
            partial.file().write_all(b"some of it").unwrap();
        }
        let aged = SystemTime::now() - KEPT - Duration::from_secs(1);
        let held = store.partial(&old, Some(100)).unwrap().unwrap();
        held.file().set_modified(aged).unwrap();
        assert!(store.partial(&old, Some(100)).unwrap().is_none());
        store.collect().unwrap();
        assert!(held.path().exists());
        drop(held);
        store.collect().unwrap();
        for (blob, have) in [(&old, 0), (&young, 10)] {
            let partial = store.partial(blob, Some(100)).unwrap().unwrap();
            assert_eq!(partial.have, have);
        }
        // One that is longer than the whole is none.
        let partial = store.partial(&young, Some(9)).unwrap().unwrap();
        assert_eq!(partial.have, 0);
        partial.file().write_all(b"anew").unwrap();
        drop(partial);
        assert!(store.discard_partial().unwrap() > 0);
        assert_eq!(list(&store.path(PARTIAL)).unwrap().len(), 0);
    }
}
