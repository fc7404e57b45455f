//! The new process, from its birth to the container's program: it walks the plan.
//!
//! It may share the supervisor's memory (see [`minidock_sys::clone`]), so it allocates nothing, takes no lock, and touches
//! nothing but its own stack: every string was made beforehand.

mod dev;
mod fill;
mod identity;
mod join;
mod mounts;
mod place;
mod reaper;
pub(crate) mod rootfs;
mod text;
mod walls;

pub(crate) use dev::DEVICES;
pub(crate) use identity::become_root;
pub(crate) use join::hide;
pub(crate) use mounts::make_private;

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::signal::SignalSet;
use minidock_sys::{Errno, exec, fd, net, notify, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::RecvFlags;
use rustix::process::Signal;
use rustix::termios::Winsize;

use crate::plan::Plan;
use crate::plan::step::{Owner, SelfMap, Step};
use crate::report::{During as _, Fail, Phase, Reporter};
use crate::seccomp::Filter;

/// What the supervisor prepared for the child.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub plan: &'a Plan,
    /// Our end of the socketpair.
    pub channel: BorrowedFd<'a>,
    /// The supervisor's end, of which the child has a copy that it must not keep.
    pub supervisor_end: BorrowedFd<'a>,
    /// What becomes descriptors 0, 1 and 2.
    pub stdio: [Given<'a>; 3],
    /// The process through which a container that runs is entered.
    pub member: Option<BorrowedFd<'a>>,
    /// The size of the container's terminal.
    pub window: Option<Winsize>,
}

/// One of the container's standard descriptors. None of those passed here is itself 0, 1 or 2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    /// The caller's own stays in place.
    Callers,
    /// The null device.
    Null(BorrowedFd<'a>),
    /// An end of a pipe that the supervisor made for the container.
    Pipe(BorrowedFd<'a>),
}

/// What steps leave for later steps.
#[derive(Debug, Default)]
struct Found {
    /// The container's root folder.
    root: Option<OwnedFd>,
    /// The empty folder that masked folders show: the mount point, before anything covers it.
    empty: Option<OwnedFd>,
    /// The first mask of a folder, which the others are clones of.
    mask: Option<OwnedFd>,
    /// The first mask of a file, likewise.
    null: Option<OwnedFd>,
    working_directory: Option<OwnedFd>,
    /// Copies of the host's mounts go on following them, unless they are made private one by one.
    follows_host: bool,
    /// Which candidate for the command is the first that exists.
    command: Option<usize>,
    /// The container's end of its terminal.
    terminal: Option<OwnedFd>,
}

impl Found {
    fn root(&self) -> Result<BorrowedFd<'_>, Fail> {
        self.root
            .as_ref()
            .map(|root| root.as_fd())
            .ok_or(Fail::new(Phase::Act, Errno::BADF))
    }
}

/// The exit status of a child that could not become the program; the report says more.
const FAILED: u8 = 125;

/// The child's whole life before the program. Returns only on failure, which it has reported by then.
pub(crate) fn live(birth: &Birth<'_>) -> u8 {
    signal::reset_dispositions();
    fd::close_copy(birth.supervisor_end);
    // What is made inside has the modes that are written here, not those that the caller's umask leaves of them.
    rustix::process::umask(Mode::empty());
    let reporter = Reporter(birth.channel);
    // Never dropped: the last step closes the descriptors themselves.
    let mut found = std::mem::ManuallyDrop::new(Found::default());
    for (number, step) in birth.plan.steps.iter().enumerate() {
        match walk(birth, &mut found, step) {
            Ok(None) => {}
            Ok(Some(fell_back)) => reporter.fell_back(number, fell_back),
            Err(fail) => {
                reporter.failed(number, fail);
                return FAILED;
            }
        }
    }
    FAILED
}

/// Does one step. `Some` says that its fallback was taken, and why.
fn walk(birth: &Birth<'_>, found: &mut Found, step: &Step) -> Result<Option<Fail>, Fail> {
    match step {
        Step::MountFs(fs) => return mounts::mount_fs(found.root()?, fs),
        Step::DieWithSupervisor => die_with_supervisor(birth.channel),
        // 0 is whoever writes it.
        Step::JoinGroup(processes) => write_file(processes, c"0").during(Phase::Act),
        Step::OwnGroupNamespace => minidock_sys::process::unshare_cgroup().during(Phase::Act),
        Step::MapOwnIds(map) => map_own_ids(map),
        Step::AwaitIdMaps => await_id_maps(birth.channel),
        Step::BecomeRoot => become_root(),
        Step::Hide => hide(),
        Step::JoinNamespaces(which) => {
            found.root = Some(join::enter(birth.member, *which)?);
            Ok(())
        }
        Step::ForkInside => join::fork_inside(birth.channel),
        Step::BecomeJoinedRoot => identity::become_joined_root(),
        Step::OpenWorkingDirectory(path) => {
            found.working_directory = Some(rootfs::existing_directory(found.root()?, path)?);
            Ok(())
        }
        Step::OpenTerminalInside => {
            let reporter = Reporter(birth.channel);
            found.terminal = Some(dev::open_terminal(found.root()?, birth.window, &reporter)?);
            Ok(())
        }
        Step::OomScoreAdj(value) => {
            write_file(c"/proc/self/oom_score_adj", value).during(Phase::Act)
        }
        Step::MakeMountsPrivate => make_private(),
        Step::MakeMountsSlave => {
            found.follows_host = true;
            mounts::make_slave()
        }
        Step::MountOverlay(overlay) => rootfs::mount_overlay(found, overlay),
        Step::MountFuse(fuse) => rootfs::mount_fuse(found, fuse, &Reporter(birth.channel)),
        Step::BindRootfs { source, mountpoint } => rootfs::bind(found, source, mountpoint),
        Step::ProvideFolder(path) => rootfs::provide_folder(found.root()?, path),
        Step::ProvideLink {
            folder,
            name,
            target,
        } => rootfs::provide_link(found.root()?, folder, name, target),
        Step::FillVolume { source, folder } => fill::fill(found.root()?, source, folder),
        Step::Finish => {
            Reporter(birth.channel).executing(0);
            minidock_sys::process::exit_now(0)
        }
        Step::Bind(bind) => mounts::bind(found, bind),
        Step::FillDev => dev::fill(found.root()?),
        Step::OpenTerminal => {
            let reporter = Reporter(birth.channel);
            let terminal = dev::open_terminal(found.root()?, birth.window, &reporter)?;
            dev::bind_console(found.root()?, terminal.as_fd())?;
            found.terminal = Some(terminal);
            Ok(())
        }
        Step::Sysctl { path, value } => mounts::set_sysctl(found.root()?, path, value),
        Step::Mask(path) => mounts::mask(found, path),
        Step::ReadOnlyPath(path) => mounts::make_path_read_only(found.root()?, path),
        Step::ReadOnlyRoot => mounts::make_root_read_only(found.root()?),
        Step::FindWorkingDirectory { path, owner } => {
            found.working_directory = Some(rootfs::working_directory(found.root()?, path, *owner)?);
            Ok(())
        }
        Step::PivotRoot => rootfs::pivot(found.root()?),
        Step::MoveRoot => rootfs::move_over(found.root()?),
        Step::Hostname(name) => rustix::system::sethostname(name.to_bytes()).during(Phase::Act),
        Step::Domainname(name) => rustix::system::setdomainname(name.to_bytes()).during(Phase::Act),
        Step::LoopbackUp => net::loopback_up().during(Phase::Act),
        Step::EnterWorkingDirectory => match &found.working_directory {
            Some(folder) => rustix::process::fchdir(folder).during(Phase::Act),
            None => Ok(()),
        },
        Step::NewKeyring => return walls::new_keyring(),
        Step::Personality(persona) => {
            minidock_sys::process::set_personality(*persona).during(Phase::Act)
        }
        Step::AppArmor(profile) => walls::apply_apparmor(profile),
        Step::OwnFilesOnly(version) => walls::own_files_only(*version, &birth.stdio),
        Step::Umask(mask) => {
            rustix::process::umask(Mode::from_raw_mode(*mask & 0o777));
            Ok(())
        }
        Step::ResourceLimit {
            resource, limit, ..
        } => rustix::process::setrlimit(*resource, *limit).during(Phase::Act),
        Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true).during(Phase::Act),
        Step::BoundCapabilities(keep) => identity::bound_capabilities(*keep),
        Step::BecomeUser {
            owner,
            groups,
            keep_capabilities,
        } => identity::become_user(*owner, groups.as_deref(), *keep_capabilities),
        Step::SetCapabilities(sets) => identity::set_capabilities(sets),
        Step::NewSession => rustix::process::setsid().map(drop).during(Phase::Act),
        Step::Stdio { owner } => put_stdio(birth, found, *owner),
        Step::Reap => reaper::stay_and_fork(found.terminal.as_ref().map(|t| t.as_fd())),
        Step::FindCommand => find_command(birth, found),
        Step::Emulate { filter, required } => return emulate(birth, filter, *required),
        Step::Filter(filter) => {
            minidock_sys::seccomp::install(&filter.program, filter.flags).during(Phase::Act)
        }
        Step::Execute => Err(execute(birth, found.command)),
    }?;
    Ok(None)
}

/// Sends the supervisor what it answers by. Nothing that happens between here and the program is answered by it: it may stand
/// still until then.
fn emulate(birth: &Birth<'_>, filter: &Filter, required: bool) -> Result<Option<Fail>, Fail> {
    match notify::install(&filter.program, filter.flags) {
        Ok(listener) => {
            Reporter(birth.channel).calls(listener.as_fd());
            Ok(None)
        }
        Err(errno) if required => Err(Fail::new(Phase::Act, errno)),
        Err(errno) => Ok(Some(Fail::new(Phase::Act, errno))),
    }
}

/// Mounts a root file system as a container's is mounted, for a trial.
pub(crate) fn mount_root(step: &Step, reporter: &Reporter<'_>) -> Result<OwnedFd, Fail> {
    let mut found = Found::default();
    match step {
        Step::MountOverlay(overlay) => rootfs::mount_overlay(&mut found, overlay)?,
        Step::MountFuse(fuse) => rootfs::mount_fuse(&mut found, fuse, reporter)?,
        _ => {}
    }
    found.root.ok_or(Fail::new(Phase::Act, Errno::BADF))
}

fn die_with_supervisor(channel: BorrowedFd<'_>) -> Result<(), Fail> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(Phase::Act)?;
    // Had it died just before, nobody would send the signal: but then the other end of the channel is closed.
    let mut fds = [PollFd::new(&channel, PollFlags::empty())];
    poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .during(Phase::Act)?;
    if fds[0].revents().contains(PollFlags::HUP) {
        Err(Fail::new(Phase::Act, Errno::PIPE))
    } else {
        Ok(())
    }
}

/// The kernel takes a group map from an unprivileged writer only once setgroups(2) is denied (user_namespaces(7)).
pub(crate) fn map_own_ids(map: &SelfMap) -> Result<(), Fail> {
    match write_file(c"/proc/self/setgroups", c"deny") {
        // Absent before Linux 3.19, where it is not needed.
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(Fail::new(Phase::Act, errno)),
    }
    write_file(c"/proc/self/uid_map", &map.uid).during(Phase::Act)?;
    write_file(c"/proc/self/gid_map", &map.gid).during(Phase::Act)
}

fn write_file(path: &CStr, content: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // These files of the kernel's take a write as a whole or not at all.
    rustix::io::write(&file, content.to_bytes()).map(drop)
}

fn await_id_maps(channel: BorrowedFd<'_>) -> Result<(), Fail> {
    let mut byte = [0_u8; 1];
    match rustix::net::recv(channel, &mut byte, RecvFlags::empty()).during(Phase::Act)? {
        (1, _) => Ok(()),
        _ => Err(Fail::new(Phase::Act, Errno::PIPE)),
    }
}

fn put_stdio(birth: &Birth<'_>, found: &Found, owner: Owner) -> Result<(), Fail> {
    let terminal = found.terminal.as_ref().map(|terminal| terminal.as_fd());
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(terminal).during(Phase::Act)?;
    }
    for (number, given) in birth.stdio.iter().enumerate() {
        let (fd, ours) = match (terminal, *given) {
            (Some(terminal), _) => (terminal, true),
            (None, Given::Pipe(fd)) => (fd, true),
            (None, Given::Null(fd)) => (fd, false),
            (None, Given::Callers) => continue,
        };
        // So that a program that runs as another user can open `/dev/stdout`. Where that user has no id on the host,
        // there is nobody to give it to.
        if ours && !owner.uid.is_root() {
            let _ = rustix::fs::fchown(fd, Some(owner.uid), None);
        }
        match number {
            0 => rustix::stdio::dup2_stdin(fd),
            1 => rustix::stdio::dup2_stdout(fd),
            _ => rustix::stdio::dup2_stderr(fd),
        }
        .during(Phase::Act)?;
    }
    [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ]
    .into_iter()
    .try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()))
    .during(Phase::Act)
}

/// All that a filter might refuse and that can be done before it: after this, nothing but execve(2) is called, unless that fails.
fn find_command(birth: &Birth<'_>, found: &mut Found) -> Result<(), Fail> {
    fd::close_all_but_stdio_and(birth.channel).during(Phase::Act)?;
    let mut candidates = birth.plan.command.candidates.iter();
    found.command = candidates.position(|path| place::reachable_by_name(path).is_ok());
    Reporter(birth.channel).executing(0);
    signal::set_mask(&SignalSet::empty())
        .map(drop)
        .during(Phase::Act)
}

/// Returns why no candidate could be executed. The one that was found already is tried without another look.
fn execute(birth: &Birth<'_>, found: Option<usize>) -> Fail {
    let command = &birth.plan.command;
    let mut why = Fail::new(Phase::NotFound, Errno::NOENT);
    let candidates = command.candidates.iter().enumerate();
    for (number, path) in candidates.skip(found.unwrap_or(0)) {
        let reachable = match found {
            Some(found) if found == number => Ok(()),
            _ => place::reachable_by_name(path),
        };
        let (phase, errno) = match reachable {
            Ok(()) => match exec::execve(path, &command.argv, &command.envp) {
                // The file is there, so what is missing is its interpreter.
                Errno::NOENT => (Phase::Interpreter, Errno::NOENT),
                errno => (Phase::Program, errno),
            },
            Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
                if why.phase == Phase::NotFound {
                    why.errno = errno;
                }
                continue;
            }
            Err(errno) => (Phase::Program, errno),
        };
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        // As shells do: one that may not be executed does not end the search, but is the reason given at its end.
        if !matches!(errno, Errno::ACCESS | Errno::ISDIR) || why.phase == Phase::NotFound {
            why = Fail {
                phase,
                errno,
                index,
            };
        }
        if !matches!(errno, Errno::ACCESS | Errno::ISDIR | Errno::NOENT) {
            break;
        }
    }
    why
}
