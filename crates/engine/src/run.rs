//! `run`: from an image in the store to an exit status.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use minidock_layer::open_in_layers;
use minidock_oci::{ContainerConfig, ImageConfig, MAX_MANIFEST_SIZE, Platform};
use minidock_run::{Host, Launch, RootEmulation, Rootfs};
use minidock_store::{
    Container, ContainerState, Driver, Hold, IdMap, ImageLayers, ImageRecord, NewContainer, Status,
    StoreError,
};

use crate::group::{self, Group};
use crate::spec::{self, EmulationWish, Facts, Wishes};
use crate::storage::{self, StorageDriver, Wanted};
use crate::user::{self, ResolvedUser};
use crate::volumes::{Fill, Mounts, Owner};
use crate::{Engine, Error, devices, effective, name, netfiles, rootfs, seccomp, signal};

/// Largest `/etc/passwd` or `/etc/group` that is read from an image, in bytes.
const MAX_USER_FILE: u64 = 4 << 20;

const PRIVILEGED: &str = "a privileged container may do what you may do: its capabilities are those of its own user \
                          namespace, and it has the devices that you can open";

/// A container to run.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// The image: reference, id or beginning of an id.
    pub image: String,
    /// What the container should be like.
    pub wishes: Wishes,
    /// Its name; made up when none is given.
    pub name: Option<String>,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// Pass the caller's standard input on.
    pub interactive: bool,
    /// Which of standard input, output and error the container has.
    pub attach: [bool; 3],
    /// Where to write the container's id; there must be nothing yet.
    pub cidfile: Option<PathBuf>,
    /// The platform that the image must have.
    pub platform: Option<Platform>,
}

/// What was found out before the container's folder was made.
struct Prepared<'a> {
    request: &'a RunRequest,
    config: &'a ImageConfig,
    layers: &'a ImageLayers,
    user: &'a ResolvedUser,
    host: &'a Host,
    fills: &'a [Fill],
    driver: &'a dyn StorageDriver,
}

/// What a container is made of.
struct New<'a> {
    request: &'a RunRequest,
    config: &'a ImageConfig,
    record: &'a ImageRecord,
    layers: &'a ImageLayers,
    kernel: (u32, u32),
    driver: Driver,
}

/// Something to tell the user that does not stop the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The host could not give a default; this stands in for it.
    Host(String),
    /// The container was made; this is its id.
    Created(String),
    /// The image was made for another kind of machine.
    ForeignPlatform {
        /// What the image is for.
        image: String,
        /// What this machine is.
        host: String,
    },
}

impl Engine {
    /// Runs a container in the foreground and returns the exit status that the caller should end
    /// with: the container's own, or 128 + n when a signal ended it.
    ///
    /// # Errors
    /// When the image is missing ([`Error::ImageNotFound`]) or the container cannot be started.
    pub fn run(&self, request: &RunRequest, warn: &dyn Fn(Warning)) -> Result<u8, Error> {
        // Until the container refers to the image's layers, nobody may collect them.
        let hold = self.store.hold()?;
        let record = self.image_to_run(&request.image)?;
        self.enter()?;
        let config = self.store.image_config(&record.image_id)?;
        let foreign = check_platform(request, &config)?;
        let argv = spec::command(&config.config, &request.wishes);
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::NoCommand(request.image.clone()));
        }
        let layers = self.store.image_layers(&record.image_id, &config)?;
        let user = self.resolve_user(request, &config, &layers)?;
        let storage = self.storage(Some(&layers))?;
        let host = Host::read()?;
        let new = New {
            request,
            config: &config,
            record: &record,
            layers: &layers,
            kernel: host.kernel,
            driver: storage.driver.driver(),
        };
        let (container, state, fills) = self.create(hold, &new, argv)?;
        warn(Warning::Created(container.id().to_owned()));
        foreign.into_iter().for_each(warn);
        let prepared = Prepared {
            request,
            config: &config,
            layers: &layers,
            user: &user,
            host: &host,
            fills: &fills,
            driver: storage.driver.as_ref(),
        };
        let mounts = state.mounts.clone();
        let result = match write_id(request, &container) {
            Ok(()) => self.start_and_wait(&prepared, &container, state, warn),
            Err(error) => Err(error),
        };
        if let (Err(_), Some(path)) = (&result, &request.cidfile) {
            remove_id(path, container.id());
        }
        if request.auto_remove || result.is_err() {
            // What failed to start leaves nothing behind, and the first error is the one to tell.
            let removed = container.remove();
            let volumes = self.store.remove_volumes_of(&mounts);
            let status = result?;
            removed?;
            volumes?;
            return Ok(status);
        }
        result
    }

    /// The storage driver for a new container of an image, or of any ordinary one.
    pub(crate) fn storage(&self, layers: Option<&ImageLayers>) -> Result<storage::Choice, Error> {
        storage::choose(&self.store, self.driver, layers, self.ids.search())
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

    /// Who the caller is to be inside with `--userns keep-id`.
    fn kept_id(&self, wishes: &Wishes) -> Result<Option<String>, Error> {
        if wishes.namespaces.auto_ids && self.store.id_map() != IdMap::Single {
            return Err(Error::AutoIds);
        }
        let Some(kept) = wishes.namespaces.keep_id else {
            return Ok(None);
        };
        if self.store.id_map() != IdMap::Single {
            return Err(Error::KeepId);
        }
        let caller = self.ids.caller();
        let (uid, gid) = (
            kept.uid.unwrap_or(caller.uid),
            kept.gid.unwrap_or(caller.gid),
        );
        Ok(Some(format!("{uid}:{gid}")))
    }

    /// Looks the user up in the image's own files, as the container would see them.
    fn resolve_user(
        &self,
        request: &RunRequest,
        config: &ImageConfig,
        layers: &ImageLayers,
    ) -> Result<ResolvedUser, Error> {
        let wishes = &request.wishes;
        let kept = self.kept_id(wishes)?;
        let wanted = wishes
            .user
            .as_deref()
            .or(kept.as_deref())
            .unwrap_or(&config.config.user);
        let trees = layers.open(&self.store)?;
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        let read = |path: &'static str| -> Result<String, Error> {
            let failed = |source| Error::ImageFile {
                image: request.image.clone(),
                path,
                source: Box::new(source),
            };
            let file = open_in_layers(&trees, Path::new(path)).map_err(failed)?;
            let mut bytes = Vec::new();
            if let Some(file) = file {
                file.take(MAX_USER_FILE)
                    .read_to_end(&mut bytes)
                    .map_err(StoreErrorAt::read(path))?;
            }
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        // With one id there are no further groups, so that only a name would have to be looked up.
        let names_group = wanted.contains(':') || !wishes.group_add.is_empty();
        let group = match names_group || self.store.id_map().has_owners() {
            true => read("/etc/group")?,
            false => String::new(),
        };
        let passwd = read("/etc/passwd")?;
        let failed = |source| Error::User {
            image: request.image.clone(),
            user: wanted.to_owned(),
            source,
        };
        let mut user = user::resolve(wanted, &passwd, &group).map_err(failed)?;
        let further = user::groups(&wishes.group_add, &group).map_err(failed)?;
        let emulated = emulation(wishes.root_emulation, self.store.id_map(), &user);
        if !self.store.id_map().has_owners() && emulated == RootEmulation::Off {
            // The kernel lets a caller with one id neither have nor drop further groups.
            user.additional_gids.clear();
            if let Some(gid) = further.iter().find(|gid| **gid != user.gid) {
                return Err(Error::NoFurtherGroups(*gid));
            }
            return Ok(user);
        }
        user.additional_gids.extend(further);
        user.additional_gids.sort_unstable();
        user.additional_gids.dedup();
        Ok(user)
    }

    /// Makes the container with its volumes. The third value says which of those the image's files go into, and whence.
    fn create(
        &self,
        hold: Hold,
        new: &New<'_>,
        command: Vec<String>,
    ) -> Result<(Container, ContainerState, Vec<Fill>), Error> {
        let New {
            request,
            config,
            record,
            layers,
            kernel,
            driver,
        } = *new;
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
        let mut mounts = Mounts::default();
        let made = self.mounts(
            &hold,
            &request.wishes,
            &config.config,
            &owner,
            kernel,
            &mut mounts,
        );
        let Mounts { records, fills } = mounts;
        if let Err(error) = made {
            drop(hold);
            let _ = self.store.remove_volumes_of(&records);
            return Err(error);
        }
        let mut labels = config.config.labels.clone();
        labels.extend(request.wishes.labels.clone());
        let state = ContainerState {
            id,
            name,
            image: request.image.clone(),
            image_id: record.image_id.to_string(),
            layers: layers.folders.clone(),
            command,
            created: now(),
            status: Status::Created,
            pid: None,
            start_time: None,
            exit_code: None,
            finished: None,
            auto_remove: request.auto_remove,
            labels,
            mounts: records,
            stop_signal: stop_signal(&request.wishes, &config.config)?,
            stop_timeout: request.wishes.stop_timeout,
            driver,
            cgroup: None,
        };
        let new = NewContainer {
            name: &state.name,
            root: layers.root,
        };
        match self.store.create_container(&hold, &new, &state) {
            Ok(container) => Ok((container, state, fills)),
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

    fn start_and_wait(
        &self,
        prepared: &Prepared<'_>,
        container: &Container,
        mut state: ContainerState,
        warn: &dyn Fn(Warning),
    ) -> Result<u8, Error> {
        let Prepared {
            request,
            config,
            layers,
            user,
            host,
            fills,
            driver,
        } = prepared;
        let wishes = &request.wishes;
        let host_name = netfiles::read_host("/proc/sys/kernel/hostname");
        let (uid_map, gid_map) = self
            .ids
            .caller()
            .maps(self.store.id_map(), user.uid, user.gid);
        let files = netfiles::write(container, wishes, host_name.trim())?;
        let devices = devices::find(&wishes.devices, wishes.security.privileged)?;
        let mountpoint = container.folder().join("rootfs");
        let facts = Facts {
            id: container.id(),
            host_name: host_name.trim(),
            user,
            uid_map: &uid_map,
            gid_map: &gid_map,
            rootfs: &mountpoint,
            files: &files,
            mounts: &state.mounts,
            host_has_mqueue: Path::new("/dev/mqueue").is_dir(),
            devices: &devices,
        };
        let mut spec = spec::build(&config.config, wishes, &facts)?;
        seccomp::apply(&mut spec, &wishes.security, host.kernel)?;
        let note = |note| warn(Warning::Host(note));
        let group = group::prepare(
            &mut spec,
            &wishes.limits,
            container.id(),
            self.ids.caller().uid,
            &note,
        )?;
        if let Some(group) = &group {
            // Known before it is made: whoever finds the container also finds its group.
            state.cgroup = Some(group.folder().to_owned());
            container.write_state(&state)?;
            group.create()?;
        }
        let json = serde_json::to_vec(&spec).map_err(|e| StoreError::Damaged {
            path: container.folder().join("config.json"),
            problem: e.to_string(),
        })?;
        container.write_file("config.json", &json, 0o600)?;
        let wanted = Wanted {
            store: &self.store,
            layers,
            container,
        };
        let rootfs = rootfs::choose(*driver, &wanted, &spec, config)?;
        // The image itself is whole as it is, and nobody may write to it.
        let own = match &rootfs {
            Rootfs::Bind(folder) => *folder == container.written(driver.driver()),
            Rootfs::Overlay { .. } | Rootfs::FuseOverlay { .. } => true,
        };
        let provide = if own {
            rootfs::provisions(config)
        } else {
            Vec::new()
        };
        let launch = Launch {
            spec: &spec,
            rootfs: &rootfs,
            provide: &provide,
            interactive: request.interactive,
            terminal: wishes.terminal,
            attach: request.attach,
            init: wishes.init,
            default_filter: true,
            root_emulation: emulation(wishes.root_emulation, self.store.id_map(), user),
            cgroup: group.as_ref().map(Group::folder),
            mountpoint: &mountpoint,
        };
        if wishes.security.privileged {
            warn(Warning::Host(PRIVILEGED.to_owned()));
        }
        self.fill_volumes(fills, &launch, container)?;
        let running = minidock_run::start_on(&launch, host)?;
        running
            .notes()
            .iter()
            .for_each(|note| warn(Warning::Host(note.clone())));
        state.status = Status::Running;
        state.pid = Some(running.pid());
        state.start_time = Some(running.start_time());
        let told = container
            .write_state(&state)
            .map_err(Error::from)
            .and_then(|()| self.keep_effective_config(container, &state.image_id, wishes));
        match told {
            // Removed by force while it started: its end is that of one which was removed a moment later.
            Err(_) if !container.folder().exists() => return Ok(KILLED),
            told => told?,
        }
        let status = running.supervise()?.shell_code();
        drop(group);
        if !request.auto_remove {
            state.status = Status::Exited;
            state.exit_code = Some(status);
            state.finished = Some(now());
            match container.write_state(&state) {
                // Removed by force: nobody is left to ask how it ended, but whoever waits here.
                Err(_) if !container.folder().exists() => {}
                written => written?,
            }
        }
        Ok(status)
    }
}

/// The exit status of what SIGKILL ended.
const KILLED: u8 = 128 + 9;

/// What is not wished for in so many words is had where it makes a difference.
fn emulation(wish: EmulationWish, map: IdMap, user: &ResolvedUser) -> RootEmulation {
    match wish {
        EmulationWish::Off => RootEmulation::Off,
        EmulationWish::On => RootEmulation::Required,
        EmulationWish::Auto if map == IdMap::Single && (user.uid, user.gid) == (0, 0) => {
            RootEmulation::Wanted
        }
        EmulationWish::Auto => RootEmulation::Off,
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
fn remove_id(path: &Path, id: &str) {
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

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Names the path of a failed read.
struct StoreErrorAt;

impl StoreErrorAt {
    fn read(path: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
        move |source| StoreError::Io {
            operation: "read",
            path: path.into(),
            source,
        }
    }
}
