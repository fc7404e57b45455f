//! Finding, and where needed making, a place inside the container's root file system.
//!
//! The content of that file system is the image's, so every name in it may be hostile: a symbolic link to anywhere, a fifo, a
//! device. The rules:
//!
//! * Names are resolved by openat2(2) with the container's root as `/`, so no link and no `..` leads out of it.
//! * Nothing is opened but as a path (`O_PATH`): a fifo cannot block us, a device cannot notice.
//! * Links are followed only where the plan says so. Once one has been followed, the way must not enter proc or sysfs: an
//!   image cannot lead a mount over what the container is protected by.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fstatfs, mkdirat, mknodat, openat2, readlinkat_raw,
};

use super::text::Text;
use crate::report::{During as _, Fail, Phase};

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Folder,
    File,
}

const LINKS_MAX: usize = 40;

/// Opens `path` as it is, following no link.
pub(super) fn open(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open_with(root, path, ResolveFlags::NO_SYMLINKS)
}

/// Opens a file of the kernel's for writing. The caller has to see whether it is one.
pub(super) fn open_to_write(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn open_with(root: BorrowedFd<'_>, path: &CStr, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | how;
    // The kernel asks for another try when a rename elsewhere keeps it from proving that `..` stayed inside.
    loop {
        match openat2(
            root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens `path`, making it (and its parents) if it is missing.
pub(super) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    follow: bool,
    make: Make,
) -> Result<OwnedFd, Fail> {
    match open(root, path) {
        Err(Errno::NOENT) => {
            if let Some(made) = make_in_folder(root, path, make)? {
                return Ok(made);
            }
        }
        Err(Errno::LOOP) if follow => {}
        result => return result.during(Phase::Find),
    }
    Walk::start(path)
        .during(Phase::Find)?
        .run(root, follow, make)
}

/// The usual case, in few calls: nothing is missing but the last component, and no link is on the way.
fn make_in_folder(root: BorrowedFd<'_>, path: &CStr, make: Make) -> Result<Option<OwnedFd>, Fail> {
    let bytes = path.to_bytes();
    let (folder, name) = match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"."[..], bytes),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Ok(None);
    }
    let mut text = Text::new();
    text.push(folder).during(Phase::Find)?;
    let Ok(folder) = open(root, text.as_c_str().during(Phase::Find)?) else {
        return Ok(None);
    };
    let mut text = Text::new();
    text.push(name).during(Phase::Find)?;
    match create(folder.as_fd(), &text, make) {
        Ok(()) => open(root, path).map(Some).during(Phase::Find),
        // A link to nothing, for one.
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(Fail::new(Phase::Make, errno)),
    }
}

/// One component after the other, so that missing ones can be made and links be judged.
struct Walk {
    /// The part already found. It holds no link, so that its `..` can be resolved as text.
    found: Text,
    /// The part still to come.
    rest: Text,
    /// How many links were followed.
    links: usize,
}

impl Walk {
    fn start(path: &CStr) -> Result<Self, Errno> {
        let mut rest = Text::new();
        rest.push(path.to_bytes())?;
        Ok(Self {
            found: Text::new(),
            rest,
            links: 0,
        })
    }

    fn run(mut self, root: BorrowedFd<'_>, follow: bool, make: Make) -> Result<OwnedFd, Fail> {
        let mut here = open(root, c".").during(Phase::Find)?;
        while let Some(name) = self.take_component().during(Phase::Find)? {
            let parent_len = self.found.len();
            if name.bytes() == b".." {
                self.leave_folder();
                here = self.open_found(root).during(Phase::Find)?;
                continue;
            }
            self.enter(&name).during(Phase::Find)?;
            let what = if self.rest.bytes().is_empty() {
                make
            } else {
                Make::Folder
            };
            here = match self.open_found(root) {
                Ok(fd) => fd,
                Err(Errno::LOOP) if follow => {
                    self.found.truncate(parent_len);
                    self.follow(here.as_fd(), &name).during(Phase::Find)?;
                    self.open_found(root).during(Phase::Find)?
                }
                Err(Errno::NOENT) => {
                    create(here.as_fd(), &name, what).during(Phase::Make)?;
                    self.open_found(root).during(Phase::Find)?
                }
                Err(errno) => return Err(Fail::new(Phase::Find, errno)),
            };
        }
        Ok(here)
    }

    fn open_found(&self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let path = if self.found.bytes().is_empty() {
            c"."
        } else {
            self.found.as_c_str()?
        };
        let fd = open_with(root, path, ResolveFlags::NO_SYMLINKS)?;
        if self.links > 0 && is_kernels(fd.as_fd())? {
            return Err(Errno::XDEV);
        }
        Ok(fd)
    }

    /// The next component of the rest; repeated slashes and `.` are skipped.
    fn take_component(&mut self) -> Result<Option<Text>, Errno> {
        loop {
            let bytes = self.rest.bytes();
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(bytes.len());
            let mut name = Text::new();
            name.push(&bytes[..end])?;
            let mut rest = Text::new();
            rest.push(bytes.get(end + 1..).unwrap_or_default())?;
            self.rest = rest;
            if !matches!(name.bytes(), b"" | b".") {
                return Ok(Some(name));
            }
        }
    }

    fn enter(&mut self, name: &Text) -> Result<(), Errno> {
        if self.found.len() > 0 {
            self.found.push(b"/")?;
        }
        self.found.push(name.bytes())
    }

    fn leave_folder(&mut self) {
        let parent = self
            .found
            .bytes()
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        self.found.truncate(parent);
    }

    /// Puts the target of the link `name` in front of the rest.
    fn follow(&mut self, folder: BorrowedFd<'_>, name: &Text) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let mut buffer = [0_u8; 4096];
        let len = readlinkat_raw(folder, name.as_c_str()?, &mut buffer)?;
        let target = buffer.get(..len).unwrap_or_default();
        if target.first() == Some(&b'/') {
            self.found.truncate(0);
        }
        let mut rest = Text::new();
        rest.push(target)?;
        rest.push(b"/")?;
        rest.push(self.rest.bytes())?;
        self.rest = rest;
        Ok(())
    }
}

/// Whether it is in proc or sysfs (statfs(2)).
pub(super) fn is_kernels(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    let magic = fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(magic == PROC || magic == SYSFS)
}

fn create(parent: BorrowedFd<'_>, name: &Text, what: Make) -> Result<(), Errno> {
    let name = name.as_c_str()?;
    match what {
        Make::Folder => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Make::File => mknodat(
            parent,
            name,
            FileType::RegularFile,
            Mode::from_raw_mode(0o644),
            0,
        ),
    }
}

/// Whether `path`, as the process itself sees it, can be reached without a magic link such as `/proc/self/exe`, which
/// would lead to a file of the host's, and is no folder, for which execve(2) has no better word than `EACCES`.
pub(super) fn reachable_by_name(path: &CStr) -> Result<(), Errno> {
    let found = openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}
