//! What the layers and a container hold, without mounting them.

use std::fs::File;
use std::io;

use minidock_layer::aside::{Aside, Record};
use minidock_layer::merged::{Level, Owners};

use crate::layers::open_dir;
use crate::{Container, Driver, Store, StoreError};

impl Store {
    /// A layer by its folder's name, for a merged view.
    ///
    /// # Errors
    /// When it is missing or what was kept aside of it cannot be read.
    pub fn level(&self, folder: &str) -> Result<Level, StoreError> {
        let folder = self.path(folder);
        let info = self.layer_info(&folder)?;
        let path = folder.join("aside");
        let aside = match File::open(&path) {
            Ok(file) => Aside::read(file).map_err(|source| StoreError::Layer {
                digest: info.diff_id.0.clone(),
                source: Box::new(source),
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Aside::default(),
            Err(e) => return Err(StoreError::io("read", path)(e)),
        };
        Ok(Level {
            tree: open_dir(&folder.join("fs"))?,
            aside,
            owners: if self.id_map().has_owners() {
                Owners::True
            } else {
                Owners::Aside
            },
            root_seen: info.root_seen,
            is_upper: false,
            named_whiteouts: false,
        })
    }
}

impl Container {
    /// What the container writes to, for a merged view: its writable layer, or the whole tree. Where the store has one id for all files, they belong to `ids`, the user and
    /// group that the container has, but for `roots`: what was made for the container before it ran.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn level<'p>(
        &self,
        driver: Driver,
        ids: (u32, u32),
        roots: impl IntoIterator<Item = &'p str>,
    ) -> Result<Level, StoreError> {
        let (uid, gid) = ids;
        let mut aside = Aside::default();
        if !self.store().id_map().has_owners() {
            for path in roots {
                let record = Record {
                    owner: Some((0, 0)),
                    ..Record::default()
                };
                aside.insert(path.as_bytes().to_vec(), record);
            }
        }
        Ok(Level {
            tree: open_dir(&self.written(driver))?,
            aside,
            owners: if self.store().id_map().has_owners() {
                Owners::True
            } else {
                Owners::Container { uid, gid }
            },
            root_seen: false,
            is_upper: true,
            named_whiteouts: driver == Driver::FuseOverlayfs,
        })
    }
}
