//! What the container's program is started with: its words, its environment, its host's name.

use minidock_oci::ContainerConfig;

use super::{Network, Wishes};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is executed: entrypoint and arguments, as Docker combines them.
pub fn command(config: &ContainerConfig, wishes: &Wishes) -> Vec<String> {
    let (mut argv, default) = match &wishes.entrypoint {
        Some(e) if e.is_empty() => (Vec::new(), Vec::new()),
        Some(e) => (vec![e.clone()], Vec::new()),
        None => (config.entrypoint.clone(), config.cmd.clone()),
    };
    argv.extend(if wishes.command.is_empty() {
        default
    } else {
        wishes.command.clone()
    });
    argv
}

/// The container's host name.
pub fn hostname<'a>(wishes: &'a Wishes, id: &'a str, host_name: &'a str) -> &'a str {
    match (&wishes.hostname, wishes.network) {
        (Some(name), _) => name,
        (None, network) if share(wishes, network) && !host_name.is_empty() => host_name,
        (None, _) => &id[..12.min(id.len())],
    }
}

/// Whether the name is the host's.
fn share(wishes: &Wishes, network: Network) -> bool {
    network == Network::Host || wishes.namespaces.host_uts
}

/// The environment, one entry a name, the last setting of a name in the place of its first. `home` is what nobody has set
/// otherwise.
pub fn environment(
    config: &ContainerConfig,
    wishes: &Wishes,
    hostname: &str,
    home: &str,
) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut env: Vec<String> = Vec::new();
    let mut set = |entry: String| {
        let wanted = name(&entry);
        let at = env.iter().position(|e| name(e) == wanted);
        match (at, entry.contains('=')) {
            (Some(at), true) => env[at] = entry,
            (Some(at), false) => {
                env.remove(at);
            }
            (None, true) => env.push(entry),
            (None, false) => {}
        }
    };
    set(DEFAULT_PATH.to_owned());
    set(format!("HOSTNAME={hostname}"));
    if wishes.terminal {
        set("TERM=xterm".to_owned());
    }
    config.env.iter().cloned().for_each(&mut set);
    wishes.env.iter().cloned().for_each(&mut set);
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}
