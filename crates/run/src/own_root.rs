//! Work that needs a superuser's rights over the caller's own files.
//!
//! A caller with one id owns every file of his store, but cannot read those whose mode forbids it even to their owner
//! (`/etc/shadow` of some images has mode 000). In a user namespace that maps this id he is root, and may.

use std::os::fd::{AsFd as _, BorrowedFd};

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::{Errno, fd};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;

use crate::channel::channel;
use crate::plan::step::SelfMap;
use crate::{Error, child, supervise, trial};

/// Longest text of a failure, in bytes.
const TEXT: usize = 2048;

struct Task<'a> {
    map: SelfMap,
    channel: BorrowedFd<'a>,
    other: BorrowedFd<'a>,
    work: &'a dyn Fn() -> Result<(), String>,
}

/// Does `work` as root of a user namespace of the caller's one id, in a child that ends with it. The process has to have
/// one thread. What `work` returns is the text of its failure.
///
/// # Errors
/// [`Error::OwnRoot`] with that text; [`Error::Clone`] where user namespaces are refused.
pub fn as_own_root(work: &dyn Fn() -> Result<(), String>) -> Result<(), Error> {
    let (ours, theirs) = channel()?;
    let task = Task {
        map: trial::own_ids()?,
        channel: theirs.as_fd(),
        other: ours.as_fd(),
        work,
    };
    let child = clone(Namespaces::USER, Memory::Copied, &task, live)
        .map_err(crate::running::clone_error)?;
    drop(theirs);
    let mut text = [0_u8; TEXT];
    let length = loop {
        match recv(&ours, &mut text[..], RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            result => break result.map(|(length, _)| length),
        }
    };
    let exit = supervise::reap(child.pidfd.as_fd())?;
    let length = length.map_err(Error::supervise("hear from a process of ours"))?;
    match text.get(..length) {
        Some([b'1']) => Ok(()),
        Some([b'0', said @ ..]) => Err(Error::OwnRoot(String::from_utf8_lossy(said).into_owned())),
        _ => Err(Error::OwnRoot(format!(
            "the process that did it ended ({exit:?})"
        ))),
    }
}

/// The child has a copy of a process with one thread, so it may use all of it.
fn live(task: &Task<'_>) -> u8 {
    fd::close_copy(task.other);
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let done = child::map_own_ids(&task.map)
        .map_err(|fail| format!("cannot map ids: {}", std::io::Error::from(fail.errno)))
        .and_then(|()| (task.work)());
    let mut answer = match done {
        Ok(()) => b"1".to_vec(),
        Err(text) => format!("0{text}").into_bytes(),
    };
    answer.truncate(TEXT);
    let _ = send(task.channel, &answer, SendFlags::NOSIGNAL);
    0
}
