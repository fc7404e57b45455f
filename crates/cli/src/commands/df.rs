//! `minidock system df`.

use clap::Args;
use minidock_engine::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};

use super::common::print;
use super::ps;
use crate::failure::Failure;
use crate::format::{Column, List};
use crate::output::for_stdout;
use crate::place::Place;
use crate::{times, units};

#[derive(Debug, Args)]
pub struct DfArgs {
    /// Show detailed information on space usage
    #[arg(short, long)]
    pub verbose: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// A kind of thing, and what all of it takes.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

const KINDS: List<'static, Kind> = List {
    columns: &[
        Column {
            name: "Type",
            header: "TYPE",
            value: |k| k.name.to_owned(),
        },
        Column {
            name: "TotalCount",
            header: "TOTAL",
            value: |k| k.total.to_string(),
        },
        Column {
            name: "Active",
            header: "ACTIVE",
            value: |k| k.active.to_string(),
        },
        Column {
            name: "Size",
            header: "SIZE",
            value: |k| units::size_4(k.size),
        },
        Column {
            name: "Reclaimable",
            header: "RECLAIMABLE",
            value: reclaimable,
        },
    ],
    default: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
    instead: &[],
    methods: &[],
};

fn reclaimable(kind: &Kind) -> String {
    let size = units::size_4(kind.reclaimable);
    if kind.size == 0 {
        return size;
    }
    let percent = u128::from(kind.reclaimable) * 100 / u128::from(kind.size);
    format!("{size} ({percent}%)")
}

/// A name of an image, and what the image takes.
struct ImageRow {
    repository: String,
    tag: String,
    usage: ImageUsage,
}

const IMAGES: List<'static, ImageRow> = List {
    columns: &[
        Column {
            name: "Repository",
            header: "REPOSITORY",
            value: |r| r.repository.clone(),
        },
        Column {
            name: "Tag",
            header: "TAG",
            value: |r| r.tag.clone(),
        },
        Column {
            name: "ID",
            header: "IMAGE ID",
            value: |r| r.usage.image.id.short().to_owned(),
        },
        Column {
            name: "CreatedSince",
            header: "CREATED",
            value: |r| times::since(r.usage.image.created),
        },
        Column {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |r| times::long(r.usage.image.created),
        },
        Column {
            name: "Size",
            header: "SIZE",
            value: |r| units::size(r.usage.size),
        },
        Column {
            name: "SharedSize",
            header: "SHARED SIZE",
            value: |r| units::size_4(r.usage.shared),
        },
        Column {
            name: "UniqueSize",
            header: "UNIQUE SIZE",
            value: |r| units::size_4(r.usage.size.saturating_sub(r.usage.shared)),
        },
        Column {
            name: "Containers",
            header: "CONTAINERS",
            value: |r| r.usage.containers.to_string(),
        },
    ],
    default: &[
        "Repository",
        "Tag",
        "ID",
        "CreatedSince",
        "Size",
        "SharedSize",
        "UniqueSize",
        "Containers",
    ],
    instead: &[],
    methods: &[],
};

const CONTAINERS: List<'static, ContainerUsage> = List {
    columns: &[
        Column {
            name: "ID",
            header: "CONTAINER ID",
            value: |u| u.line.state.id.chars().take(12).collect(),
        },
        Column {
            name: "Image",
            header: "IMAGE",
            value: |u| u.line.state.image.clone(),
        },
        Column {
            name: "Command",
            header: "COMMAND",
            value: |u| ps::shown_command(&u.line.state.command, false),
        },
        Column {
            name: "LocalVolumes",
            header: "LOCAL VOLUMES",
            value: |u| ps::volumes(&u.line).to_string(),
        },
        Column {
            name: "Size",
            header: "SIZE",
            value: |u| units::size(u.size),
        },
        Column {
            name: "RunningFor",
            header: "CREATED",
            value: |u| times::since(times::at(u.line.state.created)),
        },
        Column {
            name: "Status",
            header: "STATUS",
            value: |u| ps::status(&u.line),
        },
        Column {
            name: "Names",
            header: "NAMES",
            value: |u| u.line.state.name.clone(),
        },
    ],
    default: &[
        "ID",
        "Image",
        "Command",
        "LocalVolumes",
        "Size",
        "RunningFor",
        "Status",
        "Names",
    ],
    instead: &[],
    methods: &[],
};

const VOLUMES: List<'static, VolumeUsage> = List {
    columns: &[
        Column {
            name: "Name",
            header: "VOLUME NAME",
            value: |u| u.name.clone(),
        },
        Column {
            name: "Links",
            header: "LINKS",
            value: |u| u.containers.to_string(),
        },
        Column {
            name: "Size",
            header: "SIZE",
            value: |u| units::size_4(u.size),
        },
        Column {
            name: "Driver",
            header: "DRIVER",
            value: |_| "local".to_owned(),
        },
        Column {
            name: "Scope",
            header: "SCOPE",
            value: |_| "local".to_owned(),
        },
    ],
    default: &["Name", "Links", "Size"],
    instead: &[],
    methods: &[],
};

/// `minidock system df`.
pub fn df(place: &Place, args: DfArgs) -> Result<u8, Failure> {
    let usage = place.engine()?.disk_usage()?;
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let text = match (args.verbose, format) {
        (false, format) => KINDS.render(format, &kinds(&usage))?,
        (true, None | Some("table")) => details(usage)?,
        (true, Some("json")) => json(usage)?,
        (true, Some(_)) => {
            return Err(Failure::new(
                "with --verbose the format is 'table' or 'json'",
            ));
        }
    };
    print(&for_stdout(text))?;
    Ok(0)
}

fn kinds(usage: &DiskUsage) -> [Kind; 4] {
    let stopped = usage.containers.iter().filter(|c| !c.line.running);
    let unused = usage.volumes.iter().filter(|v| v.containers == 0);
    [
        Kind {
            name: "Images",
            total: usage.images.len(),
            active: usage.images.iter().filter(|i| i.containers > 0).count(),
            size: usage.images_size,
            reclaimable: usage.images_reclaimable,
        },
        Kind {
            name: "Containers",
            total: usage.containers.len(),
            active: usage.containers.iter().filter(|c| c.line.running).count(),
            size: usage.containers.iter().map(|c| c.size).sum(),
            reclaimable: stopped.map(|c| c.size).sum(),
        },
        Kind {
            name: "Local Volumes",
            total: usage.volumes.len(),
            active: usage.volumes.iter().filter(|v| v.containers > 0).count(),
            size: usage.volumes.iter().map(|v| v.size).sum(),
            reclaimable: unused.map(|v| v.size).sum(),
        },
        Kind {
            name: "Build Cache",
            total: 0,
            active: 0,
            size: 0,
            reclaimable: 0,
        },
    ]
}

fn image_rows(images: Vec<ImageUsage>) -> Vec<ImageRow> {
    let rows = images.into_iter().flat_map(|usage| {
        let mut names: Vec<(String, String)> = usage.image.tags.iter().cloned().collect();
        if names.is_empty() {
            let repository = usage
                .image
                .digests
                .iter()
                .next()
                .map(|(name, _)| name.clone());
            let none = || "<none>".to_owned();
            names.push((repository.unwrap_or_else(none), none()));
        }
        names.into_iter().map(move |(repository, tag)| ImageRow {
            repository,
            tag,
            usage: usage.clone(),
        })
    });
    rows.collect()
}

fn details(usage: DiskUsage) -> Result<String, Failure> {
    let containers = CONTAINERS.render(None, &usage.containers)?;
    let volumes = VOLUMES.render(None, &usage.volumes)?;
    let images = IMAGES.render(None, &image_rows(usage.images))?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\n\
         Local Volumes space usage:\n\n{volumes}\n\
         Build cache usage: 0B\n\n\
         CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n"
    ))
}

fn json(usage: DiskUsage) -> Result<String, Failure> {
    let list = |lines: String| lines.lines().collect::<Vec<_>>().join(",");
    let images = list(IMAGES.render(Some("json"), &image_rows(usage.images))?);
    let containers = list(CONTAINERS.render(Some("json"), &usage.containers)?);
    let volumes = list(VOLUMES.render(Some("json"), &usage.volumes)?);
    Ok(format!(
        "{{\"Images\":[{images}],\"Containers\":[{containers}],\"Volumes\":[{volumes}],\"BuildCache\":[]}}\n"
    ))
}
