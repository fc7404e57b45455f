//! Facts about the host that decide how a Spec becomes kernel steps.

use std::path::PathBuf;

use rustix::fs::{StatFs, statfs};

use crate::error::Error;

/// What the plan has to know of the host. Plain data, so that plans can be tested for hosts other than this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
    /// The caller's effective user id.
    pub uid: u32,
    /// The caller's effective group id.
    pub gid: u32,
    /// The caller holds `CAP_SETUID` and `CAP_SETGID` and may therefore write any id map for a child.
    pub may_map_any_id: bool,
    /// The kernel can filter system calls (`CONFIG_SECCOMP_FILTER`).
    pub seccomp: bool,
    /// Each process has a limit that means nothing and can hold a number of ours (see `emulation`).
    pub spare_limit: bool,
    /// The version of Landlock that the kernel has; 0 for none.
    pub landlock: u32,
    /// `/` is not the initial ramfs, which `pivot_root(2)` cannot leave.
    pub pivot_root: bool,
}

/// `f_type` of the initial root: a ramfs, or a tmpfs where the kernel has that (statfs(2)).
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const TMPFS_MAGIC: u64 = 0x0102_1994;

impl Host {
    /// Reads the facts from the running kernel.
    ///
    /// # Errors
    /// [`Error::Host`] where a file of the kernel's cannot be read or a call fails that never should.
    pub fn read() -> Result<Self, Error> {
        let fact = |what: &'static str| {
            move |source: rustix::io::Errno| Error::Host {
                what,
                source: source.into(),
            }
        };
        let root = statfs("/").map_err(fact("the file system of /"))?;
        let held = rustix::thread::capabilities(None)
            .map_err(fact("this process's capabilities"))?
            .effective;
        let needed = rustix::thread::CapabilitySet::SETUID | rustix::thread::CapabilitySet::SETGID;
        Ok(Self {
            kernel: kernel_version(rustix::system::uname().release().to_bytes()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            may_map_any_id: held.contains(needed),
            seccomp: minidock_sys::seccomp::is_available(),
            spare_limit: crate::emulation::has_room(),
            landlock: minidock_sys::landlock::version(),
            pivot_root: !may_be_initial_ramfs(&root) || !root_is_rootfs()?,
        })
    }
}

/// Major and minor of a release such as `6.18.44-foo`; parts that are no number count as 0.
fn kernel_version(release: &[u8]) -> (u32, u32) {
    let mut numbers = release.split(|byte| !byte.is_ascii_digit()).map(|digits| {
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    });
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn may_be_initial_ramfs(root: &StatFs) -> bool {
    let magic = root.f_type as u64 & 0xffff_ffff;
    magic == RAMFS_MAGIC || magic == TMPFS_MAGIC
}

/// Whether mountinfo calls the file system at `/` `rootfs`, the name only the initial ramfs has (proc_pid_mountinfo(5)).
fn root_is_rootfs() -> Result<bool, Error> {
    let path = PathBuf::from("/proc/self/mountinfo");
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Host {
        what: "/proc/self/mountinfo",
        source,
    })?;
    Ok(rootfs_on_top(&text))
}

/// The last line whose mount point is `/` describes the visible root.
fn rootfs_on_top(mountinfo: &str) -> bool {
    let top = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/"));
    top.and_then(|line| line.split_once(" - "))
        .is_some_and(|(_, tail)| tail.starts_with("rootfs "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_parse() {
        assert_eq!(kernel_version(b"6.18.44-fc-v669"), (6, 18));
        assert_eq!(kernel_version(b"5.10.0-30-cloud-amd64"), (5, 10));
        assert_eq!(kernel_version(b"7-rc1"), (7, 0));
        assert_eq!(kernel_version(b"odd"), (0, 0));
    }

    #[test]
    fn only_the_uppermost_root_counts() {
        let initial = "1 1 0:2 / / rw - rootfs rootfs rw\n20 1 0:5 / /proc rw - proc proc rw\n";
        assert!(rootfs_on_top(initial));
        let switched = "1 1 0:2 / / rw - rootfs rootfs rw\n21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";
        assert!(!rootfs_on_top(switched));
        assert!(!rootfs_on_top(""));
    }

    #[test]
    fn this_host_is_readable() {
        let host = Host::read().unwrap();
        assert!(host.kernel >= (5, 0), "{host:?}");
    }
}
