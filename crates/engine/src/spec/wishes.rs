//! What a user can ask of a container. What was typed has been parsed by then, and paths and names that depend on where the
//! caller stands have been resolved; what it means for the kernel has not been decided yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::restart::Restart;
use oci_spec::runtime::{Capability, PosixRlimitType};
use serde::{Deserialize, Serialize};

use crate::logs::LogOptions;

/// Which network a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A network namespace of its own with nothing but `lo`.
    #[default]
    None,
    /// The caller's.
    Host,
}

/// What the user asked for, after flags were parsed and the caller's environment was consulted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Arguments after the image.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint (and drops its default arguments); empty clears it.
    pub entrypoint: Option<String>,
    /// `NAME=value`, later ones win; a bare `NAME` removes the image's.
    pub env: Vec<String>,
    /// Folder to start in.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Keep the root file system read-only.
    pub read_only: bool,
    /// Which network.
    pub network: Network,
    /// Folders and files of the host's, volumes, memory.
    pub mounts: Vec<MountWish>,
    /// Containers whose mounts this one has as well; its own come before.
    pub volumes_from: Vec<VolumesFrom>,
    /// Free words, kept with the container.
    pub labels: BTreeMap<String, String>,
    /// Free words, handed to the runtime.
    pub annotations: BTreeMap<String, String>,
    /// The signal that asks the container to end, where not the image says it.
    pub stop_signal: Option<i32>,
    /// Seconds that it then has; a negative number is for ever.
    pub stop_timeout: Option<i64>,
    /// When it is started again.
    pub restart: Restart,
    /// Further groups, by name or number.
    pub group_add: Vec<String>,
    /// A first process of ours that passes signals on and reaps.
    pub init: bool,
    /// What the container may do and see.
    pub security: Security,
    /// Devices of the host's.
    pub devices: Vec<DeviceWish>,
    /// Resource limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Parameters of the kernel's that the container's namespaces have for themselves.
    pub sysctls: BTreeMap<String, String>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Whether root can act for ids that the container does not have.
    pub root_emulation: EmulationWish,
    /// Limits on all of its processes together.
    pub limits: Limits,
    /// How readily the kernel kills it when memory runs out: -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Lines for `/etc/hosts`: name and address.
    pub hosts: Vec<(String, IpAddr)>,
    /// Contents of `/etc/resolv.conf`.
    pub dns: Dns,
    /// Where its output is kept.
    pub log: LogOptions,
}

/// What the container may do and see, where that differs from the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Everything that the caller himself may do.
    pub privileged: bool,
    /// Capabilities in addition.
    pub cap_add: Vec<CapabilityWish>,
    /// Capabilities not to have.
    pub cap_drop: Vec<CapabilityWish>,
    /// Whether programs can gain privileges by being executed is denied; it is where nothing is said.
    pub no_new_privileges: Option<bool>,
    /// Nothing of `/proc` and `/sys` is hidden or protected.
    pub system_paths_unconfined: bool,
    /// Which system calls it can make.
    pub seccomp: Seccomp,
    /// The AppArmor profile that it runs under, where the host has AppArmor; that of its minidock where nothing is said.
    pub apparmor: Option<String>,
}

/// Which system calls a container can make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile; every one where the container is privileged.
    #[default]
    Default,
    /// Every one.
    Unconfined,
    /// What a profile in Docker's JSON says.
    Profile {
        /// The file, as it was named.
        path: String,
        /// Its content.
        json: String,
    },
}

/// Capabilities to add or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapabilityWish {
    /// All of them.
    All,
    /// One.
    One(Capability),
}

/// A device of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWish {
    /// On the host: a device node, or a folder of them.
    pub source: PathBuf,
    /// Inside: absolute.
    pub target: String,
}

/// A limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which.
    pub kind: PosixRlimitType,
    /// What counts; the largest number is unlimited.
    pub soft: u64,
    /// What it can be raised to.
    pub hard: u64,
}

/// Whether system calls by which root acts for others are answered as if there were others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmulationWish {
    /// Where the container has one id, which is root's.
    #[default]
    Auto,
    /// Or there is no container.
    On,
    /// The kernel answers.
    Off,
}

/// A device's major and minor number.
pub type DeviceNumber = (u32, u32);
/// How much of a device may be used.
pub type DeviceRate = (DeviceNumber, u64);

/// Limits on all of a container's processes together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory; -1 for no limit.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that are taken away last.
    pub memory_reservation: Option<i64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Share of the processors where others want them too: 2 to 262,144, 1,024 is usual.
    pub cpu_shares: Option<u64>,
    /// Processors, as cpuset(7) writes lists.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit.
    pub pids: Option<i64>,
    /// Share of block devices' time: 10 to 1,000.
    pub blkio_weight: Option<u16>,
    /// The same for single devices.
    pub weight_devices: Vec<(DeviceNumber, u16)>,
    /// Bytes a second read from devices.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes a second written to devices.
    pub write_bps: Vec<DeviceRate>,
    /// Reads a second from devices.
    pub read_iops: Vec<DeviceRate>,
    /// Writes a second to devices.
    pub write_iops: Vec<DeviceRate>,
    /// The control group below which the container's is made, where the user says it.
    pub group: Option<String>,
    /// What a control group cannot do here is done to each process by itself, as far as that goes.
    pub best_effort: bool,
}

/// Which namespaces are the container's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// It sees the host's processes.
    pub host_pid: bool,
    /// System V IPC, message queues and `/dev/shm`.
    pub ipc: Ipc,
    /// It has the host's name.
    pub host_uts: bool,
    /// It sees where in the host's cgroups it is.
    pub host_cgroup: bool,
    /// The caller is this user and group inside.
    pub keep_id: Option<KeepId>,
    /// Ids that no other container has; where there is one id, it is the usual map.
    pub auto_ids: bool,
}

/// Which IPC namespace, and what is at `/dev/shm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipc {
    /// Its own.
    #[default]
    Private,
    /// Its own, and nothing at `/dev/shm`.
    None,
    /// The host's.
    Host,
}

/// Who the caller is inside; his own ids where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepId {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
}

/// What takes the place of the host's `/etc/resolv.conf`, line by line where something is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Domains in which short names are looked for; a single `.` is none.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// Something to be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountWish {
    /// The path inside: absolute, without `.` and `..`, not `/`.
    pub target: String,
    /// Whether it can be written through.
    pub access: Access,
    /// What it shows.
    pub kind: MountWishKind,
}

/// What can be written through a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing; before Linux 5.12 what is mounted below the source can be written.
    ReadOnly,
    /// Nothing, or there is no container.
    ReadOnlyRecursive,
    /// Only what is mounted below the source.
    ReadOnlyTop,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountWishKind {
    /// A file or folder of the host's.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// Make a folder where nothing is.
        create: bool,
        /// With what is mounted below.
        recursive: bool,
        /// Whether what the host mounts there later is seen inside.
        propagation: Propagation,
    },
    /// A volume.
    Volume {
        /// Its name; an anonymous one has none.
        name: Option<String>,
        /// Fill a new one with what the image has there.
        copy: bool,
        /// Labels of a new one.
        labels: BTreeMap<String, String>,
    },
    /// Memory, with options as mount(8) has them.
    Tmpfs {
        /// Later ones win.
        options: Vec<String>,
    },
}

/// How mounts on the host and in the container affect each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// What the host mounts is seen inside.
    Slave,
}

/// Mounts of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// Whether they can be written through, where that differs from there.
    pub read_only: Option<bool>,
}
