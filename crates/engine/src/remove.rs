//! `rmi` and `rm`.

use minidock_store::{ContainerState, Found, IdMap, ImageRecord};

use crate::{Engine, Error};

/// What `rmi` did, in the order in which Docker prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was removed.
    Untagged(String),
    /// An image or a layer was deleted.
    Deleted(String),
}

impl Engine {
    /// Removes an image's name, and the image with its last name. With `force`, by id with all
    /// its names, and although stopped containers use it (they keep their layers).
    ///
    /// # Errors
    /// When there is no such image, it is in use, or it has several names and was named by its id.
    pub fn remove_image(&self, query: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let found = self.store.find_image(query)?;
        let all = self.store.images()?;
        let (gone, by_name) = match found {
            Found::Name(record) => (vec![record], true),
            Found::Id(records) => (records, false),
        };
        let Some(image_id) = gone.first().map(|r| r.image_id.clone()) else {
            return Ok(Vec::new());
        };
        let names: usize = gone.iter().filter(|r| r.tag.is_some()).count();
        if !by_name && names > 1 && !force {
            return Err(Error::SeveralNames(query.to_owned()));
        }
        let last = !all
            .iter()
            .any(|r| r.image_id == image_id && !gone.contains(r));
        if last {
            self.check_unused(query, &image_id.to_string(), force)?;
        }
        self.enter()?;
        let collected = self.store.remove_images(&gone)?;
        let mut removed: Vec<Removed> = gone
            .iter()
            .flat_map(|r| untagged(r, &all, &gone))
            .map(Removed::Untagged)
            .collect();
        if last {
            removed.push(Removed::Deleted(image_id.to_string()));
        }
        removed.extend(collected.layers.into_iter().rev().map(Removed::Deleted));
        Ok(removed)
    }

    fn check_unused(&self, subject: &str, image_id: &str, force: bool) -> Result<(), Error> {
        self.remove_left_containers()?;
        for container in self.store.containers()? {
            let Some(state) = container.state()? else {
                continue;
            };
            // One that is being started is supervised before its state says that it runs.
            let running = state.is_alive() || container.is_supervised()?;
            if state.image_id == image_id && (running || !force) {
                return Err(Error::InUse {
                    subject: format!("cannot remove image {subject}"),
                    container: state.id[..12.min(state.id.len())].to_owned(),
                    image: short(image_id).to_owned(),
                    running,
                });
            }
        }
        Ok(())
    }

    /// Removes a container; a running one only with `force`, which ends it first. With `volumes`, its anonymous volumes go
    /// as well.
    ///
    /// # Errors
    /// When there is no such container, or it runs and `force` is not given.
    pub fn remove_container(&self, query: &str, force: bool, volumes: bool) -> Result<(), Error> {
        let container = self.store.find_container(query)?;
        let state = container.state()?;
        if let Some(state) = &state
            && state.is_alive()
        {
            if !force {
                return Err(Error::ContainerRunning(query.to_owned()));
            }
            kill_and_wait(state)?;
        }
        self.enter()?;
        container.remove()?;
        if let Some(state) = state.filter(|state| volumes || state.auto_remove) {
            self.store.remove_volumes_of(&state.mounts)?;
        }
        Ok(())
    }

    /// Ends running containers, so that they can be removed. Whoever is about to remove several with force calls this
    /// first: removing the first one moves this process to where others may be out of reach (see
    /// [`minidock_run::enter`]). What cannot be ended is told by [`Engine::remove_container`].
    pub fn end_containers(&self, queries: &[String]) {
        for query in queries {
            if let Ok(container) = self.store.find_container(query)
                && let Ok(Some(state)) = container.state()
                && state.is_alive()
            {
                let _ = kill_and_wait(&state);
            }
        }
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

/// Ends a container's pid 1, and with it everything inside, and waits until it is gone.
fn kill_and_wait(state: &ContainerState) -> Result<(), Error> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let failed = |source: rustix::io::Errno| Error::Kill {
        container: state.name.clone(),
        source: source.into(),
    };
    let Some(pid) = state.pid.and_then(Pid::from_raw) else {
        return Ok(());
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        result => result.map_err(failed)?,
    };
    // Asked again with the pidfd in hand: the pid may have been reused just before it was opened.
    if !state.is_alive() {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => return Err(failed(e)),
    }
    let mut poll = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    loop {
        match rustix::event::poll(&mut poll, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

fn short(digest: &str) -> &str {
    let hex = digest.split(':').next_back().unwrap_or(digest);
    &hex[..12.min(hex.len())]
}

/// The names that go with a record: its tag, and its digest if no other name keeps that.
fn untagged(record: &ImageRecord, all: &[ImageRecord], gone: &[ImageRecord]) -> Vec<String> {
    let Some(repository) = &record.repository else {
        return Vec::new();
    };
    let familiar = crate::images::familiar(repository);
    let mut names = Vec::new();
    if let Some(tag) = &record.tag {
        names.push(format!("{familiar}:{tag}"));
    }
    if let Some(digest) = &record.digest {
        let kept = all.iter().any(|r| {
            !gone.contains(r) && r.repository == record.repository && r.digest == record.digest
        });
        if !kept {
            names.push(format!("{familiar}@{digest}"));
        }
    }
    names
}
