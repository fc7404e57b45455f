//! The JSON of `inspect`: Docker's fields in Docker's order (API 1.51, Docker 28.5).

use minidock_engine::{ImageDetails, Timestamp, time};

use crate::format::json::{Json, Object};

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
        .with("Comment", config.comment.as_str())
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
