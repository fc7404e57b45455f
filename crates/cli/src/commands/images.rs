//! `minidock images`.

use clap::Args;
use minidock_engine::oci::Reference;
use minidock_engine::{ImageRecord, familiar};

use super::common::print;
use crate::failure::Failure;
use crate::output::table;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only this repository or reference
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

/// `minidock images`.
pub fn images(place: &Place, args: ImagesArgs) -> Result<u8, Failure> {
    let wanted = match &args.reference {
        Some(text) => {
            let reference: Reference = text
                .parse()
                .map_err(|e: minidock_engine::oci::ReferenceError| Failure::usage(e.to_string()))?;
            Some((reference, Reference::tag_is_implied(text)))
        }
        None => None,
    };
    let matches = |r: &ImageRecord| match &wanted {
        None => true,
        Some((reference, any_tag)) => {
            r.repository.as_deref() == Some(&reference.name())
                && (*any_tag || r.tag.as_deref() == reference.tag())
        }
    };
    let now = units::now();
    let mut header = vec!["REPOSITORY", "TAG"];
    if args.digests {
        header.push("DIGEST");
    }
    header.extend(["IMAGE ID", "CREATED", "SIZE"]);
    let mut rows: Vec<Vec<String>> = vec![header.into_iter().map(str::to_owned).collect()];
    let mut ids: Vec<String> = Vec::new();
    for image in place.engine()?.images()?.iter().filter(|r| matches(r)) {
        let id = if args.no_trunc {
            image.image_id.to_string()
        } else {
            image.image_id.short().to_owned()
        };
        let none = || "<none>".to_owned();
        let mut row = vec![
            image.repository.as_deref().map_or_else(none, familiar),
            image.tag.clone().unwrap_or_else(none),
        ];
        if args.digests {
            row.push(image.digest.as_ref().map_or_else(none, ToString::to_string));
        }
        row.extend([
            id.clone(),
            units::age(&image.created, now),
            units::size(image.size),
        ]);
        rows.push(row);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if args.quiet {
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    } else {
        print(&table(&rows))?;
    }
    Ok(0)
}
