//! Members one after the other, and what is between them.

use crate::Problem;
use crate::block::{Inflate, Stop};
use crate::header::{Header, Trailer};
use crate::window::Window;

/// Where in the stream we are.
#[derive(Debug)]
enum Stage {
    Header(Box<Header>),
    Blocks,
    Trailer(Trailer),
    /// At the end, or before padding or another member.
    Between,
    Failed(Problem),
}

/// A stream being decoded.
#[derive(Debug)]
pub struct Stream {
    stage: Stage,
    inflate: Inflate,
    window: Window,
    /// How much of the window was handed out.
    read: usize,
    /// Of this member.
    crc: crc32fast::Hasher,
    size: u32,
}

impl Stream {
    /// One that begins.
    pub fn new() -> Self {
        Self {
            stage: Stage::Header(Box::default()),
            inflate: Inflate::new(),
            window: Window::new(),
            read: 0,
            crc: crc32fast::Hasher::new(),
            size: 0,
        }
    }

    /// What was decoded and not used yet.
    pub fn fresh(&self) -> &[u8] {
        let fresh = self.window.bytes.get(self.read..self.window.end);
        fresh.unwrap_or_default()
    }

    /// Goes past the first `n` of the [`fresh`](Self::fresh) bytes.
    pub fn consume(&mut self, n: usize) {
        self.read = (self.read + n).min(self.window.end);
    }

    /// Takes some of the input, of which nothing is left if it is empty, when nothing is fresh. Once there is a problem, it stays.
    pub fn advance(&mut self, input: &mut &[u8]) -> Result<(), Problem> {
        let ended = input.is_empty();
        let mut result = self.decode(input);
        if result.is_ok()
            && ended
            && self.fresh().is_empty()
            && !matches!(self.stage, Stage::Between)
        {
            result = Err(Problem::Truncated);
        }
        if let Err(problem) = result {
            self.stage = Stage::Failed(problem);
            self.read = self.window.end;
        }
        result
    }

    fn decode(&mut self, input: &mut &[u8]) -> Result<(), Problem> {
        loop {
            match &mut self.stage {
                Stage::Header(header) => {
                    let Some(byte) = self.inflate.bits.byte(input) else {
                        return Ok(());
                    };
                    if header.add(byte)? {
                        self.begin();
                    }
                }
                Stage::Blocks => {
                    let stop = self.blocks(input)?;
                    if stop == Stop::End {
                        self.inflate.bits.align();
                        self.stage = Stage::Trailer(Trailer::default());
                    }
                    if stop == Stop::Input || !self.fresh().is_empty() {
                        return Ok(());
                    }
                }
                Stage::Trailer(trailer) => {
                    let Some(byte) = self.inflate.bits.byte(input) else {
                        return Ok(());
                    };
                    if let Some((crc, size)) = trailer.add(byte) {
                        self.check(crc, size)?;
                        self.stage = Stage::Between;
                    }
                }
                Stage::Between => match self.inflate.bits.byte(input) {
                    None => return Ok(()),
                    Some(0) => {}
                    Some(first @ 0x1f) => {
                        let mut header = Header::default();
                        header.add(first)?;
                        self.stage = Stage::Header(Box::new(header));
                    }
                    Some(_) => return Err(Problem::Trailing),
                },
                Stage::Failed(problem) => return Err(*problem),
            }
        }
    }

    /// A member's blocks come next. Nothing is fresh; matches must not reach what was there before.
    fn begin(&mut self) {
        self.stage = Stage::Blocks;
        self.inflate.restart();
        self.window.end = 0;
        self.read = 0;
        self.crc = crc32fast::Hasher::new();
        self.size = 0;
    }

    fn blocks(&mut self, input: &mut &[u8]) -> Result<Stop, Problem> {
        self.window.make_room();
        self.read = self.window.end;
        let stop = self.inflate.run(input, &mut self.window)?;
        let fresh = self.window.bytes.get(self.read..self.window.end);
        let fresh = fresh.unwrap_or_default();
        // They are still in the cache.
        self.crc.update(fresh);
        self.size = self.size.wrapping_add(fresh.len() as u32);
        Ok(stop)
    }

    fn check(&self, crc: u32, size: u32) -> Result<(), Problem> {
        if crc != self.crc.clone().finalize() {
            return Err(Problem::Crc);
        }
        if size != self.size {
            return Err(Problem::Size);
        }
        Ok(())
    }
}
