//! A Spec as an ordered list of kernel steps.
//!
//! [`plan`] is a pure function: it decides, and touches nothing. What it returns can be printed and compared without a
//! kernel. The order of the steps is the design:
//!
//! 1. The container's life is tied to the supervisor's before anything else, so that no death leaves an orphan.
//! 2. Ids are mapped before any mount, for what the child may do depends on them.
//! 3. Mounts become private before the first mount is made, so that none is seen outside.
//! 4. The root file system, then the Spec's mounts in the Spec's order. All of it happens while the host's root is still
//!    there: sources are found on it, and the kernel refuses a new proc or sysfs once no complete one is in sight.
//! 5. Read-only paths before masked ones, because a mask inside a read-only path has to stay on top.
//! 6. The working directory is made before the root becomes read-only, and the root becomes read-only last of all.
//! 7. After the pivot nothing of the host's can be named any more.
//! 8. Privileges go in the order in which the kernel lets them go: the bounding set while `CAP_SETPCAP` is held, groups
//!    before the user, capabilities last.
//! 9. The system call filter is the last thing before the program, so that a profile has to permit nothing that only this
//!    runtime needs. Without `noNewPrivileges` it has to come while `CAP_SYS_ADMIN` is held, and then the profile also
//!    decides about the calls that come after, as in runc.

mod ids;
mod join;
mod mounts;
mod process;
mod refuse;
pub(crate) mod step;
mod sysctl;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use minidock_sys::clone::Namespaces;
use minidock_sys::notify;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

pub(crate) use ids::IdMaps;
pub(crate) use join::plan_join;
pub(crate) use process::Command;

use self::ids::Maps;
use self::process::Groups;
use self::step::{Fuse, Overlay, Step};
use crate::emulation::{self, Emulation};
use crate::seccomp::Filter;
use crate::{Host, Launch, PlanError, Provision, RootEmulation, Rootfs};

/// Everything that the new process does between its birth and the container's program, in order.
#[derive(Debug)]
pub struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) id_maps: IdMaps,
    pub(crate) steps: Vec<Step>,
    pub(crate) command: Command,
    /// Defaults that this host cannot give, one sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) terminal: bool,
    /// The container's user as the host counts.
    pub(crate) host_user: u32,
    pub(crate) interactive: bool,
    /// The standard streams are the supervisor's.
    pub(crate) kept: bool,
    /// Rows and columns that the Spec wants for the terminal.
    pub(crate) console_size: Option<(u16, u16)>,
    /// The process becomes a program. One that does not has memory of its own and may allocate.
    pub(crate) program: bool,
    /// Which of the caller's standard descriptors the container has.
    pub(crate) attach: [bool; 3],
    /// The first process stays, and the program is its child.
    pub(crate) init: bool,
    /// The container has a pid namespace, so that all its processes end with the first.
    pub(crate) own_processes: bool,
    /// The supervisor answers calls by which root acts for others.
    pub(crate) emulation: Option<Emulation>,
}

impl Plan {
    /// The root file system's server, if it has one.
    pub(crate) fn fuse(&self) -> Option<&Fuse> {
        self.steps.iter().find_map(|step| match step {
            Step::MountFuse(fuse) => Some(fuse),
            _ => None,
        })
    }
}

/// One line per step.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Translates a launch for a host.
///
/// # Errors
/// A [`PlanError`] names the first field of the Spec that cannot be honoured.
pub fn plan(launch: &Launch<'_>, host: &Host) -> Result<Plan, PlanError> {
    let spec = launch.spec;
    refuse::refuse_unsupported(spec, launch.cgroup.is_some())?;
    let process = spec
        .process()
        .as_ref()
        .ok_or(PlanError::Missing { field: "process" })?;
    let linux = spec
        .linux()
        .as_ref()
        .ok_or(PlanError::Missing { field: "linux" })?;
    let terminal = process.terminal().unwrap_or(false);
    if terminal != launch.terminal {
        return Err(PlanError::TerminalMismatch { spec: terminal });
    }
    let mut namespaces = namespaces(linux)?;
    let maps = Maps::of(linux)?;

    let (mut steps, id_maps) = begin(&maps, host)?;
    if let Some(group) = launch.cgroup {
        let own = namespaces.without(Namespaces::CGROUP);
        steps.splice(1..1, join_group(group, own != namespaces)?);
        namespaces = own;
    }
    if let Some(adjustment) = process.oom_score_adj() {
        steps.push(Step::OomScoreAdj(c_string(
            "process.oomScoreAdj",
            adjustment.to_string().as_bytes(),
        )?));
    }
    let mut notes = Vec::new();
    if !namespaces.contains(Namespaces::PID) {
        notes.push(
            "the container shares the host's processes: what it starts in the background outlives a killed minidock"
                .to_owned(),
        );
    }
    let emulated = emulation(
        launch.root_emulation,
        process,
        matches!(id_maps, IdMaps::Own),
        host,
        &mut notes,
    )?;
    let groups = match (&id_maps, &emulated) {
        (IdMaps::Parent { .. }, _) => Groups::Mapped,
        (IdMaps::Own, Some(_)) => Groups::Emulated,
        (IdMaps::Own, None) => Groups::Fixed,
    };
    let user = process::user(process, &maps, groups)?;
    push_mounts(
        &mut steps,
        &mut notes,
        launch,
        &mounts::Context {
            kernel: host.kernel,
            namespaces,
            maps: &maps,
        },
    )?;
    push_seal(
        &mut steps,
        spec,
        process::working_directory(process)?,
        user.owner,
    );
    if let Some(profile) = process
        .apparmor_profile()
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        steps.push(Step::AppArmor(c_string(
            "process.apparmorProfile",
            profile.as_bytes(),
        )?));
    }
    steps.push(if host.pivot_root {
        Step::PivotRoot
    } else {
        Step::MoveRoot
    });
    push_names(&mut steps, spec, namespaces)?;
    let host_user = maps.host_uid(user.owner.uid.as_raw()).unwrap_or(host.uid);
    let docker = launch.default_filter && linux.seccomp().is_none() && host.seccomp;
    let (emulate, emulation) = emulated.unzip();
    let walls = process::Walls {
        filter: filter(launch.default_filter, process, linux, host, &mut notes)?,
        emulate,
        personality: process::personality(linux)?,
        landlock: process::landlock(process, docker, host.landlock),
    };
    process::push_process(&mut steps, process, user, launch.init, walls)?;

    Ok(Plan {
        namespaces,
        id_maps,
        steps,
        command: Command::of(process)?,
        notes,
        terminal,
        host_user,
        interactive: launch.interactive,
        kept: launch.kept,
        console_size: process
            .console_size()
            .map(|size| (clamp(size.height()), clamp(size.width()))),
        attach: launch.attach,
        program: true,
        init: launch.init,
        own_processes: namespaces.contains(Namespaces::PID),
        emulation,
    })
}

/// Translates the filling of volumes: the container's ids and root file system, and no program.
///
/// # Errors
/// As for [`plan`].
pub(crate) fn plan_fill(
    launch: &Launch<'_>,
    host: &Host,
    fills: &[(&Path, &Path)],
) -> Result<Plan, PlanError> {
    let linux = launch.spec.linux().as_ref();
    let linux = linux.ok_or(PlanError::Missing { field: "linux" })?;
    let maps = Maps::of(linux)?;
    let (mut steps, id_maps) = begin(&maps, host)?;
    steps.push(Step::MakeMountsPrivate);
    push_rootfs(&mut steps, launch, host.kernel)?;
    for (source, folder) in fills {
        steps.push(Step::FillVolume {
            source: relative("path of a volume", source)?,
            folder: absolute("the volume", folder)?,
        });
    }
    steps.push(Step::Finish);
    Ok(Plan {
        namespaces: Namespaces::USER.with(Namespaces::MOUNT),
        id_maps,
        steps,
        command: Command::none(),
        notes: Vec::new(),
        terminal: false,
        host_user: host.uid,
        interactive: false,
        kept: false,
        console_size: None,
        attach: [true; 3],
        program: false,
        init: false,
        own_processes: true,
        emulation: None,
    })
}

/// A clone makes the cgroup namespace before the process is in its group, so that it has to be made afterwards.
fn join_group(group: &Path, namespace: bool) -> Result<Vec<Step>, PlanError> {
    let file = group.join(crate::cgroup::PROCESSES);
    let mut steps = vec![Step::JoinGroup(absolute("the control group", &file)?)];
    if namespace {
        steps.push(Step::OwnGroupNamespace);
    }
    Ok(steps)
}

/// The first steps: the tie to the supervisor, and the ids.
fn begin(maps: &Maps<'_>, host: &Host) -> Result<(Vec<Step>, IdMaps), PlanError> {
    let mut steps = vec![Step::DieWithSupervisor];
    if let Some(own) = maps.own(host) {
        steps.push(Step::MapOwnIds(own));
        return Ok((steps, IdMaps::Own));
    }
    let by_parent = maps.by_parent(host)?;
    steps.push(Step::AwaitIdMaps);
    if !maps.caller_is_root(host) {
        steps.push(Step::BecomeRoot);
    }
    Ok((steps, by_parent))
}

/// Root emulation, and the step that begins it. What is required is had or the container is not started.
fn emulation(
    wish: RootEmulation,
    process: &Process,
    one_id: bool,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<Option<(Step, Emulation)>, PlanError> {
    let required = match wish {
        RootEmulation::Off => return Ok(None),
        RootEmulation::Wanted => false,
        RootEmulation::Required => true,
    };
    let user = process.user();
    let why = if !one_id {
        "the container has more than one id, and needs none"
    } else if (user.uid(), user.gid()) != (0, 0) {
        "the container's user is not root with root's group"
    } else if !host.seccomp {
        "this kernel has no seccomp filters"
    } else if !host.spare_limit {
        emulation::NO_ROOM
    } else if emulation::is_in_the_way(process) {
        "a limit of file locks (RLIMIT_LOCKS) is in the way"
    } else {
        let effective = process::effective_set(process);
        let (mut filter, emulation) = Emulation::new(process, effective);
        if host.kernel >= (5, 19) {
            filter.flags |= notify::FLAG_WAIT_KILLABLE;
        }
        return Ok(Some((Step::Emulate { filter, required }, emulation)));
    };
    if required {
        return Err(PlanError::Unsupported {
            field: "root emulation",
            detail: Some(why.to_owned()),
        });
    }
    notes.push(format!("root is not emulated: {why}"));
    Ok(None)
}

/// The filter of system calls. What was asked for is had or the container is not started; the default is had where the
/// kernel can.
fn filter(
    by_default: bool,
    process: &Process,
    linux: &Linux,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<Option<Filter>, PlanError> {
    if let Some(seccomp) = linux.seccomp() {
        let (filter, unknown) = Filter::of_spec(seccomp)?;
        if !unknown.is_empty() {
            notes.push(format!(
                "the seccomp profile names what are no system calls here: {}",
                unknown.join(", ")
            ));
        }
        if filter.is_some() && !host.seccomp {
            return Err(PlanError::Unsupported {
                field: "linux.seccomp",
                detail: Some("this kernel has no seccomp filters".to_owned()),
            });
        }
        return Ok(filter);
    }
    if by_default && !host.seccomp {
        notes.push(
            "this kernel has no seccomp filters, so the container may make every system call"
                .to_owned(),
        );
    }
    Ok((by_default && host.seccomp)
        .then(|| Filter::docker(process::bounding_set(process), host.kernel)))
}

fn clamp(cells: u64) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

/// The root file system, the Spec's mounts, the terminal, and what the Spec hides or protects.
fn push_mounts(
    steps: &mut Vec<Step>,
    notes: &mut Vec<String>,
    launch: &Launch<'_>,
    context: &mounts::Context<'_>,
) -> Result<(), PlanError> {
    steps.push(if mounts::has_slave(launch.spec) {
        Step::MakeMountsSlave
    } else {
        Step::MakeMountsPrivate
    });
    push_rootfs(steps, launch, context.kernel)?;
    for provision in launch.provide {
        steps.push(provide(provision)?);
    }
    mounts::push_mounts(
        steps,
        notes,
        launch.spec.mounts().as_deref().unwrap_or_default(),
        context,
    )?;
    if launch.terminal {
        if !mounts::has_devpts(launch.spec) {
            return Err(PlanError::Missing {
                field: "mounts of type devpts at /dev/pts, which process.terminal needs",
            });
        }
        steps.push(Step::OpenTerminal);
    }
    let linux = launch.spec.linux().as_ref();
    // Before their files become read-only.
    steps.extend(sysctl::steps(linux, context.namespaces)?);
    for path in linux
        .and_then(|linux| linux.readonly_paths().as_deref())
        .unwrap_or_default()
    {
        steps.push(Step::ReadOnlyPath(relative(
            "linux.readonlyPaths",
            Path::new(path),
        )?));
    }
    for path in linux
        .and_then(|linux| linux.masked_paths().as_deref())
        .unwrap_or_default()
    {
        steps.push(Step::Mask(relative("linux.maskedPaths", Path::new(path))?));
    }
    Ok(())
}

/// The last changes to the root file system.
fn push_seal(steps: &mut Vec<Step>, spec: &Spec, working_directory: CString, owner: step::Owner) {
    steps.push(Step::FindWorkingDirectory {
        path: working_directory,
        owner,
    });
    if spec
        .root()
        .as_ref()
        .and_then(oci_spec::runtime::Root::readonly)
        .unwrap_or(false)
    {
        steps.push(Step::ReadOnlyRoot);
    }
}

fn push_names(steps: &mut Vec<Step>, spec: &Spec, namespaces: Namespaces) -> Result<(), PlanError> {
    let own_uts = namespaces.contains(Namespaces::UTS);
    for (name, field) in [
        (spec.hostname(), "hostname"),
        (spec.domainname(), "domainname"),
    ] {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if !own_uts {
            let detail = Some("it needs a uts namespace of the container's own".to_owned());
            return Err(PlanError::Unsupported { field, detail });
        }
        let name = c_string(field, name.as_bytes())?;
        steps.push(if field == "hostname" {
            Step::Hostname(name)
        } else {
            Step::Domainname(name)
        });
    }
    if namespaces.contains(Namespaces::NETWORK) {
        steps.push(Step::LoopbackUp);
    }
    Ok(())
}

fn namespaces(linux: &Linux) -> Result<Namespaces, PlanError> {
    let mut set = Namespaces::NONE;
    for namespace in linux.namespaces().as_deref().unwrap_or_default() {
        if let Some(path) = namespace.path() {
            let detail = Some(path.display().to_string());
            return Err(PlanError::Unsupported {
                field: "linux.namespaces[].path",
                detail,
            });
        }
        set = set.with(match namespace.typ() {
            LinuxNamespaceType::Mount => Namespaces::MOUNT,
            LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
            LinuxNamespaceType::Uts => Namespaces::UTS,
            LinuxNamespaceType::Ipc => Namespaces::IPC,
            LinuxNamespaceType::User => Namespaces::USER,
            LinuxNamespaceType::Pid => Namespaces::PID,
            LinuxNamespaceType::Network => Namespaces::NETWORK,
            LinuxNamespaceType::Time => {
                return Err(PlanError::Unsupported {
                    field: "linux.namespaces",
                    detail: Some("time".to_owned()),
                });
            }
        });
    }
    for (needed, field) in [
        (Namespaces::USER, "linux.namespaces of type user"),
        (Namespaces::MOUNT, "linux.namespaces of type mount"),
    ] {
        if !set.contains(needed) {
            return Err(PlanError::Missing { field });
        }
    }
    Ok(set)
}

fn provide(provision: &Provision) -> Result<Step, PlanError> {
    const FIELD: &str = "path to provide";
    match provision {
        Provision::Folder(path) => Ok(Step::ProvideFolder(relative(FIELD, path)?)),
        Provision::Link { path, target } => {
            let name = path.file_name().ok_or(PlanError::Missing {
                field: "name of a link to provide",
            })?;
            Ok(Step::ProvideLink {
                folder: relative(FIELD, path.parent().unwrap_or(Path::new("/")))?,
                name: c_string(FIELD, name.as_bytes())?,
                target: c_string(FIELD, target.as_os_str().as_bytes())?,
            })
        }
    }
}

fn push_rootfs(
    steps: &mut Vec<Step>,
    launch: &Launch<'_>,
    kernel: (u32, u32),
) -> Result<(), PlanError> {
    let become_root = steps.iter().any(|step| matches!(step, Step::BecomeRoot));
    let (from, mountpoint) = (launch.rootfs, launch.mountpoint);
    steps.push(rootfs(from, mountpoint, kernel, become_root)?);
    Ok(())
}

/// `become_root`: see [`Fuse::become_root`].
pub(crate) fn rootfs(
    rootfs: &Rootfs,
    mountpoint: &Path,
    kernel: (u32, u32),
    become_root: bool,
) -> Result<Step, PlanError> {
    let mountpoint = absolute("the mount point", mountpoint)?;
    match rootfs {
        Rootfs::Bind(source) => Ok(Step::BindRootfs {
            source: absolute("the root file system", source)?,
            mountpoint,
        }),
        Rootfs::Overlay {
            lower,
            upper,
            work,
            volatile,
        } => {
            if lower.is_empty() {
                return Err(PlanError::Missing {
                    field: "layers of the root file system",
                });
            }
            let lower = lower
                .iter()
                .map(|layer| absolute("a layer", layer))
                .collect::<Result<_, _>>()?;
            Ok(Step::MountOverlay(Overlay {
                lower,
                upper: absolute("the upper layer", upper)?,
                work: absolute("the overlay's work folder", work)?,
                volatile: *volatile,
                one_by_one: kernel >= (6, 7),
                mountpoint,
            }))
        }
        Rootfs::FuseOverlay {
            program,
            lower,
            upper,
            work,
        } => Ok(Step::MountFuse(Fuse {
            program: absolute("the program", program)?,
            options: fuse_options(lower, upper, work)?,
            layers: lower.len(),
            upper: absolute("the upper layer", upper)?,
            mountpoint,
            become_root,
        })),
    }
}

/// The options of fuse-overlayfs(1), which knows no way to write a colon or a comma in a path.
fn fuse_options(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<CString, PlanError> {
    let mut options = b"lowerdir=".to_vec();
    let named = lower.iter().map(|layer| (&b":"[..], layer.as_path()));
    let others = [(&b",upperdir="[..], upper), (b",workdir=", work)];
    for (number, (key, path)) in named.chain(others).enumerate() {
        let bytes = path.as_os_str().as_bytes();
        if !path.is_absolute() || bytes.iter().any(|b| b":,\\".contains(b)) {
            return Err(PlanError::Unsupported {
                field: "a colon, a comma or a backslash in a path of fuse-overlayfs",
                detail: Some(path.display().to_string()),
            });
        }
        if number > 0 {
            options.extend_from_slice(key);
        }
        options.extend_from_slice(bytes);
    }
    c_string("the options of fuse-overlayfs", &options)
}

/// A path of the host's. Relative ones are refused: the child changes its working directory.
fn absolute(what: &'static str, path: &Path) -> Result<CString, PlanError> {
    if !path.is_absolute() {
        return Err(PlanError::NotAbsolute {
            what,
            path: path.to_owned(),
        });
    }
    c_string(what, path.as_os_str().as_bytes())
}

/// A path of the container's, relative to its root. `..` at the root stays there, as everywhere in a file system.
fn relative(field: &'static str, path: &Path) -> Result<CString, PlanError> {
    if !path.is_absolute() {
        return Err(PlanError::NotAbsolute {
            what: field,
            path: path.to_owned(),
        });
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.as_bytes()),
            // The kernel resolves it, after symbolic links.
            Component::ParentDir => parts.push(b".."),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if parts.is_empty() {
        c_string(field, b".")
    } else {
        c_string(field, &parts.join(&b'/'))
    }
}

fn c_string(field: &'static str, bytes: &[u8]) -> Result<CString, PlanError> {
    CString::new(bytes).map_err(|_| PlanError::ZeroByte {
        field,
        text: String::from_utf8_lossy(bytes).into_owned(),
    })
}
