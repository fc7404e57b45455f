//! The Spec's process: who it is, what it may do, and which program it becomes.

use std::ffi::CString;

use minidock_sys::exec::CStringArray;
use oci_spec::runtime::{
    Linux, LinuxCapabilities, LinuxPersonalityDomain, PosixRlimitType, Process,
};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::CapabilitySet;

use super::ids::Maps;
use super::step::{self, Owner, Step};
use super::{c_string, relative};
use crate::PlanError;
use crate::seccomp::Filter;

/// Where a command without a slash is looked for when the environment has no `PATH`: what Docker sets.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program and how it is found, as execve(2) wants it.
#[derive(Debug)]
pub(crate) struct Command {
    /// The paths to try in turn, as the container sees them.
    pub candidates: Vec<CString>,
    pub argv: CStringArray,
    pub envp: CStringArray,
    /// The command as the Spec has it.
    pub name: String,
    /// The search path, where one was used.
    pub search: Option<String>,
}

impl Command {
    /// No program.
    pub(super) fn none() -> Self {
        Self {
            candidates: Vec::new(),
            argv: CStringArray::new(Vec::new()),
            envp: CStringArray::new(Vec::new()),
            name: String::new(),
            search: None,
        }
    }

    pub(super) fn of(process: &Process) -> Result<Self, PlanError> {
        let args = process.args().as_deref().unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        let name = args.first().ok_or(PlanError::Missing {
            field: "process.args",
        })?;
        let search = (!name.contains('/')).then(|| search_path(env).to_owned());
        let candidates = match &search {
            None => vec![c_string("process.args", name.as_bytes())?],
            // POSIX: an empty name is never found, whatever the folders are.
            Some(_) if name.is_empty() => Vec::new(),
            Some(path) => candidates(path, name)?,
        };
        Ok(Self {
            candidates,
            argv: strings("process.args", args)?,
            envp: strings("process.env", env)?,
            name: name.clone(),
            search,
        })
    }
}

/// The last `PATH` counts, as for getenv in most programs once duplicates are there; engines pass only one.
fn search_path(env: &[String]) -> &str {
    env.iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH)
}

fn candidates(path: &str, name: &str) -> Result<Vec<CString>, PlanError> {
    path.split(':')
        .map(|folder| match folder {
            // POSIX: an empty entry is the working directory.
            "" => c_string("process.args", format!("./{name}").as_bytes()),
            folder => c_string(
                "process.env",
                format!("{}/{name}", folder.trim_end_matches('/')).as_bytes(),
            ),
        })
        .collect()
}

fn strings(field: &'static str, strings: &[String]) -> Result<CStringArray, PlanError> {
    let strings: Result<Vec<CString>, _> = strings
        .iter()
        .map(|string| c_string(field, string.as_bytes()))
        .collect();
    Ok(CStringArray::new(strings?))
}

/// The container's user, checked against the id maps.
#[derive(Debug)]
pub(super) struct User {
    pub owner: Owner,
    groups: Option<Vec<Gid>>,
}

/// Which further groups a process can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    /// All that are mapped.
    Mapped,
    /// The kernel denies changing them.
    Fixed,
    /// The same, and what the process is told is another matter.
    Emulated,
}

pub(super) fn user(process: &Process, maps: &Maps<'_>, groups: Groups) -> Result<User, PlanError> {
    let user = process.user();
    if !maps.has_uid(user.uid()) {
        return Err(PlanError::IdNotMapped {
            field: "process.user.uid",
            id: user.uid(),
        });
    }
    if !maps.has_gid(user.gid()) {
        return Err(PlanError::IdNotMapped {
            field: "process.user.gid",
            id: user.gid(),
        });
    }
    let additional = user.additional_gids().as_deref().unwrap_or_default();
    let owner = Owner {
        uid: Uid::from_raw(user.uid()),
        gid: Gid::from_raw(user.gid()),
    };
    if groups != Groups::Mapped {
        // The one group that is mapped is the process's own already.
        let other = |gid: &&u32| **gid != user.gid() && groups == Groups::Fixed;
        return match additional.iter().find(other) {
            Some(&id) => Err(PlanError::IdNotMapped {
                field: "process.user.additionalGids",
                id,
            }),
            None => Ok(User {
                owner,
                groups: None,
            }),
        };
    }
    match additional.iter().find(|&&gid| !maps.has_gid(gid)) {
        Some(&id) => Err(PlanError::IdNotMapped {
            field: "process.user.additionalGids",
            id,
        }),
        None => Ok(User {
            owner,
            groups: Some(additional.iter().map(|&gid| Gid::from_raw(gid)).collect()),
        }),
    }
}

pub(super) fn working_directory(process: &Process) -> Result<CString, PlanError> {
    relative("process.cwd", process.cwd())
}

/// What stands around the process besides its namespaces.
#[derive(Debug)]
pub(super) struct Walls {
    pub filter: Option<Filter>,
    /// Has calls answered by the supervisor.
    pub emulate: Option<Step>,
    pub personality: u32,
    /// Which version of Landlock is to keep it to its own files.
    pub landlock: Option<u32>,
}

/// The first version of Landlock that does not refuse every move between folders.
const LANDLOCK: u32 = 2;

/// Whether Landlock is to stand around a process: where Docker's filter does, which refuses already all that a Landlock domain
/// would refuse besides (mounts, in the main), so that no program notices. Who may mount, or has a filter of his own choice,
/// may mean to start containers inside.
pub(super) fn landlock(process: &Process, docker: bool, version: u32) -> Option<u32> {
    let confined = docker && process.no_new_privileges().unwrap_or(false);
    let may_mount = bounding_set(process).contains(CapabilitySet::SYS_ADMIN);
    (confined && !may_mount && version >= LANDLOCK).then_some(version)
}

/// `PER_LINUX32` (personality(2)).
const LINUX32: u32 = 8;

/// The kernel's own unless the Spec says otherwise: the caller's (`setarch -R`, say) is not inherited.
pub(super) fn personality(linux: &Linux) -> Result<u32, PlanError> {
    let Some(wanted) = linux.personality() else {
        return Ok(0);
    };
    if wanted
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(PlanError::Unsupported {
            field: "linux.personality.flags",
            detail: None,
        });
    }
    Ok(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => LINUX32,
    })
}

/// The steps from the pivot to the program.
pub(super) fn push_process(
    steps: &mut Vec<Step>,
    process: &Process,
    user: User,
    init: bool,
    walls: Walls,
) -> Result<(), PlanError> {
    steps.push(Step::EnterWorkingDirectory);
    steps.push(Step::NewKeyring);
    steps.push(Step::Personality(walls.personality));
    steps.push(Step::Umask(process.user().umask().unwrap_or(0o022)));
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let number = |value: u64| (value != u64::MAX).then_some(value);
        steps.push(Step::ResourceLimit {
            name: limit.typ().to_string(),
            resource: resource(limit.typ()),
            limit: Rlimit {
                current: number(limit.soft()),
                maximum: number(limit.hard()),
            },
        });
    }
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.extend(walls.landlock.map(Step::OwnFilesOnly));
    // As in runc: as late as can be, which without no_new_privs is before CAP_SYS_ADMIN is gone.
    let filters: Vec<Step> = walls
        .emulate
        .into_iter()
        .chain(walls.filter.map(Step::Filter))
        .collect();
    let (early, late) = if no_new_privileges {
        (Vec::new(), filters)
    } else {
        (filters, Vec::new())
    };
    let (bounding, sets) = capabilities(process.capabilities().as_ref());
    steps.push(Step::BoundCapabilities(bounding));
    let owner = user.owner;
    let keep_capabilities = !owner.uid.is_root() && !sets.permitted.is_empty();
    if early.iter().any(|s| matches!(s, Step::Emulate { .. })) {
        // It is the container's root already, and nobody could answer yet what it would ask from then on. The one capability
        // more, which installing takes, is not in the bounding set: execve(2) takes it away.
        steps.push(Step::SetCapabilities(sets.with(CapabilitySet::SYS_ADMIN)));
        steps.extend(early);
    } else {
        steps.extend(early);
        steps.push(Step::BecomeUser {
            owner,
            groups: user.groups,
            keep_capabilities,
        });
        steps.push(Step::SetCapabilities(sets));
    }
    // Changing ids makes the kernel forget the signal asked for at a parent's death (prctl(2)).
    steps.push(Step::DieWithSupervisor);
    steps.push(Step::NewSession);
    steps.push(Step::Stdio { owner });
    if init {
        steps.push(Step::Reap);
    }
    steps.push(Step::FindCommand);
    steps.extend(late);
    steps.push(Step::Execute);
    Ok(())
}

/// The capabilities that the container's root has.
pub(super) fn effective_set(process: &Process) -> CapabilitySet {
    capabilities(process.capabilities().as_ref()).1.effective
}

/// The set that Docker's profile is read for.
pub(super) fn bounding_set(process: &Process) -> CapabilitySet {
    capabilities(process.capabilities().as_ref()).0
}

/// The bounding set and the others. A Spec without capabilities grants none.
fn capabilities(capabilities: Option<&LinuxCapabilities>) -> (CapabilitySet, step::Capabilities) {
    let set = |capabilities: Option<&oci_spec::runtime::Capabilities>| {
        capabilities
            .into_iter()
            .flatten()
            .fold(CapabilitySet::empty(), |set, capability| {
                set | CapabilitySet::from_name(&capability.to_string())
                    .unwrap_or(CapabilitySet::empty())
            })
    };
    let sets = step::Capabilities {
        effective: set(capabilities.and_then(|sets| sets.effective().as_ref())),
        permitted: set(capabilities.and_then(|sets| sets.permitted().as_ref())),
        inheritable: set(capabilities.and_then(|sets| sets.inheritable().as_ref())),
        ambient: set(capabilities.and_then(|sets| sets.ambient().as_ref())),
    };
    (
        set(capabilities.and_then(|sets| sets.bounding().as_ref())),
        sets,
    )
}

fn resource(limit: PosixRlimitType) -> Resource {
    match limit {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_of_the_specification_has_its_bit() {
        use oci_spec::runtime::Capability;
        for number in 0..41 {
            let bit = CapabilitySet::from_bits_retain(1 << number);
            let (name, _) = bit.iter_names().next().unwrap();
            let capability: Capability = name.parse().unwrap();
            assert_eq!(
                CapabilitySet::from_name(&capability.to_string()),
                Some(bit),
                "{name}"
            );
        }
    }

    #[test]
    fn the_search_follows_path() {
        let found = candidates("/usr/bin::/sbin/:rel", "x").unwrap();
        assert_eq!(
            found,
            [c"/usr/bin/x", c"./x", c"/sbin/x", c"rel/x"].map(ToOwned::to_owned)
        );
        assert_eq!(
            search_path(&["A=1".into(), "PATH=/a".into(), "PATH=/b".into()]),
            "/b"
        );
        assert_eq!(search_path(&["XPATH=/a".into()]), DEFAULT_PATH);
    }
}
