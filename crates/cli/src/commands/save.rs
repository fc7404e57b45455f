//! `minidock save`.

use std::path::PathBuf;

use clap::Args;
use minidock_engine::Format;

use super::common::platform;
use crate::failure::Failure;
use crate::output_file::write_to;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Write to a file, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Layout of the archive: docker-archive or oci-archive
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", value_parser = format)]
    pub format: Format,
    /// Save the images for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Image names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "docker-archive" => Ok(Format::DockerArchive),
        "oci-archive" => Ok(Format::OciArchive),
        _ => Err("docker-archive and oci-archive are known".to_owned()),
    }
}

/// `minidock save`.
pub fn save(place: &Place, args: SaveArgs) -> Result<u8, Failure> {
    let wanted = match &args.platform {
        Some(text) => Some(platform(Some(text))?),
        None => None,
    };
    let engine = place.engine()?;
    write_to(args.output.as_deref(), "save", |to| {
        let to = std::io::BufWriter::with_capacity(256 << 10, to);
        Ok(engine.save(&args.images, wanted.as_ref(), args.format, to)?)
    })?;
    Ok(0)
}
