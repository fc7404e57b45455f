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

/// `minidock rm`. With force, what is not there is told and is no failure, as in Docker.
pub fn rm(place: &Place, args: RmArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    let ended = if args.force {
        engine.end_containers(&args.containers)
    } else {
        Vec::new()
    };
    each(&args.containers, |container| {
        match engine.remove_container(container, args.force, args.volumes) {
            Err(error) if error.is_no_such_container() && ended.contains(&container) => {}
            Err(error) if error.is_no_such_container() && args.force => {
                Failure::from(error).report();
                return Ok(());
            }
            removed => removed?,
        }
        print(&format!("{container}\n"))
    })
}
