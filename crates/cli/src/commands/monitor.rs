//! `minidock monitor`: what minidock executes itself as, to stay with a container. Nobody types it.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use clap::Args;
use minidock_engine::{IdMapChoice, Opening};

use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// Starts a monitor: its line is its standard input.
pub fn launch(opening: &Opening, id: &str, line: OwnedFd) -> std::io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("minidock")
        .args(["monitor", id])
        .env("MINIDOCK_ROOT", &opening.root)
        .env_remove(super::run::PULLED)
        .current_dir("/")
        .stdin(line)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match opening.id_map {
        IdMapChoice::Auto => command.env_remove("MINIDOCK_ID_MAP"),
        IdMapChoice::Single => command.env("MINIDOCK_ID_MAP", "single"),
        IdMapChoice::Ranges => command.env("MINIDOCK_ID_MAP", "ranges"),
    };
    // It is this process's child and outlives it: nobody here waits for it.
    command.spawn().map(drop)
}

/// `minidock monitor CONTAINER`.
pub fn monitor(place: &Place, args: MonitorArgs) -> Result<u8, Failure> {
    let not_typed =
        |e: rustix::io::Errno| Failure::usage("minidock starts its monitors itself").caused_by(e);
    // No key of any terminal reaches it here. Who typed it may be the leader of a group already.
    rustix::process::setsid().map_err(not_typed)?;
    let stdin = rustix::stdio::stdin();
    let line = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(not_typed)?;
    let null = std::fs::File::open("/dev/null")
        .map_err(|e| Failure::new("cannot open /dev/null").caused_by(e))?;
    rustix::stdio::dup2_stdin(&null).map_err(not_typed)?;
    drop(null);
    place.engine()?.monitor(&args.container, line)?;
    Ok(0)
}
