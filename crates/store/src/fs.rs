//! Small file operations whose errors name their path.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use minidock_oci::{Digest, Hasher};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::tmp::Entry;

/// Makes a private folder; one that is there already is fine.
pub fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("create the folder", path)(e))
        }
        _ => Ok(()),
    }
}

/// Opens a new private file for writing.
pub fn create_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("create", path))
}

/// Makes an empty private file where there is none.
pub fn create_or_keep(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
        .open(path)
        .map(drop)
        .map_err(StoreError::io("create", path))
}

/// Reads a whole file; `None` when it does not exist.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Reads at most `limit` bytes of a file; longer ones are refused.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            problem: format!("it is longer than {limit} bytes"),
        });
    }
    Ok(bytes)
}

/// Parses a JSON file of ours; `None` when it does not exist.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read_optional(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| StoreError::Damaged {
            path: path.to_owned(),
            problem: e.to_string(),
        })
}

/// Whether a replaced file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced before and after the rename.
    Durable,
    /// Consistent for every process, but a power cut may bring the old content back.
    Volatile,
}

/// Replaces a file by rename, so that readers see the old content or the new, never half of it. The new content is
/// written below `tmp`, where it is swept if this process is killed.
pub fn replace(
    tmp: &Path,
    path: &Path,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), StoreError> {
    let new = Entry::file(tmp)?;
    let temporary = new.path().to_owned();
    let written = (|| {
        let mut file = new.open();
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_data()?;
        }
        new.publish(path)
    })();
    if let Err(e) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(StoreError::io("write", path)(e));
    }
    if durability == Durability::Durable
        && let Some(parent) = path.parent()
    {
        sync_dir(parent)?;
    }
    Ok(())
}

/// [`replace`] with a value as JSON.
pub fn replace_json(
    tmp: &Path,
    path: &Path,
    value: &impl Serialize,
    durability: Durability,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|e| StoreError::Damaged {
        path: path.to_owned(),
        problem: e.to_string(),
    })?;
    replace(tmp, path, &bytes, durability)
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("sync", path))
}

/// 32 random bytes as 64 hexadecimal digits: container ids and session names.
pub fn random_hex() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 32];
    minidock_sys::process::random(&mut bytes)
        .map_err(|errno| StoreError::io("read", Path::new("/dev/urandom"))(errno.into()))?;
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect())
}

/// The names in a folder, in no order.
pub fn list(folder: &Path) -> Result<Vec<OsString>, StoreError> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect())
        .map_err(StoreError::io("list", folder))
}

/// The digest of a file, with the algorithm of the one that is expected.
pub fn hash(path: &Path, expected: &Digest) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(expected.algorithm());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
