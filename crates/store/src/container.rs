//! Containers on disk: `containers/<id>/` and `names/<name>`.
//!
//! Whoever runs a container holds the lock of its folder for as long as it lives. A container that is to be removed when
//! it ends (`--rm`) and whose lock is free was left by a killed process: whoever comes across it removes it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fs::{Durability, list, make_dir, random_hex, read_json, replace, replace_json};
use crate::lock::{Hold, Lock, LockMode};
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

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, not started.
    #[default]
    Created,
    /// Started. Only true while the recorded process lives; ask [`ContainerState::is_alive`].
    Running,
    /// Ended, and its monitor will start it again.
    Restarting,
    /// Ended.
    Exited,
}

/// `state.json`. New fields get defaults, so that files of earlier releases stay readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// The image as the user wrote it.
    pub image: String,
    /// The image's id, `sha256:…`.
    pub image_id: String,
    /// Its layers' folders, relative to the store, base first; collection spares them.
    pub layers: Vec<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Status as last written.
    pub status: Status,
    /// Pid 1 of the container as the host sees it.
    #[serde(default)]
    pub pid: Option<i32>,
    /// Field 22 of `/proc/PID/stat`, which tells a process from a later one with the same pid.
    #[serde(default)]
    pub start_time: Option<u64>,
    /// How it ended: 0 to 255.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// Seconds since 1970.
    #[serde(default)]
    pub finished: Option<u64>,
    /// Removed when it ends.
    #[serde(default)]
    pub auto_remove: bool,
    /// Free words, the image's and the user's.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What of the host's and of volumes is mounted inside.
    #[serde(default)]
    pub mounts: Vec<MountRecord>,
    /// The signal that asks it to end.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// How many seconds it then has; a negative number is for ever.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    /// What its root file system is made of.
    #[serde(default)]
    pub driver: Driver,
    /// The folder of its control group, if it has one.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Nanoseconds after [`Self::created`].
    #[serde(default)]
    pub created_nanos: u32,
    /// When it last started, in seconds since 1970.
    #[serde(default)]
    pub started: Option<u64>,
    /// Nanoseconds after [`Self::started`].
    #[serde(default)]
    pub started_nanos: u32,
    /// Nanoseconds after [`Self::finished`].
    #[serde(default)]
    pub finished_nanos: u32,
    /// It was made to stay until it is started, so that nobody takes it for one that a killed process left.
    #[serde(default)]
    pub kept: bool,
    /// The process that made it, where that is about to start it.
    #[serde(default)]
    pub starter: Option<Identity>,
    /// The process that watches over it, if that is not the one that the user waits for.
    #[serde(default)]
    pub monitor: Option<Identity>,
    /// Somebody has asked it to end since it was last started, so that it is not started again.
    #[serde(default)]
    pub stopped_by_hand: bool,
    /// All its processes stand still.
    #[serde(default)]
    pub paused: bool,
    /// How often it was started again since somebody last started it.
    #[serde(default)]
    pub restarts: u64,
    /// Why it could not be started.
    #[serde(default)]
    pub error: Option<String>,
    /// The kernel ended a process of it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// A process: its id alone may be another's one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// As the host counts.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_time: u64,
}

impl Identity {
    /// Of a process that lives.
    pub fn of(pid: i32) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// Whether it lives.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A file or folder of the host's.
    Bind,
    /// A volume of the store.
    Volume,
    /// Memory.
    Tmpfs,
}

/// A mount that the user or the image asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// What it shows.
    pub kind: MountKind,
    /// The volume's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The path on the host; empty for memory.
    pub source: PathBuf,
    /// The path inside: absolute, without `.` and `..`.
    pub target: String,
    /// Options as the OCI runtime specification has them.
    #[serde(default)]
    pub options: Vec<String>,
    /// Nothing can be written through it.
    #[serde(default)]
    pub read_only: bool,
    /// A volume that was given no name: it goes with the container where that is asked for.
    #[serde(default)]
    pub anonymous: bool,
}

impl ContainerState {
    /// Whether the recorded process still runs. A pid alone would not do: pids are reused.
    pub fn is_alive(&self) -> bool {
        self.status == Status::Running && self.process().is_some_and(Identity::is_alive)
    }

    /// Whether it was made by a process that is about to start it.
    pub fn is_starting(&self) -> bool {
        self.status == Status::Created && self.starter.is_some_and(Identity::is_alive)
    }

    /// Its first process, as last written.
    pub fn process(&self) -> Option<Identity> {
        Some(Identity {
            pid: self.pid?,
            start_time: self.start_time?,
        })
    }
}

/// Start time of a live process in clock ticks since boot (proc_pid_stat(5), field 22).
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let after = &stat[stat.rfind(')')? + 1..];
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
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
