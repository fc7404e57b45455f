//! What is the case on this host. No judgement here.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use minidock_run::Isolation;
use minidock_run::cgroup::{Group, Refusal, groups};
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};

use super::Examination;
use crate::ids::Ids;

/// Everything that is judged.
#[derive(Debug)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// Whether the namespaces of a container can be made.
    pub isolation: Result<Isolation, minidock_run::Error>,
    /// Which ids a container can have.
    pub ids: ContainerIds,
    /// The filter actions that the kernel knows (`/proc/sys/kernel/seccomp/actions_avail`); `None` without seccomp.
    pub seccomp: Option<String>,
    /// Why root could not be emulated.
    pub emulation: Result<Result<(), String>, minidock_run::Error>,
    /// The store's place.
    pub store: StorePlace,
    /// Opening `/dev/net/tun`.
    pub tun: Result<(), io::Error>,
    /// `pasta`, if it was found.
    pub pasta: Option<PathBuf>,
    /// `slirp4netns`, if it was found.
    pub slirp: Option<PathBuf>,
    /// Where resource limits could be set.
    pub cgroups: Cgroups,
}

/// Which ids there are for containers.
#[derive(Debug, PartialEq, Eq)]
pub enum ContainerIds {
    /// Those of the host, or of the namespace that we are root of.
    All,
    /// The caller's and so many subordinate ones, which newuidmap and newgidmap really map.
    Ranges(u64),
    /// The caller's alone.
    One {
        /// Why not more.
        why: String,
        /// The caller's user id.
        uid: u32,
    },
}

/// Where the store is, or would be.
#[derive(Debug)]
pub struct StorePlace {
    /// The store's folder.
    pub root: PathBuf,
    /// The nearest folder that exists.
    pub nearest: PathBuf,
    /// Its owner and the caller's id.
    pub owner: Option<(u32, u32)>,
    /// Whether the caller may write there.
    pub writable: bool,
    /// Flags of the mount that it is on.
    pub flags: Option<StatVfsMountFlags>,
    /// Free bytes for the caller.
    pub free: Option<u64>,
}

/// Where control groups could be made (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// The caller's own and those above; or why there are none.
    pub groups: Result<Vec<Group>, Refusal>,
    /// The socket of the bus on which a service manager can be asked for one.
    pub manager: Option<PathBuf>,
}

pub fn read(examination: &Examination<'_>) -> Facts {
    let find = |name: &str| {
        let folders = std::env::split_paths(&examination.surroundings.search);
        let mut candidates = folders.map(|folder| folder.join(name));
        candidates.find(|path| may(path, Access::EXEC_OK) && path.is_file())
    };
    let caller = Ids::new(examination.surroundings.clone()).caller().uid;
    let text = |path: &str| std::fs::read_to_string(path).ok();
    Facts {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        isolation: minidock_run::try_isolation(),
        ids: ids(examination),
        seccomp: text("/proc/sys/kernel/seccomp/actions_avail"),
        emulation: minidock_run::try_root_emulation(),
        store: store(examination.root),
        tun: OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map(drop),
        pasta: find("pasta"),
        slirp: find("slirp4netns"),
        cgroups: Cgroups {
            groups: groups(None),
            manager: Some(crate::group::bus(caller)).filter(|bus| bus.exists()),
        },
    }
}

fn ids(examination: &Examination<'_>) -> ContainerIds {
    let ids = Ids::new(examination.surroundings.clone());
    let caller = ids.caller();
    if caller.id_map() == minidock_store::IdMap::Host {
        return ContainerIds::All;
    }
    match ids.ranges() {
        Ok(mapping) => ContainerIds::Ranges(mapping.uids.iter().map(|e| u64::from(e.size)).sum()),
        Err(why) => ContainerIds::One {
            why,
            uid: caller.uid,
        },
    }
}

fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

fn store(root: &Path) -> StorePlace {
    let nearest = root
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    let vfs = rustix::fs::statvfs(nearest).ok();
    StorePlace {
        root: root.to_owned(),
        nearest: nearest.to_owned(),
        owner: std::fs::metadata(nearest)
            .ok()
            .map(|m| (m.uid(), rustix::process::geteuid().as_raw())),
        writable: may(nearest, Access::WRITE_OK | Access::EXEC_OK),
        flags: vfs.as_ref().map(|v| v.f_flag),
        free: vfs.map(|v| v.f_bavail.saturating_mul(v.f_frsize)),
    }
}
