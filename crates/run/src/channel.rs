//! The way that processes of minidock talk to each other: packets, each whole or not at all.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::Error;

/// Two connected ends, both close-on-exec (unix(7), `SOCK_SEQPACKET`).
pub(crate) fn channel() -> Result<(OwnedFd, OwnedFd), Error> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Error::supervise("make a socketpair"))
}
