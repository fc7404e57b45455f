//! `minidock create`.

use clap::Args;

use super::run::{self, With};
use crate::bounds::BoundFlags;
use crate::container::{ContainerFlags, wishes};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
#[command(override_usage = "minidock create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct CreateArgs {
    #[command(flatten)]
    pub container: ContainerFlags,
    #[command(flatten)]
    pub bounds: BoundFlags,
}

/// `minidock create`: prints the container's id.
pub fn create(place: &Place, args: CreateArgs) -> Result<u8, Failure> {
    let bounds = args.bounds.bounds()?;
    let typed = wishes("create", args.container)?;
    let mut with = With::new(typed, bounds);
    with.request.starts = false;
    run::with_image(place, with, &|engine, request| {
        let id = engine.create(request, &run::tell(false))?;
        // A reader that went away does not take the container back.
        let _ = super::common::print(&format!("{id}\n"));
        Ok(0)
    })
    .map_err(|failure| failure.code(1))
}
