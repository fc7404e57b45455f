//! A container's root folder, from outside: that of one that runs, through its first process; that of one that does not,
//! mounted for this process alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minidock_sys::userns;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::child::rootfs::overlay_root;
use crate::plan::step::Overlay;
use crate::{Error, Host};

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root folder of a container that runs, as its first process sees it: with all that is mounted there.
#[derive(Debug)]
pub struct LiveRoot {
    /// The folder. Nothing that is opened from it by descriptor without following links leads out of the container.
    pub root: OwnedFd,
    pidfd: OwnedFd,
}

impl LiveRoot {
    /// Opens it by the first process's pid and start time (clock ticks since boot), which tell it from a later one with the
    /// same pid; `None` if it is gone. To be called from where the container was started: in the caller's own user
    /// namespace.
    ///
    /// # Errors
    /// When the host does not let the caller look into his containers.
    pub fn open(pid: i32, start_time: u64) -> Result<Option<Self>, Error> {
        let what = "look into the container";
        let failed = |source: io::Error| Error::Supervise { what, source };
        let Some(known) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(known, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(failed(e.into())),
        };
        // The folder stands for this process even when its number is given to another one.
        let proc = match openat(CWD, format!("/proc/{pid}"), FOLDER, Mode::empty()) {
            Ok(proc) => proc,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(e.into())),
        };
        if started(&proc) != Some(start_time) {
            return Ok(None);
        }
        match openat(&proc, "root", FOLDER, Mode::empty()) {
            Ok(root) => Ok(Some(Self { root, pidfd })),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => Ok(None),
            Err(e) => Err(failed(e.into())),
        }
    }

    /// Moves this process into the container's user namespace, where it is root over all of the container's files. The
    /// process has to have one thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn become_its_root(&self) -> Result<(), Error> {
        userns::join(self.pidfd.as_fd())
            .map_err(Error::supervise("enter the container's user namespace"))
    }
}

/// When a process started, in clock ticks since boot.
pub(crate) fn started(proc: &OwnedFd) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut stat = String::new();
    File::from(openat(proc, "stat", flags, Mode::empty()).ok()?)
        .read_to_string(&mut stat)
        .ok()?;
    minidock_sys::process::state_and_start(&stat).map(|(_, start)| start)
}

/// Gets a mount namespace for this process, whose mounts nobody else sees.
fn own_mounts() -> Result<(), Error> {
    minidock_sys::mount::unshare().map_err(Error::supervise("get a mount namespace"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(Error::supervise("keep mounts to this process"))
}

/// Opens the root of a container whose files are one plain folder, where this process alone sees what it mounts in it. As
/// [`mount_rootfs`] otherwise.
///
/// # Errors
/// When the kernel refuses a step.
pub fn open_rootfs(folder: &Path) -> Result<OwnedFd, Error> {
    own_mounts()?;
    openat(CWD, folder, FOLDER, Mode::empty())
        .map_err(Error::supervise("open the container's files"))
}

/// Mounts a container's overlay in a mount namespace that this process gets for it, and opens its root. Nobody else sees the
/// mount, and it goes with the process; what was written is on disk then. The process has to have one thread, and
/// `CAP_SYS_ADMIN` in its user namespace.
///
/// The caller makes sure that the container does not run, and is not started meanwhile.
///
/// # Errors
/// When the kernel refuses a step.
pub fn mount_rootfs(
    lower: &[impl AsRef<Path>],
    upper: &Path,
    work: &Path,
    mountpoint: &Path,
) -> Result<OwnedFd, Error> {
    own_mounts()?;
    // A container's upper layer was mounted as volatile, for which overlayfs leaves a mark: what was written may have been lost
    // in a crash of the host. It may be mounted all the same: what is there is what the container left.
    let _ = std::fs::remove_dir_all(work.join("work/incompat"));
    let text = |path: &Path| {
        std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Supervise {
            what: "mount the container's files",
            source: io::ErrorKind::InvalidInput.into(),
        })
    };
    let overlay = Overlay {
        lower: lower
            .iter()
            .map(|l| text(l.as_ref()))
            .collect::<Result<_, _>>()?,
        upper: text(upper)?,
        work: text(work)?,
        volatile: false,
        one_by_one: Host::read()?.kernel >= (6, 7),
        mountpoint: text(mountpoint)?,
    };
    // One way to mount changes the working directory.
    let here = openat(CWD, ".", FOLDER, Mode::empty());
    let root = overlay_root(&overlay).map_err(|fail| Error::Supervise {
        what: "mount the container's files",
        source: fail.errno.into(),
    });
    if let Ok(here) = here {
        let _ = rustix::process::fchdir(here);
    }
    root
}

/// Shows a folder or file of the host's at a place of a mounted root file system.
///
/// # Errors
/// When the kernel refuses.
pub fn bind_onto(source: &Path, place: &OwnedFd, read_only: bool) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    let target = format!("/proc/self/fd/{}", place.as_raw_fd());
    mount_bind(source, target.as_str()).map_err(Error::supervise("mount a volume"))?;
    if read_only {
        rustix::mount::mount_remount(target.as_str(), MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(Error::supervise("mount a volume read-only"))?;
    }
    Ok(())
}
