//! Verifying a whole store, and repairing what can be.
//!
//! - Every blob is hashed. Each layer's blob is unpacked once more below `tmp/` and the result compared with the layer's
//!   folder, which needs no second reading of tars and whiteouts, and has the repair at hand. So the largest layer must fit
//!   on the disk once more; memory is bounded by the names of images and layers.
//! - What is derived (`images/`, `diffs/`, `layers/`, links in `names/`) is made anew. An image whose manifest, config or
//!   layer blob is lost is removed, since only its registry or archive has these bytes. What a container wrote is never
//!   removed.
//! - A session pins all that is looked at, so that others can go on working meanwhile.
//! - Where the store cannot be written, nothing can be unpacked or pinned: blobs are hashed, and layers only looked for.

mod containers;
mod images;
mod index;
mod layers;
mod root;
mod strays;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use minidock_oci::Digest;

use crate::session::Pin;
use crate::{ImageRecord, Store, StoreError, Writer};

/// Something in the store that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file or folder, relative to the store.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// The images and containers that suffer from it.
    pub affects: Vec<String>,
    /// What was done about it.
    pub repair: Option<String>,
}

/// What happens during a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    /// A layer or blob is being read.
    Reading {
        /// Which, relative to the store.
        subject: String,
    },
    /// Something is wrong.
    Found(Finding),
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Images.
    pub images: u64,
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Containers.
    pub containers: u64,
    /// What was wrong.
    pub problems: u64,
    /// Of these, what is right now.
    pub repaired: u64,
    /// Layers whose files could not be compared with their blobs, because the store cannot be written.
    pub not_compared: u64,
    /// Blobs, layers and unfinished work that nothing refers to; the next collection takes them.
    pub left_over: u64,
}

impl Store {
    /// Checks everything, and repairs what can be if `repair`.
    ///
    /// # Errors
    /// When the content cannot be read for another reason than damage: no permission, no space to unpack the largest layer
    /// once more.
    pub fn check(
        &self,
        repair: bool,
        events: &mut dyn FnMut(CheckEvent),
    ) -> Result<Checked, StoreError> {
        let mut report = Report {
            events,
            done: Checked::default(),
        };
        root::check(self, repair, &mut report)?;
        index::check(self, repair, &mut report)?;
        let writer = match self.writer() {
            Err(e) if e.is_unwritable() && !repair => None,
            result => Some(result?),
        };
        let known = pin_all(self, writer.as_ref())?;
        let mut check = Check {
            store: self,
            writer: writer.as_ref(),
            repair,
            report,
            blobs: HashSet::new(),
            layers: HashMap::new(),
            images_of: known.images_of,
            users: containers::users(self)?,
        };
        check.images(&known.records)?;
        check.strays()?;
        check.containers()?;
        if let Some(writer) = &writer {
            writer.only_looked();
        }
        let mut done = check.report.done;
        if repair && done.left_over > 0 {
            drop(writer);
            self.collect()?;
            done.left_over = 0;
        }
        Ok(done)
    }
}

/// What the index refers to.
struct Known {
    records: Vec<ImageRecord>,
    /// Which images have a layer, by either of the names that its folder may have.
    images_of: BTreeMap<PathBuf, Vec<String>>,
}

/// Reads the index and pins all of it, so that nobody takes away what is being looked at.
fn pin_all(store: &Store, writer: Option<&Writer>) -> Result<Known, StoreError> {
    let pin = |pins: &[Pin<'_>]| writer.map_or(Ok(()), |writer| writer.pin(pins));
    loop {
        let records = store.images()?;
        let mut images_of: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for record in &records {
            pin(&[Pin::Blob(&record.image_id), Pin::Blob(&record.manifest)])?;
            if let Ok(config) = store.image_config(&record.image_id) {
                let stack = images::stack(&config);
                let names = stack.iter().flat_map(|(d, c)| [&d.0, &c.0]);
                pin(&names.clone().map(Pin::Layer).collect::<Vec<_>>())?;
                let folders: HashSet<PathBuf> = names.map(|n| store.layer_path(n)).collect();
                for folder in folders {
                    let images = images_of.entry(folder).or_default();
                    images.push(images::name(record));
                }
            }
            if let Ok(manifest) = images::manifest(store, record) {
                let blobs = images::layers(&manifest);
                let pins: Vec<Pin<'_>> = blobs.iter().map(|(b, _)| Pin::Blob(b)).collect();
                pin(&pins)?;
            }
        }
        // What was removed before it was pinned is no longer in the index either.
        if store.images()? == records {
            return Ok(Known { records, images_of });
        }
    }
}

struct Report<'a> {
    events: &'a mut dyn FnMut(CheckEvent),
    done: Checked,
}

impl Report<'_> {
    fn found(
        &mut self,
        subject: String,
        problem: impl Into<String>,
        affects: Vec<String>,
        repair: Option<String>,
    ) {
        self.done.problems += 1;
        self.done.repaired += u64::from(repair.is_some());
        (self.events)(CheckEvent::Found(Finding {
            subject,
            problem: problem.into(),
            affects,
            repair,
        }));
    }

    fn reading(&mut self, subject: &str) {
        (self.events)(CheckEvent::Reading {
            subject: subject.to_owned(),
        });
    }
}

/// What became of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Blob and files are right, or right again.
    Good,
    /// The blob is right, the files are not.
    Damaged,
    /// The blob is lost.
    Lost,
}

/// How something can be made right, and how that is told.
struct Repair<'a> {
    done: &'a str,
    act: &'a mut dyn FnMut() -> Result<(), StoreError>,
}

impl<'a> Repair<'a> {
    fn new(done: &'a str, act: &'a mut dyn FnMut() -> Result<(), StoreError>) -> Self {
        Self { done, act }
    }
}

/// A check under way.
struct Check<'a> {
    store: &'a Store,
    /// `None` in a store that cannot be written.
    writer: Option<&'a Writer>,
    repair: bool,
    report: Report<'a>,
    /// Blobs that were looked at, or are removed with their image.
    blobs: HashSet<Digest>,
    /// Layer folders that were looked at.
    layers: HashMap<PathBuf, Verdict>,
    /// Which images have a layer, by either of the names that its folder may have.
    images_of: BTreeMap<PathBuf, Vec<String>>,
    /// Which containers use a layer, by its folder relative to the store.
    users: BTreeMap<String, Vec<containers::User>>,
}

impl Check<'_> {
    /// Reports, and repairs if that is wanted and possible.
    fn found(
        &mut self,
        path: &Path,
        problem: impl Into<String>,
        affects: Vec<String>,
        repair: Option<Repair<'_>>,
    ) -> Result<(), StoreError> {
        let done = match repair {
            Some(repair) if self.repair => {
                (repair.act)()?;
                Some(repair.done.to_owned())
            }
            _ => None,
        };
        let subject = relative(self.store.root(), path);
        self.report.found(subject, problem, affects, done);
        Ok(())
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    std::fs::remove_file(path).map_err(StoreError::io("remove", path))
}
