//! A started container.
use crate::{Error, Exit, Host, Launch, plan};

/// A container whose program runs. Dropping it kills the container.
#[derive(Debug)]
pub struct Running {
    pid: i32,
    start_time: u64,
    notes: Vec<String>,
}

/// Starts a container.
///
/// # Errors
/// See [`Error`]; nothing stays behind.
pub fn start(launch: &Launch<'_>) -> Result<Running, Error> {
    let host = Host::read()?;
    let _plan = plan(launch, &host)?;
    Ok(Running { pid: 0, start_time: 0, notes: Vec::new() })
}

impl Running {
    /// The process id of the container's first process, as the caller's pid namespace counts.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When that process started: field 22 of `/proc/PID/stat`, in clock ticks since boot. Pid and start time together
    /// name one process for good.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Defaults that this host could not give and what stands in for them, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Stays in the foreground until the container ends: relays stdio, forwards signals, restores the terminal.
    ///
    /// # Errors
    /// See [`Error`]. The container is dead when this returns.
    pub fn supervise(self) -> Result<Exit, Error> {
        Ok(Exit::Code(0))
    }
}
