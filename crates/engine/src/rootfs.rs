//! What a container's `/` is made of.

use std::path::{Component, Path};

use minidock_oci::ContainerConfig;
use minidock_run::{Provision, Rootfs};
use oci_spec::runtime::Spec;

use crate::Error;
use crate::storage::{StorageDriver, Wanted};

/// What the storage driver makes; or, for a container that writes nothing, the image's files themselves, where they are one
/// folder that has every place on which something is mounted: then nothing is needed that not every kernel and file
/// system gives to ordinary users.
///
/// # Errors
/// When the driver cannot make it.
pub fn choose(
    driver: &dyn StorageDriver,
    wanted: &Wanted<'_>,
    spec: &Spec,
    config: &ContainerConfig,
) -> Result<Rootfs, Error> {
    let read_only = spec.root().as_ref().and_then(|r| r.readonly()) == Some(true);
    if read_only
        && let Some(whole) = driver.whole_image(wanted)?
        && has_all_places(&whole, spec, config)
    {
        return Ok(Rootfs::Bind(whole));
    }
    driver.rootfs(wanted)
}

/// Whether a tree has, without symbolic links on the way, every mount's target, the working directory and the volumes.
fn has_all_places(tree: &Path, spec: &Spec, config: &ContainerConfig) -> bool {
    let found = |inside: &Path| {
        let mut at = tree.to_owned();
        let mut meta = None;
        for part in inside
            .components()
            .filter(|c| matches!(c, Component::Normal(_)))
        {
            at.push(part);
            match std::fs::symlink_metadata(&at) {
                Ok(m) if m.is_symlink() => return None,
                Ok(m) => meta = Some(m),
                Err(_) => return None,
            }
        }
        meta
    };
    let is_folder =
        |inside: &Path| inside == Path::new("/") || found(inside).is_some_and(|m| m.is_dir());
    // What is mounted below another mount finds its place there.
    let below = |inside: &Path| {
        ["/dev/", "/proc/", "/sys/"]
            .iter()
            .any(|p| inside.to_string_lossy().starts_with(p))
    };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let cwd = spec.process().as_ref().map_or(Path::new("/"), |p| p.cwd());
    mounts
        .iter()
        .filter(|m| !below(m.destination()))
        .all(|m| match m.typ().as_deref() {
            Some("bind") => found(m.destination()).is_some_and(|m| m.is_file()),
            _ => is_folder(m.destination()),
        })
        && is_folder(cwd)
        && config.volumes.keys().all(|v| is_folder(Path::new(v)))
}

/// What Docker's containers have beside the image's files: `/etc/mtab`, and a folder for each volume.
pub fn provisions(config: &ContainerConfig) -> Vec<Provision> {
    let mut provide = vec![Provision::Link {
        path: "/etc/mtab".into(),
        target: "/proc/mounts".into(),
    }];
    let volumes = config.volumes.keys();
    provide.extend(volumes.map(|v| Provision::Folder(Path::new("/").join(v))));
    provide
}
