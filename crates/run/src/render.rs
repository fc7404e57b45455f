//! Failures of the child's steps, in the user's words: which step, which of its paths, what the kernel's answer means there,
//! and what can be done.
//!
//! The kernel's texts mislead in places (`ENOSPC` of a clone is no full disk; `EINVAL` of an overlay says nothing), so the
//! meaning is looked up by step and errno here, in the one place that has both.

use std::io;
use std::path::Path;

use minidock_sys::Errno;

use crate::child::DEVICES;
use crate::plan::step::Step;
use crate::plan::{Command, Plan};
use crate::report::{Fail, Phase};
use crate::{Error, Host};

/// A step of setting up a container that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}{}", part.as_deref().map(|part| format!(": {part}")).unwrap_or_default())]
pub struct StepFailure {
    /// The step, as a fragment such as "mount proc on /proc".
    pub step: String,
    /// The part of the step, with its path.
    pub part: Option<String>,
    /// What the kernel answered.
    #[source]
    pub source: Cause,
    /// What the user can do about it.
    pub hint: Option<String>,
}

/// The kernel's answer, with its meaning where the standard text misleads.
#[derive(Debug, thiserror::Error)]
#[error("{}", meaning.map_or_else(|| errno.to_string(), |meaning| format!("{meaning} ({errno})")))]
pub struct Cause {
    /// What the answer means for this step.
    pub meaning: Option<&'static str>,
    /// The answer.
    pub errno: io::Error,
}

/// What the host's settings say about user namespaces, read only once something has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// Debian's and Ubuntu's `kernel.unprivileged_userns_clone`.
    pub unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restricts: Option<u64>,
}

impl Settings {
    pub(crate) fn read() -> Self {
        let number = |path: &str| {
            std::fs::read_to_string(Path::new(path))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        Self {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        }
    }
}

/// A refused clone.
pub(crate) fn clone_error(errno: Errno, settings: Settings) -> Error {
    let hint = match errno {
        Errno::NOSPC | Errno::USERS if settings.max_user_namespaces == Some(0) => Some(
            "user namespaces are switched off; as root: sysctl -w user.max_user_namespaces=15000 \
             (and put it into /etc/sysctl.d to keep it)",
        ),
        Errno::NOSPC | Errno::USERS => Some(
            "a limit of namespaces is reached: too many containers at once, or nested too deep; the limits are \
             /proc/sys/user/max_*_namespaces",
        ),
        Errno::PERM if settings.unprivileged_userns_clone == Some(0) => Some(
            "user namespaces are refused to ordinary users; as root: sysctl -w kernel.unprivileged_userns_clone=1 \
             (and put it into /etc/sysctl.d to keep it)",
        ),
        Errno::PERM if settings.apparmor_restricts == Some(1) => Some(APPARMOR),
        Errno::PERM => Some(
            "user namespaces are refused here: by a container engine's seccomp filter (run that container with \
             --security-opt seccomp=unconfined), by a security module, or because this process is in a chroot",
        ),
        Errno::INVAL => Some(
            "this kernel was built without one of the namespaces (user, pid, mount, uts, ipc, net, cgroup)",
        ),
        Errno::AGAIN => {
            Some("the limit of processes is reached (ulimit -u, or the pids limit of the cgroup)")
        }
        _ => None,
    };
    Error::Clone {
        source: errno.into(),
        hint: hint.map(str::to_owned),
    }
}

/// The remedy for what a security module refuses in namespaces that could be made.
pub(crate) fn restricted_hint(errno: Errno, settings: Settings) -> Option<&'static str> {
    let refused = matches!(errno, Errno::PERM | Errno::ACCESS);
    (refused && settings.apparmor_restricts == Some(1)).then_some(APPARMOR)
}

const APPARMOR: &str = "AppArmor restricts user namespaces on this host; as root, either install an AppArmor profile for \
                        minidock that has the rule `userns,`, or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";

/// A failed step.
pub(crate) fn step_error(
    plan: &Plan,
    step: usize,
    fail: Fail,
    host: &Host,
    settings: Settings,
) -> Error {
    let Some(step) = plan.steps.get(step) else {
        return Error::Supervise {
            what: "understand the child's report",
            source: Errno::PROTO.into(),
        };
    };
    if let (Step::Execute, Phase::NotFound | Phase::Interpreter | Phase::Program) =
        (step, fail.phase)
    {
        return command_error(&plan.command, fail);
    }
    match (step, fail.errno) {
        (Step::JoinNamespaces(_), Errno::SRCH) => return Error::Ended,
        (Step::OpenWorkingDirectory(path), errno) => {
            return Error::WorkingDirectory {
                path: format!("/{}", String::from_utf8_lossy(path.to_bytes())),
                source: errno.into(),
            };
        }
        _ => {}
    }
    Error::Step(Box::new(StepFailure {
        step: step.to_string(),
        part: part(step, fail),
        source: Cause {
            meaning: meaning(step, fail),
            errno: fail.errno.into(),
        },
        hint: hint(step, fail, host, settings),
    }))
}

/// A note about a step whose fallback was taken.
pub(crate) fn fell_back_note(plan: &Plan, step: usize, fail: Fail) -> Option<String> {
    let errno = io::Error::from(fail.errno);
    let fs = match plan.steps.get(step)? {
        Step::MountFs(fs) => fs,
        Step::Emulate { .. } => {
            let why = emulation_meaning(fail.errno).map_or(errno.to_string(), str::to_owned);
            return Some(format!("root is not emulated: {why}"));
        }
        Step::NewKeyring => {
            return Some(format!(
                "the container shares your session keyring, for another one is refused ({errno}): the limits are in \
                 /proc/sys/kernel/keys"
            ));
        }
        _ => return None,
    };
    match fs.fs_type.to_bytes() {
        b"proc" => Some(format!(
            "the host refuses a fresh /proc ({errno}), so the host's own is visible: parts of it are covered there, as in \
             a container"
        )),
        b"sysfs" => Some(format!(
            "the host refuses a fresh /sys ({errno}), so the host's own is visible, read-only"
        )),
        // Few programs look for it, and rootless engines often lack it.
        _ => None,
    }
}

pub(crate) fn emulation_meaning(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::BUSY => Some("it is around this container already, and the kernel allows it once"),
        Errno::INVAL => Some("this kernel has no notifications of system calls (Linux 5.0)"),
        _ => None,
    }
}

fn command_error(command: &Command, fail: Fail) -> Error {
    let index = usize::try_from(fail.index).unwrap_or(usize::MAX);
    let path = command.candidates.get(index).map_or_else(
        || command.name.clone(),
        |candidate| String::from_utf8_lossy(candidate.to_bytes()).into_owned(),
    );
    match fail.phase {
        Phase::NotFound => Error::NotFound {
            command: command.name.clone(),
            search: command.search.clone(),
            source: command.search.is_none().then(|| fail.errno.into()),
        },
        Phase::Interpreter => Error::Interpreter { path },
        _ => Error::NotExecutable {
            path,
            source: fail.errno.into(),
        },
    }
}

fn part(step: &Step, fail: Fail) -> Option<String> {
    let index = usize::try_from(fail.index).ok()?;
    let path = |path: &std::ffi::CStr| String::from_utf8_lossy(path.to_bytes()).into_owned();
    match (step, fail.phase) {
        (Step::MountOverlay(overlay), Phase::Layer) => Some(format!(
            "use layer {} ({})",
            index,
            path(overlay.lower.get(index)?)
        )),
        (Step::MountOverlay(overlay), Phase::Upper) => {
            Some(format!("use {}", path(&overlay.upper)))
        }
        (Step::MountOverlay(overlay), Phase::Work) => {
            Some(format!("use the work folder {}", path(&overlay.work)))
        }
        (Step::MountOverlay(overlay), Phase::Find | Phase::Attach) => {
            Some(format!("put it on {}", path(&overlay.mountpoint)))
        }
        (Step::MountFuse(_), Phase::Source) => Some("open /dev/fuse".to_owned()),
        (Step::MountFuse(fuse), Phase::Find | Phase::Attach) => {
            Some(format!("put it on {}", path(&fuse.mountpoint)))
        }
        (Step::BindRootfs { mountpoint, .. }, Phase::Find | Phase::Attach) => {
            Some(format!("put it on {}", path(mountpoint)))
        }
        (Step::FillDev, Phase::Source | Phase::Make | Phase::Attach) => {
            Some(format!("provide {}", path(DEVICES.get(index)?.0)))
        }
        (Step::Bind(bind), Phase::Source) => Some(format!("open {}", path(&bind.source))),
        (_, Phase::Find) => Some("find the place inside the image".to_owned()),
        (_, Phase::Make) => Some("make the place, which the image lacks".to_owned()),
        (_, Phase::Attach) => Some("put the mount in its place".to_owned()),
        (_, Phase::Attributes) => Some("set the mount's flags".to_owned()),
        (_, Phase::Verify) => Some("see that it is in its place".to_owned()),
        (Step::Mask(_), Phase::Source) => Some("provide /dev/null".to_owned()),
        _ => None,
    }
}

fn meaning(step: &Step, fail: Fail) -> Option<&'static str> {
    let overlay = matches!(step, Step::MountOverlay(_));
    match (fail.phase, fail.errno) {
        (Phase::Find, Errno::LOOP) => {
            Some("the image has a symbolic link there, through which nothing is mounted")
        }
        (Phase::Verify, _) => Some("something else is there now than what was put there"),
        (Phase::Source, Errno::NODEV) => {
            Some("what the host has there is not the device of that name")
        }
        (Phase::Find, Errno::XDEV) => {
            Some("a symbolic link of the image's leads into /proc or /sys")
        }
        (Phase::Find, Errno::NOTDIR) => {
            Some("the image has something else than a folder on the way there")
        }
        (Phase::Attach, Errno::NOTDIR) => {
            Some("a folder can be mounted only on a folder, and a file only on a file")
        }
        (Phase::Act, Errno::NOTDIR) if matches!(step, Step::MountFs(_)) => {
            Some("the image has no folder there")
        }
        (Phase::Act, Errno::NODEV) => Some("the kernel does not have this file system"),
        (Phase::Act, Errno::LOOP) if overlay => {
            Some("a layer lies inside another, or folders overlap")
        }
        (Phase::Act, Errno::INVAL) if overlay => Some(
            "the kernel refuses these folders or options; the upper layer's file system may not support an overlay",
        ),
        (Phase::Act, Errno::BUSY) if overlay => Some("the upper layer is in use by another mount"),
        (_, Errno::NOSPC)
            if matches!(
                step,
                Step::MountFs(_) | Step::Bind(_) | Step::MountOverlay(_)
            ) =>
        {
            Some("the limit of mounts is reached (fs.mount-max)")
        }
        (Phase::Source, Errno::INVAL) if matches!(step, Step::Bind(_)) => {
            Some("other file systems are mounted below it, which only a recursive bind can show")
        }
        (Phase::Act, errno) if matches!(step, Step::Emulate { .. }) => emulation_meaning(errno),
        (Phase::Act, Errno::PIPE)
            if matches!(step, Step::DieWithSupervisor | Step::AwaitIdMaps) =>
        {
            Some("the supervisor is gone")
        }
        _ => None,
    }
}

fn hint(step: &Step, fail: Fail, host: &Host, settings: Settings) -> Option<String> {
    let refused = matches!(fail.errno, Errno::PERM | Errno::ACCESS);
    let text = match step {
        Step::MapOwnIds(_) | Step::MakeMountsPrivate
            if refused && settings.apparmor_restricts == Some(1) =>
        {
            APPARMOR
        }
        Step::MountOverlay(_) if host.kernel < (5, 11) => {
            "overlays of ordinary users need Linux 5.11 or later, and nothing takes their place yet on older kernels"
        }
        Step::MountOverlay(overlay) if overlay.volatile && fail.errno == Errno::INVAL => {
            "an upper layer that was mounted as volatile cannot be used again before work/work/incompat is removed; \
             otherwise see whether the store lies on NFS or on another overlay, and move it with --root"
        }
        Step::MountOverlay(_) if fail.errno == Errno::INVAL => {
            "see whether the store lies on NFS or on another overlay, and move it with --root"
        }
        Step::MountOverlay(_) if fail.errno == Errno::NODEV => "load it: as root, modprobe overlay",
        Step::MountFuse(_) if fail.phase == Phase::Source => {
            "as root: modprobe fuse, and see that users may open /dev/fuse (chmod 666, as udev does)"
        }
        Step::ResourceLimit { .. } if refused => {
            "a hard limit can only be lowered by those who are not root on the host"
        }
        Step::JoinGroup(_) if refused || fail.errno == Errno::NOENT => {
            "processes can be moved only within a part of the tree that is yours: start it in a scope of your own, as \
             `systemd-run --user --scope -p Delegate=yes minidock run …`"
        }
        Step::AppArmor(profile) if fail.errno == Errno::NOENT => {
            return Some(format!(
                "no profile of that name is loaded; as root: apparmor_parser -r FILE, where FILE has `profile {}`",
                String::from_utf8_lossy(profile.to_bytes())
            ));
        }
        Step::OomScoreAdj(_) if refused => {
            "the value can only be raised by those who are not root on the host"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_user_namespaces_come_with_the_remedy_that_fits() {
        let hint = |errno, settings| clone_error(errno, settings).hint().unwrap();
        let off = Settings {
            max_user_namespaces: Some(0),
            ..Settings::default()
        };
        assert!(hint(Errno::NOSPC, off).contains("user.max_user_namespaces=15000"));
        assert!(hint(Errno::NOSPC, Settings::default()).contains("limit of namespaces"));
        let debian = Settings {
            unprivileged_userns_clone: Some(0),
            ..Settings::default()
        };
        assert!(hint(Errno::PERM, debian).contains("kernel.unprivileged_userns_clone=1"));
        let ubuntu = Settings {
            apparmor_restricts: Some(1),
            ..Settings::default()
        };
        assert!(hint(Errno::PERM, ubuntu).contains("apparmor_restrict_unprivileged_userns=0"));
        assert!(hint(Errno::PERM, Settings::default()).contains("seccomp"));
    }
}
