//! What is the case on this host. No judgement here.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use minidock_run::Isolation;
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
    pub cgroup: Cgroup,
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

/// The caller's cgroup (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// No cgroup v2 hierarchy is mounted, or the caller is in none.
    NoVersion2,
    /// The caller's group in the version 2 hierarchy.
    Version2 {
        /// Its folder.
        folder: PathBuf,
        /// Whether the caller may make groups below it and move processes there.
        delegated: bool,
        /// `cgroup.controllers`: what could be limited.
        controllers: Vec<String>,
    },
}

pub fn read(examination: &Examination<'_>) -> Facts {
    let find = |name: &str| {
        let folders = std::env::split_paths(&examination.surroundings.search);
        let mut candidates = folders.map(|folder| folder.join(name));
        candidates.find(|path| may(path, Access::EXEC_OK) && path.is_file())
    };
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
        cgroup: cgroup(
            &text("/proc/self/cgroup").unwrap_or_default(),
            &text("/proc/self/mountinfo").unwrap_or_default(),
        ),
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

fn cgroup(own: &str, mountinfo: &str) -> Cgroup {
    let Some(folder) = cgroup_folder(own, mountinfo) else {
        return Cgroup::NoVersion2;
    };
    let controllers = std::fs::read_to_string(folder.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    Cgroup::Version2 {
        delegated: may(&folder, Access::WRITE_OK)
            && may(&folder.join("cgroup.procs"), Access::WRITE_OK)
            && may(&folder.join("cgroup.subtree_control"), Access::WRITE_OK),
        folder,
        controllers,
    }
}

/// The folder of the version 2 group in `own` (`/proc/self/cgroup`), through the mount of it in `mountinfo`.
fn cgroup_folder(own: &str, mountinfo: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, mountpoint) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(mountpoint).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_through_its_mount() {
        let unified = "24 30 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let hybrid = "33 32 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n\
                      34 32 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let inside = "24 30 0:22 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let v1 = "34 32 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        for (own, mountinfo, expected) in [
            (
                "0::/user.slice/s\n",
                unified,
                Some("/sys/fs/cgroup/user.slice/s"),
            ),
            (
                "4:pids:/x\n0::/y\n",
                hybrid,
                Some("/sys/fs/cgroup/unified/y"),
            ),
            ("0::/user.slice/s\n", inside, Some("/sys/fs/cgroup/s")),
            ("0::/other\n", inside, None),
            ("4:pids:/x\n", hybrid, None),
            ("0::/\n", v1, None),
            ("", "", None),
        ] {
            let found = cgroup_folder(own, mountinfo);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{own}");
        }
    }
}
