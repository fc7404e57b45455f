//! `images` and `ps`: what there is.

use minidock_oci::Reference;
use minidock_store::{ContainerState, ImageRecord};

use crate::{Engine, Error};

/// The name of a repository as Docker shows it.
pub fn familiar(repository: &str) -> String {
    repository
        .parse::<Reference>()
        .map_or_else(|_| repository.to_owned(), |r| r.familiar_name())
}

/// A line of `ps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLine {
    /// The state on disk.
    pub state: ContainerState,
    /// Whether it runs now.
    pub running: bool,
}

impl Engine {
    /// All images, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>, Error> {
        let mut records = self.store.images()?;
        // Times are RFC 3339 in UTC, so texts sort as times do.
        records.sort_by(|a, b| b.created.cmp(&a.created));
        Ok(records)
    }

    /// All containers, newest first. One whose process was lost counts as ended.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub fn containers(&self) -> Result<Vec<ContainerLine>, Error> {
        self.remove_left_containers()?;
        let mut lines = Vec::new();
        for container in self.store.containers()? {
            let Some(state) = container.state()? else {
                continue;
            };
            let running = state.is_alive();
            lines.push(ContainerLine { state, running });
        }
        lines.sort_by_key(|l| std::cmp::Reverse(l.state.created));
        Ok(lines)
    }
}
