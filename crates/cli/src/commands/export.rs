//! `minidock export`.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::output_file::write_to;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write to a file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Container name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `minidock export`.
pub fn export(place: &Place, args: ExportArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    write_to(args.output.as_deref(), "export", |to| {
        Ok(engine.export(&args.container, to)?)
    })?;
    Ok(0)
}
