//! `cp`: files into containers and out of them.
//!
//! A container that runs is reached through the root folder of its first process, so all that is mounted in it is seen, as
//! Docker shows it. One that does not run is mounted for this process alone, with its volumes, and kept from being started
//! meanwhile. Either way this process is root over the container's files and over nothing else.
//!
//! Where things go is decided by Docker's rules ([`target`]), a pure function.

mod place;
mod receive;
mod send;

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use minidock_layer::write::TarWriter;
use minidock_run::LiveRoot;
use minidock_store::{Driver, IdMap, MountKind, Stopped, StoreError};
use rustix::fs::{Access, CWD, FileType, Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use crate::events::Event;
use crate::view::View;
use crate::{Engine, Error};

use place::{Place, find};
use receive::Receiver;
use send::{Sink, TarSink, Tree, send_tar};

/// What can go wrong while files are copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source is not there.
    #[error("could not find the file {path} in container {container}")]
    NotInContainer {
        /// The path as asked for.
        path: String,
        /// The container as asked for.
        container: String,
    },
    /// Something cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be made.
    #[error("cannot {doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// It would be against the rules.
    #[error("{path} {problem}")]
    Refused {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The tar from standard input is none.
    #[error("cannot read the archive")]
    Tar(#[source] minidock_layer::Error),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The container is neither running nor stopped.
    #[error("container {0} is being started or changed by another process")]
    Busy(String),
    /// Nobody serves the container's files while it does not run.
    #[error(
        "container {0} does not run: what the storage driver fuse-overlayfs keeps is only seen while it does"
    )]
    NeedsRunning(String),
    /// The container's files are only to be read.
    #[error("container rootfs is marked read-only")]
    ReadOnly,
}

impl CopyError {
    fn read(path: &[u8], source: io::Error) -> Self {
        Self::Read {
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        }
    }
}

/// How to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Keep users and groups.
    pub archive: bool,
    /// Follow a symlink that the source is.
    pub follow: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes, as a tar of them has.
    pub bytes: u64,
    /// Files whose owner could not be kept, because only root may give files away.
    pub not_given: u64,
}

/// Where in the container.
#[derive(Clone, Debug)]
pub struct Inside<'a> {
    /// Name or id.
    pub container: &'a str,
    /// The path as the user wrote it.
    pub path: &'a [u8],
}

/// The end of a path that says it is a folder.
fn asks_for_folder(path: &[u8]) -> bool {
    path.ends_with(b"/") || wants_content(path)
}

/// `DIR/.` stands for what is in it.
fn wants_content(path: &[u8]) -> bool {
    path == b"." || path.ends_with(b"/.")
}

/// What the source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// It is a folder.
    pub is_folder: bool,
    /// The name that it has; empty if only what is in it is wanted.
    pub name: Vec<u8>,
}

/// What is at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A folder.
    Folder,
    /// Something else.
    File,
    /// Nothing.
    Missing,
}

/// Docker's rules (docker cp, "Description"): whether the source goes into the destination, under which name; `None` says it
/// takes its place.
///
/// # Errors
/// What is wrong with the destination.
pub fn target(
    source: &Source,
    destination: Destination,
    asked: &[u8],
) -> Result<Option<Vec<u8>>, &'static str> {
    match (destination, source.is_folder) {
        (Destination::Folder, _) => Ok(Some(source.name.clone())),
        (Destination::File, true) => Err("is no folder: cannot copy a directory to it"),
        (Destination::File, false) if asks_for_folder(asked) => Err("is no folder"),
        (Destination::Missing, false) if asks_for_folder(asked) => {
            Err("does not exist, and a file is to go into it")
        }
        _ => Ok(None),
    }
}

fn destination(place: &Place) -> Destination {
    match &place.stat {
        None => Destination::Missing,
        Some(_) if place.is_folder() => Destination::Folder,
        Some(_) => Destination::File,
    }
}

/// A container's root folder, and what is known of its owners.
struct Opened {
    root: OwnedFd,
    /// Tells the true owners, where the store has one id for all.
    owners: Option<View>,
    _stopped: Option<Stopped>,
}

impl Opened {
    /// The true owner of a file, where the store has one id for all.
    fn owner(&self, path: &[u8], stat: &Stat) -> (u32, u32) {
        let seen = (stat.st_uid, stat.st_gid);
        let Some(view) = &self.owners else {
            return seen;
        };
        match view.merged.lookup(path) {
            Ok(Some(node)) => (node.uid, node.gid),
            _ => seen,
        }
    }
}

impl Engine {
    /// Copies from a container to a path of the caller's.
    ///
    /// # Errors
    /// When something is missing, in the way, or cannot be read or written.
    pub fn copy_out(
        &self,
        from: &Inside<'_>,
        to: &Path,
        options: CopyOptions,
    ) -> Result<Copied, Error> {
        let opened = self.open_container(from.container, false)?;
        let place = source(&opened, from, options)?;
        let what = described(&place, from.path);
        let asked = to.as_os_str().as_bytes();
        let there = local(to)?;
        let shown = to.display().to_string();
        let refused = |problem| CopyError::Refused {
            path: shown.clone(),
            problem,
        };
        let found = target(&what, destination(&there), asked).map_err(refused)?;
        let mut receiver = receiver(&there, &found, &shown, options.archive)?;
        let name = found.unwrap_or_else(|| there.name.clone());
        send_place(&opened, &place, &name, &mut receiver)?;
        receiver.finish()?;
        self.tell_copied(from, "archive-path");
        Ok(Copied {
            bytes: receiver.copied,
            not_given: receiver.not_given,
        })
    }

    /// Writes what is at a path in a container as a tar.
    ///
    /// # Errors
    /// When it is missing, or cannot be read or written.
    pub fn copy_out_tar(
        &self,
        from: &Inside<'_>,
        to: impl Write,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let opened = self.open_container(from.container, false)?;
        let place = source(&opened, from, options)?;
        let what = described(&place, from.path);
        let mut sink = TarSink {
            tar: TarWriter::new(BufWriter::with_capacity(256 << 10, to)),
            buffer: vec![0; 128 << 10],
        };
        send_place(&opened, &place, &what.name, &mut sink)?;
        let flushed = sink.tar.finish().and_then(|mut to| to.flush());
        flushed.map_err(CopyError::Write)?;
        self.tell_copied(from, "archive-path");
        Ok(())
    }

    fn tell_copied(&self, place: &Inside<'_>, action: &str) {
        if let Ok(container) = self.store.find_container(place.container)
            && let Ok(Some(state)) = container.state()
        {
            let path = String::from_utf8_lossy(place.path);
            self.tell(&Event::container(&state, action).with("path", path));
        }
    }

    /// Copies a path of the caller's into a container.
    ///
    /// # Errors
    /// When something is missing, in the way, or cannot be read or written.
    pub fn copy_in(
        &self,
        from: &Path,
        to: &Inside<'_>,
        options: CopyOptions,
    ) -> Result<Copied, Error> {
        let written = from.as_os_str().as_bytes();
        let place = local_source(from, options.follow || asks_for_folder(written))?;
        let what = Source {
            name: match (wants_content(written), from.file_name()) {
                (false, Some(name)) => name.as_bytes().to_vec(),
                _ => Vec::new(),
            },
            is_folder: place.is_folder(),
        };
        let opened = self.open_container(to.container, true)?;
        let there = find(&opened.root, to.path, true).map_err(|e| missing(to, e))?;
        let shown = format!("{}:{}", to.container, String::from_utf8_lossy(to.path));
        let refused = |problem| CopyError::Refused {
            path: shown.clone(),
            problem,
        };
        let found = target(&what, destination(&there), to.path).map_err(refused)?;
        let mut receiver = receiver(&there, &found, &shown, options.archive)?;
        let name = found.unwrap_or_else(|| there.name.clone());
        Tree {
            owner_of: &|_, stat| (stat.st_uid, stat.st_gid),
            sink: &mut receiver,
            names: HashMap::new(),
        }
        .send(&place.parent, &place.name, &place.path, &name)?;
        receiver.finish()?;
        self.tell_copied(to, "extract-to-dir");
        Ok(Copied {
            bytes: receiver.copied,
            not_given: self.not_given(&receiver),
        })
    }

    /// Unpacks a tar into a folder of a container.
    ///
    /// # Errors
    /// When the folder is missing, the tar is none, or something cannot be written.
    pub fn copy_in_tar(&self, from: impl Read + Send, to: &Inside<'_>) -> Result<Copied, Error> {
        let opened = self.open_container(to.container, true)?;
        let there = find(&opened.root, to.path, true).map_err(|e| missing(to, e))?;
        let shown = format!("{}:{}", to.container, String::from_utf8_lossy(to.path));
        if !there.is_folder() {
            return Err(CopyError::Refused {
                path: shown,
                problem: "must be a directory",
            }
            .into());
        }
        let mut receiver = receiver(&there, &Some(Vec::new()), &shown, true)?;
        send_tar(from, &mut receiver)?;
        receiver.finish()?;
        self.tell_copied(to, "extract-to-dir");
        Ok(Copied {
            bytes: receiver.copied,
            not_given: self.not_given(&receiver),
        })
    }

    /// In a store of one id nobody expects owners to be kept.
    fn not_given(&self, receiver: &Receiver) -> u64 {
        if self.store.id_map() == IdMap::Single {
            0
        } else {
            receiver.not_given
        }
    }

    /// Opens a container's root folder and makes this process root over its files.
    fn open_container(&self, query: &str, write: bool) -> Result<Opened, Error> {
        let container = self.store.find_container(query)?;
        let gone = || StoreError::NoSuchContainer(query.to_owned());
        let single = self.store.id_map() == IdMap::Single;
        for attempt in 0_u32.. {
            let state = container.state()?.ok_or_else(gone)?;
            let (pid, start) = (state.pid.unwrap_or(0), state.start_time.unwrap_or(0));
            if state.is_alive()
                && let Some(live) = LiveRoot::open(pid, start)?
            {
                // What is open stays open when this process moves away.
                let owners = single.then(|| self.open_view(container)).transpose()?;
                if self.store.id_map() != IdMap::Host {
                    live.become_its_root()?;
                }
                return Ok(Opened {
                    root: live.root,
                    owners,
                    _stopped: None,
                });
            }
            if let Some(stopped) = container.keep_stopped()? {
                let view = self.view(query)?;
                let root = self.mount_stopped(&view, write)?;
                return Ok(Opened {
                    root,
                    owners: single.then_some(view),
                    _stopped: Some(stopped),
                });
            }
            if attempt == BUSY {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Err(CopyError::Busy(query.to_owned()).into())
    }

    /// Mounts a container that does not run, with its volumes.
    fn mount_stopped(&self, view: &View, write: bool) -> Result<OwnedFd, Error> {
        let folder = view.container.folder();
        if write && is_read_only(folder) {
            return Err(CopyError::ReadOnly.into());
        }
        let mountpoint = folder.join("rootfs");
        let mut lower: Vec<PathBuf> = view
            .state
            .layers
            .iter()
            .rev()
            .map(|f| self.store.root().join(f).join("fs"))
            .collect();
        if lower.is_empty() {
            lower.push(mountpoint.clone());
        }
        let written = view.container.written(view.state.driver);
        let root = match view.state.driver {
            Driver::Overlay => {
                let work = folder.join("work");
                // The kernel would say "Invalid argument".
                rustix::fs::access(&work, Access::WRITE_OK).map_err(|e| {
                    StoreError::io("put the container's files together in", &work)(e.into())
                })?;
                minidock_run::mount_rootfs(&lower, &written, &work, &mountpoint)?
            }
            Driver::Flat => minidock_run::open_rootfs(&written)?,
            Driver::FuseOverlayfs => {
                return Err(CopyError::NeedsRunning(view.state.name.clone()).into());
            }
        };
        for mount in &view.state.mounts {
            if mount.kind == MountKind::Tmpfs {
                continue; // Its content is gone.
            }
            let Ok(place) = find(&root, mount.target.as_bytes(), true) else {
                continue; // Its place is made when the container is started.
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(place) = openat(&place.parent, place.name.as_slice(), flags, Mode::empty()) {
                minidock_run::bind_onto(&mount.source, &place, mount.read_only)?;
            }
        }
        Ok(root)
    }
}

/// How often to look again for a container that is neither running nor stopped: for two seconds.
const BUSY: u32 = 100;

fn is_read_only(folder: &Path) -> bool {
    let spec = std::fs::read(folder.join("config.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<oci_spec::runtime::Spec>(&bytes).ok());
    spec.and_then(|s| s.root().as_ref().and_then(|r| r.readonly()))
        .unwrap_or(false)
}

fn missing(inside: &Inside<'_>, error: io::Error) -> CopyError {
    let path = String::from_utf8_lossy(inside.path).into_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CopyError::NotInContainer {
            path,
            container: inside.container.to_owned(),
        },
        _ => CopyError::Read {
            path: format!("{}:{path}", inside.container),
            source: error,
        },
    }
}

/// What is to be copied out.
fn source(opened: &Opened, from: &Inside<'_>, options: CopyOptions) -> Result<Place, CopyError> {
    let follow = options.follow || asks_for_folder(from.path);
    let place = find(&opened.root, from.path, follow).map_err(|e| missing(from, e))?;
    if place.stat.is_none() {
        return Err(missing(from, io::ErrorKind::NotFound.into()));
    }
    if asks_for_folder(from.path) && !place.is_folder() {
        return Err(CopyError::Refused {
            path: format!("{}:{}", from.container, String::from_utf8_lossy(from.path)),
            problem: "is no folder",
        });
    }
    Ok(place)
}

/// Name and kind of a source, as the user named it: a link that was followed keeps its own name.
fn described(place: &Place, asked: &[u8]) -> Source {
    let name = if wants_content(asked) {
        None
    } else {
        place::clean(asked).pop()
    };
    Source {
        is_folder: place.is_folder(),
        name: name.unwrap_or_default(),
    }
}

fn send_place(
    opened: &Opened,
    place: &Place,
    name: &[u8],
    sink: &mut dyn Sink,
) -> Result<(), CopyError> {
    Tree {
        owner_of: &|path, stat| opened.owner(path, stat),
        sink,
        names: HashMap::new(),
    }
    .send(&place.parent, &place.name, &place.path, name)
}

/// What takes the files: in the destination, or in the folder that it is in.
fn receiver(
    there: &Place,
    found: &Option<Vec<u8>>,
    shown: &str,
    keep_owners: bool,
) -> Result<Receiver, CopyError> {
    let shown = match (found, shown.rfind('/')) {
        (Some(_), _) => format!("{}/", shown.trim_end_matches('/')),
        (None, Some(at)) => shown[..=at].to_owned(),
        (None, None) => String::new(),
    };
    let folder = match found {
        Some(_) => there.open_folder(),
        None => there.parent.try_clone(),
    };
    let folder = folder.map_err(|source| CopyError::File {
        doing: "open the folder",
        path: shown.clone(),
        source,
    })?;
    Ok(Receiver::new(folder, shown, keep_owners))
}

/// A source of the caller's.
fn local_source(path: &Path, follow: bool) -> Result<Place, CopyError> {
    let failed = |source: io::Error| CopyError::Read {
        path: path.display().to_string(),
        source,
    };
    let place = local_place(path, follow).map_err(failed)?;
    match &place.stat {
        None => Err(failed(io::ErrorKind::NotFound.into())),
        Some(_) if asks_for_folder(path.as_os_str().as_bytes()) && !place.is_folder() => {
            Err(failed(Errno::NOTDIR.into()))
        }
        Some(_) => Ok(place),
    }
}

/// A destination of the caller's.
fn local(path: &Path) -> Result<Place, CopyError> {
    local_place(path, true).map_err(|source| CopyError::File {
        doing: "write to",
        path: path.display().to_string(),
        source,
    })
}

/// The caller's own paths are his own affair: the kernel resolves them, but for the last component.
fn local_place(path: &Path, follow: bool) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !wants_content(path.as_os_str().as_bytes()) => {
                let parent = if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                };
                (parent.to_owned(), name.as_bytes().to_vec())
            }
            // `/`, `.` and what ends in `..`.
            _ => (path.clone(), b".".to_vec()),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &parent, flags, Mode::empty())?;
        let at = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let stat = match rustix::fs::statat(&opened, name.as_slice(), at) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(e.into()),
        };
        let link = stat.is_some_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink);
        if link && follow {
            let target = rustix::fs::readlinkat(&opened, name.as_slice(), Vec::new())?;
            path = parent.join(std::ffi::OsStr::from_bytes(target.as_bytes()));
            continue;
        }
        return Ok(Place {
            parent: opened,
            path: path.as_os_str().as_bytes().to_vec(),
            name,
            stat,
        });
    }
    Err(Errno::LOOP.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_decides_where_things_go() {
        let file = Source {
            is_folder: false,
            name: b"f".to_vec(),
        };
        let folder = Source {
            is_folder: true,
            name: b"d".to_vec(),
        };
        let content = Source {
            is_folder: true,
            name: Vec::new(),
        };
        use Destination::{File, Folder, Missing};
        let into = |name: &str| Ok(Some(name.as_bytes().to_vec()));
        for (source, there, asked, expected) in [
            (&file, Folder, "/x", into("f")),
            (&file, Folder, "/x/", into("f")),
            (&file, File, "/x", Ok(None)),
            (&file, File, "/x/", Err("is no folder")),
            (&file, Missing, "/x", Ok(None)),
            (
                &file,
                Missing,
                "/x/",
                Err("does not exist, and a file is to go into it"),
            ),
            (&folder, Folder, "/x", into("d")),
            (&folder, Missing, "/x", Ok(None)),
            (&folder, Missing, "/x/", Ok(None)),
            (
                &folder,
                File,
                "/x",
                Err("is no folder: cannot copy a directory to it"),
            ),
            (&content, Folder, "/x", into("")),
            (&content, Missing, "/x", Ok(None)),
        ] {
            assert_eq!(
                target(source, there, asked.as_bytes()),
                expected,
                "{source:?} {asked}"
            );
        }
    }
}
