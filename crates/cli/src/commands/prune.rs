//! `image prune`, `container prune` and `system prune`.

use std::io::BufRead;

use clap::Args;
use minidock_engine::{PruneFilters, Pruned, Removed};

use super::common::print;
use crate::failure::Failure;
use crate::filters::Filters;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
pub struct ImagePruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Only what fits: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerPruneArgs {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Only what fits: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SystemPruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    pub volumes: bool,
    /// Only what fits: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
}

const STOPPED: &str = "all stopped containers";
const DANGLING: &str = "all dangling images";
const UNUSED: &str = "all images without at least one container associated to them";

/// `minidock image prune`.
pub fn images(place: &Place, args: ImagePruneArgs) -> Result<u8, Failure> {
    let given = Filters::parse(&args.filter, &["dangling", "until", "label", "label!"])?;
    let all = args.all || given.flag("dangling")? == Some(false);
    let filters = filters(&given)?;
    let what = if all { UNUSED } else { DANGLING };
    if !args.force && !confirmed(&format!("WARNING! This will remove {what}.\n"))? {
        return Ok(0);
    }
    told(&place.engine()?.prune_images(&filters, all)?)
}

/// `minidock container prune`.
pub fn containers(place: &Place, args: ContainerPruneArgs) -> Result<u8, Failure> {
    let given = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    let filters = filters(&given)?;
    if !args.force && !confirmed(&format!("WARNING! This will remove {STOPPED}.\n"))? {
        return Ok(0);
    }
    told(&place.engine()?.prune_containers(&filters)?)
}

/// `minidock system prune`.
pub fn system(place: &Place, args: SystemPruneArgs) -> Result<u8, Failure> {
    let given = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    if args.volumes && !given.all("until").is_empty() {
        return Err(Failure::new(
            "the \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let filters = filters(&given)?;
    let what = if args.all { UNUSED } else { DANGLING };
    let volumes = match args.volumes {
        true => "  - all anonymous volumes not used by at least one container\n",
        false => "",
    };
    let mut warning = format!("WARNING! This will remove:\n  - {STOPPED}\n{volumes}  - {what}\n\n");
    if !args.filter.is_empty() {
        warning += "  Items to be pruned will be filtered with:\n";
        let mut filters = args.filter.clone();
        filters.sort();
        warning.extend(filters.iter().map(|filter| format!("  - {filter}\n")));
        warning.push('\n');
    }
    if !args.force && !confirmed(&warning)? {
        return Ok(0);
    }
    let engine = place.engine()?;
    let containers = engine.prune_containers(&filters)?;
    let volumes = match args.volumes {
        true => engine.prune_volumes(false)?,
        false => Pruned::default(),
    };
    let images = engine.prune_images(&filters, args.all)?;
    told(&Pruned {
        containers: containers.containers,
        volumes: volumes.volumes,
        images: images.images,
        bytes: containers.bytes + volumes.bytes + images.bytes,
    })
}

fn filters(given: &Filters) -> Result<PruneFilters, Failure> {
    Ok(PruneFilters {
        until: given.until()?,
        labels: given.labels(),
    })
}

/// Asks, and takes nothing but `y` for a yes.
pub fn confirmed(warning: &str) -> Result<bool, Failure> {
    print(&format!(
        "{warning}Are you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    // What cannot be read is no yes.
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim().eq_ignore_ascii_case("y"))
}

/// Says what went, and what that gives back.
pub fn told(pruned: &Pruned) -> Result<u8, Failure> {
    let mut text = String::new();
    if !pruned.containers.is_empty() {
        text += "Deleted Containers:\n";
        text.extend(pruned.containers.iter().map(|id| format!("{id}\n")));
        text.push('\n');
    }
    if !pruned.volumes.is_empty() {
        text += "Deleted Volumes:\n";
        text.extend(pruned.volumes.iter().map(|name| format!("{name}\n")));
        text.push('\n');
    }
    if !pruned.images.is_empty() {
        text += "Deleted Images:\n";
        text.extend(pruned.images.iter().map(|removed| match removed {
            Removed::Untagged(name) => format!("untagged: {name}\n"),
            Removed::Deleted(digest) => format!("deleted: {digest}\n"),
        }));
        text.push('\n');
    }
    text += &format!("Total reclaimed space: {}\n", units::size_4(pruned.bytes));
    print(&text)?;
    Ok(0)
}
