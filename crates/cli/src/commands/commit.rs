//! `minidock commit`.

use clap::{ArgAction, Args};
use minidock_engine::{CommitRequest, Compression, Labelling};

use super::common::{image_name, print};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(
        short,
        long,
        value_name = "AUTHOR",
        default_value = "",
        hide_default_value = true
    )]
    pub author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION", allow_hyphen_values = true)]
    pub change: Vec<String>,
    /// Commit message
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub message: String,
    /// Refused while the container runs: it is committed without a pause
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub pause: Option<bool>,
    /// Do not pause the container during commit (never done)
    #[arg(long, conflicts_with = "pause")]
    pub no_pause: bool,
    /// Compression of the new layer: gzip, zstd or none
    #[arg(long, value_name = "KIND", default_value = "gzip", value_parser = compression)]
    pub compression: Compression,
    /// Time of the image, in seconds since 1970, and latest time of its new files: the same changes give the same image
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        hide_env_values = true
    )]
    pub timestamp: Option<i64>,
    /// Container name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "none" => Ok(Compression::None),
        _ => Err("gzip, zstd and none are known".to_owned()),
    }
}

/// `minidock commit`.
pub fn commit(place: &Place, args: CommitArgs) -> Result<u8, Failure> {
    let request = CommitRequest {
        container: args.container,
        pause: args.pause == Some(true),
        author: args.author,
        labelling: Labelling {
            reference: args.name.as_deref().map(image_name).transpose()?,
            changes: args.change,
            message: args.message,
            timestamp: args.timestamp,
        },
        compression: args.compression,
    };
    let image_id = place.engine()?.commit(&request)?;
    print(&format!("{image_id}\n"))?;
    Ok(0)
}
