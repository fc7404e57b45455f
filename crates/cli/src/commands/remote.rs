//! `minidock tags` and `minidock manifest inspect`: looking at a registry without pulling.

use clap::Args;
use minidock_engine::oci::Reference;
use minidock_engine::{Event, remote_document, remote_tags};

use super::common::{print, reference};
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::{Progress, Stream, Style};

#[derive(Debug, Args)]
pub struct TagsArgs {
    /// A repository, with its registry where it is not Docker Hub's
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
}

#[derive(Debug, Args)]
pub struct ManifestInspectArgs {
    /// Also print the digest, beside the manifest
    #[arg(short, long)]
    pub verbose: bool,
    /// Image name
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Only what goes wrong on the way is shown.
pub fn weather() -> impl Fn(Event) + Sync {
    let progress = Progress::new(Style::Auto, Stream::Stderr);
    move |event| progress.show(event)
}

/// `minidock tags`: one a line.
pub fn tags(place: &Place, args: TagsArgs) -> Result<u8, Failure> {
    let reference = reference(&args.repository)?;
    if !Reference::tag_is_implied(&args.repository) {
        return Err(Failure::usage(format!(
            "{} names one image; a repository is needed, without tag or digest",
            args.repository
        )));
    }
    let tags = remote_tags(&reference, &place.pull_options()?, &weather())
        .map_err(minidock_engine::Error::from)?;
    let lines = tags.iter().map(|tag| {
        let clean = tag
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c });
        clean.chain(['\n']).collect::<String>()
    });
    print(&lines.collect::<String>())?;
    Ok(0)
}

/// `minidock manifest inspect`: the index or manifest that the reference names.
pub fn manifest_inspect(place: &Place, args: ManifestInspectArgs) -> Result<u8, Failure> {
    let reference = reference(&args.image)?;
    let (digest, bytes) = remote_document(&reference, &place.pull_options()?, &weather())
        .map_err(minidock_engine::Error::from)?;
    let failed = |e| Failure::new("cannot show the manifest").caused_by(e);
    let mut shown: serde_json::Value = serde_json::from_slice(&bytes).map_err(failed)?;
    if args.verbose {
        shown = serde_json::json!({
            "Ref": reference.to_string(),
            "Digest": digest.to_string(),
            "Manifest": shown,
        });
    }
    print(&indented(&shown).map_err(failed)?)?;
    Ok(0)
}

fn indented(value: &serde_json::Value) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}
