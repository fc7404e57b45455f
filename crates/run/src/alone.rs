//! Root over the caller's own files.

use std::fs;
use std::io;

use minidock_sys::{Errno, process, userns};

use crate::Error;

/// Moves this process into a user namespace of its own in which the caller's one id is root's. It may then read what its
/// owner's mode forbids even to himself (a folder of mode 000 in a layer, say); in return, other namespaces of the caller's,
/// such as those of containers that run, are out of its reach.
///
/// Says `false`, with everything as it was, where the host refuses user namespaces: most files can be read all the same.
///
/// # Errors
/// [`Error::Threads`] when the process has more than one thread; when ids cannot be mapped, which leaves the process unable
/// to work with files.
pub fn become_own_root() -> Result<bool, Error> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    match userns::unshare() {
        Ok(()) => {}
        Err(Errno::DEADLK) => {
            return Err(Error::Threads {
                threads: process::thread_count().unwrap_or(0),
            });
        }
        Err(_) => return Ok(false),
    }
    let write = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text).map_err(|source| Error::Supervise {
            what: "map ids",
            source,
        })
    };
    match write("setgroups", "deny".into()) {
        // Before Linux 3.19.
        Err(Error::Supervise { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    Ok(true)
}
