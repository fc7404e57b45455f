//! Keyrings (keyrings(7)).

use crate::{Result, check};

/// `KEYCTL_JOIN_SESSION_KEYRING` (linux/keyctl.h).
const JOIN_SESSION_KEYRING: libc::c_ulong = 1;

/// Gives this process an empty session keyring of its own in place of the one that it inherited, whose keys it could use.
///
/// # Errors
/// `EDQUOT` when the user has as many keys as `/proc/sys/kernel/keys/maxkeys` allows; `ENOSYS` in a kernel without keys;
/// what a filter of system calls says.
pub fn join_new_session_keyring() -> Result<()> {
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for a keyring without one, and nothing is read.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) }).map(drop)
}
