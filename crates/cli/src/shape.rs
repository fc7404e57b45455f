//! The JSON of `inspect`: Docker's fields in Docker's order (API 1.51, Docker 28.5).

use minidock_engine::{
    ContainerDetails, ImageDetails, Limit, MountKind, MountRecord, Timestamp, time,
};

use crate::format::json::{Json, Object};
use crate::times;

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An image.
pub fn image(details: &ImageDetails) -> Json {
    let ImageDetails {
        summary, config, ..
    } = details;
    let tags = summary
        .tags
        .iter()
        .map(|(name, tag)| format!("{name}:{tag}"));
    let digests = summary
        .digests
        .iter()
        .map(|(name, digest)| format!("{name}@{digest}"));
    let created = time(&config.created).map_or("", |_| config.created.as_str());
    let layers: Vec<String> = config
        .rootfs
        .diff_ids
        .iter()
        .map(ToString::to_string)
        .collect();
    Object::new()
        .with("Id", summary.id.to_string())
        .with("RepoTags", tags.collect::<Vec<_>>())
        .with("RepoDigests", digests.collect::<Vec<_>>())
        .with("Parent", "")
        .with("Comment", comment(config))
        .with_some("Created", created)
        .with("DockerVersion", config.docker_version.as_str())
        .with("Author", config.author.as_str())
        .with("Architecture", config.architecture.as_str())
        .with_some("Variant", config.variant.as_str())
        .with("Os", config.os.as_str())
        .with_some("OsVersion", config.os_version.as_str())
        .with("Size", summary.size)
        .with("GraphDriver", image_layers(details))
        .with(
            "RootFS",
            Object::new()
                .with("Type", "layers")
                .with_some("Layers", layers),
        )
        .with(
            "Metadata",
            Object::new().with("LastTagTime", moment(details.last_tagged)),
        )
        .with("Config", image_config(details))
        .into()
}

/// The image's remark: since Docker no longer writes one of its own, that of its last step.
fn comment(config: &minidock_engine::oci::ImageConfig) -> &str {
    match config.history.last() {
        Some(step) if config.comment.is_empty() => step.comment.as_str(),
        _ => config.comment.as_str(),
    }
}

/// The folders of its layers: the uppermost, and those below it.
fn image_layers(details: &ImageDetails) -> Object {
    let paths: Vec<String> = details
        .layers
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut data = Object::new();
    if let Some((upper, lower)) = paths.split_first() {
        if !lower.is_empty() {
            data = data.with("LowerDir", lower.join(":"));
        }
        data = data.with("UpperDir", upper.as_str());
    }
    Object::new().with("Data", data).with("Name", "overlay")
}

/// Docker 28 writes eight of these even when they are empty, in the order of the alphabet.
fn image_config(details: &ImageDetails) -> Object {
    let config = &details.config.config;
    Object::new()
        .with("Cmd", list(&config.cmd))
        .with("Entrypoint", list(&config.entrypoint))
        .with("Env", list(&config.env))
        .with_some("ExposedPorts", set(config.exposed_ports.keys()))
        .with_some("Healthcheck", Json::from(config.healthcheck.as_ref()))
        .with("Labels", labels(&config.labels))
        .with("OnBuild", list(&config.on_build))
        .with_some("Shell", config.shell.clone())
        .with_some("StopSignal", config.stop_signal.as_str())
        .with("User", config.user.as_str())
        .with("Volumes", set(config.volumes.keys()))
        .with("WorkingDir", config.working_dir.as_str())
}

/// A container. What minidock does not know of it is left out.
pub fn container(details: &ContainerDetails) -> Json {
    let state = &details.line.state;
    let (path, args) = state
        .command
        .split_first()
        .map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let file = |name: &str| details.folder.join(name).display().to_string();
    let object = Object::new()
        .with("Id", state.id.as_str())
        .with("Created", moment(times::at(state.created)))
        .with("Path", path)
        .with("Args", args.to_vec())
        .with("State", container_state(details))
        .with("Image", state.image_id.as_str())
        .with("ResolvConfPath", file("resolv.conf"))
        .with("HostnamePath", file("hostname"))
        .with("HostsPath", file("hosts"))
        .with("LogPath", "")
        .with("Name", format!("/{}", state.name))
        .with("RestartCount", 0_u64)
        .with("Driver", state.driver.as_str())
        .with("Platform", "linux")
        .with("MountLabel", "")
        .with("ProcessLabel", "")
        .with("AppArmorProfile", "")
        .with("ExecIDs", Json::Null)
        .with("HostConfig", host_config(details))
        .with("GraphDriver", container_layers(details));
    let object = match details.sizes {
        None => object,
        Some((rw, all)) => object.with("SizeRw", rw).with("SizeRootFs", all),
    };
    object
        .with(
            "Mounts",
            Json::List(state.mounts.iter().map(mount).collect()),
        )
        .with("Config", container_config(details))
        .with("NetworkSettings", network_settings(details))
        .into()
}

fn container_state(details: &ContainerDetails) -> Object {
    let line = &details.line;
    let pid = line.state.pid.filter(|_| line.running).unwrap_or(0);
    // It is started in the second in which it is made.
    let started = line.state.pid.and_then(|_| times::at(line.state.created));
    Object::new()
        .with("Status", line.status())
        .with("Running", line.running)
        .with("Paused", false)
        .with("Restarting", false)
        .with("OOMKilled", false)
        .with("Dead", false)
        .with("Pid", i64::from(pid))
        .with("ExitCode", i64::from(line.state.exit_code.unwrap_or(0)))
        .with("Error", "")
        .with("StartedAt", moment(started))
        .with(
            "FinishedAt",
            moment(line.state.finished.and_then(times::at)),
        )
        .hidden("Health", Json::Null)
}

/// The folders of its root file system.
fn container_layers(details: &ContainerDetails) -> Object {
    let path = |name: &str| details.folder.join(name).display().to_string();
    let lower: Vec<String> = details
        .layers
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    let data = Object::new().with("ID", details.line.state.id.as_str());
    let data = if details.folder.join("tree").exists() {
        data.with("MergedDir", path("tree"))
    } else {
        data.with("LowerDir", lower.join(":"))
            .with("MergedDir", path("rootfs"))
            .with("UpperDir", path("upper"))
            .with("WorkDir", path("work"))
    };
    Object::new()
        .with("Data", data)
        .with("Name", details.line.state.driver.as_str())
}

fn network_mode(details: &ContainerDetails) -> &'static str {
    if details.host_network { "host" } else { "none" }
}

fn host_config(details: &ContainerDetails) -> Object {
    let state = &details.line.state;
    let binds: Vec<String> = state
        .mounts
        .iter()
        .filter(|m| m.kind != MountKind::Tmpfs && !m.anonymous)
        .map(|m| {
            let source = m.source.display().to_string();
            let source = m.name.as_ref().unwrap_or(&source);
            let access = if m.read_only { ":ro" } else { "" };
            format!("{source}:{}{access}", m.target)
        })
        .collect();
    let config = Object::new()
        .with("Binds", list(&binds))
        .with("NetworkMode", network_mode(details))
        .with("PortBindings", Object::new())
        .with(
            "RestartPolicy",
            Object::new()
                .with("Name", "no")
                .with("MaximumRetryCount", 0_u64),
        )
        .with("AutoRemove", state.auto_remove)
        .with("Privileged", false)
        .with("ReadonlyRootfs", details.read_only)
        .with("Runtime", "minidock")
        .with("MaskedPaths", list(&details.masked_paths))
        .with("ReadonlyPaths", list(&details.readonly_paths));
    details
        .limits
        .iter()
        .fold(config, |config, (name, limit)| match limit {
            Limit::Number(number) => config.with(*name, *number),
            Limit::Text(text) => config.with(*name, text.as_str()),
            Limit::Maybe(number) => config.with(*name, number.map_or(Json::Null, Json::from)),
        })
}

fn mount(mount: &MountRecord) -> Json {
    let kind = match mount.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
    };
    let object = Object::new().with("Type", kind);
    let object = match &mount.name {
        Some(name) => object.with("Name", name.as_str()),
        None => object,
    };
    let propagation = mount
        .options
        .iter()
        .find(|o| o.starts_with("rp") || o.starts_with("rs"));
    let object = object
        .with("Source", mount.source.display().to_string())
        .with("Destination", mount.target.as_str());
    let object = match mount.kind {
        MountKind::Volume => object.with("Driver", "local"),
        _ => object,
    };
    object
        .with("Mode", if mount.read_only { "ro" } else { "" })
        .with("RW", !mount.read_only)
        .with("Propagation", propagation.map_or("", String::as_str))
        .into()
}

fn container_config(details: &ContainerDetails) -> Object {
    let (config, state) = (&details.config, &details.line.state);
    let all = if state.labels.is_empty() {
        &config.labels
    } else {
        &state.labels
    };
    Object::new()
        .with("Hostname", details.hostname.as_str())
        .with("Domainname", "")
        .with("User", config.user.as_str())
        .with_some("ExposedPorts", set(config.exposed_ports.keys()))
        .with("Tty", details.terminal)
        .with("Env", list(&config.env))
        .with("Cmd", list(&config.cmd))
        .with_some("Healthcheck", Json::from(config.healthcheck.as_ref()))
        .with("Image", state.image.as_str())
        .with("Volumes", set(config.volumes.keys()))
        .with("WorkingDir", config.working_dir.as_str())
        .with("Entrypoint", list(&config.entrypoint))
        .with("OnBuild", list(&config.on_build))
        .with(
            "Labels",
            match labels(all) {
                Json::Null => Object::new().into(),
                labels => labels,
            },
        )
        .with_some("StopSignal", config.stop_signal.as_str())
        .with_some("Shell", config.shell.clone())
}

/// Docker's, of a container without an address.
fn network_settings(details: &ContainerDetails) -> Object {
    let network = Object::new()
        .with("MacAddress", "")
        .with("Gateway", "")
        .with("IPAddress", "")
        .with("IPPrefixLen", 0_u64);
    Object::new()
        .with("Ports", Object::new())
        .with("Gateway", "")
        .with("IPAddress", "")
        .with("IPPrefixLen", 0_u64)
        .with("MacAddress", "")
        .with(
            "Networks",
            Object::new().with(network_mode(details), network),
        )
}

/// A list; `null` when it is empty, as Go writes a slice that was never made.
fn list(items: &[String]) -> Json {
    match items {
        [] => Json::Null,
        items => items.to_vec().into(),
    }
}

/// Keys of a map without values; `null` when there are none.
fn set<'a>(mut keys: impl Iterator<Item = &'a String>) -> Json {
    let Some(first) = keys.next() else {
        return Json::Null;
    };
    let object = Object::new().with(first.as_str(), Object::new());
    keys.fold(object, |o, key| o.with(key.as_str(), Object::new()))
        .into()
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> Json {
    if labels.is_empty() {
        return Json::Null;
    }
    labels
        .iter()
        .fold(Object::new(), |o, (key, value)| {
            o.with(key.as_str(), value.as_str())
        })
        .into()
}

/// RFC 3339 in UTC.
fn moment(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}
