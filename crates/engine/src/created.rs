//! What a container was made from: `create.json` in its folder, which every start reads.
//!
//! The image may be gone by then, and its name may be another's; the layers stay, because the container's state names them.

use minidock_oci::ContainerConfig;
use minidock_store::{CREATED, Container, ImageLayers, StoreError};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::spec::Wishes;
use crate::volumes::Fill;

/// The number of this format. What a later release adds has a default here, and does not change it; what cannot be left out
/// without harm does.
const VERSION: u32 = 1;

/// `create.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Created {
    /// [`VERSION`] of who wrote it.
    version: u32,
    /// What the user asked for.
    pub wishes: Wishes,
    /// Its standard input is kept open.
    pub interactive: bool,
    /// Its standard input ends with that of the first who was attached to it.
    pub stdin_once: bool,
    /// Which of its standard streams the first one who started it had.
    pub attach: [bool; 3],
    /// The image's run parameters.
    pub config: ContainerConfig,
    /// The image's layers.
    pub layers: ImageLayers,
    /// Volumes that take over what the image has, before the first start.
    pub(crate) fills: Vec<Fill>,
}

impl Created {
    pub(crate) fn new(wishes: Wishes, config: ContainerConfig, layers: ImageLayers) -> Self {
        Self {
            version: VERSION,
            wishes,
            config,
            layers,
            ..Self::default()
        }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|e| StoreError::Damaged {
            path: CREATED.into(),
            problem: e.to_string(),
        })
    }

    /// Of a container.
    ///
    /// # Errors
    /// When the file is missing or damaged, or a later release wrote it.
    pub(crate) fn read(container: &Container) -> Result<Self, Error> {
        let path = container.folder().join(CREATED);
        let bytes = std::fs::read(&path).map_err(|source| StoreError::Io {
            operation: "read",
            path: path.clone(),
            source,
        })?;
        let damaged = |problem| StoreError::Damaged {
            path: path.clone(),
            problem,
        };
        let created: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if created.version > VERSION {
            return Err(damaged(format!(
                "its version is {}, and this minidock knows those up to {VERSION}",
                created.version
            ))
            .into());
        }
        Ok(created)
    }
}

impl crate::Engine {
    /// What a container was made from.
    ///
    /// # Errors
    /// When there is no such container, or that cannot be read.
    pub fn created(&self, query: &str) -> Result<Created, Error> {
        Created::read(&self.store.find_container(query)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_release_adds_is_passed_over_and_what_is_missing_is_usual() {
        let text = r#"{"version":1,"wishes":{"command":["x"],"later":1},"also":{}}"#;
        let read: Created = serde_json::from_str(text).unwrap();
        let wishes = Wishes {
            command: vec!["x".into()],
            ..Wishes::default()
        };
        let expected = Created::new(wishes, ContainerConfig::default(), ImageLayers::default());
        assert_eq!(read, expected);
        let again: Created = serde_json::from_slice(&read.to_bytes().unwrap()).unwrap();
        assert_eq!(again, read);
    }
}
