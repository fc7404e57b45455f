//! `minidock rm`.

use clap::Args;

use super::common::{each, print};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct RmArgs {
    /// End a running container first
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub volumes: bool,
    /// Container names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `minidock rm`.
pub fn rm(place: &Place, args: RmArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    if args.force {
        engine.end_containers(&args.containers);
    }
    each(&args.containers, |container| {
        engine.remove_container(container, args.force, args.volumes)?;
        print(&format!("{container}\n"))
    })
}
