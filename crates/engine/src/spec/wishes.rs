//! What a user can ask of a container. What was typed has been parsed by then, and paths and names that depend on where the
//! caller stands have been resolved; what it means for the kernel has not been decided yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which network a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own with nothing but `lo`.
    #[default]
    None,
    /// The caller's.
    Host,
}

/// What the user asked for, after flags were parsed and the caller's environment was consulted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Free words.
    pub labels: BTreeMap<String, String>,
}

/// Something to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountWish {
    /// The path inside: absolute, without `.` and `..`, not `/`.
    pub target: String,
    /// Whether it can be written through.
    pub access: Access,
    /// What it shows.
    pub kind: MountWishKind,
}

/// What can be written through a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// What the host mounts is seen inside.
    Slave,
}

/// Mounts of another container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// Whether they can be written through, where that differs from there.
    pub read_only: Option<bool>,
}
