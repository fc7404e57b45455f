//! User namespaces of this process and of others.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Errno, Result, check, process};

/// Moves this process into a new user namespace, in which it holds every capability and no id is mapped yet.
///
/// # Errors
/// `EDEADLK` when the process has more than one thread, which the kernel would refuse less clearly; else what unshare(2)
/// says.
pub fn unshare() -> Result<()> {
    if process::thread_count()? != 1 {
        return Err(Errno::DEADLK);
    }
    // SAFETY: no memory is passed. A new user namespace changes credentials alone, no descriptor table and no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// Moves this process into the user namespace of another, in which it then holds every capability.
///
/// # Errors
/// Those of setns(2): `EINVAL` for a descriptor of a process before Linux 5.8, `EPERM` where the namespace is not the caller's.
pub fn join(pidfd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is passed, and the descriptor is open.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWUSER) }.into()).map(drop)
}
