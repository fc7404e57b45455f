//! `minidock pull`, and the pull that `run` does by itself.

use std::io::Write;

use clap::Args;
use minidock_engine::oci::{Platform, Reference};
use minidock_engine::{Bounds, Engine, PullOptions, Pulled, remote_tags};
use serde_json::json;

use super::common::{each, not_a_reference, platform, print, reference};
use crate::bounds::BoundFlags;
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::{Progress, Stream, Style, failed, outcome};

#[derive(Debug, Args)]
pub struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Download the images for all platforms, and what the index says about them
    #[arg(long)]
    pub all_platforms: bool,
    /// Only print what was pulled: its reference, or with `--progress json` the result as an object
    #[arg(short, long)]
    pub quiet: bool,
    /// How progress is shown: bars on a terminal, lines, or JSON messages for programs
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub progress: Style,
    /// Layers that are fetched at the same time
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_concurrent_downloads: Option<u8>,
    /// Pull for this platform, if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    #[command(flatten)]
    pub bounds: BoundFlags,
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
    let how = PullOptions {
        platform,
        all_platforms: args.all_platforms,
        bounds: args.bounds.bounds()?,
        max_concurrent: args
            .max_concurrent_downloads
            .map_or(PullOptions::default().max_concurrent, usize::from),
        ..place.pull_options()?
    };
    let shown = Shown {
        style: args.progress,
        quiet: args.quiet,
    };
    each(&args.images, |image| {
        let result = if args.all_tags {
            pull_all(place, image, &how, shown)
        } else {
            pull_typed(place, image, &how, shown)
        };
        if let (Err(failure), Style::Json) = (&result, args.progress) {
            print(&failed(failure.message()))?;
        }
        result
    })
}

/// What is printed of a pull.
#[derive(Clone, Copy, Debug)]
struct Shown {
    style: Style,
    quiet: bool,
}

fn pull_typed(place: &Place, image: &str, how: &PullOptions, shown: Shown) -> Result<(), Failure> {
    if !shown.quiet
        && shown.style != Style::Json
        && image.parse::<Reference>().is_ok()
        && Reference::tag_is_implied(image)
    {
        print("Using default tag: latest\n")?;
    }
    pull_one(place, image, how, shown)
}

fn pull_one(place: &Place, image: &str, how: &PullOptions, shown: Shown) -> Result<(), Failure> {
    let progress = || match shown.quiet {
        true => Progress::quiet(),
        false => Progress::new(shown.style, Stream::Stdout),
    };
    let (reference, pulled) = bring(place, image, how, &progress)?;
    let words = match shown.quiet {
        true => String::new(),
        false => summary(&reference, &pulled),
    };
    match shown.style {
        Style::Json => print(&outcome(
            &words,
            &json!({
                "Reference": reference.to_string(),
                "Digest": pulled.digest.to_string(),
                "ID": pulled.image_id.to_string(),
                "New": pulled.new,
                "Previous": pulled.before.as_ref().map(ToString::to_string),
            }),
        )),
        Style::Auto | Style::Plain => print(&format!("{words}{reference}\n")),
    }
}

/// All tags of a repository, in order.
fn pull_all(place: &Place, image: &str, how: &PullOptions, shown: Shown) -> Result<(), Failure> {
    let reference = reference(image)?;
    if !Reference::tag_is_implied(image) {
        return Err(Failure::usage(
            "a tag or digest cannot be used with --all-tags",
        ));
    }
    let progress = Progress::new(Style::Auto, Stream::Stderr);
    let tags = remote_tags(&reference, how, &|event| progress.show(event))
        .map_err(minidock_engine::Error::from)?;
    progress.end();
    for tag in tags {
        pull_one(place, &format!("{}:{tag}", reference.name()), how, shown)?;
    }
    Ok(())
}

/// The pull of a missing image for `run`: everything on standard error.
pub fn for_run(
    place: &Place,
    image: &str,
    platform: Option<&Platform>,
    quiet: bool,
    bounds: Bounds,
) -> Result<(), Failure> {
    let how = PullOptions {
        platform: platform.cloned(),
        bounds,
        ..place.pull_options()?
    };
    let progress = || match quiet {
        true => Progress::quiet(),
        false => Progress::new(Style::Auto, Stream::Stderr),
    };
    let (reference, pulled) = bring(place, image, &how, &progress)?;
    if !quiet {
        std::io::stderr().write_all(summary(&reference, &pulled).as_bytes())?;
    }
    Ok(())
}

/// What `registries.conf` lets a name without a registry mean, if the store has one of these.
pub fn searched(place: &Place, engine: &Engine, image: &str) -> Result<Option<String>, Failure> {
    let Ok(candidates) = place.pull_options()?.registries.candidates(image) else {
        return Ok(None);
    };
    for candidate in candidates {
        let name = candidate.to_string();
        if engine.has_image(&name)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Pulls what a text names: from the first of the registries that it may mean and that has it.
fn bring(
    place: &Place,
    image: &str,
    how: &PullOptions,
    progress: &dyn Fn() -> Progress,
) -> Result<(Reference, Pulled), Failure> {
    let mut candidates = how
        .registries
        .candidates(image)
        .map_err(not_a_reference)?
        .into_iter()
        .peekable();
    while let Some(reference) = candidates.next() {
        let progress = progress();
        let result = place
            .engine()?
            .pull(&reference, how, &|event| progress.show(event));
        progress.end();
        match result {
            Ok(pulled) => return Ok((reference, pulled)),
            Err(error) if candidates.peek().is_some() => {
                progress.say(&format!("{reference}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(format!("no registry is named for {image}")))
}

fn summary(reference: &Reference, pulled: &Pulled) -> String {
    let status = if pulled.new {
        "Downloaded newer image for"
    } else {
        "Image is up to date for"
    };
    let moved = match (&pulled.before, reference.tag()) {
        (Some(before), Some(tag)) => format!("{tag}: moved from {before} to {}\n", pulled.digest),
        _ => String::new(),
    };
    format!(
        "Digest: {}\n{moved}Status: {status} {}\n",
        pulled.digest,
        reference.familiar()
    )
}
