//! `rm`.

use minidock_store::{IdMap, Identity, Status};

use crate::events::Event;
use crate::{Engine, Error};

impl Engine {
    /// Removes a container; a running one only with `force`, which ends it first. With `volumes`, its anonymous volumes go
    /// as well.
    ///
    /// # Errors
    /// When there is no such container, or it runs and `force` is not given.
    pub fn remove_container(&self, query: &str, force: bool, volumes: bool) -> Result<(), Error> {
        let container = self.store.find_container(query)?;
        let mut state = container.state()?;
        if state.is_none() {
            // Being made at this moment, which this waits for; or left by a process that was killed at it, and then it goes.
            self.remove_left_containers()?;
            if !container.folder().exists() {
                return Ok(());
            }
            state = container.state()?;
        }
        if let Some(state) = state.as_ref().filter(|s| s.is_alive()) {
            if !force {
                return Err(Error::ContainerRunning(state.name.clone()));
            }
            self.kill_for_good(&container, state)?;
        } else if let Some(state) = state
            .as_ref()
            .filter(|s| s.status == Status::Restarting && s.monitor.is_some_and(Identity::is_alive))
        {
            if !force {
                return Err(Error::ContainerRestarting(state.name.clone()));
            }
            self.end_pause(&container, state)?;
        } else if let Some(state) = state.as_ref().filter(|s| s.status == Status::Created)
            && !force
            && (state.is_starting() || container.keep_stopped()?.is_none())
        {
            // It is being started at this moment.
            return Err(Error::ContainerRunning(state.name.clone()));
        }
        self.enter()?;
        if let Some(group) = state.as_ref().and_then(|s| s.cgroup.as_ref()) {
            // Processes that shared the host's outlive their container's first one.
            let _ = minidock_run::cgroup::remove(group);
        }
        // Its monitor may have removed it at its end.
        if container.folder().exists() {
            container.remove()?;
        }
        let Some(state) = state else {
            return Ok(());
        };
        self.tell(&Event::container(&state, "destroy"));
        if volumes || state.auto_remove {
            self.store.remove_volumes_of(&state.mounts)?;
        }
        // The image may have been removed by force: then the container was the last to need its layers.
        let images = self.store.images()?;
        if !images
            .iter()
            .any(|r| r.image_id.to_string() == state.image_id)
        {
            self.store.collect()?;
        }
        Ok(())
    }

    /// Ends running containers, so that they can be removed. Whoever is about to remove several with force calls this
    /// first: removing the first one moves this process to where others may be out of reach (see
    /// [`minidock_run::enter`]). What cannot be ended is told by [`Engine::remove_container`]. Returns those that were
    /// ended: one that was to be removed at its end may be gone by now.
    pub fn end_containers<'a>(&self, queries: &'a [String]) -> Vec<&'a str> {
        let mut ended = Vec::new();
        for query in queries {
            if let Ok(container) = self.store.find_container(query)
                && let Ok(Some(state)) = container.state()
                && state.is_alive()
                && self.kill_for_good(&container, &state).is_ok()
            {
                ended.push(query.as_str());
            }
        }
        ended
    }

    /// Removes containers that killed processes left and that were to be removed at their end.
    pub(crate) fn remove_left_containers(&self) -> Result<(), Error> {
        if self.store.id_map() == IdMap::Ranges {
            if !self.store.has_left_containers()? {
                return Ok(());
            }
            self.enter()?;
        }
        Ok(self.store.remove_left_containers()?)
    }
}
