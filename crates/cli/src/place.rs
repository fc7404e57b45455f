//! Where the store is.

use std::path::{Path, PathBuf};

use minidock_engine::Engine;

use crate::failure::Failure;

/// The store's folder, found from flag, environment and home.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// `--root` or `MINIDOCK_ROOT`, else `$XDG_DATA_HOME/minidock`, else `~/.local/share/minidock`.
    pub fn new(root: Option<PathBuf>) -> Result<Self, Failure> {
        let absolute = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let root = match root.filter(|r| !r.as_os_str().is_empty()) {
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
        Ok(Self { root })
    }

    /// The store's folder; need not exist.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the store.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Ok(Engine::open(&self.root)?)
    }
}
