//! How the containers of a store get their root file systems, as far as the disk knows it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fs::{Durability, read_json, replace_json};
use crate::tmp::Entry;
use crate::{Store, StoreError};

/// A kind of root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The kernel's overlay: the image's layers, and `upper`.
    #[default]
    Overlay,
    /// The same by the program fuse-overlayfs.
    FuseOverlayfs,
    /// A copy of all of the image's files in `tree`.
    Flat,
}

impl Driver {
    /// Its name, as it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::Flat => "flat",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No driver has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no storage driver {0:?}: overlay, fuse-overlayfs and flat are there")]
pub struct DriverError(String);

impl FromStr for Driver {
    type Err = DriverError;

    fn from_str(name: &str) -> Result<Self, DriverError> {
        match name {
            // As Docker and Podman call theirs.
            "overlay" | "overlay2" => Ok(Self::Overlay),
            "fuse-overlayfs" => Ok(Self::FuseOverlayfs),
            "flat" | "vfs" => Ok(Self::Flat),
            other => Err(DriverError(other.to_owned())),
        }
    }
}

/// What was found to work in this store (`driver.json`): good until something that it depends on changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverRecord {
    /// The kernel's release.
    pub kernel: String,
    /// The store's file system: `f_type` of statfs(2) in hexadecimal.
    pub file_system: String,
    /// What was tried, in no order.
    pub tried: Vec<TriedDriver>,
}

/// What came of trying a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedDriver {
    /// Which one.
    pub driver: Driver,
    /// Its program, if it is one.
    pub program: Option<PathBuf>,
    /// Why it does not work; `None` if it does.
    pub refusal: Option<String>,
}

impl Store {
    fn driver_file(&self) -> PathBuf {
        self.path("driver.json")
    }

    /// What was found before; `None` when nothing was, or it cannot be read.
    pub fn driver_record(&self) -> Option<DriverRecord> {
        read_json(&self.driver_file()).ok().flatten()
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_driver_record(&self, record: &DriverRecord) -> Result<(), StoreError> {
        replace_json(
            &self.tmp(),
            &self.driver_file(),
            record,
            Durability::Volatile,
        )
    }

    /// Something to be tried in an empty folder on the store's file system, which goes afterwards.
    ///
    /// # Errors
    /// When the folder cannot be made; and what `attempt` returns.
    pub fn in_scratch<T, E: From<StoreError>>(
        &self,
        attempt: impl FnOnce(&std::path::Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let scratch = Entry::folder(&self.tmp(), "trial")?;
        let result = attempt(scratch.path());
        scratch.discard(self)?;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_named_as_they_are_written() {
        for driver in [Driver::Overlay, Driver::FuseOverlayfs, Driver::Flat] {
            assert_eq!(driver.as_str().parse(), Ok(driver));
            let json = serde_json::to_string(&driver).unwrap();
            assert_eq!(json, format!("\"{driver}\""));
        }
        let error = "zfs".parse::<Driver>().unwrap_err().to_string();
        assert!(
            error.contains("\"zfs\"") && error.contains("fuse-overlayfs"),
            "{error}"
        );
    }
}
