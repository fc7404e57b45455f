//! Profiles of system calls in Docker's JSON, which says more than an OCI `Spec` can: rules depend on capabilities, on the
//! machine and on the kernel. What remains of them for one container goes into its `Spec`.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSyscall, LinuxSyscallBuilder, Spec,
};
use serde::Deserialize;

use crate::Error;
use crate::spec::{Seccomp, Security};

/// What a profile depends on.
struct Facts<'a> {
    /// The bounding set, as `CAP_…`.
    capabilities: &'a [String],
    /// Go's word for the machine.
    machine: &'a str,
    native: Arch,
    kernel: (u32, u32),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// The old way to name one.
    #[serde(default)]
    name: String,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Puts what was wished into a `Spec`. Without a word, it has no `linux.seccomp`, and the runtime's default applies.
///
/// # Errors
/// [`Error::SeccompProfile`] says what is wrong with a profile.
pub fn apply(spec: &mut Spec, security: &Security, kernel: (u32, u32)) -> Result<(), Error> {
    let seccomp = match &security.seccomp {
        Seccomp::Default if !security.privileged => return Ok(()),
        Seccomp::Default | Seccomp::Unconfined => LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActAllow)
            .build()?,
        Seccomp::Profile { path, json } => {
            let capabilities = bounding_set(spec);
            let (machine, native) = if cfg!(target_arch = "aarch64") {
                ("arm64", Arch::ScmpArchAarch64)
            } else {
                ("amd64", Arch::ScmpArchX86_64)
            };
            let facts = Facts {
                capabilities: &capabilities,
                machine,
                native,
                kernel,
            };
            parse(json, &facts).map_err(|problem| Error::SeccompProfile {
                path: path.clone(),
                problem,
            })?
        }
    };
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(seccomp));
    }
    Ok(())
}

fn bounding_set(spec: &Spec) -> Vec<String> {
    let process = spec.process().as_ref();
    let capabilities = process.and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities.and_then(|sets| sets.bounding().as_ref());
    let names = bounding.into_iter().flatten().map(|c| {
        let name = c.to_string();
        match name.strip_prefix("CAP_") {
            Some(_) => name,
            None => format!("CAP_{name}"),
        }
    });
    names.collect()
}

fn parse(json: &str, facts: &Facts<'_>) -> Result<LinuxSeccomp, String> {
    let profile: Profile = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let mut rules = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let names = match (rule.name.as_str(), rule.names.unwrap_or_default()) {
            ("", names) => names,
            (name, names) if names.is_empty() => vec![name.to_owned()],
            (name, _) => {
                return Err(format!("the rule of {name:?} has both name and names"));
            }
        };
        if !rule.includes.all_hold(facts)? || rule.excludes.any_holds(facts)? {
            continue;
        }
        rules.push(syscall(names, rule.action, rule.errno_ret, rule.args)?);
    }
    let architectures = match (profile.architectures, profile.arch_map) {
        (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
            return Err("it has both architectures and archMap".to_owned());
        }
        (list, None) => list.unwrap_or_default(),
        (Some(list), Some(_)) if !list.is_empty() => list,
        (_, Some(map)) => map
            .into_iter()
            .filter(|family| family.architecture == facts.native)
            .flat_map(|family| {
                let subs = family.sub_architectures.unwrap_or_default();
                std::iter::once(family.architecture).chain(subs)
            })
            .collect(),
    };
    let mut seccomp = LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .architectures(architectures)
        .syscalls(rules)
        .build()
        .map_err(|e| e.to_string())?;
    seccomp.set_default_errno_ret(profile.default_errno_ret);
    seccomp.set_flags(profile.flags);
    seccomp.set_listener_path(profile.listener_path.map(Into::into));
    Ok(seccomp)
}

fn syscall(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
) -> Result<LinuxSyscall, String> {
    let mut syscall = LinuxSyscallBuilder::default()
        .names(names)
        .action(action)
        .build()
        .map_err(|e| e.to_string())?;
    syscall.set_errno_ret(errno_ret);
    syscall.set_args(args);
    Ok(syscall)
}

impl Filter {
    fn has_machine(&self, facts: &Facts<'_>) -> bool {
        let mut arches = self.arches.iter().flatten();
        arches.any(|arch| arch == facts.machine)
    }

    fn new_enough(&self, facts: &Facts<'_>) -> Result<Option<bool>, String> {
        let Some(version) = self.min_kernel.as_deref().filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        let parsed = version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let needed: (u32, u32) =
            parsed.ok_or_else(|| format!("{version:?} is no kernel version such as 4.8"))?;
        Ok(Some(facts.kernel >= needed))
    }

    /// For a rule's `includes`: every capability is there, and the machine is one of those listed.
    fn all_hold(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let mut caps = self.caps.iter().flatten();
        Ok(caps.all(|cap| facts.capabilities.contains(cap))
            && (self.arches.as_ref().is_none_or(Vec::is_empty) || self.has_machine(facts))
            && self.new_enough(facts)?.unwrap_or(true))
    }

    /// For its `excludes`: one is enough.
    fn any_holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let mut caps = self.caps.iter().flatten();
        Ok(caps.any(|cap| facts.capabilities.contains(cap))
            || self.has_machine(facts)
            || self.new_enough(facts)?.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, capabilities: &[&str]) -> Result<LinuxSeccomp, String> {
        let capabilities: Vec<String> = capabilities.iter().map(|c| (*c).to_owned()).collect();
        parse(
            json,
            &Facts {
                capabilities: &capabilities,
                machine: "amd64",
                native: Arch::ScmpArchX86_64,
                kernel: (5, 15),
            },
        )
    }

    fn names(json: &str, capabilities: &[&str]) -> Vec<String> {
        let seccomp = read(json, capabilities).unwrap();
        let rules = seccomp.syscalls().clone().unwrap();
        rules.iter().flat_map(|r| r.names().clone()).collect()
    }

    #[test]
    fn rules_depend_on_capabilities_machine_and_kernel() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_S390X", "subArchitectures": null}],
            "syscalls": [
                {"names": ["a"], "action": "SCMP_ACT_ALLOW", "comment": "", "includes": {}, "excludes": {}},
                {"name": "b", "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"caps": ["CAP_X", "CAP_Y"]}},
                {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_X", "CAP_Z"]}},
                {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["x32", "amd64"], "minKernel": "5.15"}},
                {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.16"}},
                {"names": ["g"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
                {"names": ["h"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}
            ]}"#;
        assert_eq!(names(json, &[]), ["a", "c", "e"]);
        assert_eq!(names(json, &["CAP_X"]), ["a", "e"]);
        assert_eq!(names(json, &["CAP_X", "CAP_Y"]), ["a", "b", "e"]);
        let seccomp = read(json, &[]).unwrap();
        assert_eq!(
            seccomp.architectures().as_deref().unwrap(),
            [Arch::ScmpArchX86_64, Arch::ScmpArchX86]
        );
        assert_eq!(seccomp.default_errno_ret(), Some(1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, word) in [
            ("", "EOF"),
            ("{}", "defaultAction"),
            (r#"{"defaultAction": "ALLOW"}"#, "ALLOW"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#,
                "both name and names",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                    "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#,
                "archMap",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "x"}}]}"#,
                "kernel version",
            ),
        ] {
            let error = read(json, &[]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
