//! Containers on disk: `containers/<id>/` and `names/<name>`.
//!
//! Whoever runs a container holds the lock of its folder for as long as it lives. A container that is to be removed when
//! it ends (`--rm`) and whose lock is free was left by a killed process: whoever comes across it removes it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Durability, list, make_dir, random_hex, read_json, replace, replace_json};
use crate::lock::{Hold, Lock, LockMode};
use crate::state::{ContainerState, Status};
use crate::tmp::Entry;
use crate::{Driver, RootAttributes, Store, StoreError};

/// The file in a container's folder that its supervisor keeps locked.
const LOCK: &str = "lock";

/// The file in a container's folder that says what it was made from.
pub const CREATED: &str = "create.json";

/// The file that whoever changes the state has locked for that moment.
const STATE_LOCK: &str = "state.lock";

/// The folder of all files of a container that has no overlay.
const TREE: &str = "tree";

/// The folders that every container of a driver has.
pub(crate) fn folders(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::Overlay | Driver::FuseOverlayfs => &["upper", "work", "rootfs"],
        Driver::Flat => &[TREE, "rootfs"],
    }
}

fn remove_link(link: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(link) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", link)(e)),
        _ => Ok(()),
    }
}

/// What is needed to make a container's folder.
#[derive(Clone, Debug)]
pub struct NewContainer<'a> {
    /// The wanted name; checked to be free.
    pub name: &'a str,
    /// Owner and mode of `/`.
    pub root: RootAttributes,
    /// What it was made from, in words of the caller's: [`CREATED`].
    pub created: &'a [u8],
}

/// As long as this lives, a container is not started.
#[derive(Debug)]
pub struct Stopped {
    _lock: Lock,
}

/// A container's folder.
#[derive(Clone, Debug)]
pub struct Container {
    id: String,
    folder: PathBuf,
    store: Store,
    /// Held by the process that made the container.
    supervised: Option<Arc<Lock>>,
}

impl Store {
    /// A fresh container id.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new_container_id(&self) -> Result<String, StoreError> {
        random_hex()
    }

    /// Makes a container: its folder with `upper`, `work` and `rootfs`, its name, its first state.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], or a write error; nothing stays then.
    pub fn create_container(
        &self,
        _hold: &Hold,
        new: &NewContainer<'_>,
        state: &ContainerState,
    ) -> Result<Container, StoreError> {
        let folder = self.path("containers").join(&state.id);
        let mut container = Container {
            id: state.id.clone(),
            folder: folder.clone(),
            store: self.clone(),
            supervised: None,
        };
        let _naming = Lock::wait(&self.lock_file("containers"), LockMode::Exclusive)?;
        self.claim_name(new.name, &state.id)?;
        let made = (|| {
            make_dir(&folder)?;
            // Who only looks whether it is free has it for a moment.
            let lock = Lock::wait(&folder.join(LOCK), LockMode::Exclusive)?;
            container.supervised = Some(Arc::new(lock));
            for name in folders(state.driver) {
                let path = folder.join(name);
                DirBuilder::new()
                    .mode(0o755)
                    .create(&path)
                    .map_err(StoreError::io("create", &path))?;
            }
            self.set_root(&container.written(state.driver), new.root)?;
            container.write_file(CREATED, new.created, 0o600)?;
            // Last: what has a state is whole.
            container.write_state(state)
        })();
        if made.is_err() {
            let _ = container.delete_folder();
            let _ = std::fs::remove_file(self.path("names").join(new.name));
        }
        made.map(|()| container)
    }

    /// Gives a folder the owner and mode of an image's root.
    ///
    /// # Errors
    /// When they cannot be changed.
    pub fn set_root(&self, upper: &Path, root: RootAttributes) -> Result<(), StoreError> {
        if self.id_map().has_owners() {
            std::os::unix::fs::chown(upper, Some(root.uid), Some(root.gid))
                .map_err(StoreError::io("change the owner of", upper))?;
        }
        std::fs::set_permissions(upper, PermissionsExt::from_mode(root.mode))
            .map_err(StoreError::io("change the mode of", upper))
    }

    /// Names are symlinks to ids: making one is atomic, and one whose container is gone was left by
    /// a killed process.
    fn claim_name(&self, name: &str, id: &str) -> Result<(), StoreError> {
        let link = self.path("names").join(name);
        loop {
            match std::os::unix::fs::symlink(id, &link) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map_err(StoreError::io("create", &link)),
            }
            let owner = std::fs::read_link(&link).map_err(StoreError::io("read", &link))?;
            let owner_id = owner.to_string_lossy().into_owned();
            let taken = self.container(owner_id);
            if taken.folder.exists() && !taken.remove_if_left()? {
                return Err(StoreError::NameTaken {
                    name: name.to_owned(),
                    id: owner.to_string_lossy().into_owned(),
                });
            }
            remove_link(&link)?;
        }
    }

    /// Removes containers that killed processes left and that were to be removed at their end, with their anonymous
    /// volumes.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn remove_left_containers(&self) -> Result<(), StoreError> {
        self.remove_left_containers_only()?;
        self.remove_left_volumes()
    }

    fn remove_left_containers_only(&self) -> Result<(), StoreError> {
        // No container is half made while this lock is held.
        let _naming = Lock::wait(&self.lock_file("containers"), LockMode::Exclusive)?;
        for container in self.containers()? {
            container.remove_if_left()?;
        }
        let names = self.path("names");
        for name in list(&names)? {
            let link = names.join(name);
            let named = std::fs::read_link(&link).map(|id| self.path("containers").join(id));
            if named.is_ok_and(|folder| !folder.exists()) {
                remove_link(&link)?;
            }
        }
        Ok(())
    }

    /// Whether [`Store::remove_left_containers`] would find something to do.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub fn has_left_containers(&self) -> Result<bool, StoreError> {
        let _naming = Lock::wait(&self.lock_file("containers"), LockMode::Exclusive)?;
        for container in self.containers()? {
            if container.is_left()? {
                return Ok(true);
            }
        }
        self.has_left_volumes()
    }

    /// All containers, in no order.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn containers(&self) -> Result<Vec<Container>, StoreError> {
        let path = self.path("containers");
        let entries = std::fs::read_dir(&path).map_err(StoreError::io("list", &path))?;
        Ok(entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .map(|id| self.container(id))
            .collect())
    }

    fn container(&self, id: String) -> Container {
        Container {
            folder: self.path("containers").join(&id),
            id,
            store: self.clone(),
            supervised: None,
        }
    }

    /// Finds a container by name, id, or the beginning of its id.
    ///
    /// # Errors
    /// [`StoreError::NoSuchContainer`] or [`StoreError::AmbiguousContainer`].
    pub fn find_container(&self, query: &str) -> Result<Container, StoreError> {
        let none = || StoreError::NoSuchContainer(query.to_owned());
        if query.is_empty() || query.contains(['/', '\0']) || query.starts_with('.') {
            return Err(none());
        }
        if let Ok(id) = std::fs::read_link(self.path("names").join(query)) {
            let container = self.container(id.to_string_lossy().into_owned());
            if container.folder.exists() {
                return Ok(container);
            }
        }
        let mut matching = self
            .containers()?
            .into_iter()
            .filter(|c| c.id.starts_with(query));
        match (matching.next(), matching.next()) {
            (None, _) => Err(none()),
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(StoreError::AmbiguousContainer(query.to_owned())),
        }
    }
}

/// What came of trying to lock a container.
enum Tried {
    Locked(Lock),
    /// A process is at work on it.
    Taken,
    /// Another process has removed it.
    Gone,
}

impl Container {
    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store that it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The container's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tries to keep everybody else from working on it. It may be removed at any time until that is done.
    fn try_lock(&self) -> Result<Tried, StoreError> {
        match Lock::try_exclusive(&self.folder.join(LOCK)) {
            Ok(Some(lock)) => Ok(Tried::Locked(lock)),
            Ok(None) => Ok(Tried::Taken),
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.folder.exists() =>
            {
                Ok(Tried::Gone)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether a process is at work on it: making it, starting it or waiting for its end.
    ///
    /// # Errors
    /// When its lock cannot be looked at.
    pub fn is_supervised(&self) -> Result<bool, StoreError> {
        Ok(matches!(self.try_lock()?, Tried::Taken))
    }

    /// Lets others work on it: whoever made it has done so.
    pub fn release(&mut self) {
        self.supervised = None;
    }

    /// The folder that the container writes to: what it changed of its image's layers, or, with [`Driver::Flat`], all of
    /// its files.
    pub fn written(&self, driver: Driver) -> PathBuf {
        self.folder.join(match driver {
            Driver::Overlay | Driver::FuseOverlayfs => "upper",
            Driver::Flat => TREE,
        })
    }

    /// Keeps the container from being started, if nobody runs it.
    ///
    /// # Errors
    /// When its lock cannot be opened.
    pub fn keep_stopped(&self) -> Result<Option<Stopped>, StoreError> {
        match self.try_lock()? {
            Tried::Locked(lock) => Ok(Some(Stopped { _lock: lock })),
            Tried::Taken => Ok(None),
            Tried::Gone => Err(StoreError::NoSuchContainer(self.id.clone())),
        }
    }

    /// Its state; `None` for one that was killed while it was made.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn state(&self) -> Result<Option<ContainerState>, StoreError> {
        read_json(&self.folder.join("state.json"))
    }

    /// Changes the state: reads it, lets `change` change it, writes it, while nobody else does so. Returns what was written.
    ///
    /// # Errors
    /// [`StoreError::NoSuchContainer`], or when it cannot be read or written.
    pub fn change_state(
        &self,
        change: impl FnOnce(&mut ContainerState),
    ) -> Result<ContainerState, StoreError> {
        let gone = || StoreError::NoSuchContainer(self.id.clone());
        let _alone = match Lock::wait(&self.folder.join(STATE_LOCK), LockMode::Exclusive) {
            Err(_) if !self.folder.exists() => return Err(gone()),
            lock => lock?,
        };
        let mut state = self.state()?.ok_or_else(gone)?;
        change(&mut state);
        self.write_state(&state)?;
        Ok(state)
    }

    /// Replaces the state. Only for whoever alone can know of the container; see [`change_state`](Self::change_state).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_state(&self, state: &ContainerState) -> Result<(), StoreError> {
        // A power cut ends every container, so an old state is no worse than a new one.
        replace_json(
            &self.store.tmp(),
            &self.folder.join("state.json"),
            state,
            Durability::Volatile,
        )
    }

    /// Writes one of the container's small files (`config.json`, `hosts`, …).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(name);
        replace(&self.store.tmp(), &path, bytes, Durability::Volatile)?;
        // As every file is made.
        if mode != 0o600 {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))
                .map_err(StoreError::io("change the mode of", &path))?;
        }
        Ok(path)
    }

    /// Whether this container was to be removed when it ends, and nobody runs it any more. The caller holds the lock
    /// under which containers are made.
    fn is_left(&self) -> Result<bool, StoreError> {
        let left = match self.state() {
            Ok(Some(state)) => {
                state.auto_remove
                    && !state.is_starting()
                    && !(state.kept && state.status == Status::Created)
            }
            Ok(None) => true,
            // A damaged state is for the user to see.
            Err(_) => false,
        };
        Ok(left && matches!(self.try_lock()?, Tried::Locked(_)))
    }

    /// Removes a container that [was left](Self::is_left), under the same lock.
    fn remove_if_left(&self) -> Result<bool, StoreError> {
        let left = self.is_left()?;
        if left {
            self.remove()?;
        }
        Ok(left)
    }

    /// Removes the container: first its name in `containers/`, then its files, then its name.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        let (name, group) = self
            .state()
            .ok()
            .flatten()
            .map(|s| (s.name, s.cgroup))
            .unzip();
        // Left by a supervisor that was killed, and with it died all that was in it.
        if let Some(group) = group.flatten() {
            let _ = std::fs::remove_dir(group);
        }
        self.delete_folder()?;
        if let Some(name) = name {
            let link = self.store.path("names").join(name);
            // Only if it is still ours: the name may have been taken anew since.
            if std::fs::read_link(&link).is_ok_and(|id| id == Path::new(&self.id)) {
                let _ = std::fs::remove_file(&link);
            }
        }
        Ok(())
    }

    fn delete_folder(&self) -> Result<(), StoreError> {
        let name = format!("container-{}", self.id);
        match Entry::take(&self.store.tmp(), &self.folder, &name)? {
            Some(folder) => folder.discard(&self.store),
            None => Ok(()),
        }
    }
}
