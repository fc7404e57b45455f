//! Stand-ins for devices: an empty file where a container's root makes a node that the kernel refuses, so that what comes
//! after it (`chmod`, `chown`, a list of what was unpacked) finds it.
//!
//! The supervisor makes it, from outside. It resolves the path inside the root of the process that asked, and enters no
//! other mount but those that have `/dev` or are below the root; links lead nowhere else, and magic ones nowhere
//! (openat2(2)).

use std::os::fd::OwnedFd;

use minidock_sys::{Errno, notify};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::process::Pid;

use super::answer::Question;
use super::calls::Call;

/// The longest path (`PATH_MAX`).
const LONGEST: usize = 4096;

/// Where one is to be made.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    name: Vec<u8>,
    mode: Mode,
}

impl Place {
    /// Finds the folder that a call means.
    pub(super) fn find(question: &Question, thread: Pid) -> Result<Self, Errno> {
        let Call::MakeNode(argument) = question.call else {
            return Err(Errno::INVAL);
        };
        let at = usize::from(argument);
        let path = read_path(thread, question.arguments[at])?;
        let mode = question.arguments[at + 1] as u32 & 0o7777 & !umask(thread);
        let trimmed = path.trim_ascii_end();
        let split = trimmed
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(0, |s| s + 1);
        let (folder, name) = trimmed.split_at(split);
        if name.is_empty() || name == b"." || name == b".." {
            return Err(if path.is_empty() {
                Errno::NOENT
            } else {
                Errno::EXIST
            });
        }
        let process = format!("/proc/{}", thread.as_raw_pid());
        let base = match (path.first(), argument) {
            (Some(b'/'), _) => format!("{process}/root"),
            (_, 1) if question.arguments[0] as u32 as i32 != AT_FDCWD => {
                format!("{process}/fd/{}", question.arguments[0] as u32)
            }
            _ => format!("{process}/cwd"),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = open(base, flags, Mode::empty())?;
        let inside = match path.first() {
            Some(b'/') => ResolveFlags::IN_ROOT,
            _ => ResolveFlags::BENEATH,
        };
        let folder = match folder {
            [] => base,
            folder => openat2(
                &base,
                folder,
                flags,
                Mode::empty(),
                inside | ResolveFlags::NO_MAGICLINKS,
            )?,
        };
        Ok(Self {
            folder,
            name: name.to_owned(),
            mode: Mode::from_raw_mode(mode),
        })
    }

    /// Makes the file.
    pub(super) fn make(&self) -> Result<(), Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.folder, self.name.as_slice(), flags, Mode::empty())?;
        // The supervisor's umask is not the container's.
        rustix::fs::fchmod(&file, self.mode)
    }
}

const AT_FDCWD: i32 = -100;

/// A string of the process's, which may end anywhere in a page that is followed by none.
fn read_path(thread: Pid, at: u64) -> Result<Vec<u8>, Errno> {
    const PAGE: u64 = 4096;
    let mut path = Vec::new();
    let mut next = at;
    while path.len() < LONGEST {
        let length = PAGE - next % PAGE;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        notify::read_memory(thread, next, &mut bytes)?;
        if let Some(end) = bytes.iter().position(|b| *b == 0) {
            path.extend_from_slice(&bytes[..end]);
            return Ok(path);
        }
        path.append(&mut bytes);
        next += length;
    }
    Err(Errno::NAMETOOLONG)
}

fn umask(thread: Pid) -> u32 {
    let path = format!("/proc/{}/status", thread.as_raw_pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o022)
}
