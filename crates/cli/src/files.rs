//! Where the configuration files that minidock shares with Docker and Podman are.

use std::path::{Path, PathBuf};

use minidock_engine::Credentials;

/// A folder that the environment names.
fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
}

/// `$XDG_CONFIG_HOME/containers`.
fn own_containers() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("containers"))
}

fn docker_config() -> Option<PathBuf> {
    folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")))
}

/// Docker's `config.json`, and the files that containers-auth.json(5) names.
pub fn credentials() -> Credentials {
    let others = [
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json")),
        own_containers().map(|own| own.join("auth.json")),
    ];
    Credentials {
        docker: docker_config().map(|docker| docker.join("config.json")),
        others: others.into_iter().flatten().collect(),
    }
}

/// `registries.conf` and its drop-ins (containers-registries.conf.d(5)), in the order in which they are read: the user's own
/// file takes the place of the system's, drop-ins included.
pub fn registries() -> Vec<PathBuf> {
    if let Some(file) = folder("CONTAINERS_REGISTRIES_CONF") {
        return vec![file];
    }
    let system = Path::new("/etc/containers");
    let own = own_containers();
    let mut files = Vec::new();
    let own_file = own.as_ref().map(|own| own.join("registries.conf"));
    match own_file.filter(|file| file.exists()) {
        Some(file) => files.push(file),
        None => {
            files.push(system.join("registries.conf"));
            files.extend(drop_ins(system));
        }
    }
    files.extend(own.iter().flat_map(|own| drop_ins(own)));
    files
}

fn drop_ins(containers: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(containers.join("registries.conf.d"));
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .collect();
    files.sort();
    files
}

/// Folders of certificates, the system's first (containers-certs.d(5), and Docker's).
pub fn certificates() -> Vec<PathBuf> {
    let system = ["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from);
    let own = [
        docker_config().map(|docker| docker.join("certs.d")),
        own_containers().map(|own| own.join("certs.d")),
    ];
    system
        .into_iter()
        .chain(own.into_iter().flatten())
        .collect()
}
