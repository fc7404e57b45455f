//! Into a container that runs: see the module `join` for what is to be feared there.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use minidock_sys::clone::Namespaces;
use minidock_sys::process::{self, Beside, fork_beside};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::report::{During as _, Fail, Phase, Reporter};

/// Not dumpable: only who has `CAP_SYS_PTRACE` where minidock was executed can trace this process, or follow its links in
/// proc to its descriptors, its folders and its program (ptrace(2), proc(5)). It stays so over fork(2), and ends with execve(2).
pub(crate) fn hide() -> Result<(), Fail> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Phase::Act)
}

/// Returns the container's root, which the mount namespace brings along.
pub(super) fn enter(member: Option<BorrowedFd<'_>>, which: Namespaces) -> Result<OwnedFd, Fail> {
    let member = member.ok_or(Fail::new(Phase::Act, Errno::BADF))?;
    process::join(member, which).during(Phase::Act)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, c"/", flags, Mode::empty()).during(Phase::Act)
}

/// A process stays in its pid namespace for good: joining another one is for its children. Returns in the child, which is the
/// supervisor's as well; this process has done its work.
pub(super) fn fork_inside(channel: BorrowedFd<'_>) -> Result<(), Fail> {
    match fork_beside().during(Phase::Act)? {
        Beside::New => Ok(()),
        Beside::Old { pid, pidfd } => {
            Reporter(channel).born(pid, pidfd.as_fd());
            process::exit_now(0)
        }
    }
}
