//! `minidock push`.

use clap::Args;
use minidock_engine::oci::Reference;
use minidock_engine::{PullOptions, Pushed, Which};
use serde_json::json;

use super::common::{platform, print, reference};
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::{Progress, Stream, Style, failed, outcome};

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Push the index with the images for all platforms, or nothing
    #[arg(long, conflicts_with = "platform")]
    pub all_platforms: bool,
    /// Push the image for this platform only, without an index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Only print what was pushed: its reference, or with `--progress json` the result as an object
    #[arg(short, long)]
    pub quiet: bool,
    /// How progress is shown: bars on a terminal, lines, or JSON messages for programs
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub progress: Style,
    /// Image name and tag
    #[arg(value_name = "NAME[:TAG]")]
    pub image: String,
}

/// `minidock push`.
pub fn push(place: &Place, args: PushArgs) -> Result<u8, Failure> {
    let result = push_typed(place, &args);
    if let (Err(failure), Style::Json) = (&result, args.progress) {
        print(&failed(failure.message()))?;
    }
    result.map(|()| 0)
}

fn push_typed(place: &Place, args: &PushArgs) -> Result<(), Failure> {
    let reference = reference(&args.image)?;
    let implied = Reference::tag_is_implied(&args.image);
    if args.all_tags && !implied {
        return Err(Failure::usage("a tag cannot be used with --all-tags"));
    }
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference")
            .hint("push a tag; the registry computes the same digest"));
    }
    let words = !args.quiet && args.progress != Style::Json;
    let references = if args.all_tags {
        let tags = place.engine()?.tags(&reference)?;
        if tags.is_empty() {
            return Err(Failure::new(format!(
                "an image does not exist locally with the name: {}",
                reference.familiar_name()
            )));
        }
        tags
    } else {
        if implied && words {
            print("Using default tag: latest\n")?;
        }
        vec![reference.clone()]
    };
    let start = format!("The push refers to repository [{}]", reference.name());
    if words {
        print(&format!("{start}\n"))?;
    } else if !args.quiet {
        Progress::new(args.progress, Stream::Stdout).say(&start);
    }
    let options = place.pull_options()?;
    let which = match &args.platform {
        Some(text) => Which::Platform(platform(Some(text))?),
        None if args.all_platforms => Which::All,
        None => Which::Available,
    };
    for reference in references {
        push_one(place, args, &reference, &which, &options)?;
    }
    Ok(())
}

fn push_one(
    place: &Place,
    args: &PushArgs,
    reference: &Reference,
    which: &Which,
    options: &PullOptions,
) -> Result<(), Failure> {
    let progress = match args.quiet {
        true => Progress::quiet(),
        false => Progress::new(args.progress, Stream::Stdout),
    };
    let pushed = place.engine()?.push(reference, which, options, &|event| {
        progress.show(event);
    });
    progress.end();
    let pushed = pushed?;
    let words = summary(reference, &pushed);
    match (args.progress, args.quiet) {
        (Style::Json, quiet) => print(&outcome(
            if quiet { "" } else { &words },
            &json!({
                "Reference": reference.to_string(),
                "Tag": reference.tag(),
                "Digest": pushed.digest.to_string(),
                "Size": pushed.size,
                "Previous": pushed.before.as_ref().map(ToString::to_string),
            }),
        )),
        (_, true) => print(&format!("{reference}\n")),
        (_, false) => print(&words),
    }
}

/// Docker's last line, and what the tag named before if it moved.
fn summary(reference: &Reference, pushed: &Pushed) -> String {
    let tag = reference.tag().unwrap_or("latest");
    let mut text = format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size);
    if let Some(before) = &pushed.before {
        text.push_str(&format!(
            "{tag}: moved from {before} to {}\n",
            pushed.digest
        ));
    }
    text
}
