//! What a container is at this moment: `state.json` in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Driver;

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

/// Start time of a live process.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (state, start) = minidock_sys::process::state_and_start(&stat)?;
    (!matches!(state, "Z" | "X")).then_some(start)
}
