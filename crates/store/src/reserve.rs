//! Room kept for removing: what names the images is replaced by a new file, which a full disk has no place for, and then
//! nothing could be removed to make place.
//!
//! So a file holds some, from the first time that something is added. Whoever shortens the index, and finds the disk or the
//! quota full, deletes it and tries again; whoever adds something makes it anew.

use std::io;

use rustix::fs::FallocateFlags;

use crate::fs::create_file;
use crate::{Store, StoreError};

/// Least bytes of it: room for an index of a hundred images, and for what a file system needs besides.
const LEAST: u64 = 64 << 10;

/// Whether an error says that there is no room for another byte.
fn is_full(error: &StoreError) -> bool {
    let full = |kind| {
        matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    };
    matches!(error, StoreError::Io { source, .. } if full(source.kind()))
}

impl Store {
    /// Makes the reserve if it is not there, or too small for the index by now. A disk that has no room for it has none.
    pub(crate) fn keep_reserve(&self) {
        let index = std::fs::metadata(self.path("index.json")).map_or(0, |meta| meta.len());
        let want = LEAST.max(2 * index);
        let path = self.path("reserve");
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.len() >= want) {
            return;
        }
        let _ = std::fs::remove_file(&path);
        let made = create_file(&path).is_ok_and(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, want).is_ok()
        });
        if !made {
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Does what makes room and needs a little for it, if need be with that of the reserve.
    pub(crate) fn with_reserve<T>(
        &self,
        act: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match act() {
            Err(error) if is_full(&error) => {
                if std::fs::remove_file(self.path("reserve")).is_err() {
                    return Err(error);
                }
                act()
            }
            result => result,
        }
    }
}
