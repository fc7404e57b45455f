//! Signal masks, dispositions, and signals read from a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, check, last_errno};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries((1..=64).filter(|&signal| self.contains(signal)))
            .finish()
    }
}

impl SignalSet {
    /// No signal.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set.
        Self(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// Every signal that can be blocked.
    pub fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set.
        Self(unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// This set and `signal`. A number that is no signal changes nothing.
    #[must_use]
    pub fn with(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; sigaddset rejects numbers that are no signal.
        unsafe { libc::sigaddset(&raw mut self.0, signal) };
        self
    }

    /// This set less `signal`. A number that is no signal changes nothing.
    #[must_use]
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; sigdelset rejects numbers that are no signal.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }

    /// Whether `signal` is in this set.
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised; sigismember rejects numbers that are no signal.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

/// Sets this thread's mask of blocked signals and returns the one before.
///
/// # Errors
/// None is known for valid arguments.
pub fn set_mask(blocked: &SignalSet) -> Result<SignalSet> {
    let mut before = SignalSet::empty();
    // SAFETY: both sets are initialised and live for the call.
    let result = unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const blocked.0, &raw mut before.0)
    };
    if result == 0 {
        Ok(before)
    } else {
        Err(Errno::from_raw_os_error(result))
    }
}

/// The old mask, put back on drop.
#[derive(Debug)]
pub struct MaskGuard {
    before: SignalSet,
}

impl MaskGuard {
    /// Blocks exactly `blocked` until the guard is dropped.
    ///
    /// # Errors
    /// As [`set_mask`].
    pub fn block(blocked: &SignalSet) -> Result<Self> {
        Ok(Self {
            before: set_mask(blocked)?,
        })
    }

    /// Changes what is blocked meanwhile; the guard still restores the first mask.
    ///
    /// # Errors
    /// As [`set_mask`].
    pub fn change(&self, blocked: &SignalSet) -> Result<()> {
        set_mask(blocked).map(drop)
    }
}

impl Drop for MaskGuard {
    fn drop(&mut self) {
        let _ = set_mask(&self.before);
    }
}

/// Gives every signal its default action. exec(2) does so for handled signals, but keeps ignored ones ignored, and Rust
/// programs ignore `SIGPIPE`.
///
/// Meant for a cloned child, whose dispositions are its own.
pub fn reset_dispositions() {
    // SAFETY: an all-zero sigaction is a valid value: SIG_DFL, no flags, an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=64 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: installing SIG_DFL runs no code of ours. libc refuses the numbers it keeps for itself, which no
        // ordinary program ignores.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}

/// Blocked signals, readable one at a time (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// A non-blocking, close-on-exec descriptor for `signals`, which have to be blocked.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new(signals: &SignalSet) -> Result<Self> {
        // SAFETY: the set is initialised and lives for the call.
        let fd = unsafe {
            libc::signalfd(
                -1,
                &raw const signals.0,
                libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
            )
        };
        if fd == -1 {
            return Err(last_errno());
        }
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal's number, if there is one.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> Result<Option<i32>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // `ssi_signo` is the first field.
            Ok(_) => Ok(Some(i32::from_ne_bytes([
                info[0], info[1], info[2], info[3],
            ]))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `signal` to the process behind `pidfd` (pidfd_send_signal(2)). Any number goes, real-time signals too.
///
/// # Errors
/// `ESRCH` when it has been reaped; `EINVAL` for a number that is no signal.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    use std::os::fd::AsRawFd;
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: without siginfo the call reads no memory.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    })
    .map(drop)
}

/// Sends `signal` to a process by its id, which must not have been reaped. Any number goes, real-time signals too.
///
/// # Errors
/// Those of kill(2).
pub fn kill(process: rustix::process::Pid, signal: i32) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(process.as_raw_nonzero().get(), signal) }.into()).map(drop)
}

/// Waits for one of `signals`, which have to be blocked, and takes it (sigwaitinfo(2)).
///
/// # Errors
/// `EINTR` where an unblocked signal was handled meanwhile.
pub fn wait(signals: &SignalSet) -> Result<i32> {
    // SAFETY: the set is initialised and lives for the call; no information about the signal is asked for.
    check(unsafe { libc::sigwaitinfo(&raw const signals.0, std::ptr::null_mut()) }.into())
        .map(|number| i32::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_added() {
        let set = SignalSet::empty().with(libc::SIGINT).with(40).with(9999);
        assert_eq!(format!("{set:?}"), format!("{{{}, 40}}", libc::SIGINT));
        assert!(SignalSet::all().contains(libc::SIGTERM));
    }

    #[test]
    fn blocked_signals_are_read_and_the_mask_comes_back() {
        let before = set_mask(&SignalSet::empty()).unwrap();
        {
            let usr2 = SignalSet::empty().with(libc::SIGUSR2);
            let _guard = MaskGuard::block(&usr2).unwrap();
            let signals = SignalFd::new(&usr2).unwrap();
            assert_eq!(signals.next().unwrap(), None);
            // SAFETY: the signal is blocked in this thread, the only one it is sent to.
            unsafe { libc::raise(libc::SIGUSR2) };
            assert_eq!(signals.next().unwrap(), Some(libc::SIGUSR2));
            assert_eq!(signals.next().unwrap(), None);
        }
        assert!(!set_mask(&before).unwrap().contains(libc::SIGUSR2));
    }
}
