//! What `run` needs of the kernel, tried for real in a child that is thrown away: settings and version numbers only tell
//! half of it (a security module, a seccomp filter around us, a chroot).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::{Errno, notify, process};
use rustix::mount::{MountFlags, mount};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::child;
use crate::emulation;
use crate::plan::step::SelfMap;
use crate::render::{self, Settings};
use crate::report::Fail;
use crate::running::clone_error;
use crate::seccomp::Filter;
use crate::{Error, Exit, supervise};

/// What was tried after the namespaces were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Mapping the caller's own ids.
    IdMaps,
    /// Making mounts private.
    Mounts,
    /// Mounting a new `/proc`.
    Proc,
}

/// How far the trial came.
#[derive(Debug)]
pub enum Isolation {
    /// All of it works.
    Works,
    /// The namespaces can be made, and this is refused in them.
    Refused {
        /// What.
        stage: Stage,
        /// The kernel's answer.
        source: io::Error,
        /// The remedy, where the host's settings tell it.
        hint: Option<String>,
    },
}

const STAGES: [Stage; 3] = [Stage::IdMaps, Stage::Mounts, Stage::Proc];

/// What the child gets.
struct Task<'a> {
    map: SelfMap,
    report: BorrowedFd<'a>,
}

/// Makes the namespaces of a container, maps the caller's ids in them and mounts a new `/proc`.
///
/// # Errors
/// [`Error::Clone`] with its remedy where the namespaces are refused; [`Error::Threads`] in a process with several threads.
pub fn try_isolation() -> Result<Isolation, Error> {
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).map_err(Error::supervise("make a pipe"))?;
    let task = Task {
        map: own_ids()?,
        report: writer.as_fd(),
    };
    let all = Namespaces::USER
        .with(Namespaces::PID)
        .with(Namespaces::MOUNT)
        .with(Namespaces::UTS)
        .with(Namespaces::IPC)
        .with(Namespaces::NETWORK)
        .with(Namespaces::CGROUP);
    let started = clone(all, Memory::Copied, &task, walk).map_err(|errno| {
        match (errno, process::thread_count()) {
            (Errno::DEADLK, Ok(threads)) => Error::Threads { threads },
            _ => render::clone_error(errno, Settings::read()),
        }
    })?;
    drop(writer);
    let mut message = [0_u8; 5];
    let length =
        rustix::io::read(&reader, &mut message).map_err(Error::supervise("read from a pipe"))?;
    supervise::reap(started.pidfd.as_fd())?;
    let [stage, errno @ ..] = message;
    let refused = (length == message.len())
        .then(|| STAGES.get(usize::from(stage)).copied())
        .flatten();
    Ok(match refused {
        None => Isolation::Works,
        Some(stage) => {
            let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
            let hint = (stage != Stage::Proc)
                .then(|| render::restricted_hint(errno, Settings::read()))
                .flatten();
            Isolation::Refused {
                stage,
                source: errno.into(),
                hint: hint.map(str::to_owned),
            }
        }
    })
}

pub(crate) fn own_ids() -> Result<SelfMap, Error> {
    let map = |id: u32| {
        std::ffi::CString::new(format!("0 {id} 1")).map_err(|e| Error::Host {
            what: "the caller's ids",
            source: e.into(),
        })
    };
    Ok(SelfMap {
        uid: map(rustix::process::geteuid().as_raw())?,
        gid: map(rustix::process::getegid().as_raw())?,
    })
}

/// The child: writes which stage was refused and the errno, or nothing.
fn walk(task: &Task<'_>) -> u8 {
    let stages: [&dyn Fn() -> Result<(), Fail>; 2] =
        [&|| child::map_own_ids(&task.map), &child::make_private];
    for (number, stage) in (0_u8..).zip(stages) {
        if let Err(fail) = stage() {
            return tell(task.report, number, fail.errno);
        }
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount(c"proc", c"/proc", c"proc", flags, None) {
        Ok(()) => 0,
        Err(errno) => tell(task.report, 2, errno),
    }
}

/// Lets a child ask for root emulation, and says why it would not be had.
///
/// # Errors
/// [`Error::Threads`] in a process with several threads, and where no child can be made.
pub fn try_root_emulation() -> Result<Result<(), String>, Error> {
    if !emulation::has_room() {
        return Ok(Err(emulation::NO_ROOM.to_owned()));
    }
    let (filter, _) = Filter::of_emulation();
    let started = clone(Namespaces::NONE, Memory::Copied, &filter, emulate).map_err(clone_error)?;
    Ok(match supervise::reap(started.pidfd.as_fd())? {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => {
            let errno = Errno::from_raw_os_error(code.into());
            let meaning = render::emulation_meaning(errno);
            Err(meaning.map_or_else(|| errno.to_string(), str::to_owned))
        }
        Exit::Signal(number) => Err(format!("signal {number} ended the trial")),
    })
}

/// The child: its exit code is the errno.
fn emulate(filter: &Filter) -> u8 {
    let tried = rustix::thread::set_no_new_privs(true)
        .and_then(|()| notify::install(&filter.program, filter.flags));
    match tried {
        Ok(_) => 0,
        Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX),
    }
}

fn tell(report: BorrowedFd<'_>, stage: u8, errno: Errno) -> u8 {
    let mut message = [stage; 5];
    message[1..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
    let _ = rustix::io::write(report, &message);
    1
}
