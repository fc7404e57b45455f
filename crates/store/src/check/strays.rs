//! What no image led to: blobs and layers of nobody, files that are not ours.

use std::path::{Path, PathBuf};

use minidock_oci::Digest;

use super::{Check, Repair, remove_file};
use crate::fs::{hash, list};
use crate::{Store, StoreError};

impl Check<'_> {
    /// Checks the folders of the store for what images and containers do not lead to.
    pub(super) fn strays(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        for algorithm in ["sha256", "sha512"] {
            for path in paths(store, &format!("blobs/{algorithm}"))? {
                self.blob(algorithm, &path)?;
            }
            for path in paths(store, &format!("layers/{algorithm}"))? {
                self.stray_layer(algorithm, &path)?;
            }
        }
        for path in paths(store, "diffs")? {
            let name = file_name(&path).replacen('-', ":", 1);
            match name.parse::<Digest>() {
                Ok(blob) if self.blobs.contains(&blob) => {}
                Ok(blob) if !store.has_blob(&blob) => self.report.done.left_over += 1,
                Ok(blob) if store.known_diff_id(&blob)?.is_none() => {
                    self.stray(&path, "does not say what the blob inflates to")?;
                }
                Ok(_) => {}
                Err(_) => self.stray(&path, "is none of the store's")?,
            }
        }
        let images = store.images()?;
        for path in paths(store, "images")? {
            let name = file_name(&path);
            let id = name.strip_suffix(".json").unwrap_or_default();
            match format!("sha256:{id}").parse::<Digest>() {
                Ok(id) if images.iter().any(|r| r.image_id == id) => {}
                Ok(_) => self.report.done.left_over += 1,
                Err(_) => self.stray(&path, "is none of the store's")?,
            }
        }
        // Our own session is one.
        let ours = usize::from(self.writer.is_some());
        let unfinished = list(&store.tmp())?.len().saturating_sub(ours);
        self.report.done.left_over += unfinished as u64;
        Ok(())
    }

    fn stray(&mut self, path: &Path, problem: &str) -> Result<(), StoreError> {
        let mut act = || remove_file(path);
        let repair = Repair::new("removed", &mut act);
        self.found(path, problem, Vec::new(), Some(repair))
    }

    fn blob(&mut self, algorithm: &str, path: &Path) -> Result<(), StoreError> {
        let Ok(digest) = format!("{algorithm}:{}", file_name(path)).parse::<Digest>() else {
            return self.stray(path, "has a name that is no digest");
        };
        if self.blobs.contains(&digest) {
            return Ok(());
        }
        self.report.done.blobs += 1;
        let affects: Vec<String> = self
            .store
            .images()?
            .iter()
            .filter(|r| {
                r.digest.as_ref() == Some(&digest) || self.store.attachments(r).contains(&digest)
            })
            .map(super::images::name)
            .collect();
        match hash(path, &digest) {
            Ok(actual) if actual == digest => {
                // An image's index is referred to as what its registry calls it, and its attestations by that.
                self.report.done.left_over += u64::from(affects.is_empty());
                Ok(())
            }
            Ok(_) => {
                let mut act = || remove_file(path);
                let repair = Repair::new("removed", &mut act);
                self.found(path, "has other content", affects, Some(repair))
            }
            // Collected meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(StoreError::io("read", path)(e)),
        }
    }

    fn stray_layer(&mut self, algorithm: &str, path: &Path) -> Result<(), StoreError> {
        // One that was not looked at lies on top of a damaged one.
        if self.layers.contains_key(path) || self.images_of.contains_key(path) {
            return Ok(());
        }
        let name = file_name(path);
        if format!("{algorithm}:{name}").parse::<Digest>().is_err() {
            return self.found(path, "has a name that is no digest", Vec::new(), None);
        }
        let users: Vec<String> = self
            .users
            .get(&format!("layers/{algorithm}/{name}"))
            .map(|users| users.iter().map(|u| u.name.clone()).collect())
            .unwrap_or_default();
        if users.is_empty() {
            self.report.done.left_over += 1;
            return Ok(());
        }
        self.report.done.layers += 1;
        // Its image was removed, and its blob with it: only that it is whole can be told.
        match self.store.layer_info(path) {
            Ok(_) if path.join("fs").is_dir() => Ok(()),
            Ok(_) => self.found(path, "it has no files", users, None),
            Err(StoreError::Damaged { problem, .. }) => {
                let problem = format!("layer.json is damaged: {problem}");
                self.found(path, problem, users, None)
            }
            Err(e) => Err(e),
        }
    }
}

fn paths(store: &Store, folder: &str) -> Result<Vec<PathBuf>, StoreError> {
    let folder = store.path(folder);
    let mut names = list(&folder)?;
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
