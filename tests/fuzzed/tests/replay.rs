//! Every target with its whole corpus, and with mutations of it that are the same each time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;

use minidock_fuzzed::{TARGETS, Target, seeds};

/// Mutations of each input. Those that touch the disk are fewer.
const MUTATIONS: u64 = 400;
const SLOW_MUTATIONS: u64 = 40;
const GZIP_MUTATIONS: u64 = 4000;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

/// splitmix64
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 16).unwrap()
}

fn mutated(input: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = input.to_vec();
    for _ in 0..1 + random(&mut state) % 4 {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random(&mut state) % bytes.len();
        match random(&mut state) % 6 {
            0 => bytes[at] = u8::try_from(random(&mut state) % 256).unwrap(),
            1 => bytes[at] ^= 1 << (random(&mut state) % 8),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random(&mut state) % 600).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random(&mut state) % 600).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random(&mut state) % bytes.len();
                bytes.splice(to..to, copy);
            }
            _ => {
                let digits = [b"0", b"9", b"-", b"\"", b"/", b"\xff", b"\0", b"["];
                bytes[at] = digits[random(&mut state) % digits.len()][0];
            }
        }
    }
    bytes
}

fn replay(name: &str, target: Target, mutations: u64) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(corpus(name))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {name}");
    for file in files {
        let input = std::fs::read(&file).unwrap();
        for seed in 0..=mutations {
            let bytes = match seed {
                0 => input.clone(),
                seed => mutated(&input, seed),
            };
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{} with mutation {seed}", file.display());
        }
    }
}

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn gzip() {
    replay("gzip", target("gzip"), GZIP_MUTATIONS);
}

#[test]
fn tar() {
    replay("tar", target("tar"), MUTATIONS);
}

#[test]
fn tars_cut_anywhere() {
    for (_, bytes) in seeds("tar") {
        for end in 0..bytes.len() {
            target("tar")(&bytes[..end]);
        }
    }
}

#[test]
fn layers() {
    replay("layers", target("layers"), SLOW_MUTATIONS);
}

#[test]
fn archive() {
    replay("archive", target("archive"), SLOW_MUTATIONS);
}

#[test]
fn manifest() {
    replay("manifest", target("manifest"), MUTATIONS);
}

#[test]
fn config() {
    replay("config", target("config"), MUTATIONS);
}

#[test]
fn names() {
    replay("names", target("names"), MUTATIONS);
}

/// The seeds are made here; `UPDATE_CORPUS=1` writes them. What fuzzing found is added by hand.
#[test]
fn the_corpus_has_all_seeds() {
    for (name, _) in TARGETS {
        for (seed, bytes) in seeds(name) {
            let path = corpus(name).join(seed);
            if std::env::var_os("UPDATE_CORPUS").is_some() {
                std::fs::create_dir_all(corpus(name)).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
        }
    }
}
