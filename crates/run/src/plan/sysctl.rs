//! Parameters of the kernel's (sysctl(8)): only those that a namespace of the container's own has for itself.

use minidock_sys::clone::Namespaces;
use oci_spec::runtime::Linux;

use super::c_string;
use super::step::Step;
use crate::PlanError;

const FIELD: &str = "linux.sysctl";

/// Those of System V IPC (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// One step each, in the order of their names.
pub(super) fn steps(linux: Option<&Linux>, own: Namespaces) -> Result<Vec<Step>, PlanError> {
    let Some(all) = linux.and_then(|linux| linux.sysctl().as_ref()) else {
        return Ok(Vec::new());
    };
    let mut all: Vec<_> = all.iter().collect();
    all.sort();
    all.into_iter()
        .map(|(name, value)| {
            let path = path(name, own)?;
            Ok(Step::Sysctl {
                path: c_string(FIELD, format!("proc/sys/{path}").as_bytes())?,
                value: c_string(FIELD, value.as_bytes())?,
            })
        })
        .collect()
}

/// The name as a path below `/proc/sys`.
fn path(name: &str, own: Namespaces) -> Result<String, PlanError> {
    let refused = |why: &str| {
        Err(PlanError::Unsupported {
            field: FIELD,
            detail: Some(format!("{name} ({why})")),
        })
    };
    let path = name.replace('.', "/");
    if path.split('/').any(str::is_empty) {
        return refused("it is no name of a parameter");
    }
    let needed = if path.starts_with("net/") {
        Namespaces::NETWORK
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path.as_str()) {
        Namespaces::IPC
    } else if path == "kernel/domainname" || path == "kernel/hostname" {
        Namespaces::UTS
    } else {
        return refused("it is the whole host's and not the container's");
    };
    if !own.contains(needed) {
        return refused("the container shares the namespace that it belongs to with the host");
    }
    Ok(path)
}
