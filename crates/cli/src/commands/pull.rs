//! `minidock pull`, and the pull that `run` does by itself.

use std::io::Write;

use clap::Args;
use minidock_engine::oci::{Platform, Reference, ReferenceError};
use minidock_engine::{PullOptions, Pulled};

use super::common::{each, platform, print};
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::{Progress, Stream};

#[derive(Debug, Args)]
pub struct PullArgs {
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Pull for this platform, if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Image references: `NAME[:TAG]` or `NAME@DIGEST`
    #[arg(required = true, value_name = "NAME")]
    pub images: Vec<String>,
}

/// `minidock pull`.
pub fn pull(place: &Place, args: PullArgs) -> Result<u8, Failure> {
    let platform = args
        .platform
        .as_deref()
        .map(|p| platform(Some(p)))
        .transpose()?;
    each(&args.images, |image| {
        let reference: Reference = image
            .parse()
            .map_err(|e: ReferenceError| Failure::new(e.to_string()))?;
        if args.quiet {
            bring(place, &reference, platform.as_ref(), &Progress::quiet())?;
            return print(&format!("{reference}\n"));
        }
        if Reference::tag_is_implied(image) {
            print("Using default tag: latest\n")?;
        }
        let pulled = bring(
            place,
            &reference,
            platform.as_ref(),
            &Progress::new(Stream::Stdout),
        )?;
        print(&summary(&reference, &pulled))?;
        print(&format!("{reference}\n"))
    })
}

/// The pull of a missing image for `run`: everything on standard error.
pub fn for_run(
    place: &Place,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<(), Failure> {
    let pulled = bring(place, reference, platform, &Progress::new(Stream::Stderr))?;
    std::io::stderr().write_all(summary(reference, &pulled).as_bytes())?;
    Ok(())
}

fn bring(
    place: &Place,
    reference: &Reference,
    platform: Option<&Platform>,
    progress: &Progress,
) -> Result<Pulled, Failure> {
    let options = PullOptions {
        platform: platform.cloned(),
        ..place.pull_options()
    };
    let pulled = place
        .engine()?
        .pull(reference, &options, &|event| progress.show(event));
    progress.end();
    Ok(pulled?)
}

fn summary(reference: &Reference, pulled: &Pulled) -> String {
    let status = if pulled.new {
        "Downloaded newer image for"
    } else {
        "Image is up to date for"
    };
    format!(
        "Digest: {}\nStatus: {status} {}\n",
        pulled.digest,
        reference.familiar()
    )
}
