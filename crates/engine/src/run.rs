//! `run`: from an image in the store to an exit status.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use minidock_oci::Platform;
use minidock_run::{AttachOptions, DetachKeys, Host};
use minidock_store::{ContainerState, Status};

use crate::create::{Ground, Made, Plan, remove_id};
use crate::created::Created;
use crate::live::Attach;
use crate::restart::Restart;
use crate::spec::Wishes;
use crate::start::{Ready, Supervision};
use crate::storage;
use crate::{Engine, Error};

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
    /// It is started at once, and if it cannot be, nothing of it stays.
    pub starts: bool,
    /// The caller does not wait for it.
    pub detach: bool,
    /// The keys that detach a terminal.
    pub detach_keys: Option<DetachKeys>,
    /// Signals that the caller gets are passed on.
    pub signals: bool,
    /// Pass the caller's standard input on.
    pub interactive: bool,
    /// Which of standard input, output and error the container has.
    pub attach: [bool; 3],
    /// Where to write the container's id; there must be nothing yet.
    pub cidfile: Option<PathBuf>,
    /// The platform that the image must have.
    pub platform: Option<Platform>,
}

/// Something to tell the user that does not stop the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The host could not give a default; this stands in for it.
    Host(String),
    /// The container runs, and goes on without the caller if he leaves; this is its id.
    Started(String),
    /// The image was made for another kind of machine.
    ForeignPlatform {
        /// What the image is for.
        image: String,
        /// What this machine is.
        host: String,
    },
}

impl RunRequest {
    /// Whether the process that was typed for it can be its supervisor, for nothing is asked for that outlives it.
    fn is_direct(&self, created: &Created) -> bool {
        self.auto_remove
            && !self.detach
            && self.signals
            && !self.wishes.terminal
            && self.wishes.restart == Restart::No
            && created.config.healthcheck.is_none()
    }

    fn attach_options(&self) -> AttachOptions {
        if self.detach {
            return AttachOptions::default();
        }
        let [input, output, error] = self.attach;
        AttachOptions {
            streams: [input && self.interactive, output, error],
            terminal: self.wishes.terminal,
            keys: self.detach_keys.clone(),
            signals: self.signals,
        }
    }
}

impl Engine {
    /// Makes a container, and returns its id.
    ///
    /// # Errors
    /// When the image is missing ([`Error::ImageNotFound`]) or the container cannot be made.
    pub fn create(&self, request: &RunRequest, warn: &dyn Fn(Warning)) -> Result<String, Error> {
        let plan = self.plan_container(request)?;
        Ok(self.make(request, plan, warn)?.container.id().to_owned())
    }

    /// Makes a container that another process will start.
    fn make(
        &self,
        request: &RunRequest,
        plan: Plan,
        warn: &dyn Fn(Warning),
    ) -> Result<Made, Error> {
        let layers = Some(&plan.created.layers);
        let storage = storage::choose(&self.store, self.driver, layers, self.ids.search())?;
        let ground = Ground {
            driver: storage.driver.driver(),
            kernel: Host::read()?.kernel,
        };
        let mut made = self.make_container(request, plan, ground, warn)?;
        made.container.release();
        Ok(made)
    }

    /// Runs a container and returns the exit status that the caller should end with: the container's own, 128 + n when a
    /// signal ended it, 0 when it goes on without the caller.
    ///
    /// # Errors
    /// When the image is missing ([`Error::ImageNotFound`]) or the container cannot be started.
    pub fn run(&self, request: &RunRequest, warn: &dyn Fn(Warning)) -> Result<u8, Error> {
        let plan = self.plan_container(request)?;
        if !request.is_direct(&plan.created) {
            return self.run_with_monitor(request, plan, warn);
        }
        let ready = self.ready(&request.image, &plan.created, None)?;
        let ground = Ground {
            driver: ready.storage.driver.driver(),
            kernel: ready.host.kernel,
        };
        let made = self.make_container(request, plan, ground, warn)?;
        warn(Warning::Started(made.container.id().to_owned()));
        let result = self.start_and_wait(&ready, &made, warn);
        if let (Err(_), Some(path)) = (&result, &request.cidfile) {
            remove_id(path, made.container.id());
        }
        if request.auto_remove || result.is_err() {
            // What failed to start leaves nothing behind, and the first error is the one to tell.
            let removed = made.container.remove();
            let volumes = self.store.remove_volumes_of(&made.state.mounts);
            let status = result?;
            removed?;
            volumes?;
            return Ok(status);
        }
        result
    }

    fn run_with_monitor(
        &self,
        request: &RunRequest,
        plan: Plan,
        warn: &dyn Fn(Warning),
    ) -> Result<u8, Error> {
        let Made {
            container, state, ..
        } = self.make(request, plan, warn)?;
        let attach = Attach {
            options: request.attach_options(),
            bound: !request.detach,
        };
        let line = match self.start_monitor(&container, &attach, warn) {
            Ok(line) => line,
            Err(error) => {
                // What failed to start leaves nothing behind.
                self.unmake(&container, &state);
                if let Some(path) = &request.cidfile {
                    remove_id(path, container.id());
                }
                return Err(error);
            }
        };
        warn(Warning::Started(container.id().to_owned()));
        if request.detach {
            return Ok(0);
        }
        let status = line.attend(attach.options)?.shell_code();
        status.ok_or(Error::MonitorLost(state.name))
    }

    fn start_and_wait(
        &self,
        ready: &Ready,
        made: &Made,
        warn: &dyn Fn(Warning),
    ) -> Result<u8, Error> {
        let Made {
            container,
            state,
            created,
        } = made;
        let started =
            match self.start_it(ready, container, state, created, Supervision::Direct, warn) {
                // Removed by force while it started: its end is that of one which was removed a moment later.
                Err(Error::Store(_)) if !container.folder().exists() => return Ok(KILLED),
                started => started?,
            };
        let status = started.running.supervise()?.shell_code();
        if !state.auto_remove {
            match container.change_state(|state| ended(state, status)) {
                // Removed by force: nobody is left to ask how it ended, but whoever waits here.
                Err(_) if !container.folder().exists() => {}
                written => drop(written?),
            }
        }
        Ok(status)
    }
}

/// Notes down a container's end.
pub(crate) fn ended(state: &mut ContainerState, status: u8) {
    state.status = Status::Exited;
    state.exit_code = Some(status);
    state.paused = false;
    let (finished, nanos) = now();
    (state.finished, state.finished_nanos) = (Some(finished), nanos);
}

/// The exit status of what SIGKILL ended.
const KILLED: u8 = 128 + 9;

/// Seconds since 1970, and nanoseconds after them.
pub(crate) fn now() -> (u64, u32) {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or((0, 0), |d| (d.as_secs(), d.subsec_nanos()))
}
