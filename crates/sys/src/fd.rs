//! Descriptors just before exec.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// Closes this process's copies of every descriptor from 3 up, except `keep`. Meant for the moment before exec in a
/// cloned child, whose table is its own.
///
/// The other owners of these numbers are the parent's values, which live on in the parent and are never dropped here.
///
/// # Errors
/// `ENOSYS` before Linux 5.9 (close_range(2)).
pub fn close_all_but_stdio_and(keep: BorrowedFd<'_>) -> Result<()> {
    let keep = keep.as_raw_fd().unsigned_abs();
    if keep > 3 {
        close_range(3, keep - 1)?;
    }
    close_range(keep.max(2) + 1, u32::MAX)
}

/// Closes this process's copies of all descriptors, in a cloned child that uses none of them again.
///
/// # Errors
/// `ENOSYS` before Linux 5.9 (close_range(2)).
pub fn close_everything() -> Result<()> {
    close_range(0, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: no memory is passed. The child that calls this uses none of the closed descriptors afterwards.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes this process's copy of a descriptor that a value of the parent's owns, in a cloned child.
pub fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: the table is the child's own, and the child does not use the number again. Linux frees the number even
    // when close(2) reports an error, which concerns data that only the parent could have written.
    unsafe { libc::close(fd.as_raw_fd()) };
}
