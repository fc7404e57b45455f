//! A copy of this program that nobody can write to.
//!
//! A process that a container's root can look into gives access to the file of its program, to read it; and once nobody executes
//! that file any more, who may write to it can do so through what was opened then (CVE-2019-5736). The file is in danger
//! where its owner, or who may write to it, is somebody inside.

use std::fs::File;
use std::io;

use rustix::fs::{
    Access, AtFlags, CWD, MemfdFlags, SealFlags, accessat, fcntl_add_seals, fcntl_get_seals,
    memfd_create, stat,
};

use super::Member;
use crate::Error;

/// This process's own program, wherever its file is.
const SELF: &str = "/proc/self/exe";

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Whether somebody inside could write to this process's program.
pub(super) fn is_exposed(member: &Member) -> bool {
    let sealed = || {
        let file = File::open(SELF).ok()?;
        fcntl_get_seals(file)
            .ok()
            .map(|seals| seals.contains(SEALS))
    };
    // What cannot be told is not safe.
    let owned = || stat(SELF).is_ok_and(|stat| !member.has_user(stat.st_uid));
    let closed = || accessat(CWD, SELF, Access::WRITE_OK, AtFlags::EACCESS).is_err();
    sealed() != Some(true) && !(owned() && closed())
}

/// A copy of this process's program in memory, which cannot be changed. Executing it (`/proc/self/fd/…`) makes this process one
/// for which [`Prepared::needs_copy`](super::Prepared::needs_copy) is never so.
///
/// # Errors
/// When it cannot be made.
pub fn sealed_copy() -> Result<File, Error> {
    let failed = |source: io::Error| Error::Supervise {
        what: "make a copy of minidock that the container cannot write to",
        source,
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where the host wants it said that it is to be executed (Linux 6.3); kernels before do not know the word.
    let copy = memfd_create("minidock", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("minidock", flags))
        .map_err(|errno| failed(errno.into()))?;
    let mut copy = File::from(copy);
    File::open(SELF)
        .and_then(|mut file| io::copy(&mut file, &mut copy))
        .map_err(failed)?;
    fcntl_add_seals(&copy, SEALS).map_err(|errno| failed(errno.into()))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_copy_is_whole_and_cannot_be_changed() {
        let mut copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(SELF).unwrap());
        assert!(copy.write_all(b"x").is_err());
        assert!(copy.set_len(0).is_err());
        assert!(fcntl_get_seals(&copy).unwrap().contains(SEALS));
    }
}
