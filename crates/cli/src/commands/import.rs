//! `minidock import`.

use std::fs::File;

use clap::Args;
use minidock_engine::{Download, ImportRequest, Labelling};

use super::common::{image_name, platform, print};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION", allow_hyphen_values = true)]
    pub change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Set platform of the image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Time of the image in seconds since 1970
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        hide_env_values = true
    )]
    pub timestamp: Option<i64>,
    /// A tar, plain or compressed with gzip or zstd, also by its http or https address; - for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub from: std::path::PathBuf,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
}

/// `minidock import`.
pub fn import(place: &Place, args: ImportArgs) -> Result<u8, Failure> {
    let text = args.from.to_string_lossy();
    let download = if text.starts_with("http://") || text.starts_with("https://") {
        let download = Download::new(&text, place.pull_options()?);
        Some(download.map_err(minidock_engine::Error::from)?)
    } else {
        None
    };
    let from = download.as_ref().map_or("-", Download::address);
    let request = ImportRequest {
        platform: platform(args.platform.as_deref())?,
        labelling: Labelling {
            reference: args.name.as_deref().map(image_name).transpose()?,
            changes: args.change,
            message: args
                .message
                .unwrap_or_else(|| format!("Imported from {from}")),
            timestamp: args.timestamp,
        },
    };
    let image_id = if let Some(download) = download {
        place.engine()?.import(download, &request)
    } else if text == "-" {
        place.engine()?.import(std::io::stdin(), &request)
    } else {
        let failed = |e| Failure::new(format!("cannot open {text}")).caused_by(e);
        let file = File::open(&args.from).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Failure::new(format!(
                "{text} is a folder, not a tar archive"
            )));
        }
        place.engine()?.import(file, &request)
    };
    print(&format!("{}\n", image_id?))?;
    Ok(0)
}
