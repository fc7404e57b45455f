//! Volumes: `volumes/<name>/` with `volume.json` and `_data`, which is what containers see.
//!
//! A container that is there, stopped or not, keeps its volumes: its state names them. Whoever makes a volume or refers to
//! one has the store in hold until the container's state is written; whoever removes one has the store alone. So no volume
//! vanishes between its being found and its being referred to.
//!
//! An anonymous volume of a container that goes at its end (`--rm`) knows that container: where the container is gone
//! without it, because everything was killed, whoever comes by removes it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{Durability, list, make_dir, random_hex, read_json, replace_json};
use crate::lock::{Hold, Lock, LockMode};
use crate::tmp::Entry;
use crate::{MountKind, MountRecord, Store, StoreError};

/// The label by which Docker knows anonymous volumes.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// `volume.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Unique; 64 hexadecimal digits where nobody gave one.
    pub name: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Free words.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Made for one container, without a name.
    #[serde(default)]
    pub anonymous: bool,
    /// The container with which it goes.
    #[serde(default)]
    pub owner: Option<String>,
}

/// A volume's folder.
#[derive(Clone, Debug)]
pub struct Volume {
    folder: PathBuf,
    record: VolumeRecord,
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn is_volume_name(name: &str) -> bool {
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (2..=255).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(rest)
}

impl Store {
    /// A name for a volume that was given none.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new_volume_name(&self) -> Result<String, StoreError> {
        random_hex()
    }

    /// The volume of that name, made if there is none. Returns whether it was made.
    ///
    /// # Errors
    /// When the name is not valid, or the folder cannot be made.
    pub fn make_volume(
        &self,
        _hold: &Hold,
        record: VolumeRecord,
    ) -> Result<(Volume, bool), StoreError> {
        if !is_volume_name(&record.name) {
            return Err(StoreError::VolumeName(record.name));
        }
        let volumes = self.path("volumes");
        let folder = volumes.join(&record.name);
        if let Some(record) = read_json(&folder.join("volume.json"))? {
            return Ok((Volume { folder, record }, false));
        }
        make_dir(&volumes)?;
        let new = Entry::folder(&self.tmp(), "volume")?;
        let data = new.path().join("_data");
        make_dir(&data)?;
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(StoreError::io("change the mode of", &data))?;
        let file = new.path().join("volume.json");
        // A power cut ends the container that it goes with.
        let durability = match record.owner {
            Some(_) => Durability::Volatile,
            None => Durability::Durable,
        };
        replace_json(&self.tmp(), &file, &record, durability)?;
        let path = new.path().to_owned();
        match new.publish(&folder) {
            Ok(()) => Ok((Volume { folder, record }, true)),
            // Another process was faster.
            Err(e) => match read_json(&folder.join("volume.json"))? {
                Some(record) => {
                    let _ = std::fs::remove_dir_all(path);
                    Ok((Volume { folder, record }, false))
                }
                None => Err(StoreError::io("create the volume", folder)(e)),
            },
        }
    }

    /// All volumes by name.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn volumes(&self) -> Result<Vec<Volume>, StoreError> {
        let volumes = self.path("volumes");
        if !volumes.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for name in list(&volumes)? {
            let folder = volumes.join(name);
            match read_json(&folder.join("volume.json")) {
                Ok(Some(record)) => found.push(Volume { folder, record }),
                // One damaged record is told by who names the volume, and keeps nobody from the others.
                Ok(None) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        Ok(found)
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVolume`], or when its record is damaged.
    pub fn find_volume(&self, name: &str) -> Result<Volume, StoreError> {
        let none = || StoreError::NoSuchVolume(name.to_owned());
        if !is_volume_name(name) {
            return Err(none());
        }
        let folder = self.path("volumes").join(name);
        let record = read_json(&folder.join("volume.json"))?.ok_or_else(none)?;
        Ok(Volume { folder, record })
    }

    /// Removes a volume that no container has.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVolume`], [`StoreError::VolumeInUse`], or when it cannot be removed.
    pub fn remove_volume(&self, name: &str) -> Result<(), StoreError> {
        self.remove_left_containers()?;
        let _hold = self.hold_alone()?;
        let volume = self.find_volume(name)?;
        if let Some(user) = self.volume_users()?.get(name) {
            return Err(StoreError::VolumeInUse {
                name: name.to_owned(),
                containers: user.clone(),
            });
        }
        self.delete_volume(&volume)
    }

    /// Removes the volumes that no container has: the anonymous ones, with `all` the named ones as well. Returns them.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn prune_volumes(&self, all: bool) -> Result<Vec<VolumeRecord>, StoreError> {
        self.remove_left_containers()?;
        let _hold = self.hold_alone()?;
        let users = self.volume_users()?;
        let mut gone = Vec::new();
        for volume in self.volumes()? {
            if (all || volume.record.anonymous) && !users.contains_key(&volume.record.name) {
                self.delete_volume(&volume)?;
                gone.push(volume.record);
            }
        }
        Ok(gone)
    }

    /// Removes the anonymous volumes among a removed container's mounts, unless another one has them.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn remove_volumes_of(&self, mounts: &[MountRecord]) -> Result<(), StoreError> {
        let anonymous: HashSet<&str> = mounts
            .iter()
            .filter(|m| m.anonymous)
            .filter_map(|m| m.name.as_deref())
            .collect();
        if anonymous.is_empty() {
            return Ok(());
        }
        let _hold = self.hold_alone()?;
        let users = self.volume_users()?;
        for name in anonymous {
            match self.find_volume(name) {
                Ok(volume) if !users.contains_key(name) => self.delete_volume(&volume)?,
                Ok(_) | Err(StoreError::NoSuchVolume(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether the container with which the volume goes is gone.
    fn is_left(&self, volume: &Volume) -> bool {
        let owner = volume.record.owner.as_deref();
        owner.is_some_and(|id| !self.path("containers").join(id).exists())
    }

    pub(crate) fn has_left_volumes(&self) -> Result<bool, StoreError> {
        Ok(self.volumes()?.iter().any(|volume| self.is_left(volume)))
    }

    /// Removes anonymous volumes whose container is gone although it was to take them along. Not to be called while
    /// containers are locked.
    pub(crate) fn remove_left_volumes(&self) -> Result<(), StoreError> {
        if !self.has_left_volumes()? {
            return Ok(());
        }
        let _hold = self.hold_alone()?;
        let users = self.volume_users()?;
        for volume in self.volumes()?.iter().filter(|v| self.is_left(v)) {
            if !users.contains_key(&volume.record.name) {
                self.delete_volume(volume)?;
            }
        }
        Ok(())
    }

    /// Volumes in use, with the ids of the containers that have them.
    ///
    /// # Errors
    /// When the containers cannot be read.
    pub fn volume_users(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in self.containers()? {
            let Some(state) = container.state()? else {
                continue;
            };
            for mount in state.mounts {
                if let (MountKind::Volume, Some(name)) = (mount.kind, mount.name) {
                    users.entry(name).or_default().push(state.id.clone());
                }
            }
        }
        Ok(users)
    }

    fn delete_volume(&self, volume: &Volume) -> Result<(), StoreError> {
        let name = format!("volume-gone-{}", &random_hex()?[..16]);
        match Entry::take(&self.tmp(), &volume.folder, &name)? {
            Some(folder) => folder.discard(self),
            None => Ok(()),
        }
    }
}

impl Volume {
    /// What is known of it.
    pub fn record(&self) -> &VolumeRecord {
        &self.record
    }

    /// What containers see.
    pub fn data(&self) -> PathBuf {
        self.folder.join("_data")
    }

    /// Begins to fill the volume with an image's files: `None` where it has some already. Others who want to fill it wait.
    ///
    /// # Errors
    /// When the volume cannot be locked or read.
    pub fn fill(&self) -> Result<Option<Filling>, StoreError> {
        let _lock = Lock::wait(&self.folder.join("lock"), LockMode::Exclusive)?;
        let mark = self.folder.join("filling");
        if mark.exists() {
            // Whoever was filling it was killed half-way.
            let data = self.data();
            for name in list(&data)? {
                let path = data.join(name);
                remove(&path)?;
            }
        } else if has_files(&self.data()) {
            return Ok(None);
        }
        crate::fs::create_or_keep(&mark)?;
        Ok(Some(Filling { mark, _lock }))
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let removed = if is_folder {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.map_err(StoreError::io("remove", path))
}

/// A folder that cannot be read was changed by a container, and what containers do with a volume stays.
fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_some())
}

/// A volume that is being filled.
#[derive(Debug)]
pub struct Filling {
    mark: PathBuf,
    _lock: Lock,
}

impl Filling {
    /// Everything is in it.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn done(self) -> Result<(), StoreError> {
        std::fs::remove_file(&self.mark).map_err(StoreError::io("remove", &self.mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for bad in [
            "", "a", "-x", ".x", "../x", "a/b", "a b", "ä1", "a\0b", "~x",
        ] {
            assert!(!is_volume_name(bad), "{bad:?}");
        }
        assert!(!is_volume_name(&"a".repeat(256)));
        for good in ["ab", "a_", "0.9-x", &"a".repeat(255)] {
            assert!(is_volume_name(good), "{good:?}");
        }
    }
}
