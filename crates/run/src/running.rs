//! From a launch to a running container.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use minidock_sys::clone::{Child, Memory, clone};
use minidock_sys::signal::{self, MaskGuard, SignalFd, SignalSet};
use minidock_sys::{Errno, process};
use rustix::net::{SendFlags, send};
use rustix::termios::Winsize;

use crate::attach::Guests;
use crate::channel::channel;
use crate::child::{self, Birth};
use crate::emulation::Supervisor;
use crate::keep::{self, KeepOptions, Keeper, Kept, Watched};
use crate::plan::{IdMaps, plan_fill};
use crate::render::{self, Settings};
use crate::report::{self, Message};
use crate::server::Server;
use crate::stdio::{self, Outside};
use crate::supervise::{self, Watch};
use crate::{Error, Exit, Host, Launch, Plan, plan};

/// A container whose program runs. Dropping it kills the container.
#[derive(Debug)]
pub struct Running {
    child: Child,
    start_time: u64,
    notes: Vec<String>,
    outside: Outside,
    terminal: Option<OwnedFd>,
    interactive: bool,
    init: bool,
    own_processes: bool,
    signals: SignalFd,
    reaped: bool,
    server: Option<Server>,
    emulation: Option<Supervisor>,
    /// A process of the container that was joined.
    joined: Option<OwnedFd>,
    /// The server ended before the container was set up.
    unserved: bool,
    /// Last, so that signals are let in again when all else is over.
    _mask: MaskGuard,
}

/// Starts a container on this host.
///
/// # Errors
/// See [`Error`]; nothing stays behind.
pub fn start(launch: &Launch<'_>) -> Result<Running, Error> {
    start_on(launch, &Host::read()?)
}

/// Starts a container with facts about the host that were read before, or made up by a test.
///
/// # Errors
/// See [`Error`]; nothing stays behind.
pub fn start_on(launch: &Launch<'_>, host: &Host) -> Result<Running, Error> {
    carry_out(&plan(launch, host)?, host, None)
}

/// Copies what the root file system has at each path inside into an empty folder of the host's, owners, modes and times
/// included, as the container would see it. A folder that is not empty stays as it is.
///
/// The launch's root file system must not be in use; what it is mounted on besides may be.
///
/// # Errors
/// See [`Error`]. A folder may then be half filled.
pub fn fill_volumes(launch: &Launch<'_>, fills: &[(&Path, &Path)]) -> Result<(), Error> {
    let host = Host::read()?;
    let running = carry_out(&plan_fill(launch, &host, fills)?, &host, None)?;
    match running.end()? {
        Exit::Code(0) => Ok(()),
        exit => Err(Error::Died(exit)),
    }
}

/// `member` is the process through which a container that runs is entered, where the plan is about one.
pub(crate) fn carry_out(
    plan: &Plan,
    host: &Host,
    member: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    // Signals wait from here on: none is lost between the clone and the loop that passes them on.
    let all = SignalSet::all();
    let mask = MaskGuard::block(&all).map_err(Error::supervise("block signals"))?;
    let signals = SignalFd::new(&all).map_err(Error::supervise("make a signalfd"))?;
    let (inside, outside) = stdio::prepare(plan)?;
    let (ours, theirs) = channel()?;
    let birth = Birth {
        plan,
        channel: theirs.as_fd(),
        supervisor_end: ours.as_fd(),
        stdio: inside.given(),
        member,
        window: window(plan),
    };
    if !plan.own_processes {
        // What the container leaves behind comes to us, and is ended with it.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(Error::supervise("become a reaper"))?;
    }
    // A parent that stands still until exec can neither write the child's id maps nor serve files, and a child that stays
    // until the container's end needs memory of its own.
    let memory = match (&plan.id_maps, plan.fuse()) {
        (IdMaps::Own, None) if plan.program && !plan.init => Memory::Borrowed,
        _ => Memory::Copied,
    };
    let child = clone(plan.namespaces, memory, &birth, child::live).map_err(clone_error)?;
    let mut running = Running {
        child,
        start_time: 0,
        notes: plan.notes.clone(),
        outside,
        terminal: None,
        interactive: plan.interactive && plan.attach[0],
        // Of a pid namespace, it is the first process alone that signals may not reach.
        init: plan.init || member.is_some(),
        own_processes: plan.own_processes,
        signals,
        reaped: false,
        server: None,
        emulation: None,
        joined: match member {
            Some(member) => {
                Some(
                    member
                        .try_clone_to_owned()
                        .map_err(|source| Error::Supervise {
                            what: "copy a descriptor",
                            source,
                        })?,
                )
            }
            None => None,
        },
        unserved: false,
        _mask: mask,
    };
    if let IdMaps::Parent { uid, gid } = &plan.id_maps {
        running.write_id_maps(uid, gid, ours.as_fd())?;
    }
    drop((theirs, inside));
    running.hear_out(plan, host, ours.as_fd())?;
    running.start_time = start_time(running.pid())?;
    Ok(running)
}

pub(crate) fn clone_error(errno: Errno) -> Error {
    match (errno, process::thread_count()) {
        (Errno::DEADLK, Ok(threads)) => Error::Threads { threads },
        _ => render::clone_error(errno, Settings::read()),
    }
}

fn window(plan: &Plan) -> Option<Winsize> {
    if !plan.terminal {
        return None;
    }
    let wanted = plan.console_size.map(|(ws_row, ws_col)| Winsize {
        ws_row,
        ws_col,
        ws_xpixel: 0,
        ws_ypixel: 0,
    });
    wanted.or_else(stdio::window)
}

/// See [`Running::start_time`].
fn start_time(pid: i32) -> Result<u64, Error> {
    let what = "when the container's process started";
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_err(|source| Error::Host { what, source })?;
    let time = process::state_and_start(&stat).map(|(_, start)| start);
    time.ok_or_else(|| Error::Host {
        what,
        source: std::io::ErrorKind::InvalidData.into(),
    })
}

impl Running {
    fn write_id_maps(&self, uid: &str, gid: &str, channel: BorrowedFd<'_>) -> Result<(), Error> {
        for (name, map) in [("uid_map", uid), ("gid_map", gid)] {
            // The process is our child and not reaped, so its id is still its own.
            fs::write(format!("/proc/{}/{name}", self.pid()), map).map_err(|source| {
                Error::Supervise {
                    what: "write the container's id maps",
                    source,
                }
            })?;
        }
        match send(channel, b"1", SendFlags::NOSIGNAL) {
            // A child that is gone says why itself.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::supervise(
                "tell the container that its ids are mapped",
            )(errno)),
        }
    }

    /// Reads the child's reports until it executes its program or fails.
    fn hear_out(&mut self, plan: &Plan, host: &Host, channel: BorrowedFd<'_>) -> Result<(), Error> {
        let mut executing = false;
        let mut failure = None;
        while let Some(message) =
            report::receive(channel).map_err(Error::supervise("hear from the container"))?
        {
            match message {
                Message::Connection(fd) => {
                    if let Some(fuse) = plan.fuse() {
                        self.server = Some(Server::start(fuse, self.child.pidfd.as_fd(), fd)?);
                    }
                }
                Message::Born { pid, pidfd } => {
                    let before = std::mem::replace(&mut self.child, Child { pid, pidfd });
                    supervise::reap(before.pidfd.as_fd())?;
                }
                Message::Calls(fd) => {
                    let emulation = plan.emulation.as_ref();
                    self.emulation = emulation.map(|e| Supervisor::new(e, fd, self.child.pid));
                }
                Message::Executing => executing = true,
                Message::Terminal(fd) => self.terminal = Some(fd),
                Message::FellBack { step, fail } => {
                    self.notes.extend(render::fell_back_note(plan, step, fail))
                }
                Message::Failed { step, fail } => {
                    self.unserved |= self.server.as_ref().is_some_and(|s| s.explains(fail.errno));
                    failure.get_or_insert_with(|| {
                        render::step_error(plan, step, fail, host, Settings::read())
                    });
                }
            }
        }
        if let Some(error) = failure {
            self.kill_and_reap();
            return Err(self.server_failure().unwrap_or(error));
        }
        if executing {
            return Ok(());
        }
        let exit = supervise::reap(self.child.pidfd.as_fd())?;
        self.reaped = true;
        Err(Error::Died(exit))
    }

    /// The server's failure, if that is what the container's was.
    fn server_failure(&mut self) -> Option<Error> {
        self.server.take_if(|_| self.unserved).map(Server::failure)
    }

    /// The process id of the container's first process, as the caller's pid namespace counts.
    pub fn pid(&self) -> i32 {
        self.child.pid.as_raw_nonzero().get()
    }

    /// When that process started: field 22 of `/proc/PID/stat`, in clock ticks since boot. Pid and start time together
    /// name one process for good.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Defaults that this host could not give and what stands in for them, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Stays in the foreground until the container ends: relays stdio, forwards signals, restores the terminal.
    ///
    /// # Errors
    /// See [`Error`]. The container is dead when this returns.
    pub fn supervise(mut self) -> Result<Exit, Error> {
        let exit = supervise::until_end(Watch {
            pid: self.child.pid,
            pidfd: self.child.pidfd.as_fd(),
            signals: &self.signals,
            outside: std::mem::take(&mut self.outside),
            terminal: self.terminal.take(),
            interactive: self.interactive,
            init: self.init,
            own_processes: self.own_processes,
            emulation: self.emulation.take(),
            joined: self.joined.as_ref().map(|fd| fd.as_fd()),
            others_write: self.joined.is_some(),
        })?;
        self.reaped = true;
        self.end_server();
        Ok(exit)
    }

    /// Stays with a container whose standard streams are the supervisor's ([`Launch::kept`]) until it has ended and all that it
    /// wrote has gone where it belongs.
    ///
    /// # Errors
    /// See [`Error`]. The container is dead when this returns.
    pub fn keep(
        mut self,
        guests: &mut Guests,
        keeper: &mut dyn Keeper,
        options: KeepOptions,
    ) -> Result<Kept, Error> {
        let watched = Watched {
            pid: self.child.pid,
            pidfd: self.child.pidfd.as_fd(),
            signals: &self.signals,
            outside: std::mem::take(&mut self.outside),
            terminal: self.terminal.take(),
            init: self.init,
            own_processes: self.own_processes,
            emulation: self.emulation.take(),
        };
        let kept = keep::until_end(watched, guests, keeper, options)?;
        self.reaped = true;
        self.end_server();
        Ok(kept)
    }

    /// Waits for an end that needs no watching.
    fn end(mut self) -> Result<Exit, Error> {
        let exit = supervise::reap(self.child.pidfd.as_fd())?;
        self.reaped = true;
        self.end_server();
        Ok(exit)
    }

    fn end_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
        }
    }

    fn kill_and_reap(&mut self) {
        if !self.reaped {
            let _ = signal::send(self.child.pidfd.as_fd(), 9);
            let _ = supervise::reap(self.child.pidfd.as_fd());
            self.reaped = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}
