//! Reading small files of a container that runs, as its root sees them.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::{Errno, process};
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, ResolveFlags, fstat, memfd_create, openat2};
use rustix::process::Signal;

use super::Member;
use crate::child::hide;
use crate::{Error, Exit, supervise};

/// What the reading process needs.
struct Reading<'a> {
    member: BorrowedFd<'a>,
    files: Vec<(CString, OwnedFd)>,
    most: usize,
}

/// The contents of regular files, up to `most` bytes of each. What is not there, or is something else, is empty. Links lead
/// nowhere but to other files of the container.
///
/// They are read by a process of its own, which enters the container's user and mount namespaces: whatever a file system is
/// served by, it serves who is in them, and this process stays where it is.
///
/// # Errors
/// When the kernel refuses a step, or the container has ended.
pub fn read_inside(member: &Member, paths: &[&str], most: usize) -> Result<Vec<Vec<u8>>, Error> {
    const WHAT: &str = "read the container's files";
    let mut files = Vec::new();
    for path in paths {
        let path = CString::new(*path).unwrap_or_default();
        let memory = memfd_create("read", MemfdFlags::CLOEXEC).map_err(Error::supervise(WHAT))?;
        files.push((path, memory));
    }
    let reading = Reading {
        member: member.fd(),
        files,
        most,
    };
    let child = clone(Namespaces::NONE, Memory::Copied, &reading, live)
        .map_err(crate::running::clone_error)?;
    match supervise::reap(child.pidfd.as_fd())? {
        Exit::Code(0) => {}
        Exit::Code(GONE) => return Err(Error::Ended),
        exit => return Err(Error::Died(exit)),
    }
    let contents = reading.files.into_iter().map(|(_, memory)| {
        let (mut file, mut bytes) = (File::from(memory), Vec::new());
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    contents
        .collect::<Result<_, std::io::Error>>()
        .map_err(|source| Error::Supervise { what: WHAT, source })
}

const GONE: u8 = 2;

fn live(reading: &Reading<'_>) -> u8 {
    // Nobody should wait for a file system that a container serves and that does not answer.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let entered = hide()
        .map_err(|fail| fail.errno)
        .and_then(|()| process::join(reading.member, Namespaces::USER.with(Namespaces::MOUNT)));
    match entered {
        Ok(()) => {}
        Err(Errno::SRCH) => return GONE,
        Err(_) => return 1,
    }
    for (path, memory) in &reading.files {
        let _ = copy(path, memory.as_fd(), reading.most);
    }
    0
}

fn copy(path: &CString, to: BorrowedFd<'_>, most: usize) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let file = openat2(&root, path.as_c_str(), flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let mut buffer = [0_u8; 4096];
    let mut left = most;
    while left > 0 {
        let wanted = left.min(buffer.len());
        let count = rustix::io::read(&file, &mut buffer[..wanted])?;
        if count == 0 {
            break;
        }
        let mut written = 0;
        while written < count {
            written += rustix::io::write(to, &buffer[written..count])?;
        }
        left -= count;
    }
    Ok(())
}
