//! Writing Docker's lines of JSON. See [the module](super) for what they promise.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::line::{self, Frame, Output};
use super::moment::Moment;
use super::options::Settings;
use super::pieces::{self, Progress};
use super::{LogError, SURPLUS_BYTES, Stream, files};

/// Most that is handed to write(2) at once.
const BUFFER: usize = 32 * 1024;
/// How much of a stream that has no line ends is given up after a failure, to go on with a whole line.
const SKIP: usize = 64 * 1024;
/// Files beyond the bounds, at most.
const SURPLUS_FILES: u64 = 4096;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct JsonFile {
    folder: PathBuf,
    max_size: Option<u64>,
    /// How many rotated files there are.
    kept: u64,
    /// The rotated files: the first one that may be there, and the one that comes next.
    oldest: u64,
    next: u64,
    out: Writing,
    streams: [Progress; 2],
    attributes: String,
}

/// The file, with what goes there next.
#[derive(Debug)]
struct Writing {
    file: File,
    buffer: Vec<u8>,
    /// The file's size as far as we wrote it.
    size: u64,
    /// The file ends within a line.
    torn: bool,
    /// The next line's end is that of a line which was torn before.
    mending: bool,
    /// Lines that are complete in the file since the last [`Writing::begin`].
    complete: usize,
    failed: bool,
}

impl Writing {
    fn open(path: &Path) -> Result<Self, LogError> {
        let file = open(path, false).map_err(LogError::file("open", path))?;
        let size = file
            .metadata()
            .map_err(LogError::file("look at", path))?
            .len();
        let mut last = *b"\n";
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)
                .map_err(LogError::file("read", path))?;
        }
        Ok(Self {
            file,
            buffer: Vec::new(),
            size,
            torn: last != *b"\n",
            mending: false,
            complete: 0,
            failed: false,
        })
    }

    fn begin(&mut self) {
        self.buffer.clear();
        self.complete = 0;
        self.failed = false;
        self.mending = self.torn;
        if self.torn {
            // What was written in part is a line of its own, which readers skip.
            self.buffer.push(b'\n');
        }
    }

    /// Writes what is in the buffer. After a failure, nothing more until the next [`Writing::begin`].
    fn flush(&mut self) {
        let mut written = 0;
        while !self.failed && written < self.buffer.len() {
            match self.file.write(&self.buffer[written..]) {
                Ok(0) => self.failed = true,
                Ok(count) => {
                    let bytes = &self.buffer[written..written + count];
                    let mut ends = memchr::memchr_iter(b'\n', bytes).count();
                    if self.mending && ends > 0 {
                        self.mending = false;
                        ends -= 1;
                    }
                    self.complete += ends;
                    self.torn = bytes.last() != Some(&b'\n');
                    self.size += count as u64;
                    written += count;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.failed = true,
            }
        }
        self.buffer.clear();
    }
}

impl Output for Writing {
    fn put(&mut self, mut bytes: &[u8]) {
        if self.buffer.capacity() == 0 {
            // Memory that nothing was written to costs nothing.
            self.buffer.reserve_exact(BUFFER);
        }
        while self.buffer.len() + bytes.len() > BUFFER {
            let (now, later) = bytes.split_at(BUFFER - self.buffer.len());
            self.buffer.extend_from_slice(now);
            self.flush();
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
    }
}

impl JsonFile {
    pub(super) fn open(
        folder: &Path,
        settings: &Settings,
        attributes: String,
    ) -> Result<Self, LogError> {
        let numbers = files::numbers(folder).map_err(LogError::file("list", folder))?;
        let _ = std::fs::remove_file(folder.join(files::NEW));
        let next = numbers.last().map_or(1, |last| last + 1);
        let mut log = Self {
            folder: folder.to_owned(),
            max_size: settings.max_size,
            kept: u64::from(settings.max_file.saturating_sub(1)),
            oldest: numbers.first().copied().unwrap_or(next),
            next,
            out: Writing::open(&folder.join(files::NAME))?,
            streams: Default::default(),
            attributes,
        };
        log.trim(false);
        Ok(log)
    }

    /// Writes what a stream brought.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let progress = &mut self.streams[stream as usize];
        let bytes = progress.after_skipping(bytes);
        if bytes.is_empty() {
            return;
        }
        let head = progress.complete_character(bytes);
        let (rest, kept_back) = pieces::keep_back(&bytes[head.taken..], bytes.len());
        self.put(stream, head.piece(), rest);
        if self.streams[stream as usize].lost == 0 {
            self.streams[stream as usize].kept_back = kept_back.into();
        } else {
            self.streams[stream as usize].lost += kept_back.len() as u64;
        }
    }

    /// Writes what was kept back, and what was not told. Nothing more is written until the container runs again.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let kept = std::mem::take(&mut self.streams[stream as usize].kept_back);
            if !kept.is_empty() || self.streams[stream as usize].lost > 0 {
                self.put(stream, kept.as_slice(), &[]);
            }
            self.streams[stream as usize] = Progress::default();
        }
        self.trim(false);
    }

    fn put(&mut self, stream: Stream, head: &[u8], rest: &[u8]) {
        let moment = Moment::now();
        let told = self.streams[stream as usize].lost;
        let mut inside = self.streams[stream as usize].inside_line;
        self.out.begin();
        if told > 0 {
            let attributes = std::mem::take(&mut self.attributes);
            line::note(&mut self.out, frame(stream, &moment, &attributes), told);
            self.attributes = attributes;
        }
        for piece in pieces::cut(head, rest) {
            self.rotate_if_full();
            let frame = frame(stream, &moment, &self.attributes);
            line::piece(&mut self.out, frame, piece, inside);
            inside = piece.last() != Some(&b'\n');
            if self.out.failed {
                break;
            }
        }
        self.out.flush();
        let notes = usize::from(told > 0);
        let progress = &mut self.streams[stream as usize];
        if self.out.complete >= notes {
            progress.lost = 0;
        }
        progress.inside_line = inside;
        if !self.out.failed {
            return;
        }
        let whole = self.out.complete.saturating_sub(notes);
        let kept: usize = pieces::cut(head, rest).take(whole).map(<[u8]>::len).sum();
        progress.lost += (head.len() + rest.len() - kept) as u64;
        progress.inside_line = false;
        progress.skipping = if inside { SKIP } else { 0 };
        // Space is worth more than what a slow reader has not seen.
        self.trim(true);
    }

    fn rotate_if_full(&mut self) {
        let Some(max_size) = self.max_size else {
            return;
        };
        let size = self.out.size + self.out.buffer.len() as u64;
        if size < max_size || self.out.failed {
            return;
        }
        self.out.flush();
        // Somebody may have emptied it.
        if let Ok(metadata) = self.out.file.metadata() {
            self.out.size = metadata.len();
        }
        if !self.out.failed && self.out.size >= max_size {
            // Where it cannot be done, the file gets longer than wished.
            let _ = self.rotate();
        }
    }

    /// The file gets its number and a new one its place, at no moment without a file there.
    fn rotate(&mut self) -> io::Result<()> {
        let current = self.folder.join(files::NAME);
        let new = self.folder.join(files::NEW);
        let numbered = files::rotated(&self.folder, self.next);
        let file = open(&new, true)?;
        let moved = std::fs::hard_link(&current, &numbered).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            // Not every file system has links.
            _ => std::fs::rename(&current, &numbered),
        });
        if let Err(error) = moved.and_then(|()| std::fs::rename(&new, &current)) {
            let _ = std::fs::rename(&numbered, &current);
            let _ = std::fs::remove_file(&numbered);
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        self.next += 1;
        self.out.file = file;
        self.out.size = 0;
        self.trim(false);
        Ok(())
    }

    /// Deletes the rotated files that are too many, unless somebody reads them or one before.
    fn trim(&mut self, all: bool) {
        let size = self.max_size.unwrap_or(SURPLUS_BYTES).max(1);
        let surplus = (SURPLUS_BYTES / size).min(SURPLUS_FILES);
        while self.next - self.oldest > self.kept {
            let force = all || self.next - self.oldest > self.kept + surplus;
            if !delete(&self.folder, self.oldest, force) {
                return;
            }
            self.oldest += 1;
        }
    }
}

fn frame<'a>(stream: Stream, moment: &'a Moment, attributes: &'a str) -> Frame<'a> {
    Frame {
        stream,
        time: moment.as_str(),
        attributes,
    }
}

/// Whether a rotated file is gone.
fn delete(folder: &Path, number: u64, force: bool) -> bool {
    [
        files::rotated(folder, number),
        files::compressed(folder, number),
    ]
    .iter()
    .all(|path| {
        let Ok(file) = File::open(path) else {
            return true;
        };
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() && !force {
            return false;
        }
        let _ = std::fs::remove_file(path);
        true
    })
}

fn open(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| {
            if truncate {
                file.set_len(0)?;
            }
            Ok(file)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &Path, settings: Settings) -> JsonFile {
        JsonFile::open(folder, &settings, String::new()).unwrap()
    }

    fn unbounded() -> Settings {
        Settings {
            max_file: 1,
            ..Settings::default()
        }
    }

    /// What stands in the lines of a file, torn ones left out: text, and how much is missing.
    fn lines(path: &Path) -> Vec<(String, String, u64)> {
        let text = std::fs::read_to_string(path).unwrap();
        let values = text.lines().filter_map(|l| serde_json::from_str(l).ok());
        values
            .map(|v: serde_json::Value| {
                let word = |key: &str| v[key].as_str().unwrap().to_owned();
                (word("stream"), word("log"), v["lost"].as_u64().unwrap_or(0))
            })
            .collect()
    }

    fn line(stream: &str, text: &str, lost: u64) -> (String, String, u64) {
        (stream.to_owned(), text.to_owned(), lost)
    }

    #[test]
    fn all_of_a_chunk_is_in_the_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(files::NAME);
        let mut log = log(folder.path(), unbounded());
        log.write(Stream::Stdout, b"a\nb\nName: ");
        log.write(Stream::Stderr, b"oops\n");
        assert_eq!(
            lines(&path),
            [
                line("stdout", "a\n", 0),
                line("stdout", "b\n", 0),
                line("stdout", "Name: ", 0),
                line("stderr", "oops\n", 0)
            ]
        );
        log.write(Stream::Stdout, b"x\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.lines()
                .last()
                .unwrap()
                .ends_with(r#""continues":true}"#)
        );
    }

    #[test]
    fn what_could_not_be_written_is_told_when_space_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(files::NAME);
        let mut log = log(folder.path(), unbounded());
        log.write(Stream::Stdout, b"begin");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut log.out.file, full);
        log.write(Stream::Stdout, b"ning\nlost\nhalf");
        log.write(Stream::Stderr, b"gone\n");
        log.out.file = file;
        log.write(Stream::Stdout, b" a line");
        log.write(Stream::Stdout, b" ends\nback\n");
        log.write(Stream::Stdout, b"more\n");
        log.finish();
        assert_eq!(
            lines(&path),
            [
                line("stdout", "begin", 0),
                line("stdout", "", 14 + 7 + 6),
                line("stdout", "back\n", 0),
                line("stdout", "more\n", 0),
                line("stderr", "", 5),
            ]
        );
    }

    #[test]
    fn what_was_torn_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(files::NAME);
        std::fs::write(&path, "{\"log\":\"to").unwrap();
        log(folder.path(), unbounded()).write(Stream::Stdout, b"new\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("{\"log\":\"to\n{\"log\":\"new\\n\""),
            "{text}"
        );
    }

    #[test]
    fn files_are_rotated_and_kept_while_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            max_size: Some(100),
            max_file: 3,
            ..Settings::default()
        };
        let mut log = log(folder.path(), settings.clone());
        let mut write = |n: u32| log.write(Stream::Stdout, format!("{n:030}\n").as_bytes());
        write(0);
        write(1);
        let numbers = || files::numbers(folder.path()).unwrap();
        assert_eq!(numbers(), [1]);
        let reader = File::open(files::rotated(folder.path(), 1)).unwrap();
        rustix::fs::flock(&reader, FlockOperation::LockShared).unwrap();
        (2..9).for_each(&mut write);
        assert_eq!(numbers(), [1, 2, 3, 4, 5, 6, 7, 8]);
        drop(reader);
        write(9);
        assert_eq!(numbers(), [8, 9]);
        let path = folder.path().join(files::NAME);
        assert_eq!(lines(&path), [line("stdout", &format!("{:030}\n", 9), 0)]);
        // Numbers go on after a restart.
        let mut log = JsonFile::open(folder.path(), &settings, String::new()).unwrap();
        log.write(Stream::Stdout, b"x\n");
        assert_eq!(numbers(), [9, 10]);
    }

    #[test]
    fn one_emptied_by_hand_is_not_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            max_size: Some(150),
            max_file: 2,
            ..Settings::default()
        };
        let mut log = log(folder.path(), settings);
        log.write(Stream::Stdout, b"one\ntwo\n");
        std::fs::write(folder.path().join(files::NAME), "").unwrap();
        log.write(Stream::Stdout, b"three\n");
        assert_eq!(files::numbers(folder.path()).unwrap(), [0; 0]);
        let path = folder.path().join(files::NAME);
        assert_eq!(lines(&path), [line("stdout", "three\n", 0)]);
    }
}
