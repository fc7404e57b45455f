//! Comparing a layer's files with the same layer unpacked anew.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::walk::stat;
use crate::whiteout::is_whiteout;
use crate::{Error, content};

const TIME: &str = "has another time";
/// The kernel's limit for names and for values (xattr(7)).
const XATTR: usize = 64 << 10;

/// How a tree differs from what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How many files, folders and so on differ.
    pub count: u64,
    /// Path and difference of the first.
    pub first: Option<(String, &'static str)>,
    /// How many files could not be read, since their mode forbids it to the caller, so that their content was not compared.
    pub unreadable: u64,
}

/// Compares two layer trees: names, kinds, modes, owners, sizes, times, link targets, hard links, device numbers, extended
/// attributes and contents. Of whiteouts only that they are there counts, and the time of the root folder
/// says nothing.
///
/// # Errors
/// When a folder of either cannot be read.
pub fn compare(actual: BorrowedFd<'_>, expected: BorrowedFd<'_>) -> Result<Differences, Error> {
    let mut comparison = Comparison {
        actual,
        expected,
        todo: vec![Vec::new()],
        links: HashMap::new(),
        back: HashMap::new(),
        found: Differences::default(),
    };
    let roots = [actual, expected].map(rustix::fs::fstat);
    let [Ok(have), Ok(want)] = roots else {
        return Err(Error::file("look at", b"/")(Errno::BADF));
    };
    if owner_and_mode(&have) != owner_and_mode(&want) {
        comparison.differs(b"/", "has another owner or mode");
    }
    while let Some(folder) = comparison.todo.pop() {
        comparison.folder(&folder)?;
    }
    Ok(comparison.found)
}

struct Comparison<'a> {
    actual: BorrowedFd<'a>,
    expected: BorrowedFd<'a>,
    /// Folders that both have.
    todo: Vec<Vec<u8>>,
    /// Inode numbers of files with several names, in the actual tree by those in the expected one, and back.
    links: HashMap<u64, u64>,
    back: HashMap<u64, u64>,
    found: Differences,
}

impl Comparison<'_> {
    fn differs(&mut self, path: &[u8], how: &'static str) {
        self.found.count += 1;
        // What changed in a folder changed its time as well, and says more.
        let told = self.found.first.as_ref();
        if told.is_none_or(|(_, known)| *known == TIME && how != TIME) {
            self.found.first = Some((String::from_utf8_lossy(path).into_owned(), how));
        }
    }

    fn folder(&mut self, path: &[u8]) -> Result<(), Error> {
        let (have, want) = (open(self.actual, path), open(self.expected, path));
        let (have, want) = match (have, want) {
            (Ok(have), Ok(want)) => (have, want),
            (Err(Errno::ACCESS), _) | (_, Err(Errno::ACCESS)) => {
                self.found.unreadable += 1;
                return Ok(());
            }
            (Err(e), _) | (_, Err(e)) => return Err(Error::file("open", path)(e)),
        };
        let mut names: BTreeMap<Vec<u8>, [bool; 2]> = BTreeMap::new();
        for (side, folder) in [&have, &want].into_iter().enumerate() {
            for name in list(folder.as_fd()).map_err(Error::file("read", path))? {
                names.entry(name).or_default()[side] = true;
            }
        }
        for (name, sides) in names {
            let inside = match path {
                [] => name.clone(),
                path => [path, b"/", &name].concat(),
            };
            match sides {
                [true, false] => self.differs(&inside, "should not be there"),
                [false, true] => self.differs(&inside, "is missing"),
                _ => self.entry(have.as_fd(), want.as_fd(), &name, inside)?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        have: BorrowedFd<'_>,
        want: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<(), Error> {
        let look = |at| stat(at, name).map_err(Error::file("look at", &path));
        let (Some(is), Some(should)) = (look(have)?, look(want)?) else {
            // Gone since it was listed.
            self.differs(&path, "is missing");
            return Ok(());
        };
        let kind = FileType::from_raw_mode(should.st_mode);
        let how = if is_whiteout(&is) && is_whiteout(&should) {
            // In one form or the other, according to what the file system took at the time.
            None
        } else if FileType::from_raw_mode(is.st_mode) != kind {
            Some("is of another kind")
        } else if owner_and_mode(&is) != owner_and_mode(&should) {
            Some("has another owner or mode")
        } else if is.st_rdev != should.st_rdev {
            Some("is another device")
        } else if kind != FileType::Directory && !self.same_links(&is, &should) {
            Some("is linked otherwise")
        } else if time(&is) != time(&should) {
            Some(TIME)
        } else if kind == FileType::Symlink && target(have, name) != target(want, name) {
            Some("leads elsewhere")
        } else if kind == FileType::RegularFile && is.st_size != should.st_size {
            Some("has another size")
        } else if kind == FileType::RegularFile || kind == FileType::Directory {
            self.opened(have, want, name, &should)
                .map_err(Error::file("read", &path))?
        } else {
            None
        };
        if let Some(how) = how {
            self.differs(&path, how);
        }
        if kind == FileType::Directory && how.is_none_or(|how| how == TIME) {
            self.todo.push(path);
        }
        Ok(())
    }

    /// What can only be seen with the file open: extended attributes and content.
    fn opened(
        &mut self,
        have: BorrowedFd<'_>,
        want: BorrowedFd<'_>,
        name: &[u8],
        should: &Stat,
    ) -> Result<Option<&'static str>, Errno> {
        let kind = FileType::from_raw_mode(should.st_mode);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = |at| rustix::fs::openat(at, name, flags, Mode::empty());
        let (have, want) = match (open(have), open(want)) {
            (Ok(have), Ok(want)) => (have, want),
            (Err(Errno::ACCESS), _) | (_, Err(Errno::ACCESS)) => {
                self.found.unreadable += u64::from(kind == FileType::RegularFile);
                return Ok(None);
            }
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        if attributes(have.as_fd())? != attributes(want.as_fd())? {
            return Ok(Some("has other extended attributes"));
        }
        let size = u64::try_from(should.st_size).unwrap_or(0);
        let failed = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        if kind == FileType::RegularFile
            && !content::same(&File::from(have), &File::from(want), size).map_err(failed)?
        {
            return Ok(Some("has other content"));
        }
        Ok(None)
    }

    /// Names of one file are names of one file in both trees. Numbers of links say nothing: other layers and flat images may
    /// have names for the file as well.
    fn same_links(&mut self, is: &Stat, should: &Stat) -> bool {
        if should.st_nlink == 1 && is.st_nlink == 1 {
            return true;
        }
        *self.links.entry(should.st_ino).or_insert(is.st_ino) == is.st_ino
            && *self.back.entry(is.st_ino).or_insert(should.st_ino) == should.st_ino
    }
}

fn owner_and_mode(stat: &Stat) -> (u32, u32, u32) {
    (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
}

fn time(stat: &Stat) -> (i64, i64) {
    (
        stat.st_mtime,
        i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

fn target(at: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(at, name, Vec::new())
        .ok()
        .map(|target| target.into_bytes())
}

/// Opens a folder by its real path for reading, without following anything.
fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(root, ".", flags | OFlags::PATH, Mode::empty())?;
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        at = rustix::fs::openat(&at, name, flags | OFlags::PATH, Mode::empty())?;
    }
    rustix::fs::openat(&at, ".", flags, Mode::empty())
}

fn list(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn attributes(file: BorrowedFd<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut names = vec![0_u8; XATTR];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        // A file system without any.
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0_u8; XATTR];
        let length = rustix::fs::fgetxattr(file, name, &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use rustix::fs::AtFlags;

    use super::*;

    fn tree(folder: &Path) {
        fs::create_dir_all(folder.join("a/b")).unwrap();
        for name in ["a/file", "a/b/deep", "top", "a/other"] {
            fs::write(folder.join(name), name).unwrap();
        }
        symlink("a/file", folder.join("link")).unwrap();
        fs::hard_link(folder.join("top"), folder.join("a/hard")).unwrap();
        settle(folder);
    }

    /// The same time everywhere, as in an unpacked layer.
    fn settle(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                settle(&path);
            }
            let time = rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 2,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .unwrap();
        }
    }

    fn differences(change: impl FnOnce(&Path)) -> Differences {
        let folder = tempfile::tempdir().unwrap();
        let (is, should) = (folder.path().join("is"), folder.path().join("should"));
        for tree_folder in [&is, &should] {
            fs::create_dir(tree_folder).unwrap();
            tree(tree_folder);
        }
        change(&is);
        let (is, should) = (File::open(is).unwrap(), File::open(should).unwrap());
        compare(is.as_fd(), should.as_fd()).unwrap()
    }

    #[test]
    fn equal_trees_have_no_differences() {
        assert_eq!(differences(|_| {}), Differences::default());
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        type Change = fn(&Path);
        let cases: [(&str, &str, Change); 10] = [
            ("a/file", "other content", |t| {
                fs::write(t.join("a/file"), "a/FILE").unwrap();
                settle(t);
            }),
            ("a/b/deep", "another size", |t| {
                fs::write(t.join("a/b/deep"), "").unwrap();
                settle(t);
            }),
            ("a/b/deep", "missing", |t| {
                fs::remove_file(t.join("a/b/deep")).unwrap();
                settle(t);
            }),
            ("a/b/more", "should not be there", |t| {
                fs::write(t.join("a/b/more"), "").unwrap();
                settle(t);
            }),
            ("a/b", "owner or mode", |t| {
                fs::set_permissions(t.join("a/b"), Permissions::from_mode(0o711)).unwrap();
            }),
            ("link", "leads elsewhere", |t| {
                fs::remove_file(t.join("link")).unwrap();
                symlink("a/other", t.join("link")).unwrap();
                settle(t);
            }),
            ("link", "another kind", |t| {
                fs::remove_file(t.join("link")).unwrap();
                fs::write(t.join("link"), "a/file").unwrap();
                settle(t);
            }),
            ("a/hard", "linked otherwise", |t| {
                fs::remove_file(t.join("a/hard")).unwrap();
                fs::write(t.join("a/hard"), "top").unwrap();
                settle(t);
            }),
            ("a/file", "another time", |t| {
                let later = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
                let file = File::options().write(true).open(t.join("a/file")).unwrap();
                file.set_modified(later).unwrap();
            }),
            ("a/file", "extended attributes", |t| {
                let flags = rustix::fs::XattrFlags::empty();
                let set = rustix::fs::setxattr(t.join("a/file"), "user.x", b"y", flags);
                if set.is_err() {
                    // Not on every file system; something else to be found instead.
                    fs::remove_file(t.join("a/file")).unwrap();
                }
                settle(t);
            }),
        ];
        for (path, how, change) in cases {
            let found = differences(change);
            let (at, what) = found.first.unwrap();
            assert!(
                what.contains(how) || (how.starts_with("extended") && what == "is missing"),
                "{path} {how}: {at} {what}"
            );
            assert!(at == path || at == "top", "{path} {how}: {at} {what}");
        }
    }
}
