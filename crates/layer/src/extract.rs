//! Entries to files: whiteouts, replacement, ownership, attributes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::tar_reader::{Entry, Kind, TarReader};
use crate::walk::{Maker, Walker, components, is_whiteout, stat};
use crate::{Error, Limits, Options, Ownership, Target};

const OPAQUE: &str = "user.overlay.opaque";
const BUFFER: usize = 128 << 10;

/// What a layer can only know together with the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedsLower {
    /// Folders without an entry of their own: their attributes are those of the layer below.
    pub implicit_dirs: Vec<Vec<u8>>,
    /// Hard links to files of a lower layer: (name, target).
    pub lower_links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Opaque folders on a file system without extended attributes of users (tmpfs before Linux 6.6, NFS before 5.9): what
    /// they hide is whited out name by name.
    pub opaque_dirs: Vec<Vec<u8>>,
}

impl NeedsLower {
    /// Whether the layer stands by itself.
    pub fn is_empty(&self) -> bool {
        self.implicit_dirs.is_empty() && self.lower_links.is_empty() && self.opaque_dirs.is_empty()
    }
}

/// Attributes of a folder, set when nothing more is put into it.
#[derive(Clone, Copy, Debug)]
struct FolderAttributes {
    mode: u32,
    mtime: (i64, u32),
}

/// Makes missing folders and remembers that they had no entry.
struct Implicit<'a> {
    folders: &'a mut BTreeMap<Vec<u8>, Option<FolderAttributes>>,
    opaque: &'a mut BTreeSet<Vec<u8>>,
}

impl Maker for Implicit<'_> {
    fn make(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
        let failed = |e| Error::file("create the folder", path)(e);
        let hidden = match stat(parent, name).map_err(failed)? {
            None => false,
            Some(old) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
                is_whiteout(&old)
            }
        };
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        if hidden {
            make_opaque(parent, name, path, self.opaque)?;
        }
        self.folders.insert(path.to_vec(), None);
        Ok(())
    }
}

/// Applies entries to a folder.
pub struct Extractor<'a> {
    walker: Walker,
    ownership: Ownership,
    limits: Limits,
    /// Real path to attributes; `None` for a folder without an entry.
    folders: BTreeMap<Vec<u8>, Option<FolderAttributes>>,
    lower_links: HashMap<Vec<u8>, Vec<u8>>,
    /// Folders that should be opaque and could not be marked.
    opaque: BTreeSet<Vec<u8>>,
    root: Option<FolderAttributes>,
    aside: Option<BufWriter<&'a File>>,
    buffer: Vec<u8>,
    pub entries: u64,
    pub content_size: u64,
}

impl<'a> Extractor<'a> {
    pub fn new(target: &Target<'a>, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            walker: Walker::new(target.tree)?,
            ownership: options.ownership,
            limits: options.limits,
            folders: BTreeMap::new(),
            lower_links: HashMap::new(),
            opaque: BTreeSet::new(),
            root: None,
            aside: target.aside.map(BufWriter::new),
            buffer: vec![0; BUFFER],
            entries: 0,
            content_size: 0,
        })
    }

    /// Applies all entries of an archive.
    pub fn run<R: Read>(&mut self, tar: &mut TarReader<R>) -> Result<(), Error> {
        self.note("{\"minidock-aside\":1}")?;
        while let Some(entry) = tar.next()? {
            self.entries += 1;
            if self.entries > self.limits.max_entries {
                return Err(Error::TooMuch {
                    what: "entries",
                    limit: self.limits.max_entries,
                });
            }
            // A sparse file claims more than its data: 8 EiB cost nothing to write down.
            if entry.size > self.limits.max_size {
                return Err(Error::TooMuch {
                    what: "bytes in one file",
                    limit: self.limits.max_size,
                });
            }
            self.apply(&entry, tar)?;
        }
        Ok(())
    }

    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), Error> {
        if entry.path.contains(&0) {
            return Err(Error::entry(&entry.path, "has a NUL byte in its name"));
        }
        let parts = components(&entry.path)
            .ok_or_else(|| Error::entry(&entry.path, "has a name that leads out of the layer"))?;
        let Some((name, parents)) = parts.split_last() else {
            return self.apply_root(entry);
        };
        let mut implicit = Implicit {
            folders: &mut self.folders,
            opaque: &mut self.opaque,
        };
        let (folder, folder_path) = self
            .walker
            .folder(parents, Some(&mut implicit))?
            .ok_or_else(|| Error::entry(&entry.path, "has no parent folder"))?;
        let parent = folder.as_fd();
        let path = if folder_path.is_empty() {
            name.to_vec()
        } else {
            [&folder_path, &b"/"[..], name].concat()
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(parent, hidden, &folder_path, &path);
        }
        let hides = self.clear(parent, name, entry.kind, &path)?;
        match entry.kind {
            Kind::Directory => return self.directory(parent, name, &path, entry, hides),
            Kind::File => return self.file(parent, name, &path, entry, tar),
            Kind::HardLink => return self.hard_link(parent, name, &path, entry),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Error::entry(&entry.path, "is a symlink to nowhere"));
                }
                rustix::fs::symlinkat(entry.link.as_slice(), parent, *name)
                    .map_err(Error::file("create the symlink", &path))?;
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                self.special(parent, name, &path, entry)?
            }
        }
        self.own_and_date(parent, name, &path, entry)
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::entry(&entry.path, "would replace the root folder"));
        }
        self.root = Some(FolderAttributes {
            mode: entry.mode,
            mtime: entry.mtime,
        });
        let (root, _) = self.walker.root();
        self.own(root.as_fd(), b".", b".", entry, false)
    }

    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all they have in the folder. What this layer itself
    /// puts there stays, wherever it stands in the archive.
    fn whiteout(
        &mut self,
        parent: BorrowedFd<'_>,
        hidden: &[u8],
        folder: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        if hidden == b".wh..opq" {
            return make_opaque(parent, b".", folder, &mut self.opaque);
        }
        if hidden.starts_with(b".wh.") {
            // Other names of this kind are aufs's own bookkeeping.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(path, "is a whiteout of nothing"));
        }
        match stat(parent, hidden).map_err(Error::file("look at", path))? {
            Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => {
                make_opaque(parent, hidden, &sibling(path, hidden), &mut self.opaque)
            }
            Some(_) => Ok(()),
            None => {
                rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(Error::file("create the whiteout", path))
            }
        }
    }

    /// Makes room for an entry. Returns whether a whiteout stood there, which a folder must go on being for the layers
    /// below: it becomes opaque.
    fn clear(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
        path: &[u8],
    ) -> Result<bool, Error> {
        self.lower_links.remove(path);
        let Some(old) = stat(parent, name).map_err(Error::file("look at", path))? else {
            return Ok(false);
        };
        let is_folder = FileType::from_raw_mode(old.st_mode) == FileType::Directory;
        if is_folder && kind == Kind::Directory {
            return Ok(false);
        }
        if is_folder {
            self.walker.forget();
            let below = [path, b"/"].concat();
            self.folders
                .retain(|p, _| p != path && !p.starts_with(&below));
            self.lower_links.retain(|p, _| !p.starts_with(&below));
            self.opaque.retain(|p| p != path && !p.starts_with(&below));
            crate::remove::remove_tree(parent, std::os::unix::ffi::OsStrExt::from_bytes(name))
                .map_err(|source| Error::File {
                    operation: "replace",
                    path: String::from_utf8_lossy(path).into_owned(),
                    source,
                })?;
            return Ok(false);
        }
        if FileType::from_raw_mode(old.st_mode) == FileType::Symlink {
            self.walker.forget();
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .map_err(Error::file("replace", path))?;
        Ok(is_whiteout(&old))
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        hides: bool,
    ) -> Result<(), Error> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::file("create the folder", path)(e)),
        }
        if hides {
            make_opaque(parent, name, path, &mut self.opaque)?;
        }
        self.folders.insert(
            path.to_vec(),
            Some(FolderAttributes {
                mode: entry.mode,
                mtime: entry.mtime,
            }),
        );
        self.own(parent, name, path, entry, false)
    }

    fn file<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(Error::file("create", path))?;
        let mut file = File::from(fd);
        let failed = |operation| {
            let path = String::from_utf8_lossy(path).into_owned();
            move |source| Error::File {
                operation,
                path,
                source,
            }
        };
        match &entry.sparse {
            None => loop {
                let n = tar.read_data(&mut self.buffer)?;
                if n == 0 {
                    break;
                }
                file.write_all(&self.buffer[..n]).map_err(failed("write"))?;
            },
            Some(extents) => {
                use std::os::unix::fs::FileExt;
                for &(offset, length) in extents {
                    let mut at = offset;
                    let mut left = length;
                    while left > 0 {
                        let want = self
                            .buffer
                            .len()
                            .min(usize::try_from(left).unwrap_or(usize::MAX));
                        let n = tar.read_data(&mut self.buffer[..want])?;
                        if n == 0 {
                            return Err(Error::entry(
                                &entry.path,
                                "has a sparse map that does not fit its data",
                            ));
                        }
                        file.write_all_at(&self.buffer[..n], at)
                            .map_err(failed("write"))?;
                        at += n as u64;
                        left -= n as u64;
                    }
                }
                file.set_len(entry.size)
                    .map_err(failed("set the size of"))?;
            }
        }
        self.content_size = self.content_size.saturating_add(entry.size);
        let io = |operation| Error::file(operation, path);
        if self.ownership == Ownership::Host {
            let (uid, gid) = owner(entry)?;
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(io("change the owner of"))?;
        }
        // After chown, which clears setuid and setgid, and before the mode may forbid writing.
        self.set_xattrs(&file, path, entry)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))
            .map_err(io("change the mode of"))?;
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(io("set the time of"))?;
        self.note_owner(path, entry)
    }

    fn hard_link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        let out = || Error::entry(&entry.path, "is a hard link that leads out of the layer");
        let parts = components(&entry.link).ok_or_else(out)?;
        let (target, parents) = parts.split_last().ok_or_else(out)?;
        let folder = self.walker.folder(parents, None)?;
        if let Some((folder, _)) = folder {
            match stat(folder.as_fd(), target).map_err(Error::file("look at", &entry.link))? {
                Some(t) if FileType::from_raw_mode(t.st_mode) == FileType::Directory => {
                    return Err(Error::entry(&entry.path, "is a hard link to a folder"));
                }
                Some(t) if !is_whiteout(&t) => {
                    return rustix::fs::linkat(
                        folder.as_fd(),
                        *target,
                        parent,
                        name,
                        AtFlags::empty(),
                    )
                    .map_err(Error::file("create the hard link", path));
                }
                Some(_) => {
                    return Err(Error::entry(
                        &entry.path,
                        "is a hard link to a file that the layer deletes",
                    ));
                }
                None => {}
            }
        }
        self.lower_links.insert(path.to_vec(), parts.join(&b'/'));
        Ok(())
    }

    fn special(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        let kind = match entry.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        // A device 0:0 would be a whiteout.
        let real = kind == FileType::Fifo || (self.ownership == Ownership::Host && device != 0);
        let made = if real {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
        } else {
            Err(Errno::PERM)
        };
        match made {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) if kind != FileType::Fifo => {
                rustix::fs::mknodat(
                    parent,
                    name,
                    FileType::RegularFile,
                    Mode::from_raw_mode(0o600),
                    0,
                )
                .map_err(Error::file("create a placeholder for", path))?;
                let letter = if kind == FileType::CharacterDevice {
                    'c'
                } else {
                    'b'
                };
                let (major, minor) = entry.device;
                self.note(&format!(
                    "{{\"path\":{},\"device\":\"{letter}\",\"major\":{major},\"minor\":{minor}}}",
                    quoted(path)
                ))?;
            }
            Err(e) => return Err(Error::file("create", path)(e)),
        }
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(Error::file("change the mode of", path))
    }

    /// Owner, attributes and time of what has no descriptor.
    fn own_and_date(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), Error> {
        self.own(parent, name, path, entry, entry.kind == Kind::Symlink)?;
        if entry.kind != Kind::Symlink && self.ownership == Ownership::Host {
            rustix::fs::chmodat(
                parent,
                name,
                Mode::from_raw_mode(entry.mode),
                AtFlags::empty(),
            )
            .map_err(Error::file("change the mode of", path))?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::file("set the time of", path))
    }

    fn own(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        symlink: bool,
    ) -> Result<(), Error> {
        if self.ownership == Ownership::Host {
            let (uid, gid) = owner(entry)?;
            rustix::fs::chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(Error::file("change the owner of", path))?;
        }
        if entry.kind == Kind::Directory && !entry.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(Error::file("open", path))?;
            self.set_xattrs(&File::from(fd), path, entry)?;
        } else if symlink || entry.kind != Kind::Directory {
            for (xattr, _) in &entry.xattrs {
                self.note(&format!(
                    "{{\"path\":{},\"xattr\":{}}}",
                    quoted(path),
                    quoted(xattr)
                ))?;
            }
        }
        self.note_owner(path, entry)
    }

    fn set_xattrs(&mut self, file: &File, path: &[u8], entry: &Entry) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            let ours = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let host = self.ownership == Ownership::Host && name == b"security.capability";
            let set = match CString::new(name.clone()) {
                Ok(name) if ours || host => {
                    rustix::fs::fsetxattr(file, &*name, value, XattrFlags::empty())
                }
                _ => Err(Errno::PERM),
            };
            match set {
                Ok(()) => {}
                Err(
                    Errno::PERM
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::RANGE
                    | Errno::TOOBIG
                    | Errno::NOSPC,
                ) => {
                    self.note(&format!(
                        "{{\"path\":{},\"xattr\":{},\"value\":{}}}",
                        quoted(path),
                        quoted(name),
                        quoted(value)
                    ))?;
                }
                Err(e) => return Err(Error::file("set an extended attribute of", path)(e)),
            }
        }
        Ok(())
    }

    fn note_owner(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        if self.ownership == Ownership::Single && (entry.uid != 0 || entry.gid != 0) {
            let (uid, gid) = owner(entry)?;
            return self.note(&format!(
                "{{\"path\":{},\"uid\":{},\"gid\":{}}}",
                quoted(path),
                uid.as_raw(),
                gid.as_raw()
            ));
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<(), Error> {
        match &mut self.aside {
            Some(aside) => writeln!(aside, "{line}").map_err(Error::Blob),
            None => Ok(()),
        }
    }

    /// Sets the folders' attributes, children before parents, and says what the layers below have to tell.
    pub fn finish(mut self) -> Result<(bool, NeedsLower), Error> {
        if let Some(aside) = &mut self.aside {
            aside.flush().map_err(Error::Blob)?;
        }
        let folders = std::mem::take(&mut self.folders);
        // In reverse order of names, so that a folder comes before the one it is in, which may become inaccessible.
        for (path, attributes) in folders.iter().rev() {
            let attributes = attributes.unwrap_or(FolderAttributes {
                mode: 0o755,
                mtime: (0, 0),
            });
            let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
            let Some((name, parents)) = parts.split_last() else {
                continue;
            };
            let Some((folder, _)) = self.walker.folder(parents, None)? else {
                continue;
            };
            set_folder(folder.as_fd(), name, path, attributes)?;
        }
        let (root, _) = self.walker.root();
        let attributes = self.root.unwrap_or(FolderAttributes {
            mode: 0o755,
            mtime: (0, 0),
        });
        set_folder(root.as_fd(), b".", b".", attributes)?;
        let needs = NeedsLower {
            implicit_dirs: folders
                .into_iter()
                .filter(|(_, a)| a.is_none())
                .map(|(p, _)| p)
                .collect(),
            lower_links: self.lower_links.into_iter().collect(),
            opaque_dirs: self.opaque.into_iter().collect(),
        };
        Ok((self.root.is_some(), needs))
    }
}

fn set_folder(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    attributes: FolderAttributes,
) -> Result<(), Error> {
    rustix::fs::utimensat(
        parent,
        name,
        &times(attributes.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(Error::file("set the time of", path))?;
    rustix::fs::chmodat(
        parent,
        name,
        Mode::from_raw_mode(attributes.mode),
        AtFlags::empty(),
    )
    .map_err(Error::file("change the mode of", path))
}

fn owner(entry: &Entry) -> Result<(Uid, Gid), Error> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(Error::entry(
            &entry.path,
            format!("has an owner that cannot be: {}:{}", entry.uid, entry.gid),
        )),
    }
}

pub fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: i64::from(mtime.1),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// The path of another name in the same folder.
fn sibling(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => [&path[..=at], name].concat(),
        None => name.to_vec(),
    }
}

/// Marks a folder as hiding all that the layers below have in it. Where the file system has no place for the mark, the
/// folder is remembered instead.
fn make_opaque(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    unmarked: &mut BTreeSet<Vec<u8>>,
) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(Error::file("open the folder", path))?;
    match rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => {
            unmarked.insert(path.to_vec());
            Ok(())
        }
        result => result.map_err(Error::file("make opaque the folder", path)),
    }
}

/// Bytes as a JSON string: what is not printable ASCII as `\u00XX`, one for each byte.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for b in bytes {
        match b {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*b));
            }
            0x20..=0x7e => text.push(char::from(*b)),
            other => text.push_str(&format!("\\u{other:04x}")),
        }
    }
    text.push('"');
    text
}
