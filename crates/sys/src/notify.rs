//! System calls that a supervisor answers: seccomp_unotify(2) and what a supervisor needs to understand them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

use crate::seccomp::{Instruction, Program};
use crate::{Errno, Result, check};

/// Leave a call that the supervisor has seen undisturbed by signals that do not kill (Linux 5.19): it is not asked again then.
pub const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

const SET_MODE_FILTER: libc::c_uint = 1;
const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_CONTINUE: u32 = 1;

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND` and `_ID_VALID`: their numbers hold the sizes of what they take.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;

/// A call that waits for an answer: `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Call {
    /// Names the call while it waits.
    pub id: u64,
    /// The thread that makes it, as the supervisor's pid namespace counts; 0 where it has no number there.
    pub thread: u32,
    flags: u32,
    /// Its number.
    pub number: u32,
    /// The kind of number: `AUDIT_ARCH_*`.
    pub architecture: u32,
    instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel makes it.
    Continue,
    /// It returns this, and nothing is done.
    Value(i64),
    /// It fails.
    Error(Errno),
}

/// The supervisor's end of a filter.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// As [`seccomp::install`](crate::seccomp::install), for a program that lets a supervisor answer some calls.
///
/// # Errors
/// As there, and `EBUSY` where the calls of this thread have a supervisor already.
pub fn install(program: &[Instruction], flags: u32) -> Result<Listener> {
    let program = Program::new(program)?;
    // SAFETY: as in `seccomp::install`; the result is a new descriptor, which the kernel makes close-on-exec.
    let fd = check(unsafe {
        let program: *const Program<'_> = &raw const program;
        let flags = flags | FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, program)
    })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: nobody else owns the descriptor that the kernel has just made.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Listener {
    /// The next call that waits. Blocks where there is none; poll(2) tells.
    ///
    /// # Errors
    /// `ENOENT` where the call was given up meanwhile.
    pub fn receive(&self) -> Result<Call> {
        let mut call = Call::default();
        self.control(RECEIVE, &mut call)?;
        Ok(call)
    }

    /// Answers a call.
    ///
    /// # Errors
    /// `ENOENT` where it was given up meanwhile.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<()> {
        let mut response = Response {
            id,
            value: 0,
            error: 0,
            flags: 0,
        };
        match answer {
            Answer::Continue => response.flags = FLAG_CONTINUE,
            Answer::Value(value) => response.value = value,
            Answer::Error(errno) => response.error = -errno.raw_os_error(),
        }
        self.control(SEND, &mut response)
    }

    /// Whether the call still waits, so that its thread's number still means its thread.
    pub fn waits(&self, id: u64) -> bool {
        let mut id = id;
        self.control(IS_VALID, &mut id).is_ok()
    }

    fn control<T>(&self, request: libc::c_ulong, argument: &mut T) -> Result<()> {
        // SAFETY: each request takes a pointer to what its caller passes, of the size in its number, and writes no more.
        check(unsafe {
            let argument: *mut T = argument;
            libc::ioctl(self.0.as_raw_fd(), request as _, argument).into()
        })
        .map(drop)
    }
}

/// Reads the memory of another process; all of `into`, or an error.
///
/// # Errors
/// `EFAULT` where nothing is mapped there; `EPERM` where the kernel lets nobody look (process_vm_readv(2)).
pub fn read_memory(of: Pid, at: u64, into: &mut [u8]) -> Result<()> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = remote(at, into.len())?;
    // SAFETY: the local vector is the slice, which the kernel fills; the remote one is in another process's memory.
    let count =
        check(unsafe { libc::process_vm_readv(of.as_raw_pid(), &local, 1, &remote, 1, 0) as _ })?;
    whole(count, into.len())
}

/// Writes to the memory of another process; all of `from`, or an error.
///
/// # Errors
/// As for [`read_memory`].
pub fn write_memory(of: Pid, at: u64, from: &[u8]) -> Result<()> {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = remote(at, from.len())?;
    // SAFETY: the kernel only reads the local vector, which is the slice; the remote one is in another process's memory,
    // which is no memory of ours.
    let count =
        check(unsafe { libc::process_vm_writev(of.as_raw_pid(), &local, 1, &remote, 1, 0) as _ })?;
    whole(count, from.len())
}

fn remote(at: u64, length: usize) -> Result<libc::iovec> {
    let at = usize::try_from(at).map_err(|_| Errno::FAULT)?;
    Ok(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(at),
        iov_len: length,
    })
}

fn whole(count: libc::c_long, length: usize) -> Result<()> {
    match usize::try_from(count) {
        Ok(count) if count == length => Ok(()),
        _ => Err(Errno::FAULT),
    }
}

/// The soft limit of another process's file locks, which has meant nothing since Linux 2.4.25 (getrlimit(2)).
///
/// # Errors
/// `ESRCH` where it is gone; `EPERM` where its ids are not the caller's.
pub fn lock_limit(of: Pid) -> Result<u64> {
    Ok(limits(of, None)?.0)
}

/// Sets it, within the hard limit.
///
/// # Errors
/// As for [`lock_limit`], and `EINVAL` beyond the hard limit.
pub fn set_lock_limit(of: Pid, soft: u64) -> Result<()> {
    let (_, hard) = limits(of, None)?;
    limits(of, Some((soft, hard))).map(drop)
}

fn limits(of: Pid, set: Option<(u64, u64)>) -> Result<(u64, u64)> {
    // `struct rlimit64`, which is what the system call takes on every machine.
    let new = set.map(|(soft, hard)| [soft, hard]);
    let mut old = [0_u64; 2];
    // SAFETY: both pointers are null or to two numbers of 64 bits, as the call takes them.
    check(unsafe {
        let new = new.as_ref().map_or(std::ptr::null(), |new| new.as_ptr());
        libc::syscall(
            libc::SYS_prlimit64,
            of.as_raw_pid(),
            libc::RLIMIT_LOCKS,
            new,
            old.as_mut_ptr(),
        )
    })?;
    Ok((old[0], old[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_in_the_requests() {
        assert_eq!(size_of::<Call>(), 80);
        assert_eq!(size_of::<Response>(), 24);
    }

    #[test]
    fn memory_and_limits_of_a_process_can_be_reached() {
        let me = rustix::process::getpid();
        let from = *b"some bytes";
        let mut to = [0; 10];
        let at = |bytes: &[u8]| bytes.as_ptr().addr() as u64;
        read_memory(me, at(&from), &mut to).unwrap();
        assert_eq!(to, from);
        write_memory(me, at(&to), b"other ones").unwrap();
        assert_eq!(std::hint::black_box(to), *b"other ones");
        assert_eq!(read_memory(me, 8, &mut to), Err(Errno::FAULT));

        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let before = lock_limit(pid).unwrap();
        assert_eq!(before, lock_limit(me).unwrap());
        set_lock_limit(pid, 7).unwrap();
        assert_eq!(lock_limit(pid), Ok(7));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(lock_limit(pid), Err(Errno::SRCH));
    }
}
