//! The image config: what an image says about how to run it.
//!
//! Own types rather than `oci_spec`'s, because builders write `null` where the specification has a
//! list or a map, and Docker's extension fields; a stranger's config must parse or be refused with
//! a clear word, and be the same bytes again when saved (the raw blob is what is stored).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{DiffId, Platform};

/// The most layers that an image can have: twice as many as overlayfs stacks (`OVL_MAX_STACK` of the kernel); beyond that
/// images run as one merged folder. Builders stop at 127.
pub const MAX_LAYERS: usize = 1000;

/// Why an image config was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON of the right shape.
    #[error("the image config is not valid JSON of an image config")]
    Json(#[from] serde_json::Error),
    /// A string holds a NUL byte, which no process argument or variable can.
    #[error("the image config's {0} contains a NUL byte")]
    Nul(&'static str),
    /// An environment entry is not `NAME=value`.
    #[error("the image config's environment entry {0:?} has no name")]
    Env(String),
    /// The root file system is of a type other than layers.
    #[error("the image config's rootfs type is {0:?}; only \"layers\" is known")]
    RootFsType(String),
    /// More layers than can be mounted.
    #[error("the image config lists {0} layers; an image can have at most {MAX_LAYERS}")]
    Layers(usize),
    /// Manifest and config disagree on the number of layers.
    #[error("the image config lists {diff_ids} diff_ids, but the manifest has {layers} layers")]
    LayerCount {
        /// How many the config has.
        diff_ids: usize,
        /// How many the manifest has.
        layers: usize,
    },
}

fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An image config (OCI image specification, "Image Configuration", and Docker's image v1.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, deserialize_with = "null_default")]
    pub created: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_default")]
    pub author: String,
    /// A remark (Docker's image v1.2).
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// The Docker that made it (Docker's image v1.2).
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub docker_version: String,
    /// Processor, in Go's words.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// Variant of the processor.
    #[serde(default, deserialize_with = "null_default")]
    pub variant: String,
    /// Operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// How to run it.
    #[serde(default, deserialize_with = "null_default")]
    pub config: ContainerConfig,
    /// Which layers it is made of.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_default")]
    pub history: Vec<History>,
}

/// The layers of an image, base first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests of the uncompressed tars.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<DiffId>,
}

/// One line of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, deserialize_with = "null_default")]
    pub created: String,
    /// The command.
    #[serde(default, deserialize_with = "null_default")]
    pub created_by: String,
    /// A remark.
    #[serde(default, deserialize_with = "null_default")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(default, deserialize_with = "null_default")]
    pub empty_layer: bool,
}

/// The run parameters of an image (the `config` object).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or ids.
    #[serde(default, deserialize_with = "null_default")]
    pub user: String,
    /// `80/tcp`, …
    #[serde(default, deserialize_with = "null_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// What is always run.
    #[serde(default, deserialize_with = "null_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(default, deserialize_with = "null_default")]
    pub cmd: Vec<String>,
    /// Folders that want a volume.
    #[serde(default, deserialize_with = "null_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// Folder to start in.
    #[serde(default, deserialize_with = "null_default")]
    pub working_dir: String,
    /// Free words.
    #[serde(default, deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to end.
    #[serde(default, deserialize_with = "null_default")]
    pub stop_signal: String,
    /// How to ask whether it is well (Docker's image v1.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<serde_json::Value>,
    /// Instructions for images built on this one (Docker's image v1.2).
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// What runs the shell form of instructions (Docker's image v1.2).
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
}

impl ImageConfig {
    /// Parses and checks a config blob.
    ///
    /// # Errors
    /// When it is not JSON of this shape, or holds what no process could be given.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(bytes)?;
        if !matches!(config.rootfs.kind.as_str(), "layers" | "") {
            return Err(ConfigError::RootFsType(config.rootfs.kind));
        }
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ConfigError::Layers(config.rootfs.diff_ids.len()));
        }
        let run = &config.config;
        let strings: [(&'static str, Vec<&String>); 6] = [
            ("Env", run.env.iter().collect()),
            ("Entrypoint", run.entrypoint.iter().collect()),
            ("Cmd", run.cmd.iter().collect()),
            ("WorkingDir", vec![&run.working_dir]),
            ("User", vec![&run.user]),
            ("Volumes", run.volumes.keys().collect()),
        ];
        for (what, values) in strings {
            if values.iter().any(|v| v.contains('\0')) {
                return Err(ConfigError::Nul(what));
            }
        }
        if let Some(bad) = run.env.iter().find(|e| e.is_empty() || e.starts_with('=')) {
            return Err(ConfigError::Env(bad.clone()));
        }
        Ok(config)
    }

    /// When it was made, for lists; empty if it is longer than any time.
    pub fn created_shown(&self) -> &str {
        match self.created.len() {
            0..=64 => &self.created,
            _ => "",
        }
    }

    /// Checks that the manifest has one layer for each diff_id.
    ///
    /// # Errors
    /// When the numbers differ.
    pub fn check_layer_count(&self, layers: usize) -> Result<(), ConfigError> {
        let diff_ids = self.rootfs.diff_ids.len();
        if diff_ids == layers {
            Ok(())
        } else {
            Err(ConfigError::LayerCount { diff_ids, layers })
        }
    }

    /// The platform the config claims; empty fields mean "any", as Docker treats them.
    pub fn platform(&self) -> Option<Platform> {
        if self.os.is_empty() || self.architecture.is_empty() {
            return None;
        }
        let text = if self.variant.is_empty() {
            format!("{}/{}", self.os, self.architecture)
        } else {
            format!("{}/{}/{}", self.os, self.architecture, self.variant)
        };
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_null_for_every_list_and_map() {
        let config = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","created":null,"history":null,
                "config":{"Env":null,"Cmd":null,"Entrypoint":null,"Volumes":null,"Labels":null,
                "ExposedPorts":null,"WorkingDir":"","OnBuild":null,"Domainname":""},
                "rootfs":{"type":"layers","diff_ids":null},"container_config":{}}"#,
        )
        .unwrap();
        assert_eq!(config.config, ContainerConfig::default());
        assert_eq!(config.platform().unwrap().to_string(), "linux/amd64");
    }

    #[test]
    fn refuses_what_no_process_can_be_given() {
        let with = |config: &str| {
            ImageConfig::parse(
                format!(r#"{{"config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#)
                    .as_bytes(),
            )
        };
        assert!(with("{}").is_ok());
        for bad in [
            r#"{"Env":["A\u0000=b"]}"#,
            r#"{"Env":["=b"]}"#,
            r#"{"Cmd":["a\u0000b"]}"#,
            r#"{"Cmd":"not a list"}"#,
            r#"{"WorkingDir":"/a\u0000"}"#,
            r#"{"Volumes":[1]}"#,
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
        assert!(ImageConfig::parse(b"{}").is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(ImageConfig::parse(deep.as_bytes()).is_err());
    }
}
