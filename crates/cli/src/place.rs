//! Where the store is.

use std::path::{Path, PathBuf};

use minidock_engine::{
    Engine, IdMapChoice, MonitorLaunch, Opening, Proxies, ProxyVariables, PullOptions, Registries,
    Surroundings,
};

use crate::args::Global;
use crate::commands::launch;
use crate::failure::Failure;
use crate::files;

/// The store, found from flags, environment and home.
#[derive(Debug)]
pub struct Place {
    opening: Opening,
}

impl Place {
    /// `--root` or `MINIDOCK_ROOT`, else `$XDG_DATA_HOME/minidock`, else `~/.local/share/minidock`.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let absolute = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let root = match global.root.filter(|r| !r.as_os_str().is_empty()) {
            Some(root) => std::path::absolute(&root).map_err(|e| {
                Failure::new(format!("cannot use --root {}", root.display())).caused_by(e)
            })?,
            None => absolute("XDG_DATA_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("minidock"))
                .ok_or_else(|| {
                    Failure::new(
                        "cannot tell where to keep images: neither HOME nor XDG_DATA_HOME is set",
                    )
                    .hint("name a folder with --root DIR or MINIDOCK_ROOT")
                })?,
        };
        let id_map = match global.id_map.as_deref() {
            None | Some("" | "auto") => IdMapChoice::Auto,
            Some("single") => IdMapChoice::Single,
            Some("ranges") => IdMapChoice::Ranges,
            Some(other) => {
                return Err(Failure::usage(format!("there is no id map {other:?}"))
                    .hint("auto, single and ranges are the choices of --id-map"));
            }
        };
        let driver = match global.storage_driver.as_deref() {
            None | Some("") => None,
            Some(name) => Some(
                name.parse()
                    .map_err(|e: minidock_engine::DriverError| Failure::usage(e.to_string()))?,
            ),
        };
        let surroundings = Surroundings {
            search: std::env::var_os("PATH").unwrap_or_default(),
            login: ["LOGNAME", "USER"]
                .into_iter()
                .find_map(|variable| std::env::var(variable).ok()),
        };
        Ok(Self {
            opening: Opening {
                root,
                id_map,
                driver,
                surroundings,
                monitor: Some(MonitorLaunch(launch)),
            },
        })
    }

    /// The store's folder; need not exist.
    pub fn root(&self) -> &Path {
        &self.opening.root
    }

    /// Where the store is and what it should be like.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// How registries are talked to, as far as environment and configuration files say it.
    pub fn pull_options(&self) -> Result<PullOptions, Failure> {
        let registries = Registries::read(&files::registries());
        Ok(PullOptions {
            credentials: files::credentials(),
            registries: registries.map_err(minidock_engine::Error::from)?,
            certificates: files::certificates(),
            proxies: proxies()?,
            ..PullOptions::default()
        })
    }

    /// Opens the store.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Ok(Engine::open(self.opening.clone())?)
    }
}

/// The proxies that the environment names, in capitals or, where that is unset, small letters.
fn proxies() -> Result<Proxies, Failure> {
    let value = |variable: &str| {
        [variable.to_owned(), variable.to_lowercase()]
            .into_iter()
            .filter_map(|variable| std::env::var(variable).ok())
            .find(|value| !value.is_empty())
            .unwrap_or_default()
    };
    let variables = ProxyVariables {
        http: value("HTTP_PROXY"),
        https: value("HTTPS_PROXY"),
        all: value("ALL_PROXY"),
        none: value("NO_PROXY"),
    };
    Ok(Proxies::new(&variables).map_err(minidock_engine::Error::from)?)
}
