//! A process through which a container's namespaces are entered.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Error;
use crate::visit::started;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// One of a container's processes: the first, or, where that is our own reaper, which nobody may look into, the program.
#[derive(Debug)]
pub struct Member {
    pidfd: OwnedFd,
    /// The container's ids as this process's user namespace counts.
    pub(crate) uids: Vec<LinuxIdMapping>,
    pub(crate) gids: Vec<LinuxIdMapping>,
    /// Groups can be changed inside.
    pub(crate) sets_groups: bool,
}

impl Member {
    /// Finds it by the first process's pid and start time (clock ticks since boot); `None` if the container has ended.
    ///
    /// # Errors
    /// When the host does not let the caller look into his containers.
    pub fn find(pid: i32, start_time: u64) -> Result<Option<Self>, Error> {
        match look(pid, start_time) {
            Ok(found) => Ok(found),
            // It ended under our eyes.
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Whether a user of this process's user namespace is somebody inside.
    pub(super) fn has_user(&self, uid: u32) -> bool {
        self.uids.iter().any(|map| {
            let offset = uid.checked_sub(map.host_id());
            offset.is_some_and(|offset| offset < map.size())
        })
    }

    pub(super) fn copy(&self) -> Result<OwnedFd, Error> {
        self.pidfd.try_clone().map_err(failed)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn failed(source: io::Error) -> Error {
    Error::Supervise {
        what: "look into the container",
        source,
    }
}

fn look(pid: i32, start_time: u64) -> Result<Option<Member>, Errno> {
    // A file on disk says it, so that it may be anything.
    let Some(first) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let (pidfd, proc) = open(first)?;
    if started(&proc) != Some(start_time) {
        return Ok(None);
    }
    let member = match openat(
        &proc,
        "ns/user",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(_) => pidfd,
        Err(refused @ (Errno::ACCESS | Errno::PERM)) => program(&proc, first)?.ok_or(refused)?,
        Err(errno) => return Err(errno),
    };
    Ok(Some(Member {
        pidfd: member,
        uids: extents(&text(&proc, "uid_map")?),
        gids: extents(&text(&proc, "gid_map")?),
        sets_groups: text(&proc, "setgroups")?.trim() == "allow",
    }))
}

/// The folder stands for the process even when its number is given to another one.
fn open(pid: Pid) -> Result<(OwnedFd, OwnedFd), Errno> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let proc = openat(
        CWD,
        format!("/proc/{}", pid.as_raw_pid()),
        FOLDER,
        Mode::empty(),
    )?;
    Ok((pidfd, proc))
}

/// The first of the reaper's children that can be looked into: the program, for others come to it only after that.
fn program(reaper: &OwnedFd, pid: Pid) -> Result<Option<OwnedFd>, Errno> {
    let pid = pid.as_raw_pid();
    let children = text(reaper, &format!("task/{pid}/children"))?;
    for child in children.split_ascii_whitespace() {
        let Some(child) = child.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        let Ok((pidfd, proc)) = open(child) else {
            continue;
        };
        // That it is what was meant is known from what was opened, not from its number.
        let parent = text(&proc, "status")?;
        let parent = parent.lines().find_map(|l| l.strip_prefix("PPid:"));
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        if parent.and_then(|p| p.trim().parse().ok()) == Some(pid)
            && openat(&proc, "ns/user", flags, Mode::empty()).is_ok()
        {
            return Ok(Some(pidfd));
        }
    }
    Ok(None)
}

fn text(proc: &OwnedFd, name: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(proc, name, flags, Mode::empty())?);
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(e) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
    }
}

/// The kernel writes them as the reader's user namespace counts (user_namespaces(7)).
fn extents(map: &str) -> Vec<LinuxIdMapping> {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
            let mut next = || fields.next()?.ok();
            LinuxIdMappingBuilder::default()
                .container_id(next()?)
                .host_id(next()?)
                .size(next()?)
                .build()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let found = extents("         0       1000          1\n         1     100000      65536\n");
        let ids = |m: &LinuxIdMapping| (m.container_id(), m.host_id(), m.size());
        assert_eq!(
            found.iter().map(ids).collect::<Vec<_>>(),
            [(0, 1000, 1), (1, 100_000, 65_536)]
        );
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = rustix::process::getpid();
        let (_, proc) = open(me).unwrap();
        let start = started(&proc).unwrap();
        assert!(Member::find(me.as_raw_pid(), start).unwrap().is_some());
        assert!(Member::find(me.as_raw_pid(), start + 1).unwrap().is_none());
        assert!(Member::find(-1, start).unwrap().is_none());
        assert!(Member::find(i32::MAX, start).unwrap().is_none());
    }
}
