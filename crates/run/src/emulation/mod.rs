//! Root emulation: what makes `apt-get install` work in a container that has one id.
//!
//! An ordinary user without subordinate ids has one user and one group to give to a container, and the kernel refuses all
//! that concerns others: `chown` to them, becoming them, `setgroups`. Programs that install, unpack or drop privileges
//! insist on it. So the kernel hands such calls of the container's processes to the supervisor (seccomp_unotify(2), Linux 5.0;
//! `seccomp::notified` has the filter), which answers what the kernel would in a container with all ids.
//!
//! ```text
//! filter ──▶ call ──▶ supervisor: who is that? ──▶ answer (pure) ──▶ value, error, or "let the kernel do it"
//! ```
//!
//! # Consistency
//! Telling every `setuid` yes is not enough: apt asks `getresuid` after it, and tries whether it can go back. So each process
//! has credentials, which `get*id` tells and `set*id` changes by the kernel's own rules (`credentials`). They are inherited and
//! kept over execve(2) without the supervisor's doing: a process's credentials are a number, and the number is **the soft limit
//! of its file locks** (`RLIMIT_LOCKS`), which has had no meaning since Linux 2.4.25, which the kernel copies at each fork
//! together with everything else, and which prlimit(2) reads and sets from outside in one call. Nothing has to be followed,
//! a process that ends needs no clearing up, and the number of a process cannot be taken for that of another. The filter keeps
//! the container from setting it. What has no number of ours is the container's root (`records`).
//!
//! | calls | root | who left root |
//! |---|---|---|
//! | `get*id`, `getgroups` | the kernel's answer; groups as given at the start | what was set |
//! | `set*id`, `setgroups` | remembered | `EPERM`, but for ids it has |
//! | `chown` to 0 or -1 | the kernel does it, and is not asked to wait | the same |
//! | `chown` to others | 0 where the file is there, and nothing happens | 0 for its own ids, else `EPERM` |
//! | `mknod` of a device | an empty file in its place | `EPERM` |
//! | `chroot`, `mount`, `setns`, raw sockets … | the kernel decides | `EPERM` |
//!
//! What the container's capabilities do not give to its root (`--cap-drop CHOWN`) is not emulated either.
//!
//! # What a process keeps that leaves root
//! The kernel offers no way to take capabilities from another process, and a process with one id cannot become another for
//! real. So to the kernel it goes on being the container's root, with the capabilities of that container over namespaces of
//! its own. Of Docker's set: `CHOWN`, `SETUID`, `SETGID`, `MKNOD`, `SYS_CHROOT`, `NET_RAW` are taken away by the answers above
//! (and what `--cap-add SYS_ADMIN` allows, by the same); `NET_BIND_SERVICE` Docker gives to everybody, `AUDIT_WRITE` and `SETFCAP`
//! give nothing to who cannot execute to gain privileges, `SETPCAP` can only drop. What stays are `DAC_OVERRIDE`, `FOWNER`,
//! `FSETID` and `KILL`, and those are in the nature of one id: every file and every process of the container belongs to the
//! caller, and who owns a file may read it or make it readable, and may end the process. **A user inside is no wall against
//! another user inside.** The wall around the container is as it is without emulation: nothing is done for a process that
//! it could not do itself, but making an empty file where it may make one.
//!
//! A process can tear down its own emulation no further than to be the container's root, which it is to the kernel anyway.
//! Answers depend on arguments in registers; what is in memory (a list of groups, a path for an empty file) is read once and
//! what was read is what counts, so that changing it meanwhile gains nothing.
//!
//! # Who notices
//! * Owners are not emulated: stat(2) shows root for all that is the caller's, also after a `chown` to somebody. PostgreSQL
//!   (its data folder must be its own), `mariadbd --user` and others who compare give up; with `-u` and that id they work,
//!   for then the one id there is *is* theirs.
//! * An image made of such a container has as root's what was given to others.
//! * `/proc/PID/status` and what a socket tells of its peer (`SO_PEERCRED`) show the kernel's view: root.
//! * Credentials are a process's, not a thread's. C libraries set them for all threads alike; the few programs that set a
//!   thread's alone (file servers) see them in every thread.
//! * Set-user-ID programs change nothing, also where they may.
//! * The old multiplexer `socketcall` of 32-bit programs is not looked into.
//! * A process in a user namespace that it made itself has the kernel's answers alone: a container in the container. That
//!   cannot have emulation of its own, for the kernel allows one supervisor.
//!
//! # Cost
//! One more filter at the start (325 instructions, installed in some 0.1 ms, most of which is the kernel's reading it through
//! for every number: one program for both filters would save that); 6 µs for each call that is asked about, and nothing for
//! others. A call that a program makes at once waits until the supervisor has written down that the container runs. The
//! supervisor is the one that stands beside the container anyway, and is 50 KiB larger.

mod answer;
mod calls;
mod capabilities;
mod credentials;
mod place;
mod records;
mod supervisor;

use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

pub(crate) use calls::{CALLS, Call, Width};
pub(crate) use supervisor::Supervisor;

use crate::seccomp::{Filter, Numbers};

/// Whether the system calls by which root acts for others are answered by the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootEmulation {
    /// They are not.
    #[default]
    Off,
    /// They are where this host can do that; a note says where it cannot.
    Wanted,
    /// They are, or the container is not started.
    Required,
}

/// What the supervisor has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Emulation {
    pub numbers: Numbers,
    /// What the container's root can do.
    pub capabilities: CapabilitySet,
    /// Further groups of the container's root.
    pub groups: Vec<u32>,
}

impl Emulation {
    /// With the filter that goes with it.
    pub(crate) fn new(process: &Process, capabilities: CapabilitySet) -> (Filter, Self) {
        let (filter, numbers) = Filter::of_emulation();
        let emulation = Self {
            numbers,
            capabilities,
            groups: process.user().additional_gids().clone().unwrap_or_default(),
        };
        (filter, emulation)
    }
}

/// What there is no room for the numbers is told by.
pub(crate) const NO_ROOM: &str = "the limit of file locks (ulimit -x) is in the way";

/// Whether a process of this one's limits has room for the numbers, and none yet.
pub(crate) fn has_room() -> bool {
    let limit = getrlimit(Resource::Locks);
    let is_number = |n: u64| (1..records::NUMBERS).contains(&n);
    limit.maximum.is_none_or(|most| most >= records::NUMBERS)
        && !limit.current.is_some_and(is_number)
}

/// Whether a process is to have a limit where the numbers are kept.
pub(crate) fn is_in_the_way(process: &Process) -> bool {
    let mut limits = process.rlimits().iter().flatten();
    limits.any(|limit| limit.typ() == PosixRlimitType::RlimitLocks)
}
