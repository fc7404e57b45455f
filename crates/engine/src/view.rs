//! A container's files as they are, whether it runs or not, without mounting anything: for `export`, `diff` and `commit`.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use minidock_layer::change::{Change, Comparison};
use minidock_layer::merged::{Level, Merged, Owners};
use minidock_store::{Container, ContainerState, Driver, StoreError};
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use crate::{Engine, Error};

/// What every container has beside its image, mostly to mount something on: Docker keeps it apart as well.
const PLACES: [&str; 11] = [
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// A container's layers and its own.
pub(crate) struct View {
    pub container: Container,
    pub state: ContainerState,
    pub merged: Merged,
    lower: Merged,
    upper: OwnedFd,
}

impl View {
    /// What the container changed.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        let ours: BTreeSet<Vec<u8>> = PLACES.iter().map(|p| p.as_bytes().to_vec()).collect();
        let comparison = Comparison {
            merged: &self.merged,
            lower: &self.lower,
            upper: self.upper.as_fd(),
            ours: &ours,
        };
        comparison.changes().map_err(|e| self.failed(e))
    }

    /// Says whose files could not be read.
    pub fn failed(&self, source: minidock_layer::Error) -> Error {
        Error::ContainerFiles {
            container: self.state.name.clone(),
            source: Box::new(source),
        }
    }
}

impl Engine {
    /// Opens a container's files. The process may have to enter a user namespace, so it has to have one thread.
    pub(crate) fn view(&self, query: &str) -> Result<View, Error> {
        let container = self.store.find_container(query)?;
        self.enter_as_root()?;
        self.open_view(container)
    }

    /// [`view`](Self::view), of a process that is where it has to be.
    pub(crate) fn open_view(&self, container: Container) -> Result<View, Error> {
        let state = container
            .state()?
            .ok_or_else(|| StoreError::NoSuchContainer(container.id().to_owned()))?;
        let ids = container_ids(&container);
        let lower = Merged::new(self.levels(&container, &state)?);
        let roots = PLACES
            .into_iter()
            .chain(state.mounts.iter().map(|m| m.target.trim_matches('/')));
        let upper = container.level(state.driver, ids, roots)?;
        let opened = upper.tree.try_clone().map_err(|source| StoreError::Io {
            operation: "open",
            path: container.written(state.driver),
            source,
        })?;
        let mut levels = vec![upper];
        levels.extend(self.levels(&container, &state)?);
        let merged = match state.driver {
            Driver::Overlay | Driver::FuseOverlayfs => Merged::new(levels),
            Driver::Flat => Merged::of_copy(levels),
        };
        Ok(View {
            upper: opened,
            container,
            state,
            merged,
            lower,
        })
    }

    /// The layers of a container's image, uppermost first.
    fn levels(&self, container: &Container, state: &ContainerState) -> Result<Vec<Level>, Error> {
        let mut levels = Vec::new();
        for folder in state.layers.iter().rev() {
            levels.push(self.store.level(folder)?);
        }
        if levels.is_empty() {
            // `FROM scratch` and nothing else: an empty folder stands for no layer.
            let path = container.folder().join("rootfs");
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            let tree =
                rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| StoreError::Io {
                    operation: "open",
                    path,
                    source: e.into(),
                })?;
            levels.push(Level {
                tree,
                aside: minidock_layer::aside::Aside::default(),
                owners: Owners::Aside,
                root_seen: false,
                is_upper: false,
                named_whiteouts: false,
            });
        }
        Ok(levels)
    }
}

/// User and group of the container's program; root for one that was never started.
pub(crate) fn container_ids(container: &Container) -> (u32, u32) {
    let spec = std::fs::read(container.folder().join("config.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Spec>(&bytes).ok());
    spec.and_then(|s| {
        s.process()
            .as_ref()
            .map(|p| (p.user().uid(), p.user().gid()))
    })
    .unwrap_or((0, 0))
}
