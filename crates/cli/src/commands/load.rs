//! `minidock load`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use minidock_engine::oci::Platform;

use super::common::{platform, print};
use crate::bounds::BoundFlags;
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Read from a tar archive file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Suppress the progress display (there is none; what was loaded is told)
    #[arg(short, long)]
    pub quiet: bool,
    /// Load this platform, if the archive has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    #[command(flatten)]
    pub bounds: BoundFlags,
}

/// `minidock load`.
pub fn load(place: &Place, args: LoadArgs) -> Result<u8, Failure> {
    let platform = match &args.platform {
        Some(text) => platform(Some(text))?,
        None => Platform::host_at_its_best(),
    };
    let bounds = args.bounds.bounds()?;
    let (from, loaded) = match &args.input {
        Some(path) => {
            let failed = |e| Failure::new(format!("cannot open {}", path.display())).caused_by(e);
            let file = std::fs::File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(Failure::new(format!(
                    "{} is a folder, not a tar archive",
                    path.display()
                )));
            }
            (
                path.display().to_string(),
                place.engine()?.load(file, &platform, bounds),
            )
        }
        None => {
            let stdin = io::stdin();
            if io::IsTerminal::is_terminal(&stdin) {
                return Err(
                    Failure::usage("requested load from stdin, but stdin is a terminal")
                        .hint("name a file with -i, or pipe an archive in"),
                );
            }
            // As a file: what is redirected from one need not be read as a pipe is.
            let failed = |e| Failure::new("cannot read standard input").caused_by(e);
            let stdin = std::os::fd::AsFd::as_fd(&stdin)
                .try_clone_to_owned()
                .map_err(failed)?;
            (
                "standard input".to_owned(),
                place.engine()?.load(stdin.into(), &platform, bounds),
            )
        }
    };
    let loaded =
        loaded.map_err(|e| Failure::from(e).while_trying(format!("cannot load {from}")))?;
    for image in loaded {
        match image.reference {
            Some(reference) => print(&format!("Loaded image: {}\n", reference.familiar()))?,
            None => print(&format!("Loaded image ID: {}\n", image.image_id))?,
        }
    }
    Ok(0)
}
