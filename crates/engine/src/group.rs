//! A container's control group: found, made, remembered, removed; and what stands in where there can be none.

use std::path::{Path, PathBuf};

use minidock_run::cgroup::{self, CgroupError, Manager, Place, Setting};
use oci_spec::runtime::{LinuxResources, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec};

use crate::Error;
use crate::spec::{CGROUP, Limits};

/// A group that is to be made; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Group {
    place: Place,
    settings: Vec<Setting>,
    folder: PathBuf,
}

impl Group {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes it, with its limits.
    pub(crate) fn create(&self) -> Result<(), Error> {
        Ok(cgroup::create(&self.place, &self.folder, &self.settings)
            .map_err(minidock_run::Error::from)?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What cannot be removed now goes with the container, whose state names it.
        let _ = cgroup::remove(&self.folder);
    }
}

/// Finds a place for the group of a container that is to be limited. Where there is none and the user is content with less,
/// the Spec gets limits of each process instead, and `note` tells so.
pub(crate) fn prepare(
    spec: &mut Spec,
    limits: &Limits,
    id: &str,
    uid: u32,
    note: &dyn Fn(String),
) -> Result<Option<Group>, Error> {
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().clone());
    if resources.is_none() && limits.group.is_none() {
        if limits.best_effort {
            show_no_group(spec);
        }
        return Ok(None);
    }
    let failed = |error: CgroupError| Error::from(minidock_run::Error::from(error));
    let settings = match &resources {
        Some(resources) => cgroup::settings(resources).map_err(minidock_run::Error::from)?,
        None => Vec::new(),
    };
    let name = format!("minidock-{id}");
    let manager = Manager {
        bus: &bus(uid),
        scope: &name,
    };
    match cgroup::find(limits.group.as_deref(), Some(&manager), &settings) {
        Ok(place) => Ok(Some(Group {
            folder: place.parent.join(&name),
            place,
            settings,
        })),
        Err(error) if limits.best_effort && limits.group.is_none() => {
            let resources = resources.unwrap_or_default();
            let instead = each_process(&resources).ok_or_else(|| failed(error))?;
            show_no_group(spec);
            limit_each_process(spec, instead, note)?;
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The socket of the message bus on which a user's service manager is: root's is the system's.
pub(crate) fn bus(uid: u32) -> PathBuf {
    match uid {
        0 => "/run/dbus/system_bus_socket".into(),
        uid => format!("/run/user/{uid}/bus").into(),
    }
}

/// A limit for each process, and what the user is to know of it.
type Instead = (PosixRlimitType, u64, &'static str);

/// What setrlimit(2) has for these limits; `None` if anything is among them that it has nothing for.
fn each_process(resources: &LinuxResources) -> Option<Vec<Instead>> {
    let mut rest = resources.clone();
    rest.set_memory(None).set_pids(None);
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().and_then(|limit| u64::try_from(limit).ok());
        if memory.reservation().is_some() || limit.is_none() {
            return None;
        }
        all.extend(limit.map(|limit| {
            (
                PosixRlimitType::RlimitData,
                limit,
                "--memory limits the data of each process (RLIMIT_DATA), not all of them together",
            )
        }));
    }
    if let Some(pids) = resources.pids() {
        all.extend(u64::try_from(pids.limit()).ok().map(|limit| {
            (
                PosixRlimitType::RlimitNproc,
                limit,
                "--pids-limit limits the processes of your user (RLIMIT_NPROC); before Linux 5.14 those outside the container count as well",
            )
        }));
    }
    (rest == LinuxResources::default()).then_some(all)
}

fn limit_each_process(
    spec: &mut Spec,
    instead: Vec<Instead>,
    note: &dyn Fn(String),
) -> Result<(), Error> {
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None);
    }
    let Some(process) = spec.process_mut() else {
        return Ok(());
    };
    let mut all: Vec<PosixRlimit> = process.rlimits().clone().unwrap_or_default();
    for (kind, limit, words) in instead {
        // A limit of the same kind that the user gave himself stays.
        if all.iter().any(|other| other.typ() == kind) {
            continue;
        }
        all.push(
            PosixRlimitBuilder::default()
                .typ(kind)
                .soft(limit)
                .hard(limit)
                .build()?,
        );
        note(format!("no control group can be had here: {words}"));
    }
    process.set_rlimits(Some(all));
    Ok(())
}

/// There is none to be shown.
fn show_no_group(spec: &mut Spec) {
    if let Some(mounts) = spec.mounts_mut() {
        mounts.retain(|mount| {
            mount.destination() != Path::new(CGROUP) || mount.typ().as_deref() != Some("cgroup")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_memory_and_processes_have_limits_of_each_process() {
        let found = |json| {
            each_process(&resources(json)).map(|all| {
                all.into_iter()
                    .map(|(kind, limit, _)| (kind, limit))
                    .collect()
            })
        };
        assert_eq!(
            found(r#"{"memory":{"limit":1000,"swap":2000},"pids":{"limit":5}}"#),
            Some(vec![
                (PosixRlimitType::RlimitData, 1000),
                (PosixRlimitType::RlimitNproc, 5)
            ])
        );
        assert_eq!(found(r#"{"pids":{"limit":-1}}"#), Some(vec![]));
        assert_eq!(found(r#"{"cpu":{"quota":5},"pids":{"limit":5}}"#), None);
        assert_eq!(found(r#"{"memory":{"reservation":5}}"#), None);
    }
}
