//! Locks between processes: `flock`s, which the kernel releases when a process dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::{Store, StoreError};

/// How to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Several may hold it.
    Shared,
    /// Only one may hold it.
    Exclusive,
}

/// A held `flock`; released on drop, or by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock.
    pub fn wait(path: &Path, mode: LockMode) -> Result<Self, StoreError> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            let file = open(path)?;
            flock(&file, operation).map_err(|e| StoreError::io("lock", path)(e.into()))?;
            // Somebody may have removed the file while we waited; then others lock a new one.
            if is_at(&file, path) {
                return Ok(Self { file });
            }
        }
    }

    /// Takes the lock exclusively if nobody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, StoreError> {
        loop {
            let file = open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { file })),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(StoreError::io("lock", path)(e.into())),
            }
        }
    }

    /// Locks an open file or folder if nobody has it locked, and if `path` still names it.
    pub fn try_open(file: File, path: &Path) -> Result<Option<Self>, StoreError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(is_at(&file, path).then_some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(StoreError::io("lock", path)(e.into())),
        }
    }

    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn flock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Whether a path names this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// A store that cannot be written can be locked all the same, as far as it has the files: `flock` asks for no access.
fn open(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match file {
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
            ) =>
        {
            // The first refusal tells more.
            File::open(path).or(Err(e))
        }
        result => result,
    }
    .map_err(StoreError::io("lock", path))
}

/// While somebody has one, nothing is collected: what was looked up in the store stays there. To be kept for a moment
/// only, for collectors wait. Whoever has one must not ask for another.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    _store: Lock,
}

impl Store {
    /// Keeps everything in the store where it is, for a moment.
    ///
    /// # Errors
    /// When the store cannot be locked.
    pub fn hold(&self) -> Result<Hold, StoreError> {
        self.take_turn(LockMode::Shared)
    }

    /// Waits until nobody holds the store, and keeps it from everybody else.
    pub(crate) fn hold_alone(&self) -> Result<Hold, StoreError> {
        self.take_turn(LockMode::Exclusive)
    }

    /// A `flock` alone would let one holder after the other pass a waiting collector for ever; so all queue at the turn,
    /// which a waiting collector keeps.
    fn take_turn(&self, mode: LockMode) -> Result<Hold, StoreError> {
        let _turn = Lock::wait(&self.lock_file("turn"), LockMode::Exclusive)?;
        let _store = Lock::wait(&self.lock_file("store"), mode)?;
        Ok(Hold { _store })
    }
}
