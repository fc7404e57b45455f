//! The verbs of minidock: what `pull`, `load`, `run`, `images`, `rmi`, `ps` and `rm` do, as functions
//! that take requests and return values and events.
//!
//! Nothing here prints, reads the environment or ends the process, so another front end can sit
//! beside the command line. What a flag means is decided in pure functions ([`spec::build`],
//! [`user::resolve`]); [`Engine`] brings them together with the store, the registries and the kernel.

mod check;
mod containers;
mod copy;
mod create;
mod created;
mod devices;
pub mod dockerfile;
pub mod doctor;
mod effective;
mod error;
pub mod events;
mod exec;
mod export;
mod group;
mod host;
mod ids;
mod images;
mod info;
mod inspect;
mod live;
pub mod logs;
mod monitor;
mod name;
mod netfiles;
mod new_image;
mod pattern;
mod prune;
mod refusal;
mod remove;
mod restart;
mod rootfs;
mod run;
mod seccomp;
pub mod signal;
pub mod spec;
mod start;
pub mod storage;
mod subids;
mod target;
mod untag;
pub mod user;
mod view;
mod volumes;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use minidock_oci::{Platform, Reference};
use minidock_store::Store;

use ids::Ids;

pub use containers::ContainerLine;
pub use copy::{Copied, CopyError, CopyOptions, Inside};
pub use created::Created;
pub use error::Error;
pub use exec::{Exec, ExecRequest, in_background};
pub use export::DiffLine;
pub use host::Caller;
pub use ids::{IdMapChoice, Surroundings};
pub use images::{ImageFilters, ImageSummary, LabelFilter, familiar, time};
pub use info::Info;
pub use inspect::{ContainerDetails, HistoryLine, ImageDetails, Limit, inspect_remote};
pub use jiff::Timestamp;
pub use live::Attach;
pub use minidock_layer::change::ChangeKind;
pub use minidock_layer::write::Compression;
pub use minidock_oci as oci;
pub use minidock_pull::archive::{Format, Loaded};
pub use minidock_pull::{
    Arrival, Credential, Credentials, Download, Event, Kept, Proxies, ProxyVariables, PullOptions,
    Pulled, Pushed, Registries, SearchResult, Which, remote_document, remote_tags, search,
};
pub use minidock_run::sealed_copy;
pub use minidock_run::{AttachOptions, Attached, DetachKeys, KeyError};
pub use minidock_store::{
    Bounds, CheckEvent, Checked, ContainerState, Driver, DriverError, Finding, IdExtent,
    ImageRecord, MountKind, MountRecord, StoreError,
};
pub use new_image::{CommitRequest, ImportRequest, Labelling};
pub use prune::{ContainerUsage, DiskUsage, ImageUsage, PruneFilters, Pruned, VolumeUsage};
pub use refusal::Refusal;
pub use restart::Restart;
pub use run::{RunRequest, Warning};
pub use spec::{Network, Wishes};
pub use untag::Removed;
pub use volumes::{VolumeLine, clean as clean_path, is_name as is_volume_name};

/// Checks a login with its registry, and keeps it where [`PullOptions::credentials`] says.
///
/// # Errors
/// When the registry cannot be reached or refuses it, or it cannot be kept.
pub fn login(
    registry: &str,
    credential: &Credential,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Kept, Error> {
    Ok(minidock_pull::login(registry, credential, options, events)?)
}

/// An open store and what the caller may do with it.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    ids: Ids,
    driver: Option<Driver>,
    /// With which a monitor is started.
    monitor: Option<Opening>,
}

/// How a container's monitor is started: the front end knows how it is executed itself.
#[derive(Clone, Copy, Debug)]
pub struct MonitorLaunch(pub fn(&Opening, &str, OwnedFd) -> std::io::Result<()>);

/// Where the store is, and what it should be like.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The store's folder.
    pub root: PathBuf,
    /// Which id map it gets if it is made now. A store that is there has to have been made with that one.
    pub id_map: IdMapChoice,
    /// The storage driver of new containers; the best that works when none is given.
    pub driver: Option<Driver>,
    /// The caller's environment.
    pub surroundings: Surroundings,
    /// Starts a process that calls [`Engine::monitor`] with this container's id and line, in a store opened in this way.
    pub monitor: Option<MonitorLaunch>,
}

impl Engine {
    /// Opens the store, making it when there is none.
    ///
    /// # Errors
    /// When it cannot be opened; see [`Store::open`].
    pub fn open(opening: Opening) -> Result<Self, Error> {
        let ids = Ids::new(opening.surroundings.clone());
        let store = ids.open(&opening.root, opening.id_map)?;
        Ok(Self {
            store,
            ids,
            driver: opening.driver,
            monitor: opening.monitor.is_some().then_some(opening),
        })
    }

    /// Prepares this process for work with the store's files: every verb that makes, deletes or reads them calls this
    /// first, while the process has one thread.
    ///
    /// # Errors
    /// When the host does not give the store's ids any more.
    fn enter(&self) -> Result<(), Error> {
        self.ids.enter(&self.store)
    }

    /// [`enter`](Self::enter), for verbs that read what modes forbid even to a file's owner.
    fn enter_as_root(&self) -> Result<(), Error> {
        self.ids.enter_as_root(&self.store)
    }

    /// Pulls an image. What a failed pull brought is removed again.
    ///
    /// # Errors
    /// When the registry does not have it, cannot be reached, or does not keep its word.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Pulled, Error> {
        self.enter()?;
        let pulled = minidock_pull::pull(&self.store, reference, options, events)?;
        self.tell_image(
            &reference.familiar(),
            &reference.familiar_name(),
            "pull",
            Some(&pulled.image_id),
        );
        Ok(pulled)
    }

    /// Pushes the image of this name to its registry.
    ///
    /// # Errors
    /// When the store does not have it, or not for the platforms that are wanted, or the registry cannot be reached or
    /// refuses.
    pub fn push(
        &self,
        reference: &Reference,
        which: &Which,
        options: &PullOptions,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Pushed, Error> {
        let pushed = minidock_pull::push(&self.store, reference, which, options, events)?;
        self.tell_image(
            &reference.familiar(),
            &reference.familiar_name(),
            "push",
            None,
        );
        Ok(pushed)
    }

    /// The references of all tags that the store has of a reference's repository, in the order of their tags.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<Reference>, Error> {
        let name = reference.name();
        let mut tags: Vec<Reference> = self
            .store
            .images()?
            .into_iter()
            .filter(|r| r.repository.as_deref() == Some(&name))
            .filter_map(|r| format!("{name}:{}", r.tag?).parse().ok())
            .collect();
        tags.sort();
        Ok(tags)
    }

    /// Loads the images of an archive that `docker save` or an OCI tool wrote.
    ///
    /// # Errors
    /// When it is no such archive, or its content is not what its names say.
    pub fn load(
        &self,
        archive: std::fs::File,
        platform: &Platform,
        bounds: Bounds,
    ) -> Result<Vec<Loaded>, Error> {
        self.enter()?;
        let loaded = minidock_pull::archive::load(&self.store, archive, platform, bounds)?;
        for image in &loaded {
            let id = image.image_id.to_string();
            self.tell_image(&id, &id, "load", Some(&image.image_id));
        }
        Ok(loaded)
    }

    /// Saves images, with all they consist of, as an archive that [`load`](Self::load) and other engines read.
    ///
    /// # Errors
    /// When one of them is missing, damaged or for another platform, or the archive cannot be written.
    pub fn save(
        &self,
        images: &[String],
        platform: Option<&Platform>,
        format: Format,
        to: impl std::io::Write,
    ) -> Result<(), Error> {
        minidock_pull::archive::save(&self.store, images, platform, format, to)?;
        for image in images {
            if let Ok(found) = self.store.find_image(image)
                && let Some(record) = found.record()
            {
                let id = record.image_id.to_string();
                self.tell_image(&id, &id, "save", Some(&record.image_id));
            }
        }
        Ok(())
    }

    /// Leaves a process behind that deletes what was removed from the store, if there is anything: for the end
    /// of a command, when its words are out. It holds nothing that anyone waits for. Where it cannot be left behind, or is
    /// killed, the next command's does the rest.
    pub fn empty_trash_in_background(opening: &Opening) {
        if Store::has_trash(&opening.root)
            && let Ok(engine) = Self::open(opening.clone())
            && engine.enter().is_ok()
        {
            let _ = minidock_sys::process::leave_behind(&engine.store, |store| {
                let _ = store.empty_trash();
            });
        }
    }

    /// Whether a reference or id is in the store.
    ///
    /// # Errors
    /// When the store cannot be read, or an id prefix is ambiguous.
    pub fn has_image(&self, query: &str) -> Result<bool, Error> {
        match self.store.find_image(query) {
            Ok(_) => Ok(true),
            Err(StoreError::NoSuchImage(_)) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
