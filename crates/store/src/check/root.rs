//! The store's folder itself: what has to be right before a store can be opened.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Report;
use crate::fs::make_dir;
use crate::root::{FOLDERS, write_layout, write_version};
use crate::{IdMapping, Store, StoreError};

/// As many files tell whose they are.
const ENOUGH: usize = 100_000;

/// Checks that all folders are there, and `oci-layout`.
pub(super) fn check(
    store: &Store,
    repair: bool,
    report: &mut Report<'_>,
) -> Result<(), StoreError> {
    for folder in FOLDERS {
        let path = store.path(folder);
        if path.is_dir() {
            continue;
        }
        if repair {
            make_dir(&path)?;
        }
        let done = repair.then(|| "made".to_owned());
        report.found(folder.into(), "is missing", Vec::new(), done);
    }
    let layout = std::fs::read(store.path("oci-layout")).unwrap_or_default();
    let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap_or_default();
    if layout["imageLayoutVersion"] != "1.0.0" {
        if repair {
            write_layout(store.root())?;
        }
        let done = repair.then(|| "written anew".to_owned());
        let problem = "does not say that this is an image layout";
        report.found("oci-layout".into(), problem, Vec::new(), done);
    }
    Ok(())
}

impl Store {
    /// Writes `version.json` anew, where it is damaged so that the store cannot be opened.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn repair_version(root: &Path, ids: &IdMapping) -> Result<(), StoreError> {
        make_dir(&root.join("tmp"))?;
        write_version(root, ids).map(drop)
    }

    /// Whether files of layers or containers in `root` belong to others than the caller: then the store was made with a map
    /// of several ids.
    pub fn has_files_of_others(root: &Path) -> bool {
        let caller = rustix::process::geteuid().as_raw();
        let mut todo: Vec<PathBuf> = vec![root.join("layers"), root.join("containers")];
        let mut seen = 0;
        while let Some(folder) = todo.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(meta) = entry.path().symlink_metadata() else {
                    continue;
                };
                if meta.uid() != caller {
                    return true;
                }
                seen += 1;
                if seen > ENOUGH {
                    return false;
                }
                if meta.is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        false
    }

    /// Takes the right to change the store from everybody but its owner.
    ///
    /// # Errors
    /// When the folder's mode cannot be changed.
    pub fn close_to_others(root: &Path) -> Result<(), StoreError> {
        std::fs::set_permissions(root, Permissions::from_mode(0o700))
            .map_err(StoreError::io("change the mode of", root))
    }
}
