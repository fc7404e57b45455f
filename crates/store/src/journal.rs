//! What happened in a store, one line each: `events/log`, and `events/log.1`, which is what was there before.
//!
//! A line is written with one write(2) to a file opened with `O_APPEND`, without a lock: whoever tells something waits for
//! nobody. What a killed process or a full disk cut short has no line end; the next writer puts one there, so that only
//! the cut line is lost. When the file has grown, it takes the place of the older one. A writer that opened it just before
//! writes to it all the same: readers look at both.
//!
//! A store that cannot be written has no journal, and one that was never told anything has no files.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::fs::make_dir;
use crate::lock::Lock;
use crate::{Store, StoreError};

const FOLDER: &str = "events";
const LOG: &str = "log";
const OLDER: &str = "log.1";

/// From this size on, in bytes, a file takes the place of the older one.
const FULL: u64 = 1 << 20;

/// Longest line, in bytes.
const LONGEST: usize = 64 << 10;

impl Store {
    /// Adds a line to the journal.
    ///
    /// # Errors
    /// When it cannot be written, or is too long or no line.
    pub fn note(&self, line: &[u8]) -> Result<(), StoreError> {
        let path = self.path(FOLDER).join(LOG);
        let failed = |e| StoreError::io("write to", &path)(e);
        if line.contains(&b'\n') || line.len() >= LONGEST {
            return Err(failed(ErrorKind::InvalidInput.into()));
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = match options.open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                make_dir(&self.path(FOLDER))?;
                options.open(&path).map_err(failed)?
            }
            file => file.map_err(failed)?,
        };
        let size = file.metadata().map_err(failed)?.len();
        let mut last = [b'\n'];
        if size > 0 {
            let _ = file.read_at(&mut last, size - 1);
        }
        let mut whole = Vec::with_capacity(line.len() + 2);
        if last != [b'\n'] {
            whole.push(b'\n');
        }
        whole.extend_from_slice(line);
        whole.push(b'\n');
        file.write_all(&whole).map_err(failed)?;
        if size > FULL {
            self.turn_page()?;
        }
        Ok(())
    }

    /// Makes the file that has grown the older one. One process is enough for it.
    fn turn_page(&self) -> Result<(), StoreError> {
        let Some(_alone) = Lock::try_exclusive(&self.lock_file(FOLDER))? else {
            return Ok(());
        };
        let (log, older) = (self.path(FOLDER).join(LOG), self.path(FOLDER).join(OLDER));
        // Somebody may have done so meanwhile.
        if log.metadata().is_ok_and(|meta| meta.len() > FULL) {
            std::fs::rename(&log, &older).map_err(StoreError::io("rename", &log))?;
        }
        Ok(())
    }

    /// The journal's lines: all that are there, or those that come from now on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn journal(&self, from_start: bool) -> Result<Journal, StoreError> {
        let mut journal = Journal {
            folder: self.path(FOLDER),
            pages: Vec::new(),
            watch: None,
        };
        journal.look()?;
        if !from_start {
            for page in &mut journal.pages {
                let end = page.file.seek(SeekFrom::End(0));
                end.map_err(StoreError::io("read", &journal.folder))?;
            }
        }
        Ok(journal)
    }
}

/// A file of the journal that is being read.
#[derive(Debug)]
struct Page {
    file: File,
    inode: u64,
    /// What came after its last line end.
    rest: Vec<u8>,
}

/// A journal that is being read.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// The older one first. While they are open, nothing else gets their inodes.
    pages: Vec<Page>,
    watch: Option<OwnedFd>,
}

impl Journal {
    /// Has the kernel tell when there may be more (inotify(7)). To be called before the lines that are there are read.
    ///
    /// # Errors
    /// When the store cannot be watched.
    pub fn watch(&mut self) -> Result<(), StoreError> {
        let failed = |e: Errno| StoreError::io("watch", &self.folder)(e.into());
        let made = make_dir(&self.folder);
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        match inotify::add_watch(&watch, &self.folder, what) {
            // Why it could not be made tells more.
            Err(Errno::NOENT) => return made.and(Err(failed(Errno::NOENT))),
            added => added.map_err(failed)?,
        };
        self.watch = Some(watch);
        Ok(())
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Readable when there may be more lines.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Hands out all lines that came since the last time, without their ends.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(watch) = &self.watch {
            let mut buffer = [0; 4096];
            while matches!(rustix::io::read(watch, &mut buffer), Ok(1..)) {}
        }
        self.look()?;
        for page in &mut self.pages {
            page.read(&mut each)
                .map_err(StoreError::io("read", &self.folder))?;
        }
        // Two may still be written to.
        let done = self.pages.len().saturating_sub(2);
        self.pages.drain(..done);
        Ok(())
    }

    /// Opens what is not open yet.
    fn look(&mut self) -> Result<(), StoreError> {
        let mut found = Vec::new();
        // In this order: what is renamed between the two is seen twice rather than never.
        for name in [LOG, OLDER] {
            let path = self.folder.join(name);
            let page = File::open(&path).and_then(|file| {
                let inode = file.metadata()?.ino();
                Ok(Page {
                    file,
                    inode,
                    rest: Vec::new(),
                })
            });
            match page {
                Ok(page) => found.insert(0, page),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io("read", &path)(e)),
            }
        }
        for page in found {
            if !self.pages.iter().any(|known| known.inode == page.inode) {
                self.pages.push(page);
            }
        }
        Ok(())
    }
}

impl Page {
    fn read(&mut self, each: &mut impl FnMut(&[u8])) -> std::io::Result<()> {
        let mut more = Vec::new();
        self.file.read_to_end(&mut more)?;
        let mut lines = more.split(|byte| *byte == b'\n');
        // What follows the last line end: nothing, or a line that is not whole yet.
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            // A writer that saw another at work has begun on a new line, where there was no need.
            if line.is_empty() && self.rest.is_empty() {
                continue;
            }
            if self.rest.is_empty() {
                each(line);
            } else {
                self.rest.extend_from_slice(line);
                each(&self.rest);
                self.rest.clear();
            }
        }
        self.rest.extend_from_slice(last);
        // Nobody wrote such a line.
        if self.rest.len() > 2 * LONGEST {
            self.rest.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdMap;

    fn lines(journal: &mut Journal) -> Vec<String> {
        let mut lines = Vec::new();
        journal
            .read(|line| lines.push(String::from_utf8_lossy(line).into_owned()))
            .unwrap();
        lines
    }

    #[test]
    fn lines_are_read_once_and_a_cut_one_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), IdMap::Single).unwrap();
        let mut all = store.journal(true).unwrap();
        assert!(lines(&mut all).is_empty());
        store.note(b"one").unwrap();
        let mut later = store.journal(false).unwrap();
        let log = store.path("events").join("log");
        let mut raw = OpenOptions::new().append(true).open(&log).unwrap();
        raw.write_all(b"cut sh").unwrap();
        assert_eq!(lines(&mut all), ["one"]);
        store.note(b"two").unwrap();
        assert_eq!(lines(&mut all), ["cut sh", "two"]);
        assert_eq!(lines(&mut later), ["cut sh", "two"]);
        assert!(store.note(b"no\nline").is_err());
        assert!(store.note(&vec![b'x'; LONGEST]).is_err());
        assert!(lines(&mut later).is_empty());
    }

    #[test]
    fn a_long_journal_forgets_its_beginning_and_readers_miss_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), IdMap::Single).unwrap();
        let mut follower = store.journal(true).unwrap();
        follower.watch().unwrap();
        let mut seen = Vec::new();
        let filler = "x".repeat(10_000);
        for number in 0..500 {
            store.note(format!("{number} {filler}").as_bytes()).unwrap();
            if number % 50 == 0 {
                seen.extend(lines(&mut follower));
            }
        }
        seen.extend(lines(&mut follower));
        let number = |line: &String| -> usize { line.split(' ').next().unwrap().parse().unwrap() };
        let seen: Vec<usize> = seen.iter().map(number).collect();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        let kept = lines(&mut store.journal(true).unwrap());
        let kept: Vec<usize> = kept.iter().map(number).collect();
        assert_eq!(kept, (kept[0]..500).collect::<Vec<_>>());
        assert!(kept[0] > 0 && kept.len() > 100, "{}", kept.len());
        let size: u64 = std::fs::read_dir(store.path("events"))
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size < 3 << 20, "{size}");
    }

    #[test]
    fn many_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), IdMap::Single).unwrap();
        let mut follower = store.journal(true).unwrap();
        // Little more than a file: a journal forgets what comes faster than its readers read.
        let filler = "y".repeat(3_000);
        let mut seen = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (store, filler) = (&store, &filler);
                    scope.spawn(move || {
                        for number in 0..100 {
                            let line = format!("{writer} {number} {filler}");
                            store.note(line.as_bytes()).unwrap();
                        }
                    })
                })
                .collect();
            let mut seen = Vec::new();
            while writers.iter().any(|w| !w.is_finished()) {
                seen.extend(lines(&mut follower));
            }
            seen
        });
        seen.extend(lines(&mut follower));
        let mut expected: Vec<String> = (0..4)
            .flat_map(|w| (0..100).map(move |n| format!("{w} {n}")))
            .map(|start| format!("{start} {filler}"))
            .collect();
        expected.sort();
        seen.sort();
        assert!(seen == expected, "{} lines", seen.len());
    }
}
