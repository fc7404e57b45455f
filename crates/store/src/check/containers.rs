//! Containers and their names. What a container wrote is never removed here.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, Repair, remove_file};
use crate::container::Container;
use crate::container::folders;
use crate::fs::list;
use crate::{ContainerState, Driver, Store, StoreError};

/// A container as far as its layers are concerned.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub name: String,
    pub running: bool,
}

fn name(state: &ContainerState) -> String {
    format!("container {}", state.name)
}

/// Which containers use which layers.
pub(super) fn users(store: &Store) -> Result<BTreeMap<String, Vec<User>>, StoreError> {
    let mut users: BTreeMap<String, Vec<User>> = BTreeMap::new();
    for container in store.containers()? {
        let Ok(Some(state)) = container.state() else {
            continue;
        };
        for layer in &state.layers {
            users.entry(layer.clone()).or_default().push(User {
                name: name(&state),
                running: state.is_alive(),
            });
        }
    }
    Ok(users)
}

impl Check<'_> {
    /// Checks all containers, and the names that lead to them.
    pub(super) fn containers(&mut self) -> Result<(), StoreError> {
        if self.writer.is_some() {
            self.store.remove_left_containers()?;
        }
        let mut names = BTreeMap::new();
        let mut containers = self.store.containers()?;
        containers.sort_by(|a, b| a.id().cmp(b.id()));
        for container in containers {
            self.report.done.containers += 1;
            if let Some(state) = self.container(&container)? {
                names.insert(state.name, container.id().to_owned());
            }
        }
        self.names(names)
    }

    fn container(&mut self, container: &Container) -> Result<Option<ContainerState>, StoreError> {
        let id = container.id();
        let short = format!("container {}", &id[..12.min(id.len())]);
        let path = container.folder().join("state.json");
        let remedy = format!(
            "what it wrote is in {}",
            container.written(Driver::Overlay).display()
        );
        let state = match container.state() {
            Ok(Some(state)) if state.id == id => state,
            // Made or removed this moment.
            Ok(None) => return Ok(None),
            Ok(Some(_)) => {
                let problem = format!("is another container's; {remedy}");
                self.found(&path, problem, vec![short], None)?;
                return Ok(None);
            }
            Err(StoreError::Damaged { problem, .. }) => {
                let problem = format!("{problem}; {remedy}, `minidock rm` removes it");
                self.found(&path, problem, vec![short], None)?;
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        for folder in folders(state.driver) {
            let path = container.folder().join(folder);
            if !path.is_dir() && container.folder().exists() {
                self.found(&path, "is missing", vec![name(&state)], None)?;
            }
        }
        for layer in &state.layers {
            let path = self.store.path(layer);
            // One that belongs to an image has been reported, or repaired.
            if !path.join("fs").is_dir()
                && container.folder().exists()
                && !self.layers.contains_key(&path)
            {
                let problem = format!("is missing, so the container cannot start; {remedy}");
                self.found(&path, problem, vec![name(&state)], None)?;
            }
        }
        Ok(Some(state))
    }

    fn names(&mut self, mut containers: BTreeMap<String, String>) -> Result<(), StoreError> {
        let folder = self.store.path("names");
        let mut links = list(&folder)?;
        links.sort();
        for link in links {
            let path = folder.join(&link);
            let id = std::fs::read_link(&path).ok();
            let named = link.to_string_lossy().into_owned();
            let right = id.is_some() && id.as_deref() == containers.get(&named).map(Path::new);
            let gone = id.is_some_and(|id| !self.store.path("containers").join(id).exists());
            if right {
                containers.remove(&named);
            } else if !gone && path.symlink_metadata().is_ok() {
                let mut act = || remove_file(&path);
                let repair = Repair::new("removed", &mut act);
                self.found(
                    &path,
                    "leads to no container of that name",
                    Vec::new(),
                    Some(repair),
                )?;
            }
        }
        for (named, id) in containers {
            let path = folder.join(&named);
            if !self.store.path("containers").join(&id).exists() {
                continue;
            }
            let mut act =
                || std::os::unix::fs::symlink(&id, &path).map_err(StoreError::io("create", &path));
            let repair = Repair::new("made anew", &mut act);
            let affects = vec![format!("container {named}")];
            self.found(&path, "is missing", affects, Some(repair))?;
        }
        Ok(())
    }
}
