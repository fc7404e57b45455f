//! From a container on disk to one that runs.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use minidock_layer::open_in_layers;
use minidock_run::{Host, Launch, RootEmulation, Rootfs, Running};
use minidock_store::{Container, ContainerState, Driver, IdMap, Status, StoreError};
use oci_spec::runtime::BoxBuilder;

use crate::created::Created;
use crate::group::{self, Group};
use crate::monitor::own_identity;
use crate::run::{Warning, now};
use crate::spec::{self, EmulationWish, Facts, Wishes};
use crate::storage::{self, Wanted};
use crate::user::{self, ResolvedUser};
use crate::{Engine, Error, devices, netfiles, rootfs, seccomp};

const PRIVILEGED: &str = "a privileged container may do what you may do: its capabilities are those of its own user \
                          namespace, and it has the devices that you can open";

/// What a start depends on beside the container itself.
pub(crate) struct Ready {
    user: ResolvedUser,
    pub host: Host,
    pub storage: storage::Choice,
}

/// A container that runs, and its control group, which goes with this.
pub(crate) struct Started {
    pub running: Running,
    _group: Option<Group>,
}

/// Who stays with a container that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supervision {
    /// The process that was typed for it: its standard streams are the container's.
    Direct,
    /// A monitor, which this is.
    Monitor {
        /// Rows and columns of its terminal, if somebody said.
        window: Option<(u16, u16)>,
        /// How often it was started again.
        restarts: u64,
    },
}

impl Engine {
    /// Looks up what a start needs, so that what cannot work fails before anything is made. `driver` is the container's, if it
    /// has one already.
    pub(crate) fn ready(
        &self,
        image: &str,
        created: &Created,
        driver: Option<Driver>,
    ) -> Result<Ready, Error> {
        Ok(Ready {
            user: self.resolve_user(image, created)?,
            storage: storage::choose(
                &self.store,
                driver.or(self.driver),
                Some(&created.layers),
                self.ids.search(),
            )?,
            host: Host::read()?,
        })
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
    fn resolve_user(&self, image: &str, created: &Created) -> Result<ResolvedUser, Error> {
        let Created {
            wishes,
            config,
            layers,
            ..
        } = created;
        let kept = self.kept_id(wishes)?;
        let wanted = wishes
            .user
            .as_deref()
            .or(kept.as_deref())
            .unwrap_or(&config.user);
        let trees = layers.open(&self.store)?;
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        let read = |path: &'static str| -> Result<String, Error> {
            let failed = |source| Error::ImageFile {
                image: image.to_owned(),
                path,
                source: Box::new(source),
            };
            let file = open_in_layers(&trees, Path::new(path)).map_err(failed)?;
            let mut bytes = Vec::new();
            if let Some(file) = file {
                file.take(user::MAX_FILE as u64)
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
            image: image.to_owned(),
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

    /// Starts a container.
    ///
    /// # Errors
    /// When it cannot be started. Its state says nothing of it then.
    pub(crate) fn start_it(
        &self,
        ready: &Ready,
        container: &Container,
        state: &ContainerState,
        created: &Created,
        supervision: Supervision,
        warn: &dyn Fn(Warning),
    ) -> Result<Started, Error> {
        let Created {
            wishes,
            config,
            layers,
            ..
        } = created;
        let Ready {
            user,
            host,
            storage,
        } = ready;
        let driver = storage.driver.as_ref();
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
        let mut spec = spec::build(config, wishes, &facts)?;
        if let Supervision::Monitor {
            window: Some((rows, columns)),
            ..
        } = supervision
            && let Some(process) = spec.process_mut()
        {
            let size = BoxBuilder::default().height(rows).width(columns).build()?;
            process.set_console_size(Some(size));
        }
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
            container.change_state(|state| state.cgroup = Some(group.folder().to_owned()))?;
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
        let rootfs = rootfs::choose(driver, &wanted, &spec, config)?;
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
            interactive: created.interactive,
            kept: supervision != Supervision::Direct,
            terminal: wishes.terminal,
            attach: created.attach,
            init: wishes.init,
            default_filter: true,
            root_emulation: emulation(wishes.root_emulation, self.store.id_map(), user),
            cgroup: group.as_ref().map(Group::folder),
            mountpoint: &mountpoint,
        };
        if wishes.security.privileged {
            warn(Warning::Host(PRIVILEGED.to_owned()));
        }
        self.fill_volumes(&created.fills, &launch, container)?;
        let running = minidock_run::start_on(&launch, host)?;
        running
            .notes()
            .iter()
            .for_each(|note| warn(Warning::Host(note.clone())));
        let (started, nanos) = now();
        container.change_state(|state| {
            state.status = Status::Running;
            state.pid = Some(running.pid());
            state.start_time = Some(running.start_time());
            (state.started, state.started_nanos) = (Some(started), nanos);
            state.error = None;
            state.exit_code = None;
            state.stopped_by_hand = false;
            state.paused = false;
            state.oom_killed = false;
            if let Supervision::Monitor { restarts, .. } = supervision {
                state.restarts = restarts;
                state.monitor = own_identity();
            }
        })?;
        Ok(Started {
            running,
            _group: group,
        })
    }
}

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
