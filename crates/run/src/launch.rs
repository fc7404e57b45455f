//! What a caller asks for: the OCI Spec, where the root file system comes from, and how stdio is wired.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::RootEmulation;

/// Where the container's `/` comes from. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// An existing folder, bind mounted. Writes go straight into it unless the Spec's `root.readonly` is set.
    Bind(PathBuf),
    /// An overlay: image layers below, one writable layer above.
    Overlay {
        /// The read-only layers, the uppermost first. At least one.
        lower: Vec<PathBuf>,
        /// The writable layer.
        upper: PathBuf,
        /// overlayfs's work folder: empty, and on the same file system as `upper`.
        work: PathBuf,
        /// Do not sync the upper layer's file system at unmount (Linux 5.10). A volatile upper layer cannot be mounted
        /// again before `work/work/incompat` has been removed.
        volatile: bool,
    },
    /// The same as an overlay, by a program in user space: for hosts whose kernel or file system has none for ordinary
    /// users. The program runs beside the container, outside its namespaces but for the user namespace, and ends with it.
    FuseOverlay {
        /// fuse-overlayfs(1).
        program: PathBuf,
        /// The read-only layers, the uppermost first. At least one.
        lower: Vec<PathBuf>,
        /// The writable layer.
        upper: PathBuf,
        /// The program's work folder: empty, and on the same file system as `upper`.
        work: PathBuf,
    },
}

/// Something the root file system is to have, made where it is missing. What is there already stays, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provision {
    /// A folder (mode 0755), with its parents. Links of the image's are followed inside it.
    Folder(PathBuf),
    /// A symbolic link.
    Link {
        /// Where.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
}

/// One container to start.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The OCI runtime Spec. Its `root.path` is not read: [`Launch::rootfs`] says where the root file system is.
    pub spec: &'a Spec,
    /// The root file system.
    pub rootfs: &'a Rootfs,
    /// Made in the root file system before anything is mounted in it.
    pub provide: &'a [Provision],
    /// `-i`: the caller's stdin reaches the container. Without it the container reads the null device.
    pub interactive: bool,
    /// `-t`: the container's stdio is a terminal of its own. Has to agree with the Spec's `process.terminal`.
    pub terminal: bool,
    /// Which of the caller's stdin, stdout and stderr the container has; the null device stands for the others.
    pub attach: [bool; 3],
    /// The standard streams are the supervisor's, whatever the caller's are: it reads what the container writes, and writes what the
    /// container is to read.
    pub kept: bool,
    /// The container's first process is one of ours that passes signals on to the program and reaps.
    pub init: bool,
    /// Docker's default seccomp profile applies where the Spec has no `linux.seccomp`. Whoever wants no filter says so in the
    /// Spec: `{"defaultAction": "SCMP_ACT_ALLOW"}`.
    pub default_filter: bool,
    /// Whether root can act for ids that the container does not have. It needs one id, which is root's inside.
    pub root_emulation: RootEmulation,
    /// The control group that the container joins, with the limits of the Spec's `linux.resources` (see [`crate::cgroup`]).
    /// Without one, a Spec with limits is refused.
    pub cgroup: Option<&'a Path>,
    /// An existing empty folder to mount the root file system on. It is never visible inside, nothing stays mounted on
    /// it outside, and it has to stay empty: the paths that the Spec masks show it.
    pub mountpoint: &'a Path,
}
