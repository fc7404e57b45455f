//! Whether a kind of root file system works in a folder, found out by mounting a small one there in a child and changing
//! it: what a file system can carry (whiteouts, attributes, work folders) no version number tells.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use minidock_sys::clone::{Memory, Namespaces, clone};
use minidock_sys::{Errno, fd};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::channel::channel;
use crate::plan::step::{SelfMap, Step};
use crate::report::{self, Fail, Message, Phase, Reporter};
use crate::server::Server;
use crate::{Error, Host, Rootfs, child, plan, supervise, trial};

/// Why a kind of root file system does not work.
#[derive(Debug, thiserror::Error)]
#[error("it cannot {doing}")]
pub struct RootfsRefusal {
    /// What was refused, as a fragment after "cannot".
    pub doing: &'static str,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// What is done, in order; the child reports the number.
const STAGES: [&str; 4] = [
    "be mounted in a user namespace",
    "delete a file of a lower layer",
    "change a file of a lower layer",
    "replace a folder of a lower layer",
];

struct Task<'a> {
    map: SelfMap,
    root: &'a Step,
    channel: BorrowedFd<'a>,
    other: BorrowedFd<'a>,
}

/// Tries an overlay in `folder`, which is empty: the kernel's, or that of fuse-overlayfs where its `program` is given.
/// `None` says that it works.
///
/// # Errors
/// Where it could not be tried: see [`Error`]. A server that fails is no error, but why it does not work.
pub fn try_overlay(folder: &Path, program: Option<&Path>) -> Result<Option<RootfsRefusal>, Error> {
    let rootfs = make(folder, program).map_err(|source| Error::Supervise {
        what: "make a small overlay to try",
        source,
    })?;
    let host = Host::read()?;
    let root = plan::rootfs(&rootfs, &folder.join("merged"), host.kernel, false)?;
    let (ours, theirs) = channel()?;
    let task = Task {
        map: trial::own_ids()?,
        root: &root,
        channel: theirs.as_fd(),
        other: ours.as_fd(),
    };
    let namespaces = Namespaces::USER.with(Namespaces::MOUNT);
    let child =
        clone(namespaces, Memory::Copied, &task, live).map_err(crate::running::clone_error)?;
    drop(theirs);
    let heard = hear_out(&root, &ours, child.pidfd.as_fd());
    if heard.is_err() {
        let _ = minidock_sys::signal::send(child.pidfd.as_fd(), 9);
    }
    supervise::reap(child.pidfd.as_fd())?;
    match heard {
        Err(Error::Server { said, .. }) => Ok(Some(RootfsRefusal {
            doing: "be served",
            source: io::Error::other(said),
        })),
        heard => heard,
    }
}

fn make(folder: &Path, program: Option<&Path>) -> io::Result<Rootfs> {
    for name in ["lower", "lower/folder", "upper", "work", "merged"] {
        fs::create_dir(folder.join(name))?;
    }
    for name in ["file", "kept", "folder/inner"] {
        fs::write(folder.join("lower").join(name), name)?;
    }
    let lower = vec![folder.join("lower")];
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    Ok(match program {
        None => Rootfs::Overlay {
            lower,
            upper,
            work,
            volatile: true,
        },
        Some(program) => Rootfs::FuseOverlay {
            program: program.to_owned(),
            lower,
            upper,
            work,
        },
    })
}

fn hear_out(
    root: &Step,
    channel: &OwnedFd,
    child: BorrowedFd<'_>,
) -> Result<Option<RootfsRefusal>, Error> {
    let mut server: Option<Server> = None;
    let mut refusal = None;
    while let Some(message) =
        report::receive(channel.as_fd()).map_err(Error::supervise("hear from the trial"))?
    {
        match (message, root) {
            (Message::Connection(fd), Step::MountFuse(fuse)) => {
                server = Some(Server::start(fuse, child, fd)?);
            }
            (Message::Failed { step, fail }, _) => {
                if let Some(server) = server.take_if(|server| server.explains(fail.errno)) {
                    return Err(server.failure());
                }
                refusal = Some(RootfsRefusal {
                    doing: STAGES.get(step).copied().unwrap_or("be used"),
                    source: fail.errno.into(),
                });
            }
            _ => {}
        }
    }
    if let Some(server) = server {
        server.end();
    }
    Ok(refusal)
}

fn live(task: &Task<'_>) -> u8 {
    fd::close_copy(task.other);
    rustix::process::umask(Mode::empty());
    let reporter = Reporter(task.channel);
    let told = |stage: usize, fail: Fail| {
        reporter.failed(stage, fail);
        1
    };
    let mounted = child::map_own_ids(&task.map)
        .and_then(|()| child::make_private())
        .and_then(|()| child::mount_root(task.root, &reporter));
    let root = match mounted {
        Ok(root) => root,
        Err(fail) => return told(0, fail),
    };
    let stages: [Change; 3] = [delete, change, replace];
    for (number, stage) in stages.into_iter().enumerate() {
        if let Err(errno) = stage(&root) {
            return told(number + 1, Fail::new(Phase::Act, errno));
        }
    }
    0
}

type Change = fn(&OwnedFd) -> Result<(), Errno>;

fn delete(root: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::unlinkat(root, c"file", AtFlags::empty())?;
    absent(root, c"file")
}

fn change(root: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, c"kept", flags, Mode::empty())?;
    rustix::io::write(&file, b"more")?;
    rustix::fs::chmodat(root, c"kept", Mode::from_raw_mode(0o640), AtFlags::empty())
}

/// Without a place for the mark that a folder is opaque, this fails or the old content shows again.
fn replace(root: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::unlinkat(root, c"folder/inner", AtFlags::empty())?;
    rustix::fs::unlinkat(root, c"folder", AtFlags::REMOVEDIR)?;
    rustix::fs::mkdirat(root, c"folder", Mode::from_raw_mode(0o755))?;
    absent(root, c"folder/inner")
}

fn absent(root: &OwnedFd, path: &std::ffi::CStr) -> Result<(), Errno> {
    match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Ok(_) => Err(Errno::EXIST),
        Err(errno) => Err(errno),
    }
}
