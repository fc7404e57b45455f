//! Trees of files, the same on every machine.

use std::io::{self, Write};

use crate::tar_writer::TarWriter;

/// A linear congruential generator (Knuth's constants), good enough for lengths and letters.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n.max(1) as u64).unwrap_or(0)
    }
}

/// What a tree looks like.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Makes it unlike others.
    pub seed: u64,
    /// Number of regular files.
    pub files: usize,
    /// Sum of their sizes in bytes, nearly.
    pub bytes: u64,
    /// Files in a folder, on average.
    pub per_folder: usize,
}

/// A Debian base: some 10,000 files.
pub const DEBIAN: Tree = Tree {
    seed: 1,
    files: 10_000,
    bytes: 120 << 20,
    per_folder: 12,
};
/// The one big layer.
pub const BIG: Tree = Tree {
    seed: 2,
    files: 19_000,
    bytes: 530 << 20,
    per_folder: 10,
};
/// Many small files.
pub const SMALL: Tree = Tree {
    seed: 3,
    files: 50_000,
    bytes: 50_000 * 900,
    per_folder: 100,
};

/// The layers of an image like python:3: a base, build tools, libraries, an application.
pub fn python() -> Vec<Tree> {
    let mib = 1 << 20;
    [
        (10_000, 115 * mib),
        (600, 24 * mib),
        (2_200, 60 * mib),
        (11_000, 130 * mib),
        (300, 6 * mib),
        (3_000, 30 * mib),
        (4_000, 20 * mib),
        (1_200, 12 * mib),
        (200, 2 * mib),
        (20, 60 << 10),
    ]
    .into_iter()
    .zip(10..)
    .map(|((files, bytes), seed)| Tree {
        seed,
        files,
        bytes,
        per_folder: 9,
    })
    .collect()
}

impl Tree {
    /// Calls `each` with every folder (ending in `/`), file and content, folders first.
    pub fn walk(&self, mut each: impl FnMut(&str, u32, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut dice = Dice::new(self.seed);
        let text = Text::new(self.seed);
        let top = ["usr", "etc", "lib", "opt", "var", "srv"];
        for folder in top {
            each(&format!("{folder}/"), 0o755, b"")?;
        }
        let mut folders: Vec<String> = top.iter().map(|f| format!("{f}/")).collect();
        let mean = self.bytes / self.files.max(1) as u64;
        let mut content = Vec::new();
        for i in 0..self.files {
            if i % self.per_folder == 0 {
                let parent = &folders[dice.below(folders.len())];
                if parent.len() < 60 {
                    let name = format!("{parent}{}{i}/", text.word(&mut dice));
                    each(&name, 0o755, b"")?;
                    folders.push(name);
                }
            }
            // Few large files hold most bytes: nine of ten are a fifth of the mean, one in ten is eight times it.
            let mean = usize::try_from(mean).unwrap_or(0);
            let size = match dice.below(10) {
                0 => dice.below(mean * 16),
                _ => dice.below(mean * 4 / 9),
            };
            text.fill(&mut content, size, &mut dice);
            let recent = folders.len().saturating_sub(3);
            let folder = &folders[recent + dice.below(folders.len() - recent)];
            let mode = if dice.below(10) == 0 { 0o755 } else { 0o644 };
            each(
                &format!("{folder}{}-{i}", text.word(&mut dice)),
                mode,
                &content,
            )?;
        }
        Ok(())
    }

    /// Writes it as a tar.
    pub fn write_tar(&self, out: impl Write) -> io::Result<()> {
        let mut tar = TarWriter { out };
        let mut count = 0;
        self.walk(|path, mode, content| {
            count += 1;
            if path.ends_with('/') {
                return tar.folder(path, mode);
            }
            tar.file(path, mode, content)?;
            if count % 40 == 0 {
                tar.link(
                    &format!("{path}.so"),
                    path.rsplit('/').next().unwrap_or(path),
                )?;
            }
            Ok(())
        })?;
        tar.finish()?.flush()
    }
}

/// Content that compresses as programs and texts do: about 2.6 times with gzip.
struct Text {
    words: Vec<String>,
    pool: Vec<u8>,
}

impl Text {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed + 1_000);
        let words: Vec<String> = (0..3_000)
            .map(|_| {
                let length = 2 + dice.below(9);
                (0..length)
                    .map(|_| char::from(b'a' + u8::try_from(dice.below(26)).unwrap_or(0)))
                    .collect()
            })
            .collect();
        let mut text = Self {
            words,
            pool: Vec::new(),
        };
        // Files are cut from a pool much larger than any compressor's window.
        let mut pool = Vec::with_capacity(24 << 20);
        while pool.len() < 24 << 20 {
            if dice.below(5) < 2 {
                text.code(&mut pool, &mut dice);
            } else {
                text.prose(&mut pool, &mut dice);
            }
        }
        text.pool = pool;
        text
    }

    fn word(&self, dice: &mut Dice) -> &str {
        &self.words[dice.below(self.words.len())]
    }

    fn prose(&self, out: &mut Vec<u8>, dice: &mut Dice) {
        for _ in 0..200 {
            // Small numbers are frequent, as words are.
            let most = 1 + dice.below(self.words.len());
            out.extend_from_slice(self.words[dice.below(most)].as_bytes());
            out.push(if dice.below(12) == 0 { b'\n' } else { b' ' });
        }
    }

    /// Like machine code: opcodes from a few, operands from many.
    fn code(&self, out: &mut Vec<u8>, dice: &mut Dice) {
        for _ in 0..120 {
            let opcode = dice.below(40);
            out.extend_from_slice(&[0x48, u8::try_from(opcode * 6).unwrap_or(0)]);
            for _ in 0..dice.below(5) {
                out.push(u8::try_from(dice.below(256)).unwrap_or(0));
            }
            out.extend_from_slice(&[0; 4][..dice.below(4)]);
        }
    }

    fn fill(&self, content: &mut Vec<u8>, size: usize, dice: &mut Dice) {
        content.clear();
        while content.len() < size {
            let want = (size - content.len()).min(40 << 10);
            let at = dice.below(self.pool.len() - want);
            content.extend_from_slice(&self.pool[at..at + want]);
        }
    }
}
