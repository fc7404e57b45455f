//! Limits on all of a container's processes together: control groups of version 2 (cgroups(7), and `cgroup-v2` in the
//! kernel's documentation).
//!
//! A container for which a limit was asked for gets a group of its own; one without limits gets none, and costs nothing. Three
//! questions, each with a module:
//!
//! * `limits`: what the OCI specification's `linux.resources` are in the kernel's files. A pure function.
//! * `place`: below which group the caller may make one that can have these limits. A pure choice among groups that were
//!   looked at before.
//! * `systemd`: how to be given such a group where a service manager owns the tree, as on most desktops and servers. It is
//!   asked over D-Bus for a scope with delegation, which this process moves into; what it does there is as anywhere else.
//!
//! The new process joins its group as the first thing it does, then makes its cgroup namespace, whose root so is its own
//! group. The supervisor stays outside: the limits are the container's.
//!
//! A group without processes costs next to nothing and holds no data. Whoever removes a container removes the group that its
//! state names; one that a killed supervisor left goes with the container.

mod bus;
mod limits;
mod place;
mod systemd;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use bus::BusError;
pub use limits::{Setting, settings};
pub use place::{Group, Place, Refusal, choose, groups};
pub use systemd::Manager;

/// Why a container could not be limited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// There is no group in which one can be made.
    #[error("the container cannot be limited: {0}")]
    NoPlace(Refusal),
    /// The service manager gave no scope.
    #[error("the container cannot be limited: the service manager makes no scope {scope}")]
    Manager {
        /// The scope.
        scope: String,
        /// Why not.
        #[source]
        source: Box<BusError>,
    },
    /// Something could not be done in the tree of groups.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take a limit.
    #[error("the kernel does not take {:?} for {}", setting.value, setting.file)]
    Refused {
        /// The limit.
        setting: Setting,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl CgroupError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPlace(refusal) => Some(refusal.remedy()),
            Self::Refused { setting, source } => match source.kind() {
                io::ErrorKind::NotFound => Some(format!(
                    "this kernel has no {}: leave the limit out",
                    setting.file
                )),
                _ => Some("give another value, or leave the limit out".to_owned()),
            },
            Self::Manager { .. } => Some(
                "see whether `systemctl --user status` works; or name a control group of yours with --cgroup-parent"
                    .to_owned(),
            ),
            Self::Io { .. } => None,
        }
    }

    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// The file through which processes join a group.
pub(crate) const PROCESSES: &str = "cgroup.procs";

/// Finds where a group with `settings` can be made. `parent` is the user's wish: a group's path from the root of the tree, as
/// `/proc/self/cgroup` writes it, or its folder. Without one, the service manager is asked for a scope, if it is there, and
/// this process moves into that: the tree is its to change. Where it is not, the nearest group that can have one is taken.
///
/// # Errors
/// [`CgroupError::NoPlace`] and [`CgroupError::Manager`] say why there is none.
pub fn find(
    parent: Option<&str>,
    manager: Option<&Manager<'_>>,
    settings: &[Setting],
) -> Result<Place, CgroupError> {
    let found = groups(parent).map_err(CgroupError::NoPlace)?;
    let chosen = choose(&found, parent.is_some(), settings).map_err(CgroupError::NoPlace);
    let Some(manager) = manager.filter(|manager| parent.is_none() && manager.bus.exists()) else {
        return chosen;
    };
    match systemd::enter_scope(manager) {
        Ok(scope) => choose(&[place::look(&scope)], true, settings).map_err(CgroupError::NoPlace),
        Err(error) => chosen.map_err(|_| error),
    }
}

/// Makes a group and sets its limits.
///
/// # Errors
/// See [`CgroupError`]; nothing stays behind.
pub fn create(place: &Place, folder: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
    if !place.enable.is_empty() {
        let file = place.parent.join("cgroup.subtree_control");
        let words: Vec<String> = place.enable.iter().map(|c| format!("+{c}")).collect();
        fs::write(&file, words.join(" "))
            .map_err(CgroupError::io("enable controllers in", &file))?;
    }
    fs::create_dir(folder).map_err(CgroupError::io("make the control group", folder))?;
    let set = settings.iter().try_for_each(|setting| {
        let written = fs::write(folder.join(&setting.file), &setting.value);
        written.map_err(|source| CgroupError::Refused {
            setting: setting.clone(),
            source,
        })
    });
    if set.is_err() {
        let _ = fs::remove_dir(folder);
    }
    set
}

/// How long processes that were killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what still runs in a group and removes it. One that is gone already is fine.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(folder: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(folder) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    kill_all(folder);
    await_empty(folder);
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::io("remove the control group", folder)(e))
        }
        _ => Ok(()),
    }
}

/// `cgroup.kill` came with Linux 5.14. Before it, processes are killed one by one for as long as there are any.
fn kill_all(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for _ in 0..100 {
        let text = fs::read_to_string(folder.join(PROCESSES)).unwrap_or_default();
        let pids: Vec<_> = text
            .lines()
            .filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?))
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The kernel tells through `cgroup.events` when the last process has left.
fn await_empty(folder: &Path) {
    let Ok(events) = fs::File::open(folder.join("cgroup.events")) else {
        return;
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
        let left = deadline.saturating_duration_since(Instant::now());
        if !text.lines().any(|line| line == "populated 1") || left.is_zero() {
            return;
        }
        let mut poll_fd = [PollFd::new(&events, PollFlags::PRI)];
        let Ok(wait) = Timespec::try_from(left) else {
            return;
        };
        if poll(&mut poll_fd, Some(&wait)).is_err() {
            return;
        }
    }
}

/// Whether any limit is in it. An empty device list, which the specification's defaults carry, is none.
pub(crate) fn limits_anything(resources: &LinuxResources) -> bool {
    let mut rest = resources.clone();
    if rest.devices().as_ref().is_some_and(Vec::is_empty) {
        rest.set_devices(None);
    }
    rest != LinuxResources::default()
}
