//! Every `unsafe` block and raw system call of minidock, behind safe functions.
//!
//! rustix is the first choice everywhere; this crate holds only what it lacks, or what needs an argument that only the
//! whole can give (a clone that shares memory, signal dispositions). Functions take and return owned or borrowed
//! descriptors, C strings and [`Errno`], never raw pointers, and none allocates once a child exists, so that all of them
//! can be called between [`clone`](clone::clone) and [`execve`](exec::execve).
//!
//! | module | system calls |
//! |---|---|
//! | [`clone`] | clone(2) with namespaces and a pidfd |
//! | [`exec`] | execve(2) |
//! | [`signal`] | rt_sigprocmask, rt_sigaction, signalfd4 |
//! | [`keys`] | keyctl(2) |
//! | [`landlock`] | landlock_create_ruleset(2) and its sisters |
//! | [`memory`] | madvise(2) |
//! | [`mount`] | mount_setattr(2) |
//! | [`net`] | bringing up `lo` |
//! | [`notify`] | seccomp_unotify(2), process_vm_readv(2), prlimit(2) |
//! | [`fd`] | close_range(2), dup onto 0 to 2 |
//! | [`process`] | _exit, personality(2), kernel facts about the caller |
//! | [`seccomp`] | seccomp(2) |
//! | [`userns`] | unshare(2) and setns(2) of user namespaces |

pub mod clone;
pub mod exec;
pub mod fd;
pub mod keys;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod net;
pub mod notify;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod userns;

pub use rustix::io::Errno;

/// The result of one system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the `-1` of a libc wrapper into the errno it set.
fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 {
        Err(last_errno())
    } else {
        Ok(result)
    }
}

fn last_errno() -> Errno {
    let raw = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    Errno::from_raw_os_error(raw)
}
