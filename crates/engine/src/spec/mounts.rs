//! The container's mounts, in the order in which they are made.
//!
//! What the user wants mounted takes the place of a default with the same path. Then all are ordered by how deep they lie, so
//! that none covers another that was made before, and otherwise as they come: first the defaults, then what was asked for,
//! then the files that every container has of its own.

use std::path::Path;

use minidock_store::{MountKind, MountRecord};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{Facts, Wishes};

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

fn defaults() -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let none = ["nosuid", "noexec", "nodev"];
    Ok(vec![
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
        mount(
            "/dev/shm",
            "tmpfs",
            Path::new("shm"),
            &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
        )?,
        mount("/dev/mqueue", "mqueue", Path::new("mqueue"), &none)?,
        mount(
            "/sys",
            "sysfs",
            Path::new("sysfs"),
            &["nosuid", "noexec", "nodev", "ro"],
        )?,
    ])
}

/// Every mount, in order.
pub(super) fn mounts(
    wishes: &Wishes,
    facts: &Facts<'_>,
) -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let taken = |path: &str| facts.mounts.iter().any(|m| m.target == path);
    let own_dev = taken("/dev");
    let stays = |mount: &Mount| {
        let path = mount.destination().to_string_lossy();
        // A terminal has its name there, and needs one.
        let needed = wishes.terminal && path == "/dev/pts";
        !taken(&path) && (!own_dev || needed || !path.starts_with("/dev/"))
    };
    let mut all = defaults()?;
    all.retain(stays);
    for record in facts.mounts {
        all.push(asked_for(record)?);
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
