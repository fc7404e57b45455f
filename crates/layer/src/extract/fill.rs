//! Small files are filled by another thread, many at a time.
//!
//! Names are made in the archive's order by one thread, for what an entry means depends on what stands there already.
//! What is put into a new file, its mode and its time depend on nothing else, and take half of the kernel's time for a
//! layer of small files. Handing one file on costs more than filling it (a thread is woken for each), so they go in
//! batches; where the other thread is behind, the first one fills a batch itself, so it never waits.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use rustix::fs::Mode;

use super::attributes::times;
use super::content::failed;
use crate::Error;
use crate::buffers::Piece;

/// Files of one batch; each is an open descriptor.
const FILES: usize = 32;
/// Fewer are not worth handing on. Where few small files stand in one buffer, its large ones keep both processors busy.
const WORTH_IT: usize = FILES / 2;
/// Most bytes of a file that is filled here: the more there are, the less waits for the next name to be made.
pub const SMALL: u64 = 16 << 10;
/// Batches that wait.
const WAITING: usize = 2;

/// A new file and what it is to have.
struct Job {
    file: File,
    content: Piece,
    /// The mode, where creating it did not give it.
    mode: Option<u32>,
    mtime: (i64, u32),
    /// Where its path ends among the batch's.
    path_end: usize,
}

/// Files that go to the other thread together.
#[derive(Default)]
pub struct Batch {
    jobs: Vec<Job>,
    /// Their paths, for errors.
    paths: Vec<u8>,
}

impl Batch {
    /// Fills its files; it is empty then.
    fn fill(&mut self) -> Result<(), Error> {
        let mut start = 0;
        for job in self.jobs.drain(..) {
            let path = &self.paths[start..job.path_end];
            start = job.path_end;
            (&job.file)
                .write_all(&job.content)
                .map_err(failed("write", path))?;
            finish(&job.file, job.mode, job.mtime, path)?;
        }
        self.paths.clear();
        Ok(())
    }
}

/// Gives a filled file the mode that its creation did not give, and its time.
pub fn finish(file: &File, mode: Option<u32>, mtime: (i64, u32), path: &[u8]) -> Result<(), Error> {
    if let Some(mode) = mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
            .map_err(Error::file("change the mode of", path))?;
    }
    rustix::fs::futimens(file, &times(mtime)).map_err(Error::file("set the time of", path))
}

/// The side that collects.
pub struct Filler {
    batch: Batch,
    full: SyncSender<Batch>,
    /// Batches to be used again: to give memory back from another thread costs more than filling what was in it.
    empty: Receiver<Batch>,
}

/// The side that fills.
pub struct Batches {
    full: Receiver<Batch>,
    empty: Sender<Batch>,
}

/// Both sides.
pub fn filler() -> (Filler, Batches) {
    let (full, batches) = sync_channel(WAITING);
    let (back, empty) = channel();
    let filler = Filler {
        batch: Batch::default(),
        full,
        empty,
    };
    let batches = Batches {
        full: batches,
        empty: back,
    };
    (filler, batches)
}

impl Batches {
    /// Fills what comes until no more can.
    pub fn fill(self) -> Result<(), Error> {
        for mut batch in self.full {
            batch.fill()?;
            // Nobody collects any more: there is no use for it.
            let _ = self.empty.send(batch);
        }
        Ok(())
    }
}

impl Filler {
    /// Takes a new file over.
    pub fn add(
        &mut self,
        file: File,
        content: Piece,
        mode: Option<u32>,
        mtime: (i64, u32),
        path: &[u8],
    ) -> Result<(), Error> {
        // One buffer at most is held by what waits here.
        if let Some(first) = self.batch.jobs.first()
            && !first.content.beside(&content)
        {
            self.flush()?;
        }
        self.batch.paths.extend_from_slice(path);
        self.batch.jobs.push(Job {
            file,
            content,
            mode,
            mtime,
            path_end: self.batch.paths.len(),
        });
        if self.batch.jobs.len() < FILES {
            return Ok(());
        }
        self.flush()
    }

    /// Hands on what was collected.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.batch.jobs.len() < WORTH_IT {
            return self.batch.fill();
        }
        match self.full.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {
                self.batch = self.empty.try_recv().unwrap_or_default();
                Ok(())
            }
            // Gone is the other side when it failed, which is told when it is joined.
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.batch = batch;
                self.batch.fill()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffers::Buffers;

    #[test]
    fn what_cannot_be_filled_is_told_with_its_path() {
        let mut buffer = Buffers::new().take();
        buffer.filled(10);
        let bytes = Arc::new(buffer);
        // Written to by nobody: the descriptor is for reading.
        let add = |filler: &mut Filler, name: &str| {
            let file = File::open("/dev/null").unwrap();
            let content = Piece::of(&bytes, 0, 10).unwrap();
            filler.add(file, content, None, (0, 0), name.as_bytes())
        };
        let (mut filler, batches) = filler();
        for i in 0..FILES {
            add(&mut filler, &format!("handed on {i}")).unwrap();
        }
        let error = batches.fill().unwrap_err().to_string();
        assert!(
            error.contains("write") && error.contains("\"handed on 0\""),
            "{error}"
        );
        // Nobody is there any more to hand it on to.
        add(&mut filler, "own").unwrap();
        let error = filler.flush().unwrap_err().to_string();
        assert!(error.contains("\"own\""), "{error}");
    }
}
