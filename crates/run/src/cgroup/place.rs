//! Where a group can be made.
//!
//! A group can be given limits if its parent has the controllers enabled for its children (`cgroup.subtree_control`), and a
//! parent can have that only while no process is in it, unless it is the kernel's root. A caller who is to put a process into
//! a group must be allowed to write `cgroup.procs` there and in the nearest group that both where it is and where it goes
//! are below. So groups are tried from the caller's own up, for as long as they are the caller's.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::{PROCESSES, Setting};

/// A group of the tree as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its folder.
    pub folder: PathBuf,
    /// Groups can be made in it, and processes be put into them.
    pub writable: bool,
    /// What can be limited in it (`cgroup.controllers`).
    pub controllers: Vec<String>,
    /// What can be limited in its children (`cgroup.subtree_control`).
    pub enabled: Vec<String>,
    /// Processes are in it, and it is not the kernel's root: nothing more can be enabled.
    pub occupied: bool,
}

/// Where a group will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The group above.
    pub parent: PathBuf,
    /// Controllers to be enabled there first.
    pub enable: Vec<String>,
}

/// Why there is no place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No hierarchy of version 2 is mounted, or this process is not in it.
    NoVersion2,
    /// The hierarchy of version 2 can limit nothing.
    NoControllers,
    /// The wished group does not exist.
    NoSuchGroup(PathBuf),
    /// The group may not be written to by the caller.
    NotDelegated(PathBuf),
    /// The group's own processes keep its controllers from being enabled.
    Occupied(PathBuf),
    /// The group lacks a controller.
    NoController {
        /// The group.
        group: PathBuf,
        /// The controller.
        controller: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersion2 => write!(f, "no control groups of version 2 are mounted here"),
            Self::NoControllers => write!(
                f,
                "the control groups of version 2 here have no controllers: those of version 1 have them, or they were not handed down"
            ),
            Self::NoSuchGroup(group) => write!(f, "there is no control group {}", group.display()),
            Self::NotDelegated(group) => {
                write!(f, "the control group {} is not yours", group.display())
            }
            Self::Occupied(group) => write!(
                f,
                "processes are in the control group {} itself, so nothing below it can be limited",
                group.display()
            ),
            Self::NoController { group, controller } => write!(
                f,
                "the control group {} has no controller {controller:?}",
                group.display()
            ),
        }
    }
}

impl Refusal {
    /// What the user can do about it.
    pub fn remedy(&self) -> String {
        let scope = "start it as `systemd-run --user --scope -p Delegate=yes minidock run …`, or name a group of yours with --cgroup-parent";
        match self {
            Self::NoVersion2 | Self::NoControllers => "boot with systemd.unified_cgroup_hierarchy=1; or use --limits best-effort, which limits each process where it can".to_owned(),
            Self::NoSuchGroup(_) => "make it, or leave --cgroup-parent out".to_owned(),
            Self::NotDelegated(_) | Self::Occupied(_) => format!(
                "{scope}; or use --limits best-effort, which limits each process where it can"
            ),
            Self::NoController { controller, .. } => format!(
                "let the administrator delegate it: `Delegate=cpu cpuset io memory pids` in a drop-in of user@.service; or leave out what needs {controller}"
            ),
        }
    }
}

/// The groups that may be a place, the nearest first: the wished one alone, or the caller's own and those above.
///
/// # Errors
/// When there is no tree of version 2, or not the wished group in it.
pub fn groups(parent: Option<&str>) -> Result<Vec<Group>, Refusal> {
    let (mount, own) = mount_and_own_folder()?;
    if look(&mount).controllers.is_empty() {
        return Err(Refusal::NoControllers);
    }
    if let Some(parent) = parent {
        let folder = wished(&mount, parent);
        if !folder.join(PROCESSES).exists() {
            return Err(Refusal::NoSuchGroup(folder));
        }
        return Ok(vec![look(&folder)]);
    }
    let below = own.strip_prefix(&mount).unwrap_or(Path::new(""));
    Ok(below
        .ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => look(&mount),
            false => look(&mount.join(path)),
        })
        .collect())
}

/// A group's folder, from how a user writes it. Nothing leads out of the tree.
fn wished(mount: &Path, parent: &str) -> PathBuf {
    let path = Path::new(parent);
    let path = path.strip_prefix(mount).unwrap_or(path);
    let names = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut folder = mount.to_owned();
    folder.extend(names);
    folder
}

pub(super) fn look(folder: &Path) -> Group {
    let words = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let may =
        |path: &Path| rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    // The kernel's root alone has no such file.
    let is_root = !folder.join("cgroup.type").exists();
    let processes = fs::read_to_string(folder.join(PROCESSES)).unwrap_or_default();
    Group {
        folder: folder.to_owned(),
        writable: may(folder) && may(&folder.join(PROCESSES)),
        controllers: words("cgroup.controllers"),
        enabled: words("cgroup.subtree_control"),
        occupied: !is_root && !processes.is_empty(),
    }
}

/// The same from the content of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn own_group(own: &str, mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, mountpoint) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        let mount = PathBuf::from(mountpoint);
        let folder = mount.join(below);
        Some((mount, folder))
    })
}

/// Where the hierarchy of version 2 is mounted, and the folder of the caller's group in it.
fn mount_and_own_folder() -> Result<(PathBuf, PathBuf), Refusal> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    own_group(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo")).ok_or(Refusal::NoVersion2)
}

/// The folder of the caller's own group.
pub(super) fn own_folder() -> Result<PathBuf, Refusal> {
    Ok(mount_and_own_folder()?.1)
}

/// The first group in which one with these settings can be made. Of several reasons why there is none, the nearest one's is
/// told.
///
/// # Errors
/// Why there is no such group.
pub fn choose(groups: &[Group], wished: bool, settings: &[Setting]) -> Result<Place, Refusal> {
    let mut why = None;
    for group in groups {
        match fits(group, settings) {
            Ok(place) => return Ok(place),
            Err(refusal) => {
                // Above a group that is not the caller's, none is of use: processes could not be moved across it.
                let end = matches!(refusal, Refusal::NotDelegated(_));
                why.get_or_insert(refusal);
                if end && !wished {
                    break;
                }
            }
        }
    }
    Err(why.unwrap_or(Refusal::NoVersion2))
}

fn fits(group: &Group, settings: &[Setting]) -> Result<Place, Refusal> {
    if !group.writable {
        return Err(Refusal::NotDelegated(group.folder.clone()));
    }
    let mut enable: Vec<String> = Vec::new();
    for setting in settings {
        let controller = setting.controller();
        let has = |list: &[String]| list.iter().any(|c| c == controller);
        if has(&group.enabled) || has(&enable) {
            continue;
        }
        if !has(&group.controllers) {
            return Err(Refusal::NoController {
                group: group.folder.clone(),
                controller: controller.to_owned(),
            });
        }
        enable.push(controller.to_owned());
    }
    if group.occupied && !enable.is_empty() {
        return Err(Refusal::Occupied(group.folder.clone()));
    }
    Ok(Place {
        parent: group.folder.clone(),
        enable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(folder: &str, writable: bool, has: &str, enabled: &str, occupied: bool) -> Group {
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
        Group {
            folder: folder.into(),
            writable,
            controllers: words(has),
            enabled: words(enabled),
            occupied,
        }
    }

    fn memory_and_pids() -> Vec<Setting> {
        ["memory.max", "memory.low", "pids.max"]
            .map(|file| Setting {
                file: file.to_owned(),
                value: "1".to_owned(),
            })
            .to_vec()
    }

    #[test]
    fn the_nearest_group_that_can_have_limits_is_taken() {
        let all = "memory pids cpu";
        let session = group("/s", true, all, "", true);
        let user = group("/u", true, all, "memory", false);
        let system = group("/", false, all, all, false);
        let chosen = choose(&[session, user, system], false, &memory_and_pids());
        assert_eq!(
            chosen,
            Ok(Place {
                parent: "/u".into(),
                enable: vec!["pids".into()]
            })
        );
        // All that is needed is enabled: that processes are in it does not matter.
        let enabled = group("/e", true, all, "pids memory", true);
        let chosen = choose(&[enabled], false, &memory_and_pids()).unwrap();
        assert!(chosen.enable.is_empty());
    }

    #[test]
    fn why_there_is_no_place_is_told() {
        let all = "memory pids";
        let occupied = group("/o", true, all, "", true);
        let foreign = group("/f", false, all, all, false);
        let poor = group("/p", true, "pids", "", false);
        let beyond = group("/b", true, all, all, false);
        let settings = memory_and_pids();
        let refusal = |groups: &[Group]| choose(groups, false, &settings).unwrap_err();
        assert_eq!(
            refusal(&[occupied.clone(), foreign.clone(), beyond.clone()]),
            Refusal::Occupied("/o".into())
        );
        assert_eq!(
            refusal(&[foreign, beyond]),
            Refusal::NotDelegated("/f".into())
        );
        assert_eq!(
            refusal(&[poor]),
            Refusal::NoController {
                group: "/p".into(),
                controller: "memory".into()
            }
        );
        assert_eq!(refusal(&[]), Refusal::NoVersion2);
    }

    #[test]
    fn a_wished_group_stays_in_the_tree() {
        let mount = Path::new("/sys/fs/cgroup");
        for (parent, expected) in [
            ("/a/b", "/sys/fs/cgroup/a/b"),
            ("a", "/sys/fs/cgroup/a"),
            ("/sys/fs/cgroup/a", "/sys/fs/cgroup/a"),
            ("../../etc", "/sys/fs/cgroup/etc"),
            ("/", "/sys/fs/cgroup"),
        ] {
            assert_eq!(wished(mount, parent), Path::new(expected), "{parent}");
        }
    }

    #[test]
    fn the_own_group_is_found_through_its_mount() {
        let unified = "24 30 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let hybrid = "33 32 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n\
                      34 32 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let inside = "24 30 0:22 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let v1 = "34 32 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        for (own, mountinfo, expected) in [
            (
                "0::/user.slice/s\n",
                unified,
                Some("/sys/fs/cgroup/user.slice/s"),
            ),
            (
                "4:pids:/x\n0::/y\n",
                hybrid,
                Some("/sys/fs/cgroup/unified/y"),
            ),
            ("0::/user.slice/s\n", inside, Some("/sys/fs/cgroup/s")),
            ("0::/other\n", inside, None),
            ("4:pids:/x\n", hybrid, None),
            ("0::/\n", v1, None),
            ("", "", None),
        ] {
            let found = own_group(own, mountinfo).map(|(_, folder)| folder);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{own}");
        }
    }
}
