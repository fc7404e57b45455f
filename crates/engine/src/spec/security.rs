//! What a container may do and see: capabilities, and which parts of `/proc` and `/sys`.

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::{CapabilityWish, Security};

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

/// Every capability that there is (capabilities(7)).
const EVERY_CAPABILITY: [Capability; 41] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setgid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

/// The set as Docker puts it together: `ALL` among those to add wins, then `ALL` among those to drop, else the default less
/// what is dropped and then with what is added.
fn granted(security: &Security) -> oci_spec::runtime::Capabilities {
    let one = |wish: &CapabilityWish| match wish {
        CapabilityWish::One(capability) => Some(*capability),
        CapabilityWish::All => None,
    };
    let added = || security.cap_add.iter().filter_map(one);
    let dropped = |capability: &Capability| {
        security
            .cap_drop
            .contains(&CapabilityWish::One(*capability))
    };
    if security.privileged || security.cap_add.contains(&CapabilityWish::All) {
        let every = EVERY_CAPABILITY.into_iter();
        return every.filter(|capability| !dropped(capability)).collect();
    }
    if security.cap_drop.contains(&CapabilityWish::All) {
        return added().collect();
    }
    let default = CAPABILITIES.into_iter();
    default
        .filter(|capability| !dropped(capability))
        .chain(added())
        .collect()
}

/// As runc does for a user other than root: permitted and effective stay empty after exec, and only the bounding set says what
/// a set-user-ID program may regain. The kernel sees to the rest.
pub(super) fn capabilities(
    security: &Security,
) -> Result<LinuxCapabilities, oci_spec::OciSpecError> {
    let granted = granted(security);
    LinuxCapabilitiesBuilder::default()
        .bounding(granted.clone())
        .permitted(granted.clone())
        .effective(granted)
        .inheritable(oci_spec::runtime::Capabilities::new())
        .ambient(oci_spec::runtime::Capabilities::new())
        .build()
}

/// Those of a program that is to have all of them.
pub(crate) fn every_capability() -> Result<LinuxCapabilities, oci_spec::OciSpecError> {
    capabilities(&Security {
        privileged: true,
        ..Security::default()
    })
}

/// Docker leaves them to be gained unless asked; here it is the other way round, but for privileged containers.
pub(super) fn no_new_privileges(security: &Security) -> bool {
    security.no_new_privileges.unwrap_or(!security.privileged)
}

/// Whether `/proc` and `/sys` are as the kernel shows them.
pub(super) fn is_unconfined(security: &Security) -> bool {
    security.privileged || security.system_paths_unconfined
}

pub(super) fn masked_paths(security: &Security) -> Vec<String> {
    paths(security, &[&MASKED[..], &MASKED_MORE[..]].concat())
}

pub(super) fn readonly_paths(security: &Security) -> Vec<String> {
    paths(security, &READ_ONLY)
}

fn paths(security: &Security, paths: &[&str]) -> Vec<String> {
    if is_unconfined(security) {
        return Vec::new();
    }
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_combine_as_in_docker() {
        use CapabilityWish::{All, One};
        let granted = |add: &[CapabilityWish], drop: &[CapabilityWish]| {
            granted(&Security {
                cap_add: add.to_vec(),
                cap_drop: drop.to_vec(),
                ..Security::default()
            })
        };
        let (kill, admin) = (Capability::Kill, Capability::SysAdmin);
        assert_eq!(granted(&[], &[]).len(), 14);
        assert_eq!(granted(&[One(admin)], &[One(kill)]).len(), 14);
        assert!(!granted(&[One(admin)], &[One(kill)]).contains(&kill));
        assert!(granted(&[One(kill)], &[One(kill)]).contains(&kill));
        assert_eq!(granted(&[All], &[]).len(), 41);
        assert_eq!(granted(&[All], &[One(kill)]).len(), 40);
        assert_eq!(granted(&[All], &[All]).len(), 41);
        assert!(granted(&[], &[All]).is_empty());
        assert_eq!(
            granted(&[One(kill)], &[All])
                .into_iter()
                .collect::<Vec<_>>(),
            [kill]
        );
    }
}
