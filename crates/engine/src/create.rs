//! From a request to a container on disk, which can be started.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use minidock_oci::{ContainerConfig, ImageConfig, MAX_MANIFEST_SIZE, Platform};
use minidock_store::{
    Container, ContainerState, Driver, Hold, ImageRecord, NewContainer, Status, StoreError,
};

use crate::created::Created;
use crate::monitor::own_identity;
use crate::run::{RunRequest, Warning, now};
use crate::spec::{self, Wishes};
use crate::volumes::{Mounts, Owner};
use crate::{Engine, Error, effective, name, signal};

/// What is known before a container's folder is made.
pub(crate) struct Plan {
    /// Until the container refers to the image's layers, nobody may collect them.
    hold: Hold,
    record: ImageRecord,
    /// Program and arguments.
    argv: Vec<String>,
    warning: Option<Warning>,
    /// What the container is to be made from, but for the volumes.
    pub created: Created,
}

/// A container that is there.
pub(crate) struct Made {
    pub container: Container,
    pub state: ContainerState,
    pub created: Created,
}

/// What its root file system is made of, on which kernel.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    pub driver: Driver,
    pub kernel: (u32, u32),
}

impl Engine {
    /// Finds the image and reads what it says.
    pub(crate) fn plan_container(&self, request: &RunRequest) -> Result<Plan, Error> {
        let hold = self.store.hold()?;
        let record = self.image_to_run(&request.image)?;
        self.enter()?;
        let config = self.store.image_config(&record.image_id)?;
        let warning = check_platform(request, &config)?;
        let argv = spec::command(&config.config, &request.wishes);
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::NoCommand(request.image.clone()));
        }
        let layers = self.store.image_layers(&record.image_id, &config)?;
        let mut created = Created::new(request.wishes.clone(), config.config, layers);
        created.interactive = request.interactive;
        created.stdin_once = request.interactive && request.attach[0] && !request.detach;
        created.attach = request.attach;
        Ok(Plan {
            hold,
            record,
            argv,
            warning,
            created,
        })
    }

    fn image_to_run(&self, query: &str) -> Result<ImageRecord, Error> {
        match self.store.find_image(query) {
            Ok(found) => found
                .record()
                .cloned()
                .ok_or_else(|| Error::ImageNotFound(query.to_owned())),
            Err(StoreError::NoSuchImage(_)) => Err(Error::ImageNotFound(query.to_owned())),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the container with its volumes, and writes its id where that is wished for. Where that fails nothing stays.
    pub(crate) fn make_container(
        &self,
        request: &RunRequest,
        plan: Plan,
        ground: Ground,
        warn: &dyn Fn(Warning),
    ) -> Result<Made, Error> {
        let image_id = plan.record.image_id.to_string();
        let warning = plan.warning.clone();
        let made = self.make_folder(request, plan, ground)?;
        let told = write_id(request, &made.container)
            .and_then(|()| self.keep_effective_config(&made.container, &image_id, &request.wishes));
        if let Err(error) = told {
            self.unmake(&made.container, &made.state);
            return Err(error);
        }
        warning.into_iter().for_each(warn);
        Ok(made)
    }

    /// Removes a container of which nothing is to stay; there is an error to be told already.
    pub(crate) fn unmake(&self, container: &Container, state: &ContainerState) {
        let _ = container.remove();
        let _ = self.store.remove_volumes_of(&state.mounts);
    }

    fn make_folder(&self, request: &RunRequest, plan: Plan, ground: Ground) -> Result<Made, Error> {
        let Plan {
            hold,
            record,
            argv,
            mut created,
            ..
        } = plan;
        let id = self.store.new_container_id()?;
        let name = match &request.name {
            Some(name) => {
                name::check(name)?;
                name.clone()
            }
            None => name::made_up(&id),
        };
        let owner = Owner {
            id: &id,
            auto_remove: request.auto_remove,
        };
        let config = &created.config;
        let mut mounts = Mounts::default();
        let mounted = self.mounts(
            &hold,
            &request.wishes,
            config,
            &owner,
            ground.kernel,
            &mut mounts,
        );
        let Mounts { records, fills } = mounts;
        let stop_signal = mounted.and_then(|()| stop_signal(&request.wishes, config));
        let stop_signal = match stop_signal {
            Ok(signal) => signal,
            Err(error) => {
                drop(hold);
                let _ = self.store.remove_volumes_of(&records);
                return Err(error);
            }
        };
        created.fills = fills;
        let mut labels = config.labels.clone();
        labels.extend(request.wishes.labels.clone());
        let (now, nanos) = now();
        let state = ContainerState {
            id,
            name,
            image: request.image.clone(),
            image_id: record.image_id.to_string(),
            layers: created.layers.folders.clone(),
            command: argv,
            created: now,
            created_nanos: nanos,
            status: Status::Created,
            auto_remove: request.auto_remove,
            kept: !request.starts,
            starter: request.starts.then(own_identity).flatten(),
            labels,
            mounts: records,
            stop_signal,
            stop_timeout: request.wishes.stop_timeout,
            driver: ground.driver,
            ..ContainerState::default()
        };
        let new = NewContainer {
            name: &state.name,
            root: created.layers.root,
            created: &created.to_bytes()?,
        };
        match self.store.create_container(&hold, &new, &state) {
            Ok(container) => Ok(Made {
                container,
                state,
                created,
            }),
            Err(error) => {
                drop(hold);
                // Volumes that were made for it have no other purpose. The first error is the one to tell.
                let _ = self.store.remove_volumes_of(&state.mounts);
                Err(error.into())
            }
        }
    }

    /// Writes down what `commit` is to start from.
    fn keep_effective_config(
        &self,
        container: &Container,
        image_id: &str,
        wishes: &Wishes,
    ) -> Result<(), Error> {
        if !effective::differs(wishes) {
            return Ok(());
        }
        let image = image_id
            .parse()
            .ok()
            .and_then(|id| self.store.read_blob(&id, MAX_MANIFEST_SIZE).ok())
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let config = image.and_then(|i| i.get("config")?.as_object().cloned());
        effective::write(
            container,
            &effective::config(config.unwrap_or_default(), wishes),
        )?;
        Ok(())
    }
}

/// Writes the container's id where that is wished for.
fn write_id(request: &RunRequest, container: &Container) -> Result<(), Error> {
    let Some(path) = &request.cidfile else {
        return Ok(());
    };
    let written =
        File::create_new(path).and_then(|mut file| file.write_all(container.id().as_bytes()));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::IdFile(path.clone()),
        _ => Error::Path {
            operation: "write the container's id to",
            path: path.clone(),
            source,
        },
    })
}

/// Takes back an id that names nothing any more; somebody else's stays.
pub(crate) fn remove_id(path: &Path, id: &str) {
    if std::fs::read(path).is_ok_and(|text| text == id.as_bytes()) {
        let _ = std::fs::remove_file(path);
    }
}

/// The signal that asks the container to end: the user's, or the image's.
fn stop_signal(wishes: &Wishes, config: &ContainerConfig) -> Result<Option<i32>, Error> {
    if wishes.stop_signal.is_some() || config.stop_signal.is_empty() {
        return Ok(wishes.stop_signal);
    }
    match signal::number(&config.stop_signal) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::Argument {
            what: "the image's stop signal",
            value: config.stop_signal.clone(),
            why: "there is no such signal",
        }),
    }
}

/// Docker runs an image of another platform with a warning (an emulator may be registered), unless
/// a platform was asked for.
fn check_platform(request: &RunRequest, config: &ImageConfig) -> Result<Option<Warning>, Error> {
    let Some(have) = config.platform() else {
        return Ok(None);
    };
    let same = |p: &Platform| p.os == have.os && p.architecture == have.architecture;
    match &request.platform {
        Some(wanted) if !same(wanted) => Err(Error::Platform {
            image: request.image.clone(),
            have: have.to_string(),
            wanted: wanted.clone(),
        }),
        None if !same(&Platform::host()) => Ok(Some(Warning::ForeignPlatform {
            image: have.to_string(),
            host: Platform::host().to_string(),
        })),
        _ => Ok(None),
    }
}
