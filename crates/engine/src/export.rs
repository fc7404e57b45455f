//! `export` and `diff`.

use std::io::{BufWriter, Write};

use minidock_layer::change::ChangeKind;
use minidock_layer::write::{ArchiveOptions, TarWriter, archive};

use crate::events::Event;
use crate::{Engine, Error};

/// A line of `diff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// Added, changed or deleted.
    pub kind: ChangeKind,
    /// The path in the container, with a slash in front.
    pub path: Vec<u8>,
}

impl Engine {
    /// Writes a container's files as a tar: with the true owners, without what is mounted into it.
    ///
    /// # Errors
    /// When there is no such container, or something cannot be read or written.
    pub fn export(&self, container: &str, to: impl Write) -> Result<(), Error> {
        let view = self.view(container)?;
        let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, to));
        archive(&view.merged, &mut tar, &ArchiveOptions::default()).map_err(|e| view.failed(e))?;
        tar.finish()
            .and_then(|mut to| to.flush())
            .map_err(|e| view.failed(minidock_layer::Error::WriteArchive(e)))?;
        self.tell(&Event::container(&view.state, "export"));
        Ok(())
    }

    /// What a container changed in its image's files, sorted.
    ///
    /// # Errors
    /// When there is no such container, or something cannot be read.
    pub fn diff(&self, container: &str) -> Result<Vec<DiffLine>, Error> {
        let changes = self.view(container)?.changes()?;
        Ok(changes
            .into_iter()
            .map(|change| DiffLine {
                kind: change.kind,
                path: [b"/", change.path.as_slice()].concat(),
            })
            .collect())
    }
}
