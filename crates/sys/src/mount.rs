//! mount_setattr(2) and a mount namespace for this process, which rustix lacks or leaves to the caller.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// What to change on a mount. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

/// No writing through this mount.
pub const ATTR_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// No set-user-ID programs.
pub const ATTR_NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// No device nodes.
pub const ATTR_NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// No execution.
pub const ATTR_NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// `struct mount_attr`, version 0.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount that `fd` refers to, and with `recursive` all mounts below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EPERM` for clearing a flag that a more privileged mount namespace set; mount_setattr(2).
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attributes: Attributes) -> Result<()> {
    const EMPTY: &CStr = c"";
    let attr = MountAttr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, and the structure is of the size that is passed with it.
    check(unsafe {
        let attr: *const MountAttr = &raw const attr;
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
            attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Gives this process a mount namespace of its own: what it mounts from now on goes when it ends.
///
/// # Errors
/// `EDEADLK` when the process has more than one thread, which would keep the old one; `EPERM` without `CAP_SYS_ADMIN`.
pub fn unshare() -> Result<()> {
    if crate::process::thread_count()? != 1 {
        return Err(crate::Errno::DEADLK);
    }
    // SAFETY: no memory is passed. The one thread that there is keeps its descriptors; only its view of mounts is copied.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()).map(drop)
}
