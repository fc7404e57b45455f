//! Layers: the blob unpacked once more, compared with the layer's folder.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::{Check, Repair, Verdict, relative};
use crate::fs::{Durability, read_optional, replace};
use crate::layers::open_dir;
use crate::{LayerInfo, LayerRequest, StoreError};

impl Check<'_> {
    /// Checks a layer of an image, on top of those below it.
    pub(super) fn layer(
        &mut self,
        request: &LayerRequest<'_>,
        lower: &[PathBuf],
    ) -> Result<Verdict, StoreError> {
        let by_chain = self.store.layer_path(&request.chain_id.0);
        let by_diff = self.store.layer_path(&request.diff_id.0);
        // The same layer from another blob (packed otherwise) has to be read as well, for the blob's sake.
        let key = self
            .store
            .blob_path(request.blob)
            .join(request.chain_id.0.hex());
        if let Some(verdict) = self.layers.get(&key) {
            return Ok(*verdict);
        }
        self.report.reading(&relative(
            self.store.root(),
            &self.store.blob_path(request.blob),
        ));
        self.report.done.blobs += 1;
        self.report.done.layers += 1;
        let Some(writer) = self.writer else {
            let verdict = self.unwritable(request)?;
            for folder in [key, by_chain, by_diff] {
                self.layers.insert(folder, verdict);
            }
            return Ok(verdict);
        };
        let verdict = match writer.unpack_again(request, lower) {
            Ok((fresh, info, alone)) => {
                let place = if alone {
                    by_diff.clone()
                } else {
                    by_chain.clone()
                };
                let affects = self.images_of.get(&place).cloned().unwrap_or_default();
                self.note(request, &affects)?;
                let verdict = self.files(&place, &fresh, &info, &affects)?;
                remove_folder(&fresh)?;
                self.layers.insert(place, verdict);
                verdict
            }
            Err(e) if lost(&e) => Verdict::Lost,
            Err(e) => return Err(e),
        };
        self.layers.insert(key, verdict);
        for folder in [by_chain, by_diff] {
            self.layers.entry(folder).or_insert(verdict);
        }
        Ok(verdict)
    }

    /// What can be told of a layer where nothing can be unpacked: its blob is right, and there is a folder that says it is
    /// the layer's.
    fn unwritable(&mut self, request: &LayerRequest<'_>) -> Result<Verdict, StoreError> {
        let store = self.store;
        match store.is_intact(request.blob) {
            Ok(true) => {}
            Ok(false) => return Ok(Verdict::Lost),
            Err(e) if lost(&e) => return Ok(Verdict::Lost),
            Err(e) => return Err(e),
        }
        let there = store.layer_folder(request.diff_id, request.chain_id);
        let place = there.unwrap_or_else(|| store.layer_path(&request.diff_id.0));
        let affects = self.images_of.get(&place).cloned().unwrap_or_default();
        self.note(request, &affects)?;
        let problem = match store.layer_info(&place) {
            _ if !place.exists() => "is missing".to_owned(),
            Ok(info) if info.diff_id == *request.diff_id => {
                self.report.done.not_compared += 1;
                return Ok(Verdict::Good);
            }
            Ok(_) => "layer.json is not about this layer".to_owned(),
            Err(StoreError::Damaged { problem, .. }) => {
                format!("layer.json is damaged: {problem}")
            }
            Err(e) => return Err(e),
        };
        self.found(&place, problem, affects, None)?;
        Ok(Verdict::Damaged)
    }

    /// The note of what the blob inflates to.
    fn note(&mut self, request: &LayerRequest<'_>, affects: &[String]) -> Result<(), StoreError> {
        let store = self.store;
        if store.known_diff_id(request.blob)?.as_ref() == Some(request.diff_id) {
            return Ok(());
        }
        let path = store.diff_path(request.blob);
        let text = request.diff_id.to_string();
        let mut act = || replace(&store.tmp(), &path, text.as_bytes(), Durability::Volatile);
        let repair = Repair::new("made anew", &mut act);
        let problem = "does not say what the blob inflates to";
        self.found(&path, problem, affects.to_vec(), Some(repair))
    }

    fn files(
        &mut self,
        place: &Path,
        fresh: &Path,
        info: &LayerInfo,
        affects: &[String],
    ) -> Result<Verdict, StoreError> {
        let Some(problem) = self.difference(place, fresh, info)? else {
            return Ok(Verdict::Good);
        };
        let name = relative(self.store.root(), place);
        let users = self.users.get(&name).map_or(&[][..], Vec::as_slice);
        let mut affects = affects.to_vec();
        affects.extend(users.iter().map(|u| u.name.clone()));
        if let Some(running) = users.iter().find(|u| u.running) {
            let problem = format!("{problem}; end {} first to repair it", running.name);
            self.found(place, problem, affects, None)?;
            return Ok(Verdict::Damaged);
        }
        let writer = self.writer;
        let mut act = || writer.map_or(Ok(()), |writer| writer.replace_layer(fresh, place));
        let repair = Repair::new("unpacked anew", &mut act);
        self.found(place, problem, affects, Some(repair))?;
        Ok(if self.repair {
            Verdict::Good
        } else {
            Verdict::Damaged
        })
    }

    fn difference(
        &self,
        place: &Path,
        fresh: &Path,
        info: &LayerInfo,
    ) -> Result<Option<String>, StoreError> {
        if !place.exists() {
            return Ok(Some("is missing".into()));
        }
        match self.store.layer_info(place) {
            // What it takes on the disk is measured, not unpacked; its whiteouts are what the file system took.
            Ok(there)
                if *info
                    == LayerInfo {
                        disk_size: info.disk_size,
                        socket_whiteouts: info.socket_whiteouts,
                        ..there.clone()
                    } => {}
            Ok(_) => return Ok(Some("layer.json is not about this layer".into())),
            Err(StoreError::Damaged { problem, .. }) => {
                return Ok(Some(format!("layer.json is damaged: {problem}")));
            }
            Err(e) => return Err(e),
        }
        if read_optional(&place.join("aside"))? != read_optional(&fresh.join("aside"))? {
            return Ok(Some("what was kept aside has changed".into()));
        }
        let (Ok(is), should) = (open_dir(&place.join("fs")), open_dir(&fresh.join("fs"))?) else {
            return Ok(Some("it has no files".into()));
        };
        let found = minidock_layer::compare(is.as_fd(), should.as_fd()).map_err(|source| {
            StoreError::Layer {
                digest: info.diff_id.0.clone(),
                source: Box::new(source),
            }
        })?;
        Ok(found.first.map(|(path, how)| match found.count {
            1 => format!("{path:?} {how}"),
            n => format!("{path:?} {how}, and {} more", n - 1),
        }))
    }
}

fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let dir = File::open(parent).map_err(StoreError::io("open", parent))?;
    match minidock_layer::remove_tree(dir.as_fd(), name) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", folder)(e))
        }
        _ => Ok(()),
    }
}

/// Whether an error means that the blob is not what it should be, rather than that it could not be unpacked here.
fn lost(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        StoreError::Layer { source, .. } => !matches!(
            **source,
            minidock_layer::Error::File { .. } | minidock_layer::Error::Read(_)
        ),
        _ => false,
    }
}
