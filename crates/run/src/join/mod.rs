//! A program in a container that runs.
//!
//! ```text
//! this process ──clone──▶ enters the namespaces ──fork──▶ inside: the same steps as the first process's, then the program
//!      │                        (ends)                       ▲
//!      └────────────────────── parent, supervisor ───────────┘
//! ```
//!
//! Namespaces are entered all at once, through one of the container's processes ([`Member`]), of which the kernel makes sure
//! that it is still that one: a pidfd, not a number. The user namespace is among them, and gives the rights to enter the
//! others. The pid namespace of a process never changes, so that a second process goes on, as this one's child.
//!
//! # What the container could do meanwhile
//! Its processes run, and are not to be trusted. Between entering and execve(2) there is a process among them whose program
//! and memory are minidock's, and which has descriptors, a working directory and a root folder.
//!
//! * It is *hidden* before it enters (`child::join`): the kernel lets nobody trace it, read its memory or follow its links in
//!   `/proc`, who has not `CAP_SYS_PTRACE` outside of the container (CVE-2016-9962, CVE-2019-5736 by `/proc/PID/exe`).
//! * It lets go of the host's folders as it enters: the mount namespace gives it the container's root as root and working
//!   directory. The one that the program is to start in is found without magic links (CVE-2024-21626).
//! * All descriptors but the three that the program is given are closed before its file is looked for.
//! * What is executed can be a script whose interpreter is `/proc/self/exe`, which is minidock until then (CVE-2019-5736).
//!   So where somebody inside could write to that file, whoever joins has to be a copy that nobody can write to;
//!   [`Prepared::needs_copy`] says when.
//! * It can be stopped or killed by the container's root, as the program can. This process waits for it no differently
//!   then, and still takes signals.
//!
//! Landlock does not stand around the program. The kernel lets a process look only into those of its own Landlock domain and
//! below, and no process can enter the domain of another: from the program, `/proc/1/environ` and `/proc/1/fd` could not be
//! read, and no debugger could do its work. What Landlock is for (see the crate's documentation) is done by the points above.
//!
//! Memory is shared only between this process and the one that enters, which stands in the same pid namespace as this one.

mod copy;
mod member;
mod read;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Process, Spec};

pub use copy::sealed_copy;
pub use member::Member;
pub use read::read_inside;

use crate::plan::{Plan, plan_join};
use crate::running::carry_out;
use crate::{Error, Host, RootEmulation, Running};

/// A program to run in a container that runs.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// What the container was started with.
    pub spec: &'a Spec,
    /// What is to run, and as whom: in the way of [`Spec::process`], of which it takes the place.
    pub process: &'a Process,
    /// Which container.
    pub member: &'a Member,
    /// The caller's stdin reaches the program. Without it the program reads the null device.
    pub interactive: bool,
    /// Which of the caller's stdin, stdout and stderr the program has; the null device stands for the others.
    pub attach: [bool; 3],
    /// As [`Launch::default_filter`](crate::Launch::default_filter).
    pub default_filter: bool,
    /// As [`Launch::root_emulation`](crate::Launch::root_emulation).
    pub root_emulation: RootEmulation,
    /// The container's control group.
    pub cgroup: Option<&'a Path>,
}

/// What is to be done, decided; nothing has been yet.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    host: Host,
    member: OwnedFd,
    exposed: bool,
}

/// Decides. To be called from where the container was started: in the caller's own user namespace.
///
/// # Errors
/// What cannot be done, as for [`start`](crate::start).
pub fn prepare_join(join: &Join<'_>) -> Result<Prepared, Error> {
    let host = Host::read()?;
    Ok(Prepared {
        exposed: copy::is_exposed(join.member),
        plan: plan_join(join, &host)?,
        host,
        member: join.member.copy()?,
    })
}

impl Prepared {
    /// Whether the program could get at the file of this process's own program, and write to it: then this process should become
    /// a [`sealed_copy`] of it before [`start`](Self::start).
    pub fn needs_copy(&self) -> bool {
        self.exposed
    }

    /// Starts the program. Its supervisor is this process, with which it ends, as it does with the container.
    ///
    /// This process is hidden from then on: nobody can trace it, and it leaves no core.
    ///
    /// # Errors
    /// See [`Error`]; nothing stays behind. [`Error::Ended`] when the container has ended.
    pub fn start(&self) -> Result<Running, Error> {
        carry_out(&self.plan, &self.host, Some(self.member.as_fd()))
    }
}
