//! From image config, the user's wishes and facts about the caller to an OCI runtime `Spec`: a pure
//! function, so that what a flag means can be tested and printed without a kernel.
//!
//! Docker's defaults are followed: its capability set, its masked and read-only paths, its
//! environment in its order (`PATH`, `HOSTNAME`, `TERM`, the image's, the user's, `HOME`).

use std::path::{Path, PathBuf};

use minidock_oci::ContainerConfig;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::user::ResolvedUser;
use minidock_store::IdExtent;

/// Which network a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own with nothing but `lo`.
    #[default]
    None,
    /// The caller's.
    Host,
}

/// What the user asked for, after flags were parsed and the caller's environment was consulted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Arguments after the image.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint (and drops its default arguments); empty clears it.
    pub entrypoint: Option<String>,
    /// `NAME=value`, later ones win; a bare `NAME` removes the image's.
    pub env: Vec<String>,
    /// Folder to start in.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Keep the root file system read-only.
    pub read_only: bool,
    /// Which network.
    pub network: Network,
}

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

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is executed: entrypoint and arguments, as Docker combines them.
pub fn command(config: &ContainerConfig, wishes: &Wishes) -> Vec<String> {
    let (mut argv, default) = match &wishes.entrypoint {
        Some(e) if e.is_empty() => (Vec::new(), Vec::new()),
        Some(e) => (vec![e.clone()], Vec::new()),
        None => (config.entrypoint.clone(), config.cmd.clone()),
    };
    argv.extend(if wishes.command.is_empty() {
        default
    } else {
        wishes.command.clone()
    });
    argv
}

/// The container's host name.
pub fn hostname<'a>(wishes: &'a Wishes, id: &'a str, host_name: &'a str) -> &'a str {
    match (&wishes.hostname, wishes.network) {
        (Some(name), _) => name,
        (None, Network::Host) if !host_name.is_empty() => host_name,
        (None, _) => &id[..12.min(id.len())],
    }
}

/// The environment, one entry a name, the last setting of a name in the place of its first.
fn environment(config: &ContainerConfig, wishes: &Wishes, facts: &Facts<'_>) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut env: Vec<String> = Vec::new();
    let mut set = |entry: String| {
        let wanted = name(&entry);
        let at = env.iter().position(|e| name(e) == wanted);
        match (at, entry.contains('=')) {
            (Some(at), true) => env[at] = entry,
            (Some(at), false) => {
                env.remove(at);
            }
            (None, true) => env.push(entry),
            (None, false) => {}
        }
    };
    set(DEFAULT_PATH.to_owned());
    set(format!(
        "HOSTNAME={}",
        hostname(wishes, facts.id, facts.host_name)
    ));
    if wishes.terminal {
        set("TERM=xterm".to_owned());
    }
    config.env.iter().cloned().for_each(&mut set);
    wishes.env.iter().cloned().for_each(&mut set);
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", facts.user.home));
    }
    env
}

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

fn mounts(facts: &Facts<'_>) -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let none = ["nosuid", "noexec", "nodev"];
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
    ];
    for (host, inside) in facts.files {
        mounts.push(mount(inside, "bind", host, &["bind", "rprivate"])?);
    }
    Ok(mounts)
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
        .mounts(mounts(facts)?)
        .linux(linux)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entrypoint: &[&str], cmd: &[&str]) -> ContainerConfig {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        ContainerConfig {
            entrypoint: list(entrypoint),
            cmd: list(cmd),
            env: vec!["PATH=/bin".into(), "A=image".into(), "B=image".into()],
            working_dir: "/srv".into(),
            ..ContainerConfig::default()
        }
    }

    fn built(wishes: &Wishes) -> Spec {
        let user = ResolvedUser {
            uid: 5,
            gid: 6,
            additional_gids: vec![7],
            home: "/home/x".into(),
        };
        let map = [IdExtent {
            container: 5,
            host: 1000,
            size: 1,
        }];
        let facts = Facts {
            id: &"ab".repeat(32),
            host_name: "here",
            user: &user,
            uid_map: &map,
            gid_map: &map,
            rootfs: Path::new("/r"),
            files: &[(PathBuf::from("/c/hosts"), "/etc/hosts")],
        };
        build(&config(&["/e"], &["c"]), wishes, &facts).unwrap()
    }

    #[test]
    fn entrypoint_and_arguments_combine_as_in_docker() {
        let words = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        for (entrypoint, args, expected) in [
            (None, &[][..], &["/e", "c"][..]),
            (None, &["x", "y"], &["/e", "x", "y"]),
            (Some("/f"), &[], &["/f"]),
            (Some("/f"), &["x"], &["/f", "x"]),
            (Some(""), &["x"], &["x"]),
            (Some(""), &[], &[]),
        ] {
            let wishes = Wishes {
                entrypoint: entrypoint.map(str::to_owned),
                command: words(args),
                ..Wishes::default()
            };
            assert_eq!(command(&config(&["/e"], &["c"]), &wishes), words(expected));
        }
    }

    #[test]
    fn the_environment_is_in_dockers_order_and_the_last_setting_wins() {
        let spec = built(&Wishes {
            env: vec!["B=mine".into(), "C=1".into(), "A".into(), "C=2".into()],
            terminal: true,
            ..Wishes::default()
        });
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(
            env,
            [
                "PATH=/bin",
                "HOSTNAME=abababababab",
                "TERM=xterm",
                "B=mine",
                "C=2",
                "HOME=/home/x"
            ]
        );
    }

    #[test]
    fn the_host_network_is_the_only_thing_shared_when_asked_for() {
        let kinds = |wishes: &Wishes| -> Vec<String> {
            let spec = built(wishes);
            let namespaces = spec.linux().as_ref().unwrap().namespaces().clone();
            namespaces
                .unwrap()
                .iter()
                .map(|n| n.typ().to_string())
                .collect()
        };
        let all = ["user", "pid", "mnt", "uts", "ipc", "cgroup", "net"];
        assert_eq!(kinds(&Wishes::default()), all);
        let host = Wishes {
            network: Network::Host,
            ..Wishes::default()
        };
        assert_eq!(kinds(&host), all[..6]);
        assert_eq!(built(&host).hostname().as_deref(), Some("here"));
    }

    #[test]
    fn the_process_is_who_and_where_it_was_asked_to_be() {
        let spec = built(&Wishes {
            workdir: Some("/w".into()),
            read_only: true,
            ..Wishes::default()
        });
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.user().uid(), 5);
        assert_eq!(process.user().gid(), 6);
        assert_eq!(process.user().additional_gids().as_deref(), Some(&[7][..]));
        assert_eq!(process.cwd(), Path::new("/w"));
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
        let bounding = process.capabilities().as_ref().unwrap().bounding().clone();
        assert_eq!(bounding.unwrap().len(), CAPABILITIES.len());
    }
}
