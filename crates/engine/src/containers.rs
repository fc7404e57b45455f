//! `ps`: which containers there are.

use minidock_store::{ContainerState, Identity, Status};

use crate::{Engine, Error};

/// A line of `ps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLine {
    /// The state on disk.
    pub state: ContainerState,
    /// Whether it runs now.
    pub running: bool,
}

impl ContainerLine {
    /// Docker's word for where it is in its life.
    pub fn status(&self) -> &'static str {
        match (self.running, self.state.pid, self.state.started) {
            (true, ..) if self.state.paused => "paused",
            (true, ..) => "running",
            (false, ..) if self.is_restarting() => "restarting",
            (false, None, None) => "created",
            (false, ..) => "exited",
        }
    }
}

impl ContainerLine {
    /// Whether its monitor is about to start it again.
    pub fn is_restarting(&self) -> bool {
        self.state.status == Status::Restarting
            && self.state.monitor.is_some_and(Identity::is_alive)
    }
}

impl Engine {
    /// All containers, newest first. One whose process was lost counts as ended.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub fn containers(&self) -> Result<Vec<ContainerLine>, Error> {
        let mut states = self.states()?;
        // What may have to go is told by the states themselves, so that each is usually read once.
        let may_be_left =
            |state: &Option<ContainerState>| state.as_ref().is_none_or(|s| s.auto_remove);
        if states.iter().any(may_be_left) {
            match self.remove_left_containers() {
                // They are as good as gone: whoever can write the store removes them.
                Err(Error::Store(e)) if e.is_unwritable() => {
                    states.retain(|s| s.as_ref().is_some_and(|s| !s.auto_remove || s.is_alive()));
                }
                result => {
                    result?;
                    states = self.states()?;
                }
            }
        }
        let mut lines: Vec<ContainerLine> = states
            .into_iter()
            .flatten()
            .map(|state| ContainerLine {
                running: state.is_alive(),
                state,
            })
            .collect();
        lines.sort_by_key(|l| std::cmp::Reverse(l.state.created));
        Ok(lines)
    }

    /// The containers' states; `None` for one that was killed while it was made.
    fn states(&self) -> Result<Vec<Option<ContainerState>>, Error> {
        let containers = self.store.containers()?;
        let states = containers.iter().map(|c| c.state());
        Ok(states.collect::<Result<_, _>>()?)
    }
}
