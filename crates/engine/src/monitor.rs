//! A container's monitor: the process that starts it, keeps its standard streams, and does what is to be done when it ends.
//!
//! There is one for each container that does not end with the command that started it. It is minidock again, executed anew
//! for this alone ([`Opening::monitor`](crate::Opening::monitor)), in a session of its own; whoever starts it keeps a line
//! to it ([`minidock_run::Line`]) by which it says whether the container runs. It holds the container's lock as long as it
//! lives, and the container does not outlive it: killed with -9 it takes the container along, and who looks finds it ended.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use minidock_run::{Exit, Guests, KeepOptions, Keeper, Pause, Stream};
use minidock_store::{Container, ContainerState, Identity, Status, StoreError};
use minidock_sys::signal::{MaskGuard, SignalSet};

use crate::created::Created;
use crate::refusal::Refusal;
use crate::restart::BackOff;
use crate::run::{Warning, ended};
use crate::start::Supervision;
use crate::{Engine, Error};

/// How long a container has to end when nothing is said (Docker's).
pub(crate) const STOP_TIMEOUT: i64 = 10;
/// How it is asked to when nothing is said: `SIGTERM`.
pub(crate) const STOP_SIGNAL: i32 = 15;

/// What a monitor does beside waiting.
struct Watch<'a> {
    container: &'a Container,
    /// What could not be done at its end.
    failed: Option<StoreError>,
}

impl Keeper for Watch<'_> {
    fn output(&mut self, _stream: Stream, _bytes: &[u8]) {}

    fn look(&mut self) -> Option<Duration> {
        None
    }

    fn ended(&mut self, exit: Exit) {
        let status = exit.shell_code();
        let told = self.container.change_state(|state| ended(state, status));
        self.failed = told.err().filter(|_| self.container.folder().exists());
    }
}

/// How a container's life ended.
struct Life {
    status: u8,
    /// It is not to be started again, whatever its policy says.
    last: bool,
    ran: Duration,
}

impl Engine {
    /// Is a container's monitor: starts it and stays with it until it is not to be started again. `line` leads to whoever
    /// wants it to be started, who gets to know what comes of it.
    ///
    /// # Errors
    /// When the container cannot be started, or its end cannot be noted down. Whoever is at the line has been told.
    pub fn monitor(&self, id: &str, line: OwnedFd) -> Result<(), Error> {
        // What is not waited for must not end this process.
        let _mask = MaskGuard::block(&SignalSet::all()).map_err(|errno| Error::Monitor {
            what: "block signals",
            source: errno.into(),
        })?;
        let container = self.store.find_container(id)?;
        let mut guests = Guests::default();
        let result = guests
            .welcome(line)
            .map_err(Error::from)
            .and_then(|welcome| self.watch(&container, &mut guests, welcome.window));
        if let Err(error) = &result {
            let told = serde_json::to_vec(&Refusal::new(error)).unwrap_or_default();
            guests.tell_failed(&told);
        }
        result
    }

    fn watch(
        &self,
        container: &Container,
        guests: &mut Guests,
        mut window: Option<(u16, u16)>,
    ) -> Result<(), Error> {
        let Some(_stopped) = container.keep_stopped()? else {
            return Err(Error::AlreadyRunning(container.id().to_owned()));
        };
        self.enter()?;
        guests.listen(container.folder())?;
        let created = Created::read(container)?;
        let mut back_off = BackOff::default();
        let mut restarts = 0;
        loop {
            let life = self.live(container, &created, guests, window.take(), restarts);
            let life = match life {
                // Removed by force: nobody is left who could be told.
                Err(_) if !container.folder().exists() => return Ok(()),
                life => life?,
            };
            guests.tell_exit(life.status);
            let policy = Created::read(container)
                .map_or_else(|_| created.wishes.restart, |created| created.wishes.restart);
            if life.last || !policy.again(life.status, restarts) {
                break;
            }
            guests.give_up();
            restarts += 1;
            if !self.rest(container, guests, back_off.next(life.ran), restarts)? {
                break;
            }
        }
        self.finish(container)
    }

    /// Waits until it is time for the next start. Says whether there is one.
    fn rest(
        &self,
        container: &Container,
        guests: &mut Guests,
        time: Duration,
        restarts: u64,
    ) -> Result<bool, Error> {
        let mut by_hand = false;
        let noted = container.change_state(|state| {
            by_hand = state.stopped_by_hand;
            if !by_hand {
                state.status = Status::Restarting;
                state.restarts = restarts;
            }
        });
        match noted {
            Err(StoreError::NoSuchContainer(_)) => return Ok(false),
            noted => drop(noted?),
        }
        if by_hand {
            return Ok(false);
        }
        let until = Instant::now() + time;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            match minidock_run::pause(guests, rest)? {
                Pause::Over => return Ok(true),
                Pause::Asked => return Ok(false),
                Pause::Woken => {}
            }
            // By somebody who stopped or removed it.
            let state = match container.change_state(|state| {
                if state.stopped_by_hand {
                    state.status = Status::Exited;
                }
            }) {
                Err(StoreError::NoSuchContainer(_)) => return Ok(false),
                state => state?,
            };
            if state.stopped_by_hand {
                return Ok(false);
            }
        }
    }

    /// From one start to the end after it.
    fn live(
        &self,
        container: &Container,
        created: &Created,
        guests: &mut Guests,
        window: Option<(u16, u16)>,
        restarts: u64,
    ) -> Result<Life, Error> {
        let gone = || StoreError::NoSuchContainer(container.id().to_owned());
        let state = container.state()?.ok_or_else(gone)?;
        let supervision = Supervision::Monitor { window, restarts };
        let started = self
            .ready(&state.image, created, Some(state.driver))
            .and_then(|ready| {
                let tell = std::cell::RefCell::new(&mut *guests);
                let warn = |warning| {
                    if let Warning::Host(words) = warning {
                        tell.borrow_mut().tell_note(&words);
                    }
                };
                self.start_it(&ready, container, &state, created, supervision, &warn)
            });
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                self.note_refusal(container, &error);
                return Err(error);
            }
        };
        let since = Instant::now();
        guests.tell_started();
        let mut watch = Watch {
            container,
            failed: None,
        };
        let options = keep_options(&state, created);
        let kept = started.running.keep(guests, &mut watch, options)?;
        if let Some(error) = watch.failed {
            return Err(error.into());
        }
        let by_hand = container.state()?.is_none_or(|s| s.stopped_by_hand);
        Ok(Life {
            status: kept.exit.shell_code(),
            last: kept.asked || by_hand,
            ran: since.elapsed(),
        })
    }

    /// Notes down that the container could not be started, and why.
    fn note_refusal(&self, container: &Container, error: &Error) {
        // There is an error to be told already.
        let _ = container.change_state(|state| {
            if state.status != Status::Created {
                ended(state, error.run_exit_code());
            }
            state.exit_code = Some(error.run_exit_code());
            state.error = Some(error.to_string());
        });
    }

    /// What is to be done when a container is not started again.
    fn finish(&self, container: &Container) -> Result<(), Error> {
        let state = container.change_state(|state| {
            if state.status == Status::Restarting {
                state.status = Status::Exited;
            }
            state.monitor = None;
        });
        let state = match state {
            Err(StoreError::NoSuchContainer(_)) => return Ok(()),
            state => state?,
        };
        if state.auto_remove {
            container.remove()?;
            self.store.remove_volumes_of(&state.mounts)?;
        }
        Ok(())
    }
}

fn keep_options(state: &ContainerState, created: &Created) -> KeepOptions {
    let timeout = state.stop_timeout.unwrap_or(STOP_TIMEOUT);
    KeepOptions {
        stdin_once: created.stdin_once,
        stop_signal: state.stop_signal.unwrap_or(STOP_SIGNAL),
        stop_timeout: u64::try_from(timeout).ok().map(Duration::from_secs),
    }
}

/// This process.
pub(crate) fn own_identity() -> Option<Identity> {
    Identity::of(rustix::process::getpid().as_raw_nonzero().get())
}
