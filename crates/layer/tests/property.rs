//! Random stacks of layers show what a simple model of the specification says they do: walked by ourselves, and by the
//! kernel's overlay.
//!
//! The model is the image specification's layer.md read plainly: entries come one after the other on top of what is there; a
//! folder's entry on a folder sets its attributes; any other one replaces what is there; whiteouts remove what the layers
//! below brought. Where the specification is silent it says what Docker's overlay shows: each layer is unpacked by itself,
//! so a parent that is a symlink is followed if the same layer made it, and replaced by a folder if a lower one did.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use minidock_layer::{Ownership, Whiteouts};
use support::Tar;
use support::stack::{Shown, Stack, Tree, What};

/// Numbers that look random and are the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

#[derive(Clone, Debug)]
struct Attributes {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone)]
enum Entry {
    Make(String, What, Attributes),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// One line each, for a failure's sake.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Make(path, what, a) => write!(
                f,
                "make {path} {what:?} {:o} {:?} {:?} {}",
                a.mode,
                a.owner,
                a.mtime,
                a.xattrs.len()
            ),
            Self::HardLink(path, target) => write!(f, "link {path} -> {target}"),
            Self::Whiteout(path) => write!(f, "whiteout {path}"),
            Self::Opaque(path) => write!(f, "opaque {path:?}"),
        }
    }
}

fn listing(layers: &[Vec<Entry>]) -> String {
    let layer = |layer: &Vec<Entry>| layer.iter().map(|e| format!("  {e:?}\n")).collect();
    layers
        .iter()
        .map(layer)
        .collect::<Vec<String>>()
        .join("  --\n")
}

#[derive(Clone, Default)]
struct Model {
    inodes: Vec<(What, Attributes)>,
    /// Path to inode.
    tree: BTreeMap<String, usize>,
    /// What the current layer brought.
    own: BTreeSet<String>,
    /// Symlinks without end were met: such a layer is refused.
    looped: bool,
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(folder: &str, name: &str) -> String {
    format!("{folder}/{name}")
        .trim_start_matches('/')
        .to_owned()
}

impl Model {
    fn what(&self, path: &str) -> Option<&What> {
        self.tree.get(path).map(|i| &self.inodes[*i].0)
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.tree.retain(|p, _| p != path && !p.starts_with(&below));
        self.own.retain(|p| p != path && !p.starts_with(&below));
    }

    fn add(&mut self, path: &str, what: What, attributes: Attributes) {
        self.inodes.push((what, attributes));
        self.tree.insert(path.to_owned(), self.inodes.len() - 1);
        self.own.insert(path.to_owned());
    }

    /// The real path of a folder that an entry is in. With `make`, whatever is missing is made and whatever is in the way is
    /// replaced; without, `None` says that nothing of the kind is there.
    fn folder(&mut self, path: &str, make: bool) -> Option<String> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut here = String::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    here = split(&here).0.to_owned();
                    continue;
                }
                _ => {}
            }
            let path = join(&here, &name);
            match self.what(&path) {
                Some(What::Folder) => here = path.clone(),
                Some(What::Symlink(target)) if self.own.contains(&path) => {
                    links += 1;
                    if links > 40 {
                        self.looped = true;
                        return None;
                    }
                    let target = String::from_utf8(target.clone()).unwrap();
                    if target.starts_with('/') {
                        here.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                    continue;
                }
                _ if !make => return None,
                _ => {
                    self.remove(&path);
                    let attributes = Attributes {
                        mode: 0o755,
                        owner: (0, 0),
                        mtime: (0, 0),
                        xattrs: Vec::new(),
                    };
                    self.add(&path, What::Folder, attributes);
                    here = path.clone();
                }
            }
            if make {
                self.own.insert(path);
            }
        }
        Some(here)
    }

    fn remove_lower(&mut self, below: &str) {
        let own = std::mem::take(&mut self.own);
        self.tree
            .retain(|p, _| !p.starts_with(below) || own.contains(p));
        self.own = own;
    }

    /// Whether the entry can be applied; what cannot is left out of the layer.
    fn apply(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Make(path, what, attributes) => {
                let (folder, name) = split(path);
                let Some(folder) = self.folder(folder, true) else {
                    return false;
                };
                let path = join(&folder, name);
                if let (What::Folder, Some(What::Folder)) = (what, self.what(&path)) {
                    let inode = self.tree[&path];
                    self.inodes[inode].1 = attributes.clone();
                    self.own.insert(path);
                    return true;
                }
                self.remove(&path);
                self.add(&path, what.clone(), attributes.clone());
            }
            Entry::HardLink(path, target) => {
                // Only what is reached without symlinks: where the others lead has tests of its own.
                let plain = |path: &str| {
                    let mut at = 0;
                    while let Some(slash) = path[at..].find('/') {
                        at += slash;
                        if self.what(&path[..at]) != Some(&What::Folder) {
                            return false;
                        }
                        at += 1;
                    }
                    true
                };
                let above = format!("{path}/");
                let inside = target.starts_with(&above);
                match self.what(target) {
                    None | Some(What::Folder) => return false,
                    // An empty file holds its place until the layers below are known: it cannot be led through yet.
                    Some(What::Symlink(_)) if !self.own.contains(target) => return false,
                    Some(_) if inside || !plain(path) || !plain(target) => return false,
                    Some(_) => {}
                }
                let inode = self.tree[target];
                let (folder, _) = split(path);
                self.folder(folder, true);
                if path != target {
                    self.remove(path);
                }
                self.tree.insert(path.clone(), inode);
                self.own.insert(path.clone());
            }
            Entry::Whiteout(path) => {
                let (folder, name) = split(path);
                if let Some(folder) = self.folder(folder, false) {
                    let path = join(&folder, name);
                    if self.own.contains(&path) {
                        self.remove_lower(&format!("{path}/"));
                    } else {
                        self.remove(&path);
                    }
                }
            }
            Entry::Opaque(folder) => {
                if let Some(folder) = self.folder(folder, false) {
                    let below = if folder.is_empty() {
                        folder
                    } else {
                        format!("{folder}/")
                    };
                    self.remove_lower(&below);
                }
            }
        }
        !std::mem::take(&mut self.looped)
    }

    fn shown(&self) -> Tree {
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (path, inode) in &self.tree {
            names.entry(*inode).or_default().push(path.clone());
        }
        let shown = |(path, inode): (&String, &usize)| {
            let (what, attributes) = self.inodes[*inode].clone();
            let symlink = matches!(what, What::Symlink(_));
            let shown = Shown {
                what,
                mode: if symlink { 0o777 } else { attributes.mode },
                owner: attributes.owner,
                mtime: attributes.mtime,
                xattrs: attributes.xattrs,
                names: names[inode].clone(),
            };
            (path.clone(), shown)
        };
        self.tree.iter().map(shown).collect()
    }
}

fn path(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let names = ["a", "b", "c", "d"];
    let parts: Vec<&str> = (0..depth).map(|_| *random.pick(&names)).collect();
    parts.join("/")
}

fn entry(random: &mut Random) -> Entry {
    let at = path(random);
    let attributes = |random: &mut Random, modes: &[u32]| Attributes {
        mode: *random.pick(modes),
        owner: *random.pick(&[(0, 0), (0, 5), (1000, 1000), (4_294_967_294, 70_000)]),
        mtime: *random.pick(&[
            (1_600_000_000, 0),
            (1_600_000_001, 123_456_789),
            (-1, 500_000_000),
            (-86_400, 0),
            (5_000_000_000, 1),
        ]),
        xattrs: Vec::new(),
    };
    match random.below(16) {
        0..=3 => {
            let mut attributes = attributes(random, &[0o644, 0o600, 0o4755, 0o444, 0o2711]);
            if random.below(4) == 0 {
                let value = random.next().to_le_bytes().to_vec();
                attributes.xattrs.push(("user.test".into(), value));
            }
            let content = "x".repeat(usize::try_from(random.below(40)).unwrap());
            Entry::Make(at, What::File(content.into_bytes()), attributes)
        }
        4..=6 => {
            let mut attributes = attributes(random, &[0o755, 0o700, 0o1777, 0o2755, 0o711]);
            if random.below(4) == 0 {
                attributes
                    .xattrs
                    .push(("user.test".into(), b"folder".into()));
            }
            Entry::Make(at, What::Folder, attributes)
        }
        7..=8 => {
            let target = random.pick(&["a", "/b", "../c", "c/d", ".", "/", "nowhere"]);
            let what = What::Symlink(target.as_bytes().to_vec());
            Entry::Make(at, what, attributes(random, &[0o777]))
        }
        9 => Entry::Make(at, What::Fifo, attributes(random, &[0o644, 0o600])),
        10..=12 => Entry::HardLink(at, path(random)),
        13..=14 => Entry::Whiteout(at),
        _ => Entry::Opaque(if random.below(4) == 0 {
            String::new()
        } else {
            at
        }),
    }
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Tar::new();
    for entry in entries {
        tar = match entry {
            Entry::Make(path, what, attributes) => {
                tar = tar.owner(attributes.owner);
                let mtime = match attributes.mtime {
                    (seconds, 0) => seconds.to_string(),
                    (-1, nanos) => format!("-0.{:09}", 1_000_000_000 - nanos),
                    (seconds, nanos) => format!("{seconds}.{nanos:09}"),
                };
                tar = tar.pax(&[("mtime", &mtime)]);
                for (name, value) in &attributes.xattrs {
                    let name = format!("SCHILY.xattr.{name}");
                    tar = tar.pax_bytes(&[("mtime", mtime.as_bytes()), (&name, value)]);
                }
                match what {
                    What::File(data) => tar.file_mode(path, attributes.mode, data),
                    What::Folder => tar.folder(path, attributes.mode),
                    What::Symlink(target) => {
                        tar.symlink(path, std::str::from_utf8(target).unwrap())
                    }
                    _ => tar.fifo_mode(path, attributes.mode),
                }
            }
            Entry::HardLink(path, target) => tar.hard_link(path, target),
            Entry::Whiteout(path) => {
                let (folder, name) = split(path);
                tar.file(&join(folder, &format!(".wh.{name}")), b"")
            }
            Entry::Opaque(folder) => tar.file(&join(folder, ".wh..wh..opq"), b""),
        };
    }
    tar.finish()
}

/// A stack of layers that the model can apply.
fn layers(seed: u64) -> (Vec<Vec<Entry>>, Tree) {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut layers = Vec::new();
    for _ in 0..1 + random.below(4) {
        model.own.clear();
        let mut layer = Vec::new();
        for _ in 0..1 + random.below(12) {
            let entry = entry(&mut random);
            let before = model.clone();
            if model.apply(&entry) {
                layer.push(entry);
            } else {
                model = before;
            }
        }
        layers.push(layer);
    }
    (layers, model.shown())
}

fn compare(seed: u64, layers: &[Vec<Entry>], expected: &Tree, found: &Tree, how: &str) {
    let paths: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for path in paths {
        let (expected, found) = (expected.get(path), found.get(path));
        assert!(
            expected == found,
            "seed {seed}, {how}: {path}\nexpected {expected:#?}\nfound {found:#?}\nlayers\n{}",
            listing(layers)
        );
    }
}

#[test]
fn random_layers_show_what_the_model_says() {
    let root = rustix::process::geteuid().is_root();
    let cases: u64 = std::env::var("MINIDOCK_PROPERTY_CASES")
        .ok()
        .map_or(120, |n| n.parse().unwrap());
    let first: u64 = std::env::var("MINIDOCK_PROPERTY_SEED")
        .ok()
        .map_or(0, |n| n.parse().unwrap());
    for seed in first..first + cases {
        let (layers, expected) = layers(seed);
        let ways = match root {
            true => &[
                (Ownership::Single, Whiteouts::Sockets),
                (Ownership::Host, Whiteouts::Devices),
            ][..],
            false => &[
                (Ownership::Single, Whiteouts::Devices),
                (Ownership::Single, Whiteouts::Sockets),
            ][..],
        };
        for (ownership, whiteouts) in ways {
            let mut stack = Stack::new(*ownership, *whiteouts);
            for layer in &layers {
                if let Err(e) = stack.apply(&tar(layer)) {
                    panic!("seed {seed}: {e}\nlayers\n{}", listing(&layers));
                }
            }
            let found = stack.shown();
            compare(
                seed,
                &layers,
                &expected,
                &found,
                &format!("{ownership:?}, {whiteouts:?}"),
            );
            if *ownership == Ownership::Host {
                let mounted = std::panic::catch_unwind(|| stack.mounted());
                let mounted =
                    mounted.unwrap_or_else(|_| panic!("seed {seed}\nlayers\n{}", listing(&layers)));
                compare(seed, &layers, &expected, &mounted, "overlay");
            }
        }
    }
}
