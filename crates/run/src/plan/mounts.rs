//! The Spec's mounts: fstab-style options to flags, and what stands in where a namespace is shared with the host.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use minidock_sys::clone::Namespaces;
use minidock_sys::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, Attributes};
use oci_spec::runtime::{Mount, Spec};
use rustix::mount::MountFlags;

use super::ids::Maps;
use super::step::{Bind, Fallback, FsMount, Step, Target};
use super::{absolute, c_string, relative};
use crate::PlanError;

/// What the translation of a mount depends on besides the mount.
pub(super) struct Context<'a> {
    pub kernel: (u32, u32),
    pub namespaces: Namespaces,
    pub maps: &'a Maps<'a>,
}

const FIELD: &str = "mounts";

/// What the host's own `/proc` and `/sys` may still do when they stand in for fresh ones.
const HARMLESS: u64 = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;

/// Whether any mount goes on following the host's.
pub(super) fn has_slave(spec: &Spec) -> bool {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let options = mounts.iter().filter_map(|mount| mount.options().as_ref());
    options
        .flatten()
        .any(|option| matches!(option.as_str(), "slave" | "rslave"))
}

pub(super) fn has_devpts(spec: &Spec) -> bool {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    mounts.iter().any(|mount| {
        mount.typ().as_deref() == Some("devpts") && mount.destination() == Path::new("/dev/pts")
    })
}

pub(super) fn push_mounts(
    steps: &mut Vec<Step>,
    notes: &mut Vec<String>,
    mounts: &[Mount],
    context: &Context<'_>,
) -> Result<(), PlanError> {
    for mount in mounts {
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(PlanError::Unsupported {
                field: "mounts[].uidMappings",
                detail: Some(name(mount)),
            });
        }
        let path = relative(FIELD, mount.destination())?;
        if path.to_bytes() == b"." {
            return Err(PlanError::Unsupported {
                field: FIELD,
                detail: Some("a mount on /".to_owned()),
            });
        }
        let options = Options::parse(mount)?;
        let fills_dev =
            path.to_bytes() == b"dev" && mount.typ().as_deref() == Some("tmpfs") && !options.bind;
        steps.push(if options.bind {
            bind(mount, path, &options)?
        } else {
            file_system(mount, path, options, context, notes)?
        });
        if fills_dev {
            steps.push(Step::FillDev);
        }
    }
    Ok(())
}

fn name(mount: &Mount) -> String {
    mount.destination().display().to_string()
}

fn bind(mount: &Mount, path: CString, options: &Options) -> Result<Step, PlanError> {
    let source = mount.source().as_deref().ok_or(PlanError::Missing {
        field: "mounts[].source of a bind mount",
    })?;
    if let Some(unknown) = options.data.first() {
        return Err(unsupported_option(mount, unknown));
    }
    Ok(Step::Bind(Bind {
        source: absolute("mounts[].source", source)?,
        target: Target {
            follow: may_follow(path.to_bytes()),
            path,
        },
        recursive: options.recursive,
        attributes: Attributes {
            set: options.attributes,
            ..Attributes::default()
        },
        attributes_recursive: options.attributes_recursive,
        slave: options.slave,
    }))
}

/// `/proc`, `/sys`, `/dev` and what is below them belong to the runtime: an image's symbolic link there is an attempt
/// to have devices or kernel files appear elsewhere.
fn may_follow(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').next();
    !matches!(first, Some(b"proc" | b"sys" | b"dev"))
}

fn file_system(
    mount: &Mount,
    path: CString,
    options: Options,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Step, PlanError> {
    let fs_type = mount.typ().as_deref().ok_or(PlanError::Missing {
        field: "mounts[].type",
    })?;
    let own = |namespace| context.namespaces.contains(namespace);
    let (shared, fallback, follow) = match fs_type {
        "proc" => {
            let host = Attributes {
                set: HARMLESS,
                ..Attributes::default()
            };
            (!own(Namespaces::PID), Fallback::HostTree(host), false)
        }
        "sysfs" => {
            let host = Attributes {
                set: HARMLESS | ATTR_RDONLY,
                ..Attributes::default()
            };
            (!own(Namespaces::NETWORK), Fallback::HostTree(host), false)
        }
        "mqueue" => (!own(Namespaces::IPC), Fallback::None, false),
        "cgroup" | "cgroup2" => (false, Fallback::Skip, false),
        "devpts" => (false, Fallback::None, false),
        "tmpfs" => (false, Fallback::None, may_follow(path.to_bytes())),
        other => {
            return Err(PlanError::Unsupported {
                field: "mounts[].type",
                detail: Some(other.to_owned()),
            });
        }
    };
    let target = Target { path, follow };
    if shared {
        // A fresh one would show the host's namespace anyway, and the kernel refuses it to a user namespace.
        let attributes = match fallback {
            Fallback::HostTree(attributes) => attributes,
            Fallback::None | Fallback::Skip => Attributes {
                set: HARMLESS,
                ..Attributes::default()
            },
        };
        let source = c_string(FIELD, &[b"/", target.path.to_bytes()].concat())?;
        return Ok(Step::Bind(Bind {
            source,
            target,
            recursive: true,
            attributes,
            attributes_recursive: true,
            slave: false,
        }));
    }
    let data = data(fs_type, mount, &options, context, notes)?;
    let source = mount.source().as_deref().unwrap_or(Path::new(fs_type));
    // The first version of the control group file system cannot be mounted in a user namespace.
    let fs_type = if fs_type == "cgroup" {
        "cgroup2"
    } else {
        fs_type
    };
    Ok(Step::MountFs(FsMount {
        fs_type: c_string(FIELD, fs_type.as_bytes())?,
        source: c_string(FIELD, source.as_os_str().as_bytes())?,
        target,
        flags: options.flags,
        data,
        fallback,
    }))
}

/// The options that are the file system's own, joined for mount(2).
fn data(
    fs_type: &str,
    mount: &Mount,
    options: &Options,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<CString, PlanError> {
    let mut kept: Vec<&str> = Vec::new();
    for option in &options.data {
        if option.contains(',') || option.is_empty() {
            return Err(unsupported_option(mount, option));
        }
        let gid = option.strip_prefix("gid=").and_then(|gid| gid.parse().ok());
        if fs_type == "devpts" && gid.is_some_and(|gid| !context.maps.has_gid(gid)) {
            notes.push(format!("terminals belong to the container's root group: the group of {option} is not mapped"));
            continue;
        }
        kept.push(option);
    }
    c_string("mounts[].options", kept.join(",").as_bytes())
}

fn unsupported_option(mount: &Mount, option: &str) -> PlanError {
    PlanError::Unsupported {
        field: "mounts[].options",
        detail: Some(format!("{option} (of {})", name(mount))),
    }
}

/// Parsed mount options. A file system takes `flags`, a bind takes `attributes`.
struct Options {
    bind: bool,
    recursive: bool,
    flags: MountFlags,
    attributes: u64,
    attributes_recursive: bool,
    slave: bool,
    data: Vec<String>,
}

impl Options {
    fn parse(mount: &Mount) -> Result<Self, PlanError> {
        let is_bind_type = matches!(mount.typ().as_deref(), Some("bind" | "rbind"));
        let mut parsed = Self {
            bind: is_bind_type,
            recursive: mount.typ().as_deref() == Some("rbind"),
            flags: MountFlags::empty(),
            attributes: 0,
            attributes_recursive: false,
            slave: false,
            data: Vec::new(),
        };
        for option in mount.options().as_deref().unwrap_or_default() {
            parsed.apply(option);
        }
        let refused = [
            "shared",
            "rshared",
            "unbindable",
            "runbindable",
            "idmap",
            "ridmap",
            "tmpcopyup",
        ];
        match parsed
            .data
            .iter()
            .find(|option| refused.contains(&option.as_str()))
        {
            Some(option) => Err(unsupported_option(mount, option)),
            None if parsed.slave && !parsed.bind => Err(unsupported_option(mount, "slave")),
            None => Ok(parsed),
        }
    }

    fn apply(&mut self, option: &str) {
        let (flag, attribute) = match option {
            "bind" => {
                self.bind = true;
                return;
            }
            "rbind" => {
                (self.bind, self.recursive) = (true, true);
                return;
            }
            "slave" | "rslave" => {
                self.slave = true;
                return;
            }
            // Every mount is private already, and the rest says what is so without a word.
            "private" | "rprivate" | "defaults" | "rw" | "suid" | "dev" | "exec" | "async"
            | "atime" | "diratime" => {
                return;
            }
            "ro" => (MountFlags::RDONLY, ATTR_RDONLY),
            "rro" => {
                self.attributes_recursive = true;
                (MountFlags::RDONLY, ATTR_RDONLY)
            }
            "nosuid" => (MountFlags::NOSUID, ATTR_NOSUID),
            "nodev" => (MountFlags::NODEV, ATTR_NODEV),
            "noexec" => (MountFlags::NOEXEC, ATTR_NOEXEC),
            "noatime" => (MountFlags::NOATIME, 0),
            "nodiratime" => (MountFlags::NODIRATIME, 0),
            "relatime" => (MountFlags::RELATIME, 0),
            "strictatime" => (MountFlags::STRICTATIME, 0),
            "sync" => (MountFlags::SYNCHRONOUS, 0),
            "dirsync" => (MountFlags::DIRSYNC, 0),
            own => {
                self.data.push(own.to_owned());
                return;
            }
        };
        self.flags |= flag;
        self.attributes |= attribute;
    }
}
