//! This process.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::clone::{Memory, Namespaces, clone};
use crate::{Result, check, fd};

/// Leaves at once: no destructors, no exit handlers, no flushing.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) takes any value and does not return.
    unsafe { libc::_exit(status.into()) }
}

/// Sets how the kernel behaves towards this process and what it becomes (personality(2)): 0 is the kernel's own way, 8
/// (`PER_LINUX32`) makes uname(2) speak of the 32-bit machine.
///
/// # Errors
/// What a filter of system calls says.
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: no memory is passed. What an exec of this process will look like concerns no memory that exists.
    check(unsafe { libc::personality(libc::c_ulong::from(persona)) }.into()).map(drop)
}

/// Fills `bytes` at random (getrandom(2)), from a source that is good enough for secrets.
///
/// # Errors
/// What a filter of system calls says.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the kernel writes at most as many bytes as the slice has.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match check(count as libc::c_long) {
            Ok(count) => filled += usize::try_from(count).unwrap_or(0),
            Err(crate::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Which of two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The one that forked, and its child.
    Parent(Pid),
    /// The child.
    Child,
}

/// Makes a copy of this process, which must have one thread. No fork handler of libc's runs: the callers are processes
/// between clone and exec, which use none of what those look after.
///
/// # Errors
/// Those of clone(2).
pub fn fork() -> Result<Fork> {
    // SAFETY: without CLONE_VM the child has its own copy of memory and stack, and goes on from here with it. It has one
    // thread like its parent, so that no lock is held by a thread that the child lacks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) })?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(pid.map_or(Fork::Child, Fork::Parent))
}

/// Which of two processes this is.
#[derive(Debug)]
pub enum Beside {
    /// The one that forked.
    Old {
        /// The new one's id, as this one's pid namespace counts.
        pid: Pid,
        /// A descriptor for it; close-on-exec.
        pidfd: OwnedFd,
    },
    /// The new one.
    New,
}

/// As [`fork`], but the new process is not this one's child: it has the same parent (`CLONE_PARENT`).
///
/// # Errors
/// Those of clone(2).
pub fn fork_beside() -> Result<Beside> {
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: as in `fork`. The kernel writes the descriptor to the third argument, in the memory of the process that called.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) })?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(Beside::New);
    };
    // SAFETY: the call succeeded, so the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Beside::Old { pid, pidfd })
}

/// Moves this process into namespaces of another (setns(2) with a pidfd, Linux 5.8). If the user namespace is among them, what
/// is needed for the others is had there. A pid namespace is that of the children that are made from then on.
///
/// # Errors
/// Those of setns(2): `ESRCH` when the process has ended, `EPERM` where the namespaces are not the caller's.
pub fn join(pidfd: BorrowedFd<'_>, namespaces: Namespaces) -> Result<()> {
    // SAFETY: no memory is passed, and the descriptor is open.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), namespaces.flags()) }.into()).map(drop)
}

/// How many threads this process has.
///
/// # Errors
/// Those of statx(2) where `/proc` is not mounted.
pub fn thread_count() -> Result<u64> {
    // The kernel counts a link per thread beside `.` and the entry in the parent folder: one call instead of a listing.
    let task = rustix::fs::stat(c"/proc/self/task")?;
    Ok(widen(task.st_nlink).saturating_sub(2))
}

/// The link count has 32 bits on some architectures.
fn widen(links: impl Into<u64>) -> u64 {
    links.into()
}

/// Runs `main(arg)` in a process of its own that outlives this one and that nobody notices: in a session of its own, away
/// from the terminal and the working directory, with `/dev/null` as its standard streams and no other descriptor of
/// this process, whose pipes and locks therefore end with it. Nobody learns how it ends.
///
/// # Errors
/// As for [`clone`]: `EDEADLK` when this process has more than one thread.
pub fn leave_behind<T>(arg: &T, main: fn(&T)) -> Result<()> {
    struct Work<'a, T> {
        arg: &'a T,
        main: fn(&T),
    }
    fn begin<T>(work: &Work<'_, T>) -> u8 {
        if detach().is_err() {
            return 1;
        }
        (work.main)(work.arg);
        0
    }
    clone(Namespaces::NONE, Memory::Copied, &Work { arg, main }, begin).map(drop)
}

/// Runs `main(arg)` in a process of its own, away from the terminal, with this one's standard streams and no other of its
/// descriptors. Returns when `main` says that it goes on alone: with nothing of this process's from then on, and with nobody who
/// learns how it ends; the result is 0 then. Otherwise it is what `main` returned.
///
/// # Errors
/// As for [`clone`]: `EDEADLK` when this process has more than one thread.
pub fn until_it_goes_on_alone<T>(arg: &T, main: fn(&T, &Alone) -> u8) -> Result<u8> {
    struct Work<'a, T> {
        arg: &'a T,
        main: fn(&T, &Alone) -> u8,
        said: BorrowedFd<'a>,
    }
    fn begin<T>(work: &Work<'_, T>) -> u8 {
        let ready = rustix::process::setsid()
            .and_then(|_| rustix::process::chdir(c"/"))
            .and_then(|()| fd::close_all_but_stdio_and(work.said));
        match (ready, work.said.try_clone_to_owned()) {
            (Ok(()), Ok(said)) => (work.main)(work.arg, &Alone(said)),
            _ => 125,
        }
    }
    let (hears, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let work = Work {
        arg,
        main,
        said: says.as_fd(),
    };
    let child = clone(Namespaces::NONE, Memory::Copied, &work, begin)?;
    drop(says);
    loop {
        match rustix::io::read(&hears, &mut [0_u8; 1]) {
            Ok(1) => return Ok(0),
            Err(crate::Errno::INTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let status = rustix::process::waitid(
        rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    )?;
    let code = status.and_then(|status| status.exit_status());
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125))
}

/// Of a process that is to go on alone.
#[derive(Debug)]
pub struct Alone(OwnedFd);

impl Alone {
    /// From now on it does.
    pub fn now(&self) {
        // With nobody there to hear it, it is alone all the same.
        let _ = null_stdio().and_then(|()| rustix::io::write(&self.0, b"1").map(drop));
    }
}

fn null_stdio() -> Result<()> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

fn detach() -> Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    fd::close_all_but_stdio_and(std::os::fd::AsFd::as_fd(&null))
}

/// Sets the umask of the calling thread alone to 0. From then on the thread has a working directory and root of its own, too,
/// which matters only to who changes them.
///
/// # Errors
/// `EPERM` where a sandbox refuses unshare(2).
pub fn clear_own_umask() -> Result<()> {
    // SAFETY: CLONE_FS concerns no memory and no descriptors: the thread gets a copy of its umask, working directory and root.
    check(unsafe { libc::unshare(libc::CLONE_FS) }.into())?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// State (`R`, `S`, `Z`, …) and start time (in clock ticks since boot, which with the id names one process for good) in a text
/// of `/proc/PID/stat`: fields 3 and 22 (proc_pid_stat(5)).
pub fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    // The second field is the program's name in parentheses, and may hold anything.
    let after = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// What a child process came to.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Its exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Processor time of it and the children it waited for.
    pub cpu: Duration,
    /// The most memory it, or one of those children, had in RAM at once, in KiB. Counts from what this process had when the
    /// child began: programs are started in a process that is for a moment as large as its parent.
    pub peak_kib: u64,
}

/// Waits for a child process to end.
///
/// # Errors
/// `ECHILD` when there is no such child.
pub fn wait_with_usage(child: Pid) -> Result<Usage> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the types that wait4(2) writes.
    let waited = unsafe { libc::wait4(child.as_raw_pid(), &raw mut status, 0, usage.as_mut_ptr()) };
    check(waited.into())?;
    // SAFETY: all bytes zero is a valid value of this structure of integers, and the kernel has overwritten it.
    let usage = unsafe { usage.assume_init() };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

/// Makes the group that the calling process is in the root of what it sees of control groups: unshare(2) with
/// `CLONE_NEWCGROUP` (Linux 4.6). clone(2) would take the parent's group instead.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace.
pub fn unshare_cgroup() -> Result<()> {
    // SAFETY: the call changes what this process sees of the cgroup tree, and no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_waited_for_with_what_it_used() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "exit 3"])
            .spawn()
            .unwrap();
        let usage = wait_with_usage(Pid::from_child(&child)).unwrap();
        assert_eq!(usage.status, Some(3));
        assert!(usage.peak_kib > 0);
        assert!(child.wait().is_err(), "it was waited for already");
    }

    #[test]
    fn a_program_s_name_does_not_disturb() {
        let fields = "0 ".repeat(18);
        let stat = format!("7 (a) b) c) Z {fields}4711 0\n");
        assert_eq!(state_and_start(&stat), Some(("Z", 4711)));
        for bad in ["", "7 (a", "7 (a) S", "7 (a) S 1 2 3"] {
            assert_eq!(state_and_start(bad), None, "{bad}");
        }
    }

    #[test]
    fn threads_are_counted() {
        let before = thread_count().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            started.send(()).unwrap();
            let _ = stopped.recv();
        });
        has_started.recv().unwrap();
        let during = thread_count().unwrap();
        drop(stop);
        thread.join().unwrap();
        assert!(before >= 1, "{before}");
        assert!(during >= 2, "{during}");
    }
}
