//! Containers that live on: `start`, `attach`, `stop`, `restart` and `wait`, as whoever types them sees them. The other side
//! is [`crate::monitor`].
//!
//! Signals go from here to the container's first process directly, by pidfd; so a container whose monitor is lost can be
//! stopped all the same. The monitor learns from the state that somebody wanted it so ([`ContainerState::stopped_by_hand`]).

use std::os::fd::AsFd;
use std::time::Duration;

use minidock_run::{AttachOptions, Attached, DetachKeys, Line, WAKE, Word, line};
use minidock_store::{Container, ContainerState, Identity, Status, StoreError};
use minidock_sys::signal;

use crate::monitor::{STOP_SIGNAL, STOP_TIMEOUT};
use crate::refusal::Refusal;
use crate::run::Warning;
use crate::target::{self, Target};
use crate::{Engine, Error, MonitorLaunch};

const SIGKILL: i32 = 9;

/// How somebody wants to be attached to a container that is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// Which streams, by which keys it ends, and what becomes of signals.
    pub options: AttachOptions,
    /// The container ends with the caller, unless he detaches.
    pub bound: bool,
}

impl Engine {
    /// Starts the container and has its monitor stay with it. The line leads to the monitor.
    pub(crate) fn start_monitor(
        &self,
        container: &Container,
        attach: &Attach,
        warn: &dyn Fn(Warning),
    ) -> Result<Line, Error> {
        let (line, theirs) = line()?;
        let AttachOptions {
            streams, terminal, ..
        } = attach.options;
        line.ask(streams, terminal, attach.bound)?;
        let opening = self.monitor.as_ref();
        let launch = opening.and_then(|opening| Some((opening.monitor?, opening)));
        let (MonitorLaunch(launch), opening) = launch.ok_or(Error::Monitor {
            what: "leave a process behind",
            source: std::io::ErrorKind::Unsupported.into(),
        })?;
        launch(opening, container.id(), theirs).map_err(|source| Error::Monitor {
            what: "execute minidock for it",
            source,
        })?;
        loop {
            match line.word()? {
                Word::Started => return Ok(line),
                Word::Note(words) => warn(Warning::Host(words)),
                Word::Failed(why) => {
                    return Err(match serde_json::from_slice::<Refusal>(&why) {
                        Ok(refusal) => Error::Refused(refusal),
                        Err(e) => Error::Monitor {
                            what: "understand its monitor",
                            source: e.into(),
                        },
                    });
                }
                Word::Lost => return Err(Error::MonitorLost(container.id().to_owned())),
            }
        }
    }

    /// Starts a container that does not run; one that does stays as it is. With `attach`, stays attached to it, and says what
    /// came of that.
    ///
    /// # Errors
    /// When there is no such container, or it cannot be started.
    pub fn start(
        &self,
        query: &str,
        attach: Option<Attach>,
        warn: &dyn Fn(Warning),
    ) -> Result<Option<Attached>, Error> {
        let (container, state) = self.find(query)?;
        if state.is_alive() {
            if state.paused {
                return Err(Error::Paused("start", state.name));
            }
            return match attach {
                Some(attach) => self.attach(query, attach.options).map(Some),
                None => Ok(None),
            };
        }
        if state.status == Status::Restarting {
            // What waits for its time need wait no longer.
            self.end_pause(&container, &state)?;
        }
        let line = match self.start_monitor(&container, &attach.clone().unwrap_or_default(), warn) {
            // Somebody else was faster.
            Err(Error::Refused(_)) if attach.is_none() && self.find(query)?.1.is_alive() => {
                return Ok(None);
            }
            line => line?,
        };
        match attach {
            Some(attach) => Ok(Some(line.attend(attach.options)?)),
            None => Ok(None),
        }
    }

    /// Attaches to a container that runs.
    ///
    /// # Errors
    /// When there is no such container, it does not run, or it was run in a way that nobody can be attached to.
    pub fn attach(&self, query: &str, options: AttachOptions) -> Result<Attached, Error> {
        let (container, state) = self.find(query)?;
        if !state.is_alive() {
            return Err(Error::AttachStopped);
        }
        if state.paused {
            return Err(Error::AttachPaused);
        }
        let direct = || Error::AttachDirect(state.name.clone());
        let line = Line::connect(container.folder())?.ok_or_else(direct)?;
        line.ask(options.streams, options.terminal, false)?;
        Ok(line.attend(options)?)
    }

    /// How to be attached to a container: to its output, and with `input` to its standard input, if that is kept open.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn attach_options(
        &self,
        query: &str,
        input: bool,
        keys: Option<DetachKeys>,
        signals: bool,
    ) -> Result<AttachOptions, Error> {
        let created = self.created(query)?;
        Ok(AttachOptions {
            streams: [input && created.interactive, true, true],
            terminal: created.wishes.terminal,
            keys,
            signals,
        })
    }

    /// Asks a container to end, and kills it when it takes too long (a negative number of seconds is for ever). One that does
    /// not run stays as it is.
    ///
    /// # Errors
    /// When there is no such container, or it cannot be ended.
    pub fn stop(
        &self,
        query: &str,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        let (container, state) = self.find(query)?;
        if !state.is_alive() {
            if state.status == Status::Restarting {
                self.end_pause(&container, &state)?;
            }
            return Ok(());
        }
        // A full disk does not keep it alive; it is told when it has ended.
        let noted = container.change_state(|state| state.stopped_by_hand = true);
        let Some(target) = Target::open(&container, &state)? else {
            return Ok(());
        };
        let number = signal.or(state.stop_signal).unwrap_or(STOP_SIGNAL);
        target.signal(number)?;
        let seconds = timeout.or(state.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
        if !target.ended_within(patience)? {
            target.signal(SIGKILL)?;
            target.ended_within(None)?;
        }
        target.noted()?;
        noted?;
        Ok(())
    }

    /// Waits until a container has ended, and says how. One that does not run has ended already.
    ///
    /// # Errors
    /// When there is no such container, or it was removed before anybody could see how it ended.
    pub fn wait(&self, query: &str) -> Result<u8, Error> {
        let (container, state) = self.find(query)?;
        if let Some(target) = Target::open(&container, &state)? {
            target.ended_within(None)?;
            if let Some(status) = target.noted()? {
                return Ok(status);
            }
        }
        match container.state()? {
            Some(state) => Ok(state.exit_code.unwrap_or(0)),
            None => Err(StoreError::NoSuchContainer(query.to_owned()).into()),
        }
    }

    pub(crate) fn find(&self, query: &str) -> Result<(Container, ContainerState), Error> {
        let container = self.store.find_container(query)?;
        let none = || StoreError::NoSuchContainer(query.to_owned());
        let state = container.state()?.ok_or_else(none)?;
        Ok((container, state))
    }

    /// Keeps the monitor of a container that is about to be started again from doing so, and waits until it is gone.
    pub(crate) fn end_pause(
        &self,
        container: &Container,
        state: &ContainerState,
    ) -> Result<(), Error> {
        container.change_state(|state| {
            state.stopped_by_hand = true;
            if !state.monitor.is_some_and(Identity::is_alive) {
                state.status = Status::Exited;
            }
        })?;
        let monitor = state.monitor.and_then(|m| target::open(m).ok().flatten());
        if let Some(monitor) = monitor {
            let _ = signal::send(monitor.as_fd(), WAKE);
            let _ = target::ended_within(&monitor, None);
        }
        Ok(())
    }
}
