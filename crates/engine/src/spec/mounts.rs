//! The container's mounts, in the order in which they are made.
//!
//! What the user wants mounted takes the place of a default with the same path. Then all are ordered by how deep they lie, so
//! that none covers another that was made before, and otherwise as they come: first the defaults, then what was asked for,
//! then the files that every container has of its own.

use std::path::Path;

use minidock_store::{MountKind, MountRecord};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{Facts, Ipc, Limits, Wishes, security};

/// Where the container's control group is shown.
pub(crate) const CGROUP: &str = "/sys/fs/cgroup";
/// Docker's, in bytes.
const SHM_SIZE: u64 = 64 << 20;

fn mount(
    destination: &str,
    kind: &str,
    source: &Path,
    options: &[&str],
) -> Result<Mount, oci_spec::OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()
}

fn defaults(wishes: &Wishes) -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let none = ["nosuid", "noexec", "nodev"];
    let shm_size = format!("size={}", wishes.shm_size.unwrap_or(SHM_SIZE));
    let sys = match security::is_unconfined(&wishes.security) {
        true => &none[..],
        false => &["nosuid", "noexec", "nodev", "ro"],
    };
    let mut mounts = vec![
        mount("/proc", "proc", Path::new("proc"), &none)?,
        mount(
            "/dev",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount(
            "/dev/pts",
            "devpts",
            Path::new("devpts"),
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        )?,
        mount("/dev/mqueue", "mqueue", Path::new("mqueue"), &none)?,
        mount("/sys", "sysfs", Path::new("sysfs"), sys)?,
    ];
    let shm = match wishes.namespaces.ipc {
        Ipc::Private => Some(mount(
            "/dev/shm",
            "tmpfs",
            Path::new("shm"),
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        )?),
        Ipc::Host => Some(mount(
            "/dev/shm",
            "bind",
            Path::new("/dev/shm"),
            &["bind", "rprivate", "nosuid", "noexec", "nodev"],
        )?),
        Ipc::None => None,
    };
    mounts.extend(shm);
    Ok(mounts)
}

/// Every mount, in order.
pub(super) fn mounts(
    wishes: &Wishes,
    facts: &Facts<'_>,
) -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let taken = |path: &str| facts.mounts.iter().any(|m| m.target == path);
    let own_dev = taken("/dev");
    // The host's queues stand in for its own, where there are any.
    let no_queues = wishes.namespaces.ipc == Ipc::Host && !facts.host_has_mqueue;
    let goes = |mount: &Mount| {
        let path = mount.destination().to_string_lossy();
        // A terminal has its name there, and needs one.
        let needed = wishes.terminal && path == "/dev/pts";
        taken(&path)
            || (no_queues && path == "/dev/mqueue")
            || (own_dev && !needed && path.starts_with("/dev/"))
    };
    let mut all = defaults(wishes)?;
    // Programs look there for what they may use: runtimes of Java, Go and Node.js do.
    if wishes.limits != Limits::default() && !wishes.namespaces.host_cgroup {
        all.push(mount(
            CGROUP,
            "cgroup",
            Path::new("cgroup"),
            &["nosuid", "noexec", "nodev", "ro"],
        )?);
    }
    all.retain(|mount| !goes(mount));
    for record in facts.mounts {
        all.push(asked_for(record)?);
    }
    for (host, inside) in facts.devices {
        all.push(mount(
            inside,
            "bind",
            host,
            &["bind", "rprivate", "nosuid", "noexec"],
        )?);
    }
    for (host, inside) in facts.files {
        if !taken(inside) {
            all.push(mount(inside, "bind", host, &["bind", "rprivate"])?);
        }
    }
    all.sort_by_key(|mount| mount.destination().components().count());
    Ok(all)
}

fn asked_for(record: &MountRecord) -> Result<Mount, oci_spec::OciSpecError> {
    let (kind, source) = match record.kind {
        MountKind::Bind | MountKind::Volume => ("bind", record.source.as_path()),
        MountKind::Tmpfs => ("tmpfs", Path::new("tmpfs")),
    };
    let options: Vec<&str> = record.options.iter().map(String::as_str).collect();
    mount(&record.target, kind, source, &options)
}
