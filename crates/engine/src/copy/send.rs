//! Files to entries: a tree that is read by descriptor, or a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use minidock_layer::aside::DeviceKind;
use minidock_layer::merged::NodeKind;
use minidock_layer::write::{Header, TarWriter};
use minidock_layer::{Kind, TarReader};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::CopyError;
use super::place::{FOLDER, join};

/// Folders within each other; more cannot be named by a path.
const MAX_DEPTH: usize = 1000;

/// What takes entries.
pub trait Sink {
    /// Takes one entry; `data` holds what a file has in it.
    fn entry(&mut self, header: &Header<'_>, data: &mut dyn Read) -> Result<(), CopyError>;
}

/// A tar as it goes out.
pub struct TarSink<W: io::Write> {
    pub tar: TarWriter<W>,
    pub buffer: Vec<u8>,
}

impl<W: io::Write> Sink for TarSink<W> {
    fn entry(&mut self, header: &Header<'_>, mut data: &mut dyn Read) -> Result<(), CopyError> {
        self.tar.entry(header).map_err(CopyError::Write)?;
        self.tar
            .copy(&mut data, &mut self.buffer)
            .map_err(CopyError::Write)
    }
}

/// Says who owns a file, by its real path and what the kernel says of it.
pub type OwnerOf<'a> = dyn Fn(&[u8], &Stat) -> (u32, u32) + 'a;

/// Sends a file, or a folder with all in it.
pub struct Tree<'a> {
    pub owner_of: &'a OwnerOf<'a>,
    pub sink: &'a mut dyn Sink,
    /// First name of each file that has several.
    pub names: HashMap<(u64, u64), Vec<u8>>,
}

impl Tree<'_> {
    /// `path` is where the file really is, `name` what it is called on its way; empty for a folder of which only the content is
    /// wanted.
    pub fn send(
        &mut self,
        parent: &OwnedFd,
        file: &[u8],
        path: &[u8],
        name: &[u8],
    ) -> Result<(), CopyError> {
        let failed = |e: Errno| CopyError::read(path, e.into());
        let stat = statat(parent, file, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        self.one(parent.as_fd(), file, &stat, path, name, 0)
    }

    fn one(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &[u8],
        stat: &Stat,
        path: &[u8],
        name: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        let failed = |e: Errno| CopyError::read(path, e.into());
        let Some(kind) = kind(stat) else {
            return Ok(()); // A socket has no place in an archive.
        };
        let (uid, gid) = (self.owner_of)(path, stat);
        let xattrs = xattrs(parent, file, kind);
        let mut header = Header {
            path: if name.is_empty() { b"." } else { name },
            kind: Some(kind),
            link: b"",
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            size: 0,
            xattrs: &xattrs,
        };
        let inode = (stat.st_dev, stat.st_ino);
        let several = widen(stat.st_nlink) > 1 && kind != NodeKind::Directory;
        let first = self.names.get(&inode).filter(|_| several).cloned();
        if let Some(first) = &first {
            header.kind = None;
            header.link = first;
            header.xattrs = &[];
            return self.sink.entry(&header, &mut io::empty());
        }
        if several {
            self.names.insert(inode, name.to_vec());
        }
        match kind {
            NodeKind::Symlink => {
                let target = readlinkat(parent, file, Vec::new())
                    .map_err(failed)?
                    .into_bytes();
                header.link = &target;
                self.sink.entry(&header, &mut io::empty())
            }
            NodeKind::File => {
                let flags = OFlags::RDONLY
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::NOCTTY
                    | OFlags::CLOEXEC;
                let fd = openat(parent, file, flags, Mode::empty()).map_err(failed)?;
                // Something else may have taken its place.
                let opened = rustix::fs::fstat(&fd).map_err(failed)?;
                if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
                    return Err(CopyError::read(path, io::ErrorKind::InvalidData.into()));
                }
                header.size = u64::try_from(opened.st_size).unwrap_or(0);
                self.sink
                    .entry(&header, &mut File::from(fd).take(header.size))
            }
            NodeKind::Directory => {
                self.sink.entry(&header, &mut io::empty())?;
                self.folder(parent, file, path, name, depth)
            }
            _ => self.sink.entry(&header, &mut io::empty()),
        }
    }

    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &[u8],
        path: &[u8],
        name: &[u8],
        depth: usize,
    ) -> Result<(), CopyError> {
        let failed = |e: Errno| CopyError::read(path, e.into());
        if depth > MAX_DEPTH {
            return Err(failed(Errno::NAMETOOLONG));
        }
        let folder = openat(parent, file, FOLDER, Mode::empty()).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = openat(&folder, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::new(listed).map_err(failed)? {
            let inside = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if inside != b"." && inside != b".." {
                names.push(inside);
            }
        }
        names.sort();
        for inside in names {
            let (path, name) = (join(path, &inside), join(name, &inside));
            match statat(&folder, inside.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self.one(folder.as_fd(), &inside, &stat, &path, &name, depth + 1)?,
                // A container that runs has removed it meanwhile.
                Err(Errno::NOENT) => {}
                Err(e) => return Err(CopyError::read(&path, e.into())),
            }
        }
        Ok(())
    }
}

fn kind(stat: &Stat) -> Option<NodeKind> {
    let device = |kind| {
        let device = stat.st_rdev;
        NodeKind::Device(kind, rustix::fs::major(device), rustix::fs::minor(device))
    };
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::Fifo => NodeKind::Fifo,
        FileType::CharacterDevice => device(DeviceKind::Char),
        FileType::BlockDevice => device(DeviceKind::Block),
        _ => return None,
    })
}

/// File capabilities and users' attributes; none where they cannot be read.
fn xattrs(parent: BorrowedFd<'_>, name: &[u8], kind: NodeKind) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !matches!(kind, NodeKind::File | NodeKind::Directory) {
        return Vec::new();
    }
    let path = [
        format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(),
        name,
    ]
    .concat();
    let mut names = vec![0_u8; 64 << 10];
    let Ok(n) = rustix::fs::llistxattr(path.as_slice(), &mut names[..]) else {
        return Vec::new();
    };
    let wanted = |n: &&[u8]| {
        *n == b"security.capability"
            || (n.starts_with(b"user.") && !n.starts_with(b"user.overlay."))
    };
    let mut found = Vec::new();
    for name in names[..n].split(|b| *b == 0).filter(wanted) {
        let mut value = vec![0_u8; 64 << 10];
        if let Ok(n) = rustix::fs::lgetxattr(path.as_slice(), name, &mut value[..]) {
            value.truncate(n);
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    found
}

/// The link count has 32 bits on some architectures.
fn widen(links: impl Into<u64>) -> u64 {
    links.into()
}

/// Sends what a tar holds, which may be compressed.
pub fn send_tar(from: impl Read + Send, sink: &mut dyn Sink) -> Result<(), CopyError> {
    let plain = minidock_layer::decompress(BufReader::with_capacity(128 << 10, from))
        .map_err(CopyError::Tar)?;
    let mut tar = TarReader::new(plain);
    while let Some(entry) = tar.next().map_err(CopyError::Tar)? {
        let device = |kind| NodeKind::Device(kind, entry.device.0, entry.device.1);
        let id = |id: u64| u32::try_from(id).unwrap_or(0);
        let header = Header {
            path: &entry.path,
            kind: match entry.kind {
                Kind::File => Some(NodeKind::File),
                Kind::HardLink => None,
                Kind::Symlink => Some(NodeKind::Symlink),
                Kind::CharDevice => Some(device(DeviceKind::Char)),
                Kind::BlockDevice => Some(device(DeviceKind::Block)),
                Kind::Directory => Some(NodeKind::Directory),
                Kind::Fifo => Some(NodeKind::Fifo),
            },
            link: &entry.link,
            mode: entry.mode & 0o7777,
            uid: id(entry.uid),
            gid: id(entry.gid),
            mtime: entry.mtime,
            size: entry.size,
            xattrs: &entry.xattrs,
        };
        let whole = [(0, entry.size)];
        let mut content = Content {
            tar: &mut tar,
            pieces: entry.sparse.as_deref().unwrap_or(&whole),
            at: 0,
            size: entry.size,
        };
        sink.entry(&header, &mut content)?;
    }
    Ok(())
}

/// An entry's content, with zeros where a sparse one has nothing.
struct Content<'a, R> {
    tar: &'a mut TarReader<R>,
    /// Offset and length.
    pieces: &'a [(u64, u64)],
    at: u64,
    size: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(((offset, length), rest)) = self.pieces.split_first()
            && self.at >= offset + length
        {
            self.pieces = rest;
        }
        let (in_piece, end) = match self.pieces.first() {
            Some((offset, length)) if self.at >= *offset => (true, offset + length),
            Some((offset, _)) => (false, *offset),
            None => (false, self.size),
        };
        let left = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let n = if in_piece {
            self.tar
                .read_data(&mut buffer[..want])
                .map_err(io::Error::other)?
        } else {
            buffer[..want].fill(0);
            want
        };
        self.at += n as u64;
        Ok(n)
    }
}
