//! Whiteouts on disk.
//!
//! What stands at a name says that the name is not there, whatever the layers below have. overlayfs wants a character device
//! 0:0, which any user may make since Linux 5.8, but not on every file system: overlayfs itself refuses it, and with it every
//! store inside a container that has no volume for it. There a **socket** says the same: every user may make one on any file
//! system of Unix, it is nothing but its name, and no layer has one of its own, for archives cannot hold sockets. Files called
//! `.wh.NAME`, the other known form, would be longer than names may be, and would have to be looked for besides each name that
//! is not there. The price: only our own code understands sockets, so an image with some needs the `flat` storage driver.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

/// How a layer's whiteouts are made. Both forms are understood in every layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// As character devices 0:0, as overlayfs has them.
    #[default]
    Devices,
    /// As sockets.
    Sockets,
}

impl Whiteouts {
    /// What the file system of a folder takes, found by making one called `name` there, which goes again. Devices are the
    /// answer as well where that fails for another reason, which will be told when the first whiteout is made.
    pub fn possible_in(folder: BorrowedFd<'_>, name: &str) -> Self {
        match Self::Devices.make(folder, name.as_bytes()) {
            Ok(()) => {
                // Whoever offers the folder removes it in the end.
                let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
                Self::Devices
            }
            // overlayfs and kernels before 5.8; security modules; file systems without devices.
            Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                Self::Sockets
            }
            Err(_) => Self::Devices,
        }
    }

    pub(crate) fn make(self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let kind = match self {
            Self::Devices => FileType::CharacterDevice,
            Self::Sockets => FileType::Socket,
        };
        rustix::fs::mknodat(folder, name, kind, Mode::empty(), 0)
    }
}

/// Whether this is how overlayfs marks a deleted name.
pub(crate) fn is_overlays(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether this, in a layer, marks a deleted name. Not in a container's files: there a socket is a socket.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    is_overlays(stat) || FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}
