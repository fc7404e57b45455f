//! `--security-opt` and what goes with it.

use std::path::Path;

use minidock_engine::spec::{Seccomp, Security};

use super::flags::ContainerFlags;
use super::values;
use super::wrong::{Wrong, parse, parse_each, wrong, wrong_with};
use crate::failure::Failure;

pub fn security(flags: &ContainerFlags) -> Result<Security, Failure> {
    let mut security = Security {
        privileged: flags.privileged,
        cap_add: parse_each("--cap-add", &flags.cap_add, values::capability)?,
        cap_drop: parse_each("--cap-drop", &flags.cap_drop, values::capability)?,
        ..Security::default()
    };
    for option in &flags.security_opt {
        let parsed = parse("--security-opt", option, |text| {
            Opt::parse(text, &Host::here())
        })?;
        match parsed {
            Opt::NoNewPrivileges(wanted) => security.no_new_privileges = Some(wanted),
            Opt::SystemPathsUnconfined => security.system_paths_unconfined = true,
            Opt::Seccomp(wanted) => security.seccomp = wanted,
            Opt::AppArmor(profile) => security.apparmor = Some(profile),
            Opt::AsItIs => {}
        }
    }
    Ok(security)
}

#[derive(Debug, PartialEq, Eq)]
enum Opt {
    NoNewPrivileges(bool),
    SystemPathsUnconfined,
    Seccomp(Seccomp),
    AppArmor(String),
    /// What it asks for is so anyway.
    AsItIs,
}

/// Which security modules the host has.
struct Host {
    apparmor: bool,
    selinux: bool,
}

impl Host {
    fn here() -> Self {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        Self {
            apparmor: enabled.is_ok_and(|text| text.starts_with('Y')),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        }
    }
}

impl Opt {
    fn parse(text: &str, host: &Host) -> Result<Self, Wrong> {
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (key, value) = match split {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        match (key, value) {
            ("no-new-privileges", None | Some("true" | "1" | "t" | "T" | "TRUE" | "True")) => {
                Ok(Self::NoNewPrivileges(true))
            }
            ("no-new-privileges", Some("false" | "0" | "f" | "F" | "FALSE" | "False")) => {
                Ok(Self::NoNewPrivileges(false))
            }
            ("no-new-privileges", Some(other)) => {
                wrong(format!("{other:?} is neither true nor false"))
            }
            ("systempaths", Some("unconfined")) => Ok(Self::SystemPathsUnconfined),
            ("seccomp", Some("unconfined")) => Ok(Self::Seccomp(Seccomp::Unconfined)),
            ("seccomp", Some("builtin")) => Ok(Self::Seccomp(Seccomp::Default)),
            ("seccomp", Some(path)) => match std::fs::read_to_string(path) {
                Ok(json) => Ok(Self::Seccomp(Seccomp::Profile {
                    path: path.to_owned(),
                    json,
                })),
                Err(error) => wrong(format!("opening seccomp profile ({path}) failed: {error}")),
            },
            // As with Docker where the host lacks the module.
            ("apparmor", Some(profile)) if !host.apparmor || profile == "unconfined" => {
                Ok(Self::AsItIs)
            }
            ("apparmor", Some("")) => wrong("it names no AppArmor profile"),
            ("apparmor", Some(profile)) => Ok(Self::AppArmor(profile.to_owned())),
            ("label", Some(label)) if !host.selinux || label == "disable" => Ok(Self::AsItIs),
            ("label", Some(_)) => wrong_with(
                "SELinux labels are not supported",
                "leave it out, or say label=disable",
            ),
            ("mask" | "unmask" | "proc-opts", _) => wrong_with(
                format!("{key} is Podman's"),
                "systempaths=unconfined shows all of /proc and /sys",
            ),
            ("writable-cgroups", Some("false")) => Ok(Self::AsItIs),
            ("writable-cgroups", _) => wrong_with(
                "a container has no cgroup of its own so far",
                "leave it out",
            ),
            _ => wrong(format!("Invalid --security-opt: {text:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_as_docker_has_them() {
        let plain = Host {
            apparmor: false,
            selinux: false,
        };
        let hardened = Host {
            apparmor: true,
            selinux: true,
        };
        for (text, expected) in [
            ("no-new-privileges", Opt::NoNewPrivileges(true)),
            ("no-new-privileges:true", Opt::NoNewPrivileges(true)),
            ("no-new-privileges=false", Opt::NoNewPrivileges(false)),
            ("systempaths=unconfined", Opt::SystemPathsUnconfined),
            ("seccomp=unconfined", Opt::Seccomp(Seccomp::Unconfined)),
            ("seccomp=builtin", Opt::Seccomp(Seccomp::Default)),
            ("apparmor=unconfined", Opt::AsItIs),
            ("apparmor=mine", Opt::AppArmor("mine".to_owned())),
            ("label=disable", Opt::AsItIs),
        ] {
            assert_eq!(Opt::parse(text, &hardened), Ok(expected), "{text}");
        }
        for text in [
            "apparmor=mine",
            "apparmor:mine",
            "label=type:x",
            "label:user:x",
        ] {
            assert_eq!(Opt::parse(text, &plain), Ok(Opt::AsItIs), "{text}");
        }
        for text in ["label=type:x", "label:user:x", "apparmor="] {
            assert!(Opt::parse(text, &hardened).is_err(), "{text}");
        }
        for bad in [
            "",
            "foo",
            "label",
            "no-new-privileges=x",
            "seccomp=/no/such/profile",
            "unmask=ALL",
        ] {
            assert!(Opt::parse(bad, &plain).is_err(), "{bad}");
        }
    }
}
