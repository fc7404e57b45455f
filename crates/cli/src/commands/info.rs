//! `minidock info`.

use clap::Args;
use minidock_engine::{IdExtent, Info};

use super::common::print;
use crate::failure::Failure;
use crate::format::json::{Json, Object};
use crate::format::parsing;
use crate::format::template::Template;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `minidock info`.
pub fn info(place: &Place, args: InfoArgs) -> Result<u8, Failure> {
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(format) => {
            let template = Template::parse(format, &[]);
            Some(template.map_err(|fault| parsing(&fault).code(64))?)
        }
    };
    let info = place.engine()?.info()?;
    let text = match (template, args.format.as_deref()) {
        (Some(template), _) => {
            template
                .render(&object(&info))
                .map_err(|fault| parsing(&fault))?
                + "\n"
        }
        (None, Some("json")) => object(&info).compact() + "\n",
        (None, _) => page(&info),
    };
    print(&text)?;
    Ok(0)
}

/// Where each range of ids lies: `0 -> 1000, 1-65536 -> 100000`.
fn ranges(map: &[IdExtent]) -> String {
    let one = |e: &IdExtent| match e.size {
        1 => format!("{} -> {}", e.container, e.host),
        size => format!("{}-{} -> {}", e.container, e.container + (size - 1), e.host),
    };
    map.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Key and value pairs about the storage driver.
fn driver_status(info: &Info) -> Vec<(&'static str, String)> {
    let mut status = vec![("Backing Filesystem", info.file_system.clone())];
    if let Some(program) = &info.program {
        status.push(("Program", program.display().to_string()));
    }
    status.extend(info.reasons.iter().map(|r| ("Not Used", r.clone())));
    status
}

fn security_options(info: &Info) -> Vec<&'static str> {
    let mut options = vec!["name=userns", "name=no-new-privileges", "name=cgroupns"];
    if info.rootless {
        options.insert(0, "name=rootless");
    }
    options
}

/// What is done where there is one id, and what is not.
fn root_emulation(info: &Info) -> String {
    match &info.no_root_emulation {
        None => "on (chown, setuid and the like are answered; files stay yours)".to_owned(),
        Some(why) => format!("off ({why})"),
    }
}

/// As Docker prints it, as far as it has a meaning here.
fn page(info: &Info) -> String {
    let mut text = String::new();
    let mut line = |depth: usize, key: &str, value: &str| {
        let indent = " ".repeat(depth);
        text.push_str(&if value.is_empty() {
            format!("{indent}{key}:\n")
        } else {
            format!("{indent}{key}: {value}\n")
        });
    };
    line(0, "Containers", &(info.running + info.stopped).to_string());
    line(1, "Running", &info.running.to_string());
    line(1, "Paused", "0");
    line(1, "Stopped", &info.stopped.to_string());
    line(0, "Images", &info.images.to_string());
    line(0, "Version", env!("CARGO_PKG_VERSION"));
    line(0, "Storage Driver", info.driver.as_str());
    for (key, value) in driver_status(info) {
        line(1, key, &value);
    }
    line(0, "ID Map", &info.id_map.map.to_string());
    if !info.id_map.uids.is_empty() {
        line(1, "Users", &ranges(&info.id_map.uids));
        line(1, "Groups", &ranges(&info.id_map.gids));
    }
    line(0, "Root Emulation", &root_emulation(info));
    let cgroups = info
        .cgroup_version
        .map_or("none".to_owned(), |v| v.to_string());
    line(0, "Cgroup Version", &cgroups);
    line(0, "Security Options", "");
    for option in security_options(info) {
        text.push_str(&format!(" {}\n", option.trim_start_matches("name=")));
    }
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key}: {value}\n"));
    line("Kernel Version", &info.kernel);
    line("Operating System", &info.operating_system);
    line("OSType", "linux");
    line("Architecture", &info.machine);
    line("CPUs", &info.processors.to_string());
    line("Total Memory", &units::size(info.memory));
    line("Name", &info.name);
    line("Root Dir", &info.root.display().to_string());
    for warning in &info.warnings {
        text.push_str(&format!("WARNING: {warning}\n"));
    }
    text
}

/// With Docker's names where Docker has them.
fn object(info: &Info) -> Json {
    let number = |n: usize| Json::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let text = |t: &str| Json::Text(t.to_owned());
    let list = |texts: &[String]| Json::List(texts.iter().map(|t| text(t)).collect());
    let extents = |map: &[IdExtent]| {
        let one = |e: &IdExtent| {
            let id = |id: u32| Json::Int(id.into());
            let object = Object::new()
                .with("ContainerID", id(e.container))
                .with("HostID", id(e.host))
                .with("Size", id(e.size));
            Json::from(object)
        };
        Json::List(map.iter().map(one).collect())
    };
    let status = driver_status(info)
        .into_iter()
        .map(|(key, value)| Json::List(vec![text(key), Json::Text(value)]));
    let options = security_options(info);
    let object = Object::new()
        .with("Containers", number(info.running + info.stopped))
        .with("ContainersRunning", number(info.running))
        .with("ContainersPaused", Json::Int(0))
        .with("ContainersStopped", number(info.stopped))
        .with("Images", number(info.images))
        .with("Driver", text(info.driver.as_str()))
        .with("DriverStatus", Json::List(status.collect()))
        .with("IDMap", text(&info.id_map.map.to_string()))
        .with(
            "RootEmulation",
            Json::Bool(info.no_root_emulation.is_none()),
        )
        .with("UIDMappings", extents(&info.id_map.uids))
        .with("GIDMappings", extents(&info.id_map.gids))
        .with("KernelVersion", text(&info.kernel))
        .with("OperatingSystem", text(&info.operating_system))
        .with("OSType", text("linux"))
        .with("Architecture", text(&info.machine))
        .with("NCPU", number(info.processors))
        .with(
            "MemTotal",
            Json::Int(i64::try_from(info.memory).unwrap_or(i64::MAX)),
        )
        .with("Name", text(&info.name))
        .with("ServerVersion", text(env!("CARGO_PKG_VERSION")))
        .with("DockerRootDir", text(&info.root.display().to_string()))
        .with(
            "CgroupVersion",
            text(&info.cgroup_version.map_or(String::new(), |v| v.to_string())),
        )
        .with(
            "SecurityOptions",
            Json::List(options.into_iter().map(text).collect()),
        )
        .with("Warnings", list(&info.warnings));
    Json::from(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_shortly() {
        let extent = |container, host, size| IdExtent {
            container,
            host,
            size,
        };
        let map = [extent(0, 1000, 1), extent(1, 100_000, 65_536)];
        assert_eq!(ranges(&map), "0 -> 1000, 1-65536 -> 100000");
    }
}
