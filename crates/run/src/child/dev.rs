//! The container's `/dev` and its terminal.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, mknodat, openat2, symlinkat,
};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::place;
use crate::report::{During as _, Fail, Phase, Reporter};

/// The device nodes that the OCI runtime specification asks for, by their path on the host and their name inside.
pub(crate) const DEVICES: [(&CStr, &CStr); 6] = [
    (c"/dev/null", c"null"),
    (c"/dev/zero", c"zero"),
    (c"/dev/full", c"full"),
    (c"/dev/random", c"random"),
    (c"/dev/urandom", c"urandom"),
    (c"/dev/tty", c"tty"),
];

/// `f_type` of devpts (statfs(2)).
const DEVPTS: u64 = 0x1cd1;

const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// A user namespace cannot make device nodes, so the host's are bound over empty files. `/dev` is our own fresh tmpfs
/// here: nothing of the image's is in it.
pub(super) fn fill(root: BorrowedFd<'_>) -> Result<(), Fail> {
    let dev = place::open(root, c"dev").during(Phase::Find)?;
    for (number, (source, name)) in DEVICES.into_iter().enumerate() {
        mknodat(
            &dev,
            name,
            FileType::RegularFile,
            Mode::from_raw_mode(0o666),
            0,
        )
        .during_number(Phase::Make, number)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let node = open_tree(CWD, source, flags).during_number(Phase::Source, number)?;
        let kind = fstat(&node).during_number(Phase::Source, number)?.st_mode;
        if FileType::from_raw_mode(kind) != FileType::CharacterDevice {
            return Err(Errno::NODEV).during_number(Phase::Source, number);
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&node, c"", &dev, name, flags).during_number(Phase::Attach, number)?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name).during(Phase::Make)?;
    }
    Ok(())
}

/// Opens a terminal in the container's own devpts, so that its name means something inside, sends the supervisor's end, and
/// returns the container's.
pub(super) fn open_terminal(
    root: BorrowedFd<'_>,
    window: Option<Winsize>,
    reporter: &Reporter<'_>,
) -> Result<OwnedFd, Fail> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let master =
        openat2(root, c"dev/pts/ptmx", flags, Mode::empty(), resolve).during(Phase::Act)?;
    // A container that runs may have put something else there.
    if fstatfs(&master).during(Phase::Act)?.f_type as u64 & 0xffff_ffff != DEVPTS {
        return Err(Fail::new(Phase::Act, Errno::NODEV));
    }
    unlockpt(&master).during(Phase::Act)?;
    if let Some(window) = window {
        tcsetwinsize(&master, window).during(Phase::Act)?;
    }
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&master, flags).during(Phase::Act)?;
    reporter.terminal(master.as_fd());
    Ok(terminal)
}

/// Binds the container's end of its terminal to `/dev/console`.
pub(super) fn bind_console(root: BorrowedFd<'_>, terminal: BorrowedFd<'_>) -> Result<(), Fail> {
    let dev = place::open(root, c"dev").during(Phase::Find)?;
    match mknodat(
        &dev,
        c"console",
        FileType::RegularFile,
        Mode::from_raw_mode(0o600),
        0,
    ) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Fail::new(Phase::Make, errno)),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let node = open_tree(terminal, c"", flags).during(Phase::Source)?;
    move_mount(
        &node,
        c"",
        &dev,
        c"console",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(Phase::Attach)
}
