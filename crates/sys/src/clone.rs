//! A new process in new namespaces, from one clone(2).
//!
//! # Why it is sound
//! The child runs a Rust function on a stack of its own. Two ways exist, and [`clone`] refuses both when the process has a
//! second thread, for then any lock (the allocator's, say) could be held by a thread that the child does not have.
//!
//! * [`Memory::Copied`]: the child has a copy of everything, as after fork(2).
//! * [`Memory::Borrowed`]: `CLONE_VM | CLONE_VFORK`. The child uses the parent's memory while the kernel holds the parent
//!   still, until the child executes a program or exits. So there is never more than one flow of control in the address
//!   space, and to the parent's memory model the child is a function call that has returned by the time clone does. The
//!   descriptor table, working directory, signal handlers and umask are the child's own copies in both ways. This saves
//!   copying page tables and the faults that follow: about 0.3 ms.
//!
//! The child never returns into the parent's code and never unwinds: its function is wrapped in an `extern "C"` one that
//! aborts on panic and leaves with `_exit`, so no destructor of the parent's values runs twice.
//!
//! # Not for joining a container
//! With borrowed memory, a process in the namespaces that the child joins could read the parent through it. Here the
//! namespaces are new and empty. Whoever adds `exec` into a running container must use [`Memory::Copied`].

use std::ffi::{c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Pid;

use crate::{Errno, Result, last_errno, process};

/// A set of namespace types, as clone(2) flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u32);

impl Namespaces {
    /// No new namespace.
    pub const NONE: Self = Self(0);
    /// User and group ids, capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u32);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u32);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u32);
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u32);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u32);
    /// Network devices, addresses, ports.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u32);
    /// The root of the cgroup tree as seen inside.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u32);

    pub(crate) const fn flags(self) -> c_int {
        self.0 as c_int
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set but for what is in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the child's memory is; see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The parent's own, while the parent stands still. The parent can do nothing for the child meanwhile.
    Borrowed,
    /// A copy. Parent and child run side by side.
    Copied,
}

/// A new process.
#[derive(Debug)]
pub struct Child {
    /// Its id, as the parent's pid namespace counts.
    pub pid: Pid,
    /// A descriptor for it that no reuse of the id can confuse; close-on-exec.
    pub pidfd: OwnedFd,
}

/// Room for the child's stack. Untouched pages cost nothing; debug builds use the most.
const STACK_SIZE: usize = 512 * 1024;

/// The child's stack, with an unmapped page below it so that an overflow faults instead of corrupting memory.
struct Stack {
    base: *mut c_void,
}

const GUARD_SIZE: usize = 64 * 1024;

impl Stack {
    fn new() -> Result<Self> {
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe {
            let flags =
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
            libc::mmap(
                std::ptr::null_mut(),
                STACK_SIZE + GUARD_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let stack = Self { base };
        // SAFETY: the range is the lower end of the mapping just made, which nothing uses yet.
        let guarded = unsafe { libc::mprotect(base, GUARD_SIZE, libc::PROT_NONE) };
        if guarded == -1 {
            Err(last_errno())
        } else {
            Ok(stack)
        }
    }

    fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(STACK_SIZE + GUARD_SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone. A child with borrowed memory has let go of it before clone(2) returned to
        // the parent; a child with copied memory has its own.
        unsafe { libc::munmap(self.base, STACK_SIZE + GUARD_SIZE) };
    }
}

struct Entry<'a, T> {
    main: fn(&T) -> u8,
    arg: &'a T,
}

/// The child's first function.
extern "C" fn enter<T>(entry: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a pointer to an `Entry<T>` that lives until the child is done with it: in the copied memory
    // for good, in borrowed memory because the parent's frame stands still.
    let entry = unsafe { &*entry.cast::<Entry<'_, T>>() };
    process::exit_now((entry.main)(entry.arg))
}

/// Starts a process in new `namespaces` that runs `main(arg)` and exits with what it returns.
///
/// Signals should be blocked by the caller, so that no handler runs in the child; the child inherits the mask. `main`
/// should allocate nothing and take no lock: should it be killed half-way, a parent with [`Memory::Borrowed`] would
/// find them as they were left.
///
/// # Errors
/// `EDEADLK` when the process has more than one thread; else what clone(2) says: `ENOSPC` and `EUSERS` where the limit of
/// namespaces is reached, `EPERM` where the host refuses user namespaces, `EINVAL` where the kernel was built without one.
pub fn clone<T>(
    namespaces: Namespaces,
    memory: Memory,
    arg: &T,
    main: fn(&T) -> u8,
) -> Result<Child> {
    if process::thread_count()? != 1 {
        return Err(Errno::DEADLK);
    }
    let stack = Stack::new()?;
    let mut entry = Entry { main, arg };
    let sharing = match memory {
        Memory::Borrowed => libc::CLONE_VM | libc::CLONE_VFORK,
        Memory::Copied => 0,
    };
    let flags = namespaces.0 as c_int | sharing | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // SAFETY: `enter::<T>` gets the entry it expects and a stack that outlives its use; the process has one thread; the
    // module's documentation gives the rest. With CLONE_PIDFD the kernel writes a descriptor to the fifth argument.
    let pid = unsafe {
        let entry: *mut Entry<'_, T> = &raw mut entry;
        libc::clone(enter::<T>, stack.top(), flags, entry.cast(), &raw mut pidfd)
    };
    // Asked first: a `Pid` must never hold a negative number.
    let pid = (pid > 0)
        .then(|| Pid::from_raw(pid))
        .flatten()
        .ok_or_else(last_errno)?;
    // SAFETY: the clone succeeded, so the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}
