//! From image config, the user's wishes and facts about the caller to an OCI runtime `Spec`: a pure
//! function, so that what a flag means can be tested and printed without a kernel.
//!
//! Docker's defaults are followed: its capability set, its masked and read-only paths, its
//! environment in its order (`PATH`, `HOSTNAME`, `TERM`, the image's, the user's, `HOME`).

mod environment;
mod mounts;
#[cfg(test)]
mod tests;
mod wishes;

use std::path::{Path, PathBuf};

use minidock_oci::ContainerConfig;
use minidock_store::{IdExtent, MountRecord};
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};

pub use environment::{command, hostname};
pub use wishes::{Access, MountWish, MountWishKind, Network, Propagation, VolumesFrom, Wishes};

use environment::environment;

use crate::user::ResolvedUser;

/// What else the `Spec` depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Host name of this machine, for `--network host`.
    pub host_name: &'a str,
    /// Resolved user.
    pub user: &'a ResolvedUser,
    /// User map.
    pub uid_map: &'a [IdExtent],
    /// Group map.
    pub gid_map: &'a [IdExtent],
    /// Where the root file system will be mounted.
    pub rootfs: &'a Path,
    /// Files that take the place of the image's: (path on the host, path inside).
    pub files: &'a [(PathBuf, &'static str)],
    /// What the user and the image want mounted.
    pub mounts: &'a [MountRecord],
}

/// Docker's default capabilities.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::Mknod,
    Capability::AuditWrite,
    Capability::Setfcap,
];

/// Paths that tell about or act on the host.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const MASKED_MORE: [&str; 1] = ["/sys/devices/virtual/powercap"];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn namespaces(wishes: &Wishes) -> Result<Vec<LinuxNamespace>, oci_spec::OciSpecError> {
    use LinuxNamespaceType as T;
    let mut kinds = vec![T::User, T::Pid, T::Mount, T::Uts, T::Ipc, T::Cgroup];
    if wishes.network == Network::None {
        kinds.push(T::Network);
    }
    kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect()
}

fn id_mappings(map: &[IdExtent]) -> Result<Vec<LinuxIdMapping>, oci_spec::OciSpecError> {
    map.iter()
        .map(|e| {
            LinuxIdMappingBuilder::default()
                .container_id(e.container)
                .host_id(e.host)
                .size(e.size)
                .build()
        })
        .collect()
}

/// Puts the `Spec` together.
///
/// # Errors
/// When `oci_spec` refuses a value.
pub fn build(
    config: &ContainerConfig,
    wishes: &Wishes,
    facts: &Facts<'_>,
) -> Result<Spec, oci_spec::OciSpecError> {
    let all: oci_spec::runtime::Capabilities = CAPABILITIES.into_iter().collect();
    // As runc does for a user other than root: permitted and effective stay empty after exec, and
    // only the bounding set says what a setuid program may regain. The kernel sees to the rest.
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .permitted(all.clone())
        .effective(all)
        .inheritable(oci_spec::runtime::Capabilities::new())
        .ambient(oci_spec::runtime::Capabilities::new())
        .build()?;
    let user = UserBuilder::default()
        .uid(facts.user.uid)
        .gid(facts.user.gid)
        .additional_gids(facts.user.additional_gids.clone())
        .build()?;
    let workdir = wishes
        .workdir
        .as_deref()
        .or(Some(config.working_dir.as_str()))
        .filter(|w| !w.is_empty())
        .unwrap_or("/");
    let process = ProcessBuilder::default()
        .terminal(wishes.terminal)
        .user(user)
        .args(command(config, wishes))
        .env(environment(config, wishes, facts))
        .cwd(Path::new("/").join(workdir))
        .capabilities(capabilities)
        .no_new_privileges(true)
        .rlimits(Vec::new())
        .build()?;
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces(wishes)?)
        .uid_mappings(id_mappings(facts.uid_map)?)
        .gid_mappings(id_mappings(facts.gid_map)?)
        .masked_paths(strings(&[&MASKED[..], &MASKED_MORE[..]].concat()))
        .readonly_paths(strings(&READ_ONLY))
        .build()?;
    SpecBuilder::default()
        .version("1.2.0")
        .hostname(hostname(wishes, facts.id, facts.host_name))
        .root(
            RootBuilder::default()
                .path(facts.rootfs)
                .readonly(wishes.read_only)
                .build()?,
        )
        .process(process)
        .mounts(mounts::mounts(wishes, facts)?)
        .linux(linux)
        .build()
}
