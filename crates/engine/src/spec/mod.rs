//! From image config, the user's wishes and facts about the caller to an OCI runtime `Spec`: a pure
//! function, so that what a flag means can be tested and printed without a kernel.
//!
//! Docker's defaults are followed: its capability set, its masked and read-only paths, its
//! environment in its order (`PATH`, `HOSTNAME`, `TERM`, the image's, the user's, `HOME`).

mod environment;
mod limits;
mod mounts;
mod namespaces;
mod resources;
mod security;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use minidock_oci::ContainerConfig;
use minidock_store::{IdExtent, MountRecord};
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};

pub use environment::{command, environment, hostname};
pub(crate) use mounts::CGROUP;
pub(crate) use security::every_capability;
pub use wishes::{
    Access, CapabilityWish, DeviceNumber, DeviceRate, DeviceWish, Dns, EmulationWish, Ipc, KeepId,
    Limits, MountWish, MountWishKind, Namespaces, Network, Propagation, Seccomp, Security, Ulimit,
    VolumesFrom, Wishes,
};

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
    /// Whether the host has message queues in its file tree.
    pub host_has_mqueue: bool,
    /// Device nodes: (path on the host, path inside).
    pub devices: &'a [(PathBuf, String)],
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
        .env(environment(
            config,
            wishes,
            hostname(wishes, facts.id, facts.host_name),
            &facts.user.home,
        ))
        .cwd(Path::new("/").join(workdir))
        .capabilities(security::capabilities(&wishes.security)?)
        .no_new_privileges(security::no_new_privileges(&wishes.security))
        .rlimits(limits::rlimits(wishes)?);
    let process = match wishes.oom_score_adj {
        Some(adjustment) => process.oom_score_adj(adjustment),
        None => process,
    };
    let process = match &wishes.security.apparmor {
        Some(profile) => process.apparmor_profile(profile.clone()),
        None => process,
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces::namespaces(wishes)?)
        .uid_mappings(id_mappings(facts.uid_map)?)
        .gid_mappings(id_mappings(facts.gid_map)?)
        .masked_paths(security::masked_paths(&wishes.security))
        .readonly_paths(security::readonly_paths(&wishes.security))
        .sysctl(
            wishes
                .sysctls
                .clone()
                .into_iter()
                .collect::<HashMap<_, _>>(),
        )
        .build()?;
    linux.set_resources(resources::resources(&wishes.limits)?);
    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .root(
            RootBuilder::default()
                .path(facts.rootfs)
                .readonly(wishes.read_only)
                .build()?,
        )
        .process(process.build()?)
        .mounts(mounts::mounts(wishes, facts)?)
        .linux(linux)
        .annotations(
            wishes
                .annotations
                .clone()
                .into_iter()
                .collect::<HashMap<_, _>>(),
        )
        .build()?;
    // The host's name is not the container's to set.
    let own_name = !wishes.namespaces.host_uts;
    spec.set_hostname(own_name.then(|| hostname(wishes, facts.id, facts.host_name).to_owned()));
    spec.set_domainname(wishes.domainname.clone().filter(|_| own_name));
    Ok(spec)
}
