//! `ps`: which containers there are.

use minidock_store::ContainerState;

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
        match (self.running, self.state.pid, self.state.exit_code) {
            (true, ..) => "running",
            (false, None, None) => "created",
            (false, ..) => "exited",
        }
    }
}

impl Engine {
    /// All containers, newest first. One whose process was lost counts as ended.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub fn containers(&self) -> Result<Vec<ContainerLine>, Error> {
        self.remove_left_containers()?;
        let mut lines = Vec::new();
        for container in self.store.containers()? {
            let Some(state) = container.state()? else {
                continue;
            };
            let running = state.is_alive();
            lines.push(ContainerLine { state, running });
        }
        lines.sort_by_key(|l| std::cmp::Reverse(l.state.created));
        Ok(lines)
    }
}
