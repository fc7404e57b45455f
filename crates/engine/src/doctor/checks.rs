//! What the facts mean. Pure.

use std::io;

use minidock_run::cgroup::{Refusal, Setting, choose};
use minidock_run::{Isolation, Stage};
use rustix::fs::StatVfsMountFlags;

use super::facts::{Cgroups, ContainerIds, Facts, StorePlace};
use super::{Finding, Level};

/// Less free space than this is worth a word, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;

pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(&facts.release)];
    findings.push(namespaces(&facts.isolation));
    findings.extend(new_proc(&facts.isolation));
    findings.push(ids(&facts.ids));
    findings.push(seccomp(facts.seccomp.as_deref()));
    findings.extend(emulation(facts));
    findings.push(store(&facts.store));
    findings.push(network(facts));
    findings.push(cgroup(&facts.cgroups));
    findings
}

fn ok(subject: &'static str, why: impl Into<String>) -> Finding {
    Finding {
        subject,
        level: Level::Ok,
        why: why.into(),
        remedy: None,
    }
}

fn flaw(subject: &'static str, level: Level, why: String, remedy: Option<String>) -> Finding {
    Finding {
        subject,
        level,
        why,
        remedy,
    }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let subject = "kernel";
    if version >= (5, 11) {
        return ok(subject, format!("Linux {release}"));
    }
    flaw(
        subject,
        Level::Degraded,
        format!("Linux {release} gives ordinary users no overlay; Linux 5.11 and later do"),
        Some("use a newer kernel".into()),
    )
}

/// A chain of causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}

fn namespaces(isolation: &Result<Isolation, minidock_run::Error>) -> Finding {
    let subject = "namespaces";
    match isolation {
        Ok(
            Isolation::Works
            | Isolation::Refused {
                stage: Stage::Proc, ..
            },
        ) => ok(
            subject,
            "user, pid, mount, uts, ipc, net and cgroup namespaces can be made",
        ),
        Ok(Isolation::Refused {
            stage,
            source,
            hint,
        }) => {
            let what = match stage {
                Stage::IdMaps => "ids cannot be mapped in a new user namespace",
                _ => "mounts cannot be changed in a new mount namespace",
            };
            flaw(
                subject,
                Level::Missing,
                format!("{what}: {source}"),
                hint.clone(),
            )
        }
        Err(error) => flaw(subject, Level::Missing, chain(error), error.hint()),
    }
}

fn new_proc(isolation: &Result<Isolation, minidock_run::Error>) -> Option<Finding> {
    let subject = "/proc";
    match isolation {
        Ok(Isolation::Works) => Some(ok(subject, "a container gets a /proc of its own")),
        Ok(Isolation::Refused {
            stage: Stage::Proc,
            source,
            ..
        }) => Some(flaw(
            subject,
            Level::Degraded,
            format!(
                "the kernel refuses a new /proc ({source}): parts of the one here are covered, as in a container; \
                 containers see the one that is here"
            ),
            Some(
                "start the container around with all of /proc visible: --security-opt systempaths=unconfined (docker), \
                 --security-opt unmask=ALL (podman)"
                    .into(),
            ),
        )),
        _ => None,
    }
}

fn ids(ids: &ContainerIds) -> Finding {
    let subject = "ids";
    match ids {
        ContainerIds::All => ok(subject, "containers can have every id that there is here"),
        ContainerIds::Ranges(count) => ok(
            subject,
            format!("containers have {count} ids: your own, and subordinate ones"),
        ),
        ContainerIds::One { why, uid } => flaw(
            subject,
            Level::Degraded,
            format!("containers have one id, yours, so that all files in them are yours: {why}"),
            Some(format!(
                "as root: apt-get install uidmap (or dnf install shadow-utils), then: usermod --add-subuids \
                 100000-165535 --add-subgids 100000-165535 $(id -nu {uid}); a new store then has them"
            )),
        ),
    }
}

/// It matters where there is one id.
fn emulation(facts: &Facts) -> Option<Finding> {
    let subject = "root emulation";
    if !matches!(facts.ids, ContainerIds::One { .. }) {
        return None;
    }
    let why = match &facts.emulation {
        Ok(Ok(())) => {
            return Some(ok(
                subject,
                "chown, setuid and the like are answered for containers whose user is root, so that packages can be \
                 installed; files stay yours",
            ));
        }
        Ok(Err(why)) => why.clone(),
        Err(error) => chain(error),
    };
    Some(flaw(
        subject,
        Level::Degraded,
        format!("chown, setuid and the like fail in containers: {why}"),
        Some("have subordinate ids, with which it is not needed".into()),
    ))
}

fn seccomp(actions: Option<&str>) -> Finding {
    let subject = "seccomp";
    match actions {
        Some(actions) if actions.split_ascii_whitespace().any(|a| a == "errno") => {
            ok(subject, "system calls can be filtered")
        }
        _ => flaw(
            subject,
            Level::Degraded,
            "this kernel has no seccomp filters: nothing narrows which system calls a container makes".into(),
            Some("use a kernel built with CONFIG_SECCOMP_FILTER".into()),
        ),
    }
}

fn store(place: &StorePlace) -> Finding {
    let subject = "store";
    let root = place.root.display();
    let nearest = place.nearest.display();
    let read_only = place
        .flags
        .is_some_and(|f| f.contains(StatVfsMountFlags::RDONLY));
    let elsewhere = || Some("name another folder with --root DIR or MINIDOCK_ROOT".to_owned());
    if read_only {
        let why = format!("{root} is on a read-only file system");
        return flaw(subject, Level::Missing, why, elsewhere());
    }
    if let Some((owner, caller)) = place.owner.filter(|(owner, caller)| owner != caller)
        && place.nearest == place.root
    {
        let why = format!("{root} belongs to uid {owner}, not to you ({caller})");
        return flaw(subject, Level::Missing, why, elsewhere());
    }
    if !place.writable {
        let why = format!("{root} cannot be made: {nearest} is not writable for you");
        return flaw(subject, Level::Missing, why, elsewhere());
    }
    let has = |flag| place.flags.is_some_and(|f| f.contains(flag));
    if has(StatVfsMountFlags::NOEXEC) {
        let why =
            format!("{root} is on a file system mounted noexec: programs of images may be refused");
        return flaw(subject, Level::Degraded, why, elsewhere());
    }
    if has(StatVfsMountFlags::NOSUID) {
        let why = format!(
            "{root} is on a file system mounted nosuid: set-user-ID programs have no effect"
        );
        return flaw(subject, Level::Degraded, why, elsewhere());
    }
    if let Some(free) = place.free.filter(|free| *free < LITTLE_SPACE) {
        let why = format!("{root} has {} MiB of free space", free >> 20);
        return flaw(subject, Level::Degraded, why, elsewhere());
    }
    ok(subject, format!("{root}"))
}

fn network(facts: &Facts) -> Finding {
    let subject = "network";
    let helper = facts.pasta.as_ref().or(facts.slirp.as_ref());
    match (helper, &facts.tun) {
        (Some(helper), Ok(())) => ok(
            subject,
            format!("{} and /dev/net/tun are there", helper.display()),
        ),
        (None, _) => flaw(
            subject,
            Level::Degraded,
            "neither pasta nor slirp4netns is installed: a container has either no network or the host's".into(),
            Some("as root: apt-get install passt (or dnf install passt)".into()),
        ),
        (Some(helper), Err(error)) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            flaw(
                subject,
                Level::Degraded,
                format!("{} needs /dev/net/tun, which cannot be opened: {error}", helper.display()),
                Some(if missing {
                    "as root: modprobe tun".into()
                } else {
                    "as root: chmod 0666 /dev/net/tun".into()
                }),
            )
        }
    }
}

/// Controllers behind Docker's resource flags.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

const DELEGATE: &str = "as root: mkdir -p /etc/systemd/system/user@.service.d && printf \
    '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf && systemctl \
    daemon-reload; then log in again";

fn cgroup(cgroups: &Cgroups) -> Finding {
    let subject = "cgroup";
    let no_limits = |refusal: &Refusal| {
        flaw(
            subject,
            Level::Degraded,
            format!("{refusal}: the use of memory, processors and processes cannot be limited"),
            Some(refusal.remedy()),
        )
    };
    let groups = match &cgroups.groups {
        Ok(groups) => groups,
        Err(refusal) => return no_limits(refusal),
    };
    if let Some(bus) = &cgroups.manager {
        return ok(
            subject,
            format!(
                "the service manager is asked for a scope through {}",
                bus.display()
            ),
        );
    }
    let place = |controller: &&str| {
        let setting = Setting {
            file: format!("{controller}.max"),
            value: String::new(),
        };
        choose(groups, false, &[setting])
    };
    let lacking: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|c| place(c).is_err())
        .collect();
    match (place(&"memory"), lacking.as_slice()) {
        (Ok(place), []) => ok(
            subject,
            format!("limits can be set below {}", place.parent.display()),
        ),
        (Err(refusal), all) if all.len() == CONTROLLERS.len() => no_limits(&refusal),
        _ => flaw(
            subject,
            Level::Degraded,
            format!(
                "some limits cannot be set, for lack of: {}",
                lacking.join(", ")
            ),
            Some(DELEGATE.into()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use minidock_run::cgroup::Group;

    use super::*;

    fn place() -> StorePlace {
        StorePlace {
            root: "/home/u/store".into(),
            nearest: "/home/u/store".into(),
            owner: Some((1000, 1000)),
            writable: true,
            flags: Some(StatVfsMountFlags::empty()),
            free: Some(10 << 30),
        }
    }

    #[test]
    fn a_good_store_is_ok_and_each_flaw_has_a_remedy() {
        assert_eq!(store(&place()).level, Level::Ok);
        let flaws: [(&str, Level, StorePlace); 6] = [
            (
                "read-only",
                Level::Missing,
                StorePlace {
                    flags: Some(StatVfsMountFlags::RDONLY),
                    ..place()
                },
            ),
            (
                "belongs to uid 0",
                Level::Missing,
                StorePlace {
                    owner: Some((0, 1000)),
                    ..place()
                },
            ),
            (
                "/home/u is not writable",
                Level::Missing,
                StorePlace {
                    nearest: "/home/u".into(),
                    owner: Some((0, 1000)),
                    writable: false,
                    ..place()
                },
            ),
            (
                "noexec",
                Level::Degraded,
                StorePlace {
                    flags: Some(StatVfsMountFlags::NOEXEC),
                    ..place()
                },
            ),
            (
                "nosuid",
                Level::Degraded,
                StorePlace {
                    flags: Some(StatVfsMountFlags::NOSUID),
                    ..place()
                },
            ),
            (
                "5 MiB",
                Level::Degraded,
                StorePlace {
                    free: Some(5 << 20),
                    ..place()
                },
            ),
        ];
        for (word, level, place) in flaws {
            let finding = store(&place);
            assert_eq!(finding.level, level, "{word}");
            assert!(finding.why.contains(word), "{}", finding.why);
            assert!(finding.remedy.is_some());
        }
    }

    #[test]
    fn cgroups_are_judged_by_what_can_be_limited() {
        let group = |writable, controllers: &[&str]| Cgroups {
            groups: Ok(vec![Group {
                folder: "/sys/fs/cgroup/x".into(),
                writable,
                controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
                ..Group::default()
            }]),
            manager: None,
        };
        let all = cgroup(&group(true, &CONTROLLERS));
        assert_eq!(
            (all.level, all.why.as_str()),
            (Level::Ok, "limits can be set below /sys/fs/cgroup/x")
        );
        let some = cgroup(&group(true, &["memory", "pids"]));
        assert!(
            some.why.ends_with("for lack of: cpu, cpuset, io"),
            "{}",
            some.why
        );
        assert_eq!(some.level, Level::Degraded);
        let foreign = cgroup(&group(false, &CONTROLLERS));
        assert!(foreign.why.contains("is not yours"), "{}", foreign.why);
        let none = Cgroups {
            groups: Err(Refusal::NoVersion2),
            manager: Some("/run/user/1/bus".into()),
        };
        assert_eq!(cgroup(&none).level, Level::Degraded);
        assert!(cgroup(&none).remedy.is_some());
        let manager = Cgroups {
            manager: Some("/run/user/1/bus".into()),
            ..group(false, &[])
        };
        assert_eq!(cgroup(&manager).level, Level::Ok);
    }

    #[test]
    fn refused_namespaces_are_told_with_runs_words() {
        let refused = Err(minidock_run::Error::Clone {
            source: io::Error::from_raw_os_error(1),
            hint: Some("do this".into()),
        });
        let finding = namespaces(&refused);
        assert_eq!(finding.level, Level::Missing);
        assert_eq!(
            finding.why,
            "cannot create the container's namespaces: Operation not permitted (os error 1)"
        );
        assert_eq!(finding.remedy.as_deref(), Some("do this"));
        assert_eq!(new_proc(&refused), None);
    }

    #[test]
    fn a_covered_proc_is_no_obstacle() {
        let covered = Ok(Isolation::Refused {
            stage: Stage::Proc,
            source: io::Error::from_raw_os_error(1),
            hint: None,
        });
        assert_eq!(namespaces(&covered).level, Level::Ok);
        assert_eq!(new_proc(&covered).unwrap().level, Level::Degraded);
    }

    #[test]
    fn one_id_is_enough_and_more_are_better() {
        assert_eq!(ids(&ContainerIds::All).level, Level::Ok);
        assert!(ids(&ContainerIds::Ranges(65_537)).why.contains("65537 ids"));
        let one = ids(&ContainerIds::One {
            why: "/etc/subuid grants nothing to 7".into(),
            uid: 7,
        });
        assert_eq!(one.level, Level::Degraded);
        assert!(one.why.ends_with("/etc/subuid grants nothing to 7"));
        assert!(one.remedy.unwrap().contains("$(id -nu 7)"));
    }

    #[test]
    fn old_kernels_have_no_rootless_overlay() {
        assert_eq!(kernel("5.10.0-30-amd64").level, Level::Degraded);
        assert_eq!(kernel("5.11.0").level, Level::Ok);
        assert_eq!(kernel("6.18.44-x").level, Level::Ok);
    }
}
