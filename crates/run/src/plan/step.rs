//! The vocabulary of a plan. Every string a step needs is a C string made ahead, so that the child only makes calls.

use std::ffi::{CStr, CString};
use std::fmt::{self, Display};

use minidock_sys::clone::Namespaces;
use minidock_sys::mount::Attributes;
use rustix::mount::MountFlags;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::CapabilitySet;

use crate::seccomp::Filter;

/// One thing the new process does. The order of a plan's steps is the order of the work.
///
/// Paths called target are relative to the container's root and are resolved inside it; sources are the host's.
#[derive(Debug)]
pub(crate) enum Step {
    /// Be killed when the supervisor dies, and stop now if it is dead already.
    DieWithSupervisor,
    /// Join the container's control group: its file of processes.
    JoinGroup(CString),
    /// Make that group the root of what is seen of them.
    OwnGroupNamespace,
    /// Let nobody look into this process, or trace it, who could not do so to the caller's own: until it executes a program.
    Hide,
    /// Enter a container's namespaces, through one of its processes.
    JoinNamespaces(Namespaces),
    /// Go on in a new process, which is in the pid namespace that was joined, and the supervisor's child.
    ForkInside,
    /// Be the root of the user namespace that was joined.
    BecomeJoinedRoot,
    /// Open the working directory, which has to exist.
    OpenWorkingDirectory(CString),
    /// Open a terminal in the devpts of a container that runs.
    OpenTerminalInside,
    /// Write this process's own id maps: allowed to anyone for the caller's own two ids.
    MapOwnIds(SelfMap),
    /// Wait for the supervisor to have written the id maps.
    AwaitIdMaps,
    /// Become the container's root, for the caller's own ids have no meaning in the new user namespace.
    BecomeRoot,
    /// Cut mount propagation, so that nothing done here is seen outside.
    MakeMountsPrivate,
    /// The same, but what the host mounts later is still seen: binds decide for themselves.
    MakeMountsSlave,
    /// Mount the layers and stand the root file system on the mount point.
    MountOverlay(Overlay),
    /// Mount a file system that a program of ours serves, and hand the program's end to the supervisor.
    MountFuse(Fuse),
    /// Bind the folder that is the root file system to the mount point.
    BindRootfs {
        source: CString,
        mountpoint: CString,
    },
    /// Make a folder that the root file system lacks.
    ProvideFolder(CString),
    /// Make a symbolic link that the root file system lacks.
    ProvideLink {
        folder: CString,
        name: CString,
        target: CString,
    },
    /// Copy what the root file system has at a path into an empty folder of the host's.
    FillVolume {
        /// Relative to the root.
        source: CString,
        /// On the host.
        folder: CString,
    },
    /// Exit: the work is done, and there is no program.
    Finish,
    /// Mount a file system.
    MountFs(FsMount),
    /// Make part of the host's tree visible inside.
    Bind(Bind),
    /// Bind the host's device nodes into the container's `/dev`, and make the usual links.
    FillDev,
    /// Open a terminal in the container's own devpts and hand its other end to the supervisor.
    OpenTerminal,
    /// Set a parameter of the kernel's that one of the container's namespaces has for itself.
    Sysctl {
        /// Relative to the root: its file in proc.
        path: CString,
        value: CString,
    },
    /// Cover a path with nothing: a folder by an empty one, anything else by the null device.
    Mask(CString),
    /// Make a path and all below it read-only.
    ReadOnlyPath(CString),
    /// Make the root file system read-only. After this no mount point can be made.
    ReadOnlyRoot,
    /// Make the container's root file system `/` and let go of the host's.
    PivotRoot,
    /// The same where pivot_root(2) cannot work: move the new root over the old one and chroot into it.
    MoveRoot,
    /// Set the host name.
    Hostname(CString),
    /// Set the NIS domain name.
    Domainname(CString),
    /// Bring up the loopback device.
    LoopbackUp,
    /// Find the working directory, making it if it is missing.
    FindWorkingDirectory { path: CString, owner: Owner },
    /// Change to it.
    EnterWorkingDirectory,
    /// Leave the caller's session keyring for an empty one.
    NewKeyring,
    /// Have the kernel behave as it does by itself (0), or as another one (personality(2)).
    Personality(u32),
    /// Have the program executed under an AppArmor profile.
    AppArmor(CString),
    /// Give up all files but those below the container's root (Landlock of this version).
    OwnFilesOnly(u32),
    /// Set the mask of file modes.
    Umask(u32),
    /// Set one resource limit.
    ResourceLimit {
        name: String,
        resource: Resource,
        limit: Rlimit,
    },
    /// Set how readily the kernel kills this process when memory runs out.
    OomScoreAdj(CString),
    /// Gain no privilege by executing programs.
    NoNewPrivileges,
    /// Drop every capability that is not in the set from the bounding set.
    BoundCapabilities(CapabilitySet),
    /// Take on the container's user and groups. `groups` is `None` where the kernel denies changing them.
    BecomeUser {
        owner: Owner,
        groups: Option<Vec<Gid>>,
        keep_capabilities: bool,
    },
    /// Set the other capability sets.
    SetCapabilities(Capabilities),
    /// Start a session of its own.
    NewSession,
    /// Put stdio in place.
    Stdio { owner: Owner },
    /// Stay as the first process, and go on in a second one.
    Reap,
    /// Close everything else, and find the program before a filter could stand in the way.
    FindCommand,
    /// Let the supervisor answer some system calls. Where it is not required, doing without is the fallback.
    Emulate { filter: Filter, required: bool },
    /// Let the kernel ask a program before each system call.
    Filter(Filter),
    /// Execute the program.
    Execute,
}

/// The user and group that the container's process runs as, as the container counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub uid: Uid,
    pub gid: Gid,
}

/// Single-id maps, in the form the kernel's files take (user_namespaces(7)).
#[derive(Debug)]
pub(crate) struct SelfMap {
    pub uid: CString,
    pub gid: CString,
}

/// An overlay file system (overlayfs in the kernel's documentation).
#[derive(Debug)]
pub(crate) struct Overlay {
    pub lower: Vec<CString>,
    pub upper: CString,
    pub work: CString,
    pub volatile: bool,
    /// The kernel takes lower layers one by one (`lowerdir+`, Linux 6.7), so that nothing limits the sum of their names.
    pub one_by_one: bool,
    pub mountpoint: CString,
}

/// An overlay served by fuse-overlayfs(1).
#[derive(Debug)]
pub(crate) struct Fuse {
    pub program: CString,
    /// Its options: layers, upper layer, work folder.
    pub options: CString,
    /// How many layers there are, and the upper one.
    pub layers: usize,
    pub upper: CString,
    pub mountpoint: CString,
    /// It has to become the container's root, for its own ids have no meaning inside.
    pub become_root: bool,
}

/// A file system of a type, mounted with mount(2).
#[derive(Debug)]
pub(crate) struct FsMount {
    pub fs_type: CString,
    pub source: CString,
    pub target: Target,
    pub flags: MountFlags,
    pub data: CString,
    pub fallback: Fallback,
}

/// What stands in when a host refuses a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nothing does.
    None,
    /// The host's own tree at the same path, with these attributes, on `EPERM`.
    HostTree(Attributes),
    /// Nothing is mounted, which does no harm.
    Skip,
}

/// A bind mount.
#[derive(Debug)]
pub(crate) struct Bind {
    pub source: CString,
    pub target: Target,
    /// With everything mounted below the source.
    pub recursive: bool,
    pub attributes: Attributes,
    /// The attributes apply to the mounts below, too.
    pub attributes_recursive: bool,
    /// What the host mounts below the source later is seen.
    pub slave: bool,
}

/// A place inside the root file system.
#[derive(Debug)]
pub(crate) struct Target {
    /// Relative to the root.
    pub path: CString,
    /// Whether symbolic links of the image's may be followed (inside the root file system, never out of it).
    pub follow: bool,
}

/// The capability sets besides the bounding one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub effective: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
}

impl Capabilities {
    /// With one more to use.
    pub(crate) fn with(self, more: CapabilitySet) -> Self {
        Self {
            effective: self.effective | more,
            permitted: self.permitted | more,
            ..self
        }
    }
}

fn text(string: &CStr) -> impl Display + '_ {
    String::from_utf8_lossy(string.to_bytes())
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", text(&self.path))
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid.as_raw(), self.gid.as_raw())
    }
}

/// A fragment that reads well after "cannot".
impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DieWithSupervisor => write!(f, "tie the container's life to the supervisor's"),
            Self::MapOwnIds(map) => write!(
                f,
                "map ids (uid {}, gid {})",
                text(&map.uid),
                text(&map.gid)
            ),
            Self::AwaitIdMaps => write!(f, "wait for the id maps"),
            Self::Hide => write!(f, "hide from the container's processes"),
            Self::JoinNamespaces(_) => write!(f, "enter the container's namespaces"),
            Self::ForkInside => write!(f, "start a process in the container"),
            Self::OpenWorkingDirectory(path) => {
                write!(f, "enter the working directory /{}", text(path))
            }
            Self::OpenTerminalInside => write!(f, "open a terminal in the container's /dev/pts"),
            Self::BecomeJoinedRoot | Self::BecomeRoot => write!(f, "become the container's root"),
            Self::MakeMountsPrivate => write!(f, "make mounts private"),
            Self::JoinGroup(path) => write!(f, "join the control group through {}", text(path)),
            Self::OwnGroupNamespace => write!(f, "make a cgroup namespace"),
            Self::MakeMountsSlave => write!(f, "make mounts follow the host's"),
            Self::MountOverlay(overlay) => {
                write!(
                    f,
                    "mount the overlay of {} layers, upper {}",
                    overlay.lower.len(),
                    text(&overlay.upper)
                )?;
                if overlay.volatile {
                    write!(f, ", volatile")
                } else {
                    Ok(())
                }
            }
            Self::MountFuse(fuse) => write!(
                f,
                "mount the overlay of {} layers, upper {}, by {}",
                fuse.layers,
                text(&fuse.upper),
                text(&fuse.program)
            ),
            Self::BindRootfs { source, .. } => {
                write!(f, "bind the root file system {}", text(source))
            }
            Self::ProvideFolder(path) => write!(f, "make the folder /{}", text(path)),
            Self::ProvideLink {
                folder,
                name,
                target,
            } => {
                write!(
                    f,
                    "make the link /{}/{} to {}",
                    text(folder),
                    text(name),
                    text(target)
                )
            }
            Self::FillVolume { source, folder } => write!(
                f,
                "copy the image's /{} into the volume {}",
                text(source),
                text(folder)
            ),
            Self::Finish => write!(f, "finish"),
            Self::MountFs(fs) => {
                write!(f, "mount {} on {}", text(&fs.fs_type), fs.target)?;
                if fs.data.is_empty() {
                    Ok(())
                } else {
                    write!(f, " ({})", text(&fs.data))
                }
            }
            Self::Bind(bind) => {
                let read_only = bind.attributes.set & minidock_sys::mount::ATTR_RDONLY != 0;
                write!(f, "bind {} to {}", text(&bind.source), bind.target)?;
                let words = [(read_only, ", read-only"), (bind.slave, ", slave")];
                words
                    .iter()
                    .filter(|(is, _)| *is)
                    .try_for_each(|(_, word)| f.write_str(word))
            }
            Self::FillDev => write!(f, "fill /dev"),
            Self::OpenTerminal => write!(f, "open a terminal in /dev/pts"),
            Self::Sysctl { path, value } => {
                write!(f, "set /{} to {}", text(path), text(value))
            }
            Self::Mask(path) => write!(f, "mask /{}", text(path)),
            Self::ReadOnlyPath(path) => write!(f, "make /{} read-only", text(path)),
            Self::ReadOnlyRoot => write!(f, "make the root file system read-only"),
            Self::PivotRoot => write!(f, "pivot into the root file system"),
            Self::MoveRoot => write!(f, "move the root file system over / and chroot into it"),
            Self::Hostname(name) => write!(f, "set the host name to {}", text(name)),
            Self::Domainname(name) => write!(f, "set the domain name to {}", text(name)),
            Self::LoopbackUp => write!(f, "bring up the loopback device"),
            Self::FindWorkingDirectory { path, .. } => {
                write!(f, "find the working directory /{}", text(path))
            }
            Self::EnterWorkingDirectory => write!(f, "enter the working directory"),
            Self::NewKeyring => write!(f, "start a new session keyring"),
            Self::Personality(persona) => write!(f, "set the personality to {persona:#x}"),
            Self::AppArmor(profile) => {
                write!(f, "apply the AppArmor profile {}", text(profile))
            }
            Self::OwnFilesOnly(_) => write!(f, "give up all files but the container's"),
            Self::Umask(mask) => write!(f, "set the umask to {mask:04o}"),
            Self::ResourceLimit { name, limit, .. } => {
                write!(
                    f,
                    "set {name} to {}:{}",
                    Limit(limit.current),
                    Limit(limit.maximum)
                )
            }
            Self::OomScoreAdj(value) => {
                write!(f, "set the OOM score adjustment to {}", text(value))
            }
            Self::NoNewPrivileges => write!(f, "give up gaining privileges"),
            Self::BoundCapabilities(set) => write!(f, "bound capabilities to {}", Names(*set)),
            Self::BecomeUser { owner, groups, .. } => {
                write!(f, "become user {owner}")?;
                match groups {
                    None => write!(f, ", groups unchanged"),
                    Some(groups) => {
                        let groups: Vec<String> =
                            groups.iter().map(|gid| gid.as_raw().to_string()).collect();
                        write!(f, ", groups [{}]", groups.join(" "))
                    }
                }
            }
            Self::SetCapabilities(sets) => {
                write!(f, "set capabilities: effective {}", Names(sets.effective))?;
                write!(f, ", permitted {}", Names(sets.permitted))?;
                write!(f, ", inheritable {}", Names(sets.inheritable))?;
                write!(f, ", ambient {}", Names(sets.ambient))
            }
            Self::NewSession => write!(f, "start a new session"),
            Self::Stdio { .. } => write!(f, "set up stdio"),
            Self::Reap => write!(f, "stay to reap and to pass on signals"),
            Self::FindCommand => write!(f, "find the command"),
            Self::Emulate { filter, .. } => {
                write!(f, "emulate root ({} instructions)", filter.program.len())
            }
            Self::Filter(filter) => write!(
                f,
                "filter system calls ({} instructions)",
                filter.program.len()
            ),
            Self::Execute => write!(f, "execute the command"),
        }
    }
}

struct Limit(Option<u64>);

impl Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{limit}"),
            None => write!(f, "unlimited"),
        }
    }
}

struct Names(CapabilitySet);

impl Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter_names().map(|(name, _)| name).collect();
        if names.is_empty() {
            write!(f, "none")
        } else {
            write!(f, "{}", names.join(" "))
        }
    }
}
