//! What this runtime cannot do yet: refused by the name the OCI runtime specification gives it, never ignored.

use oci_spec::runtime::{Linux, Process, Spec};

use crate::PlanError;
use crate::cgroup::limits_anything;

fn unsupported(field: &'static str) -> Result<(), PlanError> {
    Err(PlanError::Unsupported {
        field,
        detail: None,
    })
}

/// Fails on the first field that is set and cannot be honoured. `limited`: the container has a control group.
pub(super) fn refuse_unsupported(spec: &Spec, limited: bool) -> Result<(), PlanError> {
    let hooks = spec
        .hooks()
        .as_ref()
        .filter(|hooks| **hooks != oci_spec::runtime::Hooks::default());
    let checks = [
        (hooks.is_some(), "hooks"),
        (spec.solaris().is_some(), "solaris"),
        (spec.windows().is_some(), "windows"),
        (spec.vm().is_some(), "vm"),
        (spec.zos().is_some(), "zos"),
    ];
    refuse_first(&checks)?;
    if let Some(process) = spec.process() {
        refuse_process(process)?;
    }
    if let Some(linux) = spec.linux() {
        refuse_linux(linux, limited)?;
    }
    Ok(())
}

fn refuse_first(checks: &[(bool, &'static str)]) -> Result<(), PlanError> {
    checks
        .iter()
        .filter(|(set, _)| *set)
        .try_for_each(|(_, field)| unsupported(field))
}

fn named(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

pub(super) fn refuse_process(process: &Process) -> Result<(), PlanError> {
    refuse_first(&[
        (
            named(process.selinux_label().as_ref()),
            "process.selinuxLabel",
        ),
        (process.io_priority().is_some(), "process.ioPriority"),
        (process.scheduler().is_some(), "process.scheduler"),
        (
            process.exec_cpu_affinity().is_some(),
            "process.execCPUAffinity",
        ),
        (
            named(process.command_line().as_ref()),
            "process.commandLine",
        ),
    ])
}

fn refuse_linux(linux: &Linux, limited: bool) -> Result<(), PlanError> {
    refuse_first(&[
        (
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
            "linux.netDevices",
        ),
        (
            !limited && linux.resources().as_ref().is_some_and(limits_anything),
            "linux.resources",
        ),
        (linux.cgroups_path().is_some(), "linux.cgroupsPath"),
        (
            linux
                .devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
            "linux.devices",
        ),
        (named(linux.mount_label().as_ref()), "linux.mountLabel"),
        (linux.intel_rdt().is_some(), "linux.intelRdt"),
        (linux.memory_policy().is_some(), "linux.memoryPolicy"),
        (
            linux
                .time_offsets()
                .as_ref()
                .is_some_and(|offsets| !offsets.is_empty()),
            "linux.timeOffsets",
        ),
    ])?;
    match linux.rootfs_propagation().as_deref() {
        None | Some("" | "private" | "rprivate") => Ok(()),
        Some(other) => Err(PlanError::Unsupported {
            field: "linux.rootfsPropagation",
            detail: Some(other.to_owned()),
        }),
    }
}
