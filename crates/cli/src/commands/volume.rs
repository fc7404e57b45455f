//! `minidock volume …`.

use std::collections::BTreeMap;

use clap::Args;
use minidock_engine::VolumeLine;

use super::common::{each, print};
use super::inspect::show;
use super::prune::{confirmed, told};
use crate::failure::Failure;
use crate::format::{Column, List};
use crate::place::Place;

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Volume driver; the only one is local
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub driver: String,
    /// Set meta data
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Driver options: the driver local has none here
    #[arg(short, long, value_name = "KEY=VALUE", hide = true)]
    pub opt: Vec<String>,
    /// The name; made up when none is given
    pub volume: Option<String>,
}

/// `minidock volume create`.
pub fn create(place: &Place, args: CreateArgs) -> Result<u8, Failure> {
    if !matches!(args.driver.as_str(), "local" | "") {
        return Err(Failure::new(format!(
            "volume driver {:?} is not supported",
            args.driver
        ))
        .hint("volumes are folders of the store; mount other things on the host, and give them with -v"));
    }
    if let Some(option) = args.opt.first() {
        return Err(
            Failure::new(format!("volume option {option:?} is not supported"))
                .hint("mount it on the host, and give it with -v; for memory there is --tmpfs"),
        );
    }
    let labels = labels(&args.label);
    let name = place
        .engine()?
        .create_volume(args.volume.as_deref(), labels)?;
    print(&format!("{name}\n"))?;
    Ok(0)
}

fn labels(given: &[String]) -> BTreeMap<String, String> {
    let split = |label: &String| match label.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (label.clone(), String::new()),
    };
    given.iter().map(split).collect()
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only display names
    #[arg(short, long)]
    pub quiet: bool,
    /// Filter: dangling=true|false, name=PART, label=KEY[=VALUE], driver=local
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

const COLUMNS: [Column<VolumeLine>; 5] = [
    Column {
        name: "Driver",
        header: "DRIVER",
        value: |_| "local".to_owned(),
    },
    Column {
        name: "Name",
        header: "VOLUME NAME",
        value: |v| v.record.name.clone(),
    },
    Column {
        name: "Scope",
        header: "SCOPE",
        value: |_| "local".to_owned(),
    },
    Column {
        name: "Mountpoint",
        header: "MOUNTPOINT",
        value: |v| v.mountpoint.display().to_string(),
    },
    Column {
        name: "Labels",
        header: "LABELS",
        value: |v| {
            let labels = v.record.labels.iter();
            let pairs: Vec<String> = labels.map(|(k, v)| format!("{k}={v}")).collect();
            pairs.join(",")
        },
    },
];

const LIST: List<'static, VolumeLine> = List {
    columns: &COLUMNS,
    default: &["Driver", "Name"],
    instead: &[],
    methods: &[("Label", |v| v.record.labels.clone())],
};

/// `minidock volume ls`.
pub fn ls(place: &Place, args: LsArgs) -> Result<u8, Failure> {
    let mut volumes = place.engine()?.volumes()?;
    for filter in &args.filter {
        let keep = matcher(filter)?;
        volumes.retain(|volume| keep(volume));
    }
    let names = volumes.iter().map(|v| v.record.name.as_str());
    let format = args
        .format
        .as_deref()
        .filter(|f| !f.is_empty() && *f != "table");
    let text = if let Some(format) = format.filter(|_| !args.quiet) {
        LIST.render(Some(format), &volumes)?
    } else if args.quiet {
        names.map(|name| format!("{name}\n")).collect::<String>()
    } else {
        std::iter::once("DRIVER    VOLUME NAME\n".to_owned())
            .chain(names.map(|name| format!("local     {name}\n")))
            .collect()
    };
    print(&text)?;
    Ok(0)
}

type Matcher = Box<dyn Fn(&VolumeLine) -> bool>;

fn matcher(filter: &str) -> Result<Matcher, Failure> {
    let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
    let value = value.to_owned();
    Ok(match key {
        "dangling" => {
            let wanted = match value.as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(Failure::new(format!("invalid filter '{filter}'"))),
            };
            Box::new(move |volume| volume.dangling == wanted)
        }
        "name" => Box::new(move |volume| volume.record.name.contains(&value)),
        "driver" => Box::new(move |_| value == "local"),
        "label" => Box::new(move |volume| match value.split_once('=') {
            Some((name, value)) => {
                volume.record.labels.get(name).map(String::as_str) == Some(value)
            }
            None => volume.record.labels.contains_key(&value),
        }),
        _ => {
            return Err(Failure::new(format!("invalid filter '{key}'"))
                .hint("dangling, driver, label and name are"));
        }
    })
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Volume names
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,
}

/// `minidock volume inspect`.
pub fn inspect(place: &Place, args: InspectArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    let find = |name: &str| super::inspect::volume(&engine, name);
    show(&args.volumes, args.format.as_deref(), find)
}

/// A volume as `inspect` shows it.
pub fn json(volume: &VolumeLine) -> serde_json::Value {
    let created = i64::try_from(volume.record.created).unwrap_or_default();
    let created = jiff::Timestamp::from_second(created).unwrap_or_default();
    let labels = (!volume.record.labels.is_empty()).then_some(&volume.record.labels);
    serde_json::json!({
        "CreatedAt": created.to_string(),
        "Driver": "local",
        "Labels": labels,
        "Mountpoint": volume.mountpoint,
        "Name": volume.record.name,
        "Options": null,
        "Scope": "local",
    })
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// A volume that does not exist is no failure
    #[arg(short, long)]
    pub force: bool,
    /// Volume names
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,
}

/// `minidock volume rm`.
pub fn rm(place: &Place, args: RmArgs) -> Result<u8, Failure> {
    use minidock_engine::{Error, StoreError};
    let engine = place.engine()?;
    each(&args.volumes, |name| {
        match engine.remove_volume(name) {
            Err(Error::Store(StoreError::NoSuchVolume(_))) if args.force => {}
            result => result?,
        }
        print(&format!("{name}\n"))
    })
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove unused named volumes as well
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `minidock volume prune`.
pub fn prune(place: &Place, args: PruneArgs) -> Result<u8, Failure> {
    let which = if args.all { "local" } else { "anonymous local" };
    let warning =
        format!("WARNING! This will remove {which} volumes not used by at least one container.\n");
    if !args.force && !confirmed(&warning)? {
        return Ok(0);
    }
    told(&place.engine()?.prune_volumes(args.all)?)
}
