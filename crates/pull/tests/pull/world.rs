//! What the tests share.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use minidock_oci::Reference;
use minidock_pull::{Error, Event, PullOptions, Pulled, RetryPolicy};
use minidock_store::{IdMap, Store};
use minidock_test_registry::{Image, Registry, tar};

/// A store, and the registry that it pulls from.
pub struct World {
    pub registry: Registry,
    pub store: Store,
    pub options: PullOptions,
    pub events: Mutex<Vec<Event>>,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn new(registry: Registry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id_map = if rustix::process::geteuid().is_root() {
            IdMap::Host
        } else {
            IdMap::Single
        };
        let store = Store::open(&folder.path().join("store"), id_map).unwrap();
        let options = PullOptions {
            platform: Some("linux/amd64".parse().unwrap()),
            // Where nothing stalls, a busy machine shall not look as if something did.
            stall_timeout: Duration::from_secs(60),
            retry: RetryPolicy {
                attempts: 4,
                connects: 2,
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
                patience: Duration::from_secs(2),
            },
            ..PullOptions::default()
        };
        Self {
            registry,
            store,
            options,
            events: Mutex::default(),
            _folder: folder,
        }
    }

    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.registry.host()).parse().unwrap()
    }

    pub fn pull(&self, name: &str) -> Result<Pulled, Error> {
        self.pull_and(&self.reference(name), &|_| {})
    }

    /// Pulls, and does something at every event.
    pub fn pull_and(
        &self,
        reference: &Reference,
        act: &(dyn Fn(&Event) + Sync),
    ) -> Result<Pulled, Error> {
        minidock_pull::pull(&self.store, reference, &self.options, &|event| {
            act(&event);
            self.events.lock().unwrap().push(event);
        })
    }

    /// The causes and delays of all attempts that were made again.
    pub fn retries(&self) -> Vec<(String, Duration)> {
        let events = self.events.lock().unwrap();
        let retry = |event: &Event| match event {
            Event::Retrying { why, delay, .. } => Some((why.clone(), *delay)),
            _ => None,
        };
        events.iter().filter_map(retry).collect()
    }

    /// A failed pull left nothing that anybody could find, and nothing at all once collected.
    pub fn assert_nothing_there(&self) {
        assert_eq!(self.store.images().unwrap(), []);
        self.store.collect().unwrap();
        for folder in ["blobs", "layers", "diffs", "images", "tmp"] {
            let left = files(&self.store.root().join(folder));
            assert!(left.is_empty(), "{left:?}");
        }
    }

    pub fn read(&self, pulled: &Pulled, path: &str) -> Vec<u8> {
        let config = self.store.image_config(&pulled.image_id).unwrap();
        let layers = self.store.image_layers(&pulled.image_id, &config).unwrap();
        let file = layers
            .trees(&self.store)
            .into_iter()
            .map(|t| t.join(path))
            .find(|p| p.exists());
        std::fs::read(file.unwrap()).unwrap()
    }

    pub fn requests(&self, part: &str) -> usize {
        self.registry
            .log()
            .iter()
            .filter(|r| r.path.contains(part))
            .count()
    }
}

pub fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Bytes that do not compress, so that a layer has a middle to break off in.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

pub fn image() -> Image {
    Image::of(&[tar(&[("base", &noise(300_000))]), tar(&[("top", b"top")])])
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
