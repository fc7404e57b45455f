//! `minidock push`.

use clap::Args;
use minidock_engine::Pushed;
use minidock_engine::oci::{Reference, ReferenceError};

use super::common::print;
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::{Progress, Stream};

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Image name and tag
    #[arg(value_name = "NAME[:TAG]")]
    pub image: String,
}

/// `minidock push`.
pub fn push(place: &Place, args: PushArgs) -> Result<u8, Failure> {
    let reference: Reference = args
        .image
        .parse()
        .map_err(|e: ReferenceError| Failure::new(e.to_string()))?;
    let implied = Reference::tag_is_implied(&args.image);
    if args.all_tags && !implied {
        return Err(Failure::usage("a tag cannot be used with --all-tags"));
    }
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference")
            .hint("push a tag; the registry computes the same digest"));
    }
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
        if implied && !args.quiet {
            print("Using default tag: latest\n")?;
        }
        vec![reference.clone()]
    };
    if !args.quiet {
        print(&format!(
            "The push refers to repository [{}]\n",
            reference.name()
        ))?;
    }
    let options = place.pull_options()?;
    for reference in references {
        let progress = if args.quiet {
            Progress::quiet()
        } else {
            Progress::new(Stream::Stdout)
        };
        let pushed = place.engine()?.push(&reference, &options, &|event| {
            progress.show(event);
        });
        progress.end();
        let pushed = pushed?;
        print(&if args.quiet {
            format!("{reference}\n")
        } else {
            summary(&reference, &pushed)
        })?;
    }
    Ok(0)
}

/// Docker's last line, and what the tag named before if it moved.
fn summary(reference: &Reference, pushed: &Pushed) -> String {
    let tag = reference.tag().unwrap_or("latest");
    let mut text = format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size);
    if let Some(before) = &pushed.before {
        text.push_str(&format!("{tag}: moved, it was {before}\n"));
    }
    text
}
