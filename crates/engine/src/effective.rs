//! What a container was made of: its image's run parameters with the flags of `run` over them. `commit` starts from it.

use minidock_oci::ContainerConfig;
use minidock_store::{Container, StoreError};
use serde_json::{Map, Value, json};

use crate::spec::Wishes;

/// The file in a container's folder that holds it.
const FILE: &str = "image-config.json";

/// Whether flags change anything of it.
pub(crate) fn differs(wishes: &Wishes) -> bool {
    wishes.entrypoint.is_some()
        || wishes.user.is_some()
        || wishes.workdir.is_some()
        || wishes.stop_signal.is_some()
        || !(wishes.command.is_empty() && wishes.env.is_empty() && wishes.labels.is_empty())
}

/// Applies flags to the `config` object of an image config.
pub(crate) fn config(mut image: Map<String, Value>, wishes: &Wishes) -> Map<String, Value> {
    let mut set = |key: &str, value: Value| {
        image.insert(key.to_owned(), value);
    };
    match &wishes.entrypoint {
        Some(e) => {
            set(
                "Entrypoint",
                if e.is_empty() {
                    Value::Null
                } else {
                    json!([e])
                },
            );
            set("Cmd", json!(wishes.command));
        }
        None if !wishes.command.is_empty() => set("Cmd", json!(wishes.command)),
        None => {}
    }
    if let Some(user) = &wishes.user {
        set("User", user.as_str().into());
    }
    if let Some(dir) = &wishes.workdir {
        set("WorkingDir", dir.as_str().into());
    }
    if let Some(number) = wishes.stop_signal {
        set("StopSignal", number.to_string().into());
    }
    if !wishes.labels.is_empty() {
        let mut labels = image
            .get("Labels")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        labels.extend(
            wishes
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into())),
        );
        image.insert("Labels".into(), labels.into());
    }
    if !wishes.env.is_empty() {
        let parsed: ContainerConfig =
            serde_json::from_value(Value::Object(image.clone())).unwrap_or_default();
        image.insert("Env".into(), json!(merged_env(parsed.env, &wishes.env)));
    }
    image
}

/// Later entries replace earlier ones in their place; a bare name removes.
fn merged_env(mut env: Vec<String>, wishes: &[String]) -> Vec<String> {
    for wish in wishes {
        let name = wish.split('=').next().unwrap_or(wish);
        let at = env.iter().position(|e| e.split('=').next() == Some(name));
        match (at, wish.contains('=')) {
            (Some(at), true) => env[at] = wish.clone(),
            (Some(at), false) => drop(env.remove(at)),
            (None, true) => env.push(wish.clone()),
            (None, false) => {}
        }
    }
    env
}

/// Keeps it beside the container.
pub(crate) fn write(container: &Container, config: &Map<String, Value>) -> Result<(), StoreError> {
    let bytes = Value::Object(config.clone()).to_string().into_bytes();
    container.write_file(FILE, &bytes, 0o600).map(drop)
}

/// What was kept; `None` for a container of an earlier release.
pub(crate) fn read(container: &Container) -> Option<Map<String, Value>> {
    let bytes = std::fs::read(container.folder().join(FILE)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_over_the_image() {
        let image = json!({"Cmd": ["sh"], "Entrypoint": ["e"], "Env": ["A=1", "B=2"], "Labels": {"l": "1"}, "User": "u"});
        let wishes = Wishes {
            command: vec!["x".into(), "y".into()],
            env: vec!["B=3".into(), "A".into(), "C=4".into()],
            workdir: Some("/w".into()),
            ..Wishes::default()
        };
        let made =
            |w: &Wishes| Value::Object(config(image.as_object().cloned().unwrap_or_default(), w));
        assert_eq!(
            made(&wishes),
            json!({"Cmd": ["x", "y"], "Entrypoint": ["e"], "Env": ["B=3", "C=4"], "Labels": {"l": "1"}, "User": "u", "WorkingDir": "/w"})
        );
        assert_eq!(made(&Wishes::default()), image);
        let other = Wishes {
            entrypoint: Some("o".into()),
            ..Wishes::default()
        };
        assert_eq!(made(&other)["Entrypoint"], json!(["o"]));
        assert_eq!(made(&other)["Cmd"], json!([]));
    }
}
