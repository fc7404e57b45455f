//! `info`: what this installation works with.

use std::fs;
use std::path::PathBuf;

use minidock_store::{Driver, IdMap, IdMapping};

use crate::{Engine, Error, storage};

/// What there is, and what it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Containers that run.
    pub running: usize,
    /// All others.
    pub stopped: usize,
    /// Images, each counted once whatever its names.
    pub images: usize,
    /// The storage driver of new containers.
    pub driver: Driver,
    /// fuse-overlayfs, where that is it.
    pub program: Option<PathBuf>,
    /// Why it is not a better one, a sentence each.
    pub reasons: Vec<String>,
    /// The name of the store's file system; its number where it has none here.
    pub file_system: String,
    /// Which ids files can have.
    pub id_map: IdMapping,
    /// Why root is not emulated in a container whose user is root; `None` where it is.
    pub no_root_emulation: Option<String>,
    /// The store's folder.
    pub root: PathBuf,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution (os-release(5)).
    pub operating_system: String,
    /// The machine, as uname(1) calls it.
    pub machine: String,
    /// Its name.
    pub name: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The version of control groups that is mounted at `/sys/fs/cgroup`; `None` for none.
    pub cgroup_version: Option<u8>,
    /// Whether the caller is not root.
    pub rootless: bool,
    /// What a user might miss, a line each.
    pub warnings: Vec<String>,
}

/// `f_type` of control groups, version 2 (statfs(2)).
const CGROUP2: u64 = 0x6367_7270;
/// Names of file systems by their `f_type`.
const FILE_SYSTEMS: [(u64, &str); 12] = [
    (0xef53, "extfs"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x6969, "nfs"),
    (0x794c_7630, "overlayfs"),
    (0x6573_5546, "fuse"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
];

impl Engine {
    /// Reads it all. The storage driver is tried if that was not done before, so the process has to have one thread.
    ///
    /// # Errors
    /// When the store cannot be read, or the storage driver that was asked for does not work.
    pub fn info(&self) -> Result<Info, Error> {
        let containers = self.containers()?;
        let running = containers.iter().filter(|c| c.running).count();
        let mut images: Vec<_> = self
            .store
            .images()?
            .into_iter()
            .map(|record| record.image_id)
            .collect();
        images.sort_unstable_by_key(ToString::to_string);
        images.dedup();
        let rootless = !rustix::process::geteuid().is_root();
        self.enter()?;
        let storage::Choice { driver, reasons } =
            storage::choose(&self.store, self.driver, None, self.ids.search())?;
        let id_map = self.store.id_mapping().clone();
        let mut warnings: Vec<String> = reasons
            .iter()
            .map(|reason| format!("a better storage driver does not work: {reason}"))
            .collect();
        if !id_map.map.has_owners() {
            warnings.push(
                "one id for all files: subordinate ids (/etc/subuid, newuidmap) would give containers more".to_owned(),
            );
        }
        let no_root_emulation = match id_map.map {
            IdMap::Single => minidock_run::try_root_emulation()?.err(),
            IdMap::Host | IdMap::Ranges => Some("containers have more than one id".to_owned()),
        };
        let cgroup_version = cgroup_version();
        if cgroup_version.is_none() {
            warnings.push("no control groups are mounted at /sys/fs/cgroup".to_owned());
        }
        let system = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        Ok(Info {
            running,
            stopped: containers.len() - running,
            images: images.len(),
            driver: driver.driver(),
            program: driver.program().map(PathBuf::from),
            reasons,
            file_system: file_system(self.store.root()),
            id_map,
            no_root_emulation,
            root: self.store.root().to_owned(),
            kernel: text(system.release()),
            operating_system: operating_system(
                &fs::read_to_string("/etc/os-release")
                    .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
                    .unwrap_or_default(),
            ),
            machine: text(system.machine()),
            name: text(system.nodename()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            cgroup_version,
            rootless,
            warnings,
        })
    }
}

fn file_system(root: &std::path::Path) -> String {
    let Ok(found) = rustix::fs::statfs(root) else {
        return "unknown".to_owned();
    };
    let number = found.f_type as u64 & 0xffff_ffff;
    let known = FILE_SYSTEMS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).to_owned())
}

fn cgroup_version() -> Option<u8> {
    let found = rustix::fs::statfs("/sys/fs/cgroup").ok()?;
    if found.f_type as u64 & 0xffff_ffff == CGROUP2 {
        return Some(2);
    }
    // Version 1 has a folder for each controller.
    fs::read_dir("/sys/fs/cgroup")
        .is_ok_and(|mut entries| entries.next().is_some())
        .then_some(1)
}

fn operating_system(os_release: &str) -> String {
    let value = |key: &str| {
        os_release.lines().find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix('=')?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        })
    };
    value("PRETTY_NAME")
        .or_else(|| value("NAME"))
        .unwrap_or_else(|| "Linux".to_owned())
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_host_are_read() {
        let text = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(operating_system(text), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(operating_system("NAME=Alpine\n"), "Alpine");
        assert_eq!(operating_system(""), "Linux");
        assert_eq!(memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(memory(""), 0);
    }
}
