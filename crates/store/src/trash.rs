//! `trash/`: what is to be deleted, and whose lock nobody holds any more.
//!
//! Deleting fifty thousand files takes a while; putting their folder out of sight is one rename. So whatever goes is first
//! moved to `trash/`, where nothing refers to it. A little is deleted at once; much is left to [`Store::empty_trash`], which
//! whoever ends a command calls, best in a process that nobody waits for.
//!
//! One process deletes at a time, holding `locks/trash`, which nobody ever waits for: whoever finds it taken leaves, and
//! whoever releases it looks again. What a killed one leaves, the next takes up.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::fs::{list, make_dir};
use crate::lock::Lock;
use crate::{Store, StoreError};

/// As many names are deleted at once, which takes about a millisecond.
const AT_ONCE: u64 = 256;

impl Store {
    /// Moves an entry of `tmp/`, whose name is like no other, out of sight, and deletes it if it is small. One that is not
    /// there is fine.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), StoreError> {
        let trash = self.path("trash");
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        let moved = match std::fs::rename(path, trash.join(name)) {
            // A store made by an earlier release lacks the folder.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !trash.exists() => {
                make_dir(&trash)?;
                std::fs::rename(path, trash.join(name))
            }
            result => result,
        };
        match moved {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StoreError::io("remove", path)(e)),
        }
        match Lock::try_exclusive(&self.lock_file("trash"))? {
            Some(_deleting) => delete(&trash, name, AT_ONCE),
            // That one looks again when it is done.
            None => Ok(()),
        }
    }

    /// Whether something removed from the store in `root` is still to be deleted. There need not be a store.
    pub fn has_trash(root: &Path) -> bool {
        std::fs::read_dir(root.join("trash")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Deletes everything that was removed, unless another process is at it. Takes as long as `rm -rf`.
    ///
    /// # Errors
    /// For the first thing that cannot be deleted; the others are deleted all the same.
    pub fn empty_trash(&self) -> Result<(), StoreError> {
        let trash = self.path("trash");
        let mut failure = None;
        let mut failed: Vec<OsString> = Vec::new();
        // Whoever discards something while the lock is held goes away: that is seen by looking again when it is released.
        while Self::has_trash(self.root()) {
            let Some(_deleting) = Lock::try_exclusive(&self.lock_file("trash"))? else {
                break;
            };
            let mut names = list(&trash)?;
            names.retain(|name| !failed.contains(name));
            if names.is_empty() {
                break;
            }
            for name in names {
                if let Err(error) = delete(&trash, &name, u64::MAX) {
                    failed.push(name);
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn delete(folder: &Path, name: &OsStr, mut budget: u64) -> Result<(), StoreError> {
    let dir = File::open(folder).map_err(StoreError::io("open", folder))?;
    match minidock_layer::remove_some(dir.as_fd(), name, &mut budget) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", folder.join(name))(e))
        }
        _ => Ok(()),
    }
}
