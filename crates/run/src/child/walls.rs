//! Walls besides namespaces: keys, AppArmor, Landlock.

use std::ffi::CStr;

use minidock_sys::landlock::Ruleset;
use minidock_sys::{Errno, keys};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::text::Text;
use super::{Given, write_file};
use crate::report::{During as _, Fail, Phase};

/// A session keyring is inherited, and whoever has it can use the keys in it: those of a Kerberos login, of an encrypted
/// home. What would be refused to the container as well needs no wall.
pub(super) fn new_keyring() -> Result<Option<Fail>, Fail> {
    match keys::join_new_session_keyring() {
        Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(None),
        Err(errno @ (Errno::DQUOT | Errno::NOMEM)) => Ok(Some(Fail::new(Phase::Act, errno))),
        Err(errno) => Err(Fail::new(Phase::Act, errno)),
    }
}

/// The profile counts from the next exec on. This is done while `/proc` is still the host's, so that no mount of an
/// image's or a user's can make another file of it.
pub(super) fn apply_apparmor(profile: &CStr) -> Result<(), Fail> {
    let mut text = Text::new();
    text.push(b"exec ")
        .and_then(|()| text.push(profile.to_bytes()))
        .during(Phase::Act)?;
    let text = text.as_c_str().during(Phase::Act)?;
    // The second is the name from before Linux 5.8, when one module at a time had it.
    match write_file(c"/proc/thread-self/attr/apparmor/exec", text) {
        Err(Errno::NOENT) if !exists(c"/proc/thread-self/attr/apparmor/exec") => {
            write_file(c"/proc/thread-self/attr/exec", text).during(Phase::Act)
        }
        result => result.during(Phase::Act),
    }
}

fn exists(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok()
}

/// One rule, for `/`: everything that is mounted in the container is below it, and nothing else is. What remains
/// reachable by other ways than names from `/` is what this is for; the null device that the supervisor may have handed
/// over is the host's, and can be opened as `/dev/stdin`.
pub(super) fn own_files_only(version: u32, stdio: &[Given<'_>; 3]) -> Result<(), Fail> {
    let ruleset = Ruleset::new(version).during(Phase::Act)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, c"/", flags, Mode::empty()).during(Phase::Act)?;
    ruleset
        .allow_below(std::os::fd::AsFd::as_fd(&root))
        .during(Phase::Act)?;
    let callers = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for (given, callers) in stdio.iter().zip(callers) {
        let fd = match given {
            Given::Callers => callers,
            Given::Null(fd) => *fd,
            Given::Pipe(_) => continue,
        };
        // A pipe needs no rule, and one that is closed cannot be opened anew.
        match ruleset.allow_file(fd) {
            Ok(()) | Err(Errno::BADFD | Errno::BADF) => {}
            Err(errno) => return Err(Fail::new(Phase::Act, errno)),
        }
    }
    ruleset.enforce().during(Phase::Act)
}
