//! `minidock tag`.

use clap::Args;

use crate::failure::Failure;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
pub struct TagArgs {
    /// Image name, id or digest
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// The name that it gets as well
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

/// `minidock tag`.
pub fn tag(place: &Place, args: TagArgs) -> Result<u8, Failure> {
    place
        .engine()?
        .tag(&args.source, &args.target, units::now())?;
    Ok(0)
}
