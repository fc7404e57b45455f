//! What a container's mounts are made of: wishes, the image's volumes and other containers' mounts become records with
//! paths, and volumes are made and filled on the way. And the verbs of `volume`.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use minidock_oci::ContainerConfig;
use minidock_run::{Launch, Rootfs};
use minidock_store::{
    ANONYMOUS_LABEL, Container, Hold, MountKind, MountRecord, VolumeRecord, is_volume_name,
};

use crate::run::now;
use crate::spec::{Access, MountWish, MountWishKind, Propagation, VolumesFrom, Wishes};
use crate::{Engine, Error};

/// Mounts of a container that is being made.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub records: Vec<MountRecord>,
    pub fills: Vec<Fill>,
}

/// A volume that takes over what the image has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fill {
    /// Its name.
    volume: String,
    /// Where, inside.
    target: String,
}

/// For whom volumes are made.
pub(crate) struct Owner<'a> {
    pub id: &'a str,
    pub auto_remove: bool,
}

/// What the kernel sees of `/proc` belongs to the runtime; these are files that people cover on purpose (lxcfs).
const COVERABLE: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
];

impl Engine {
    /// Finds or makes everything that is to be mounted. The caller keeps the hold until a container refers to it, and after
    /// a failure removes the anonymous volumes among what was found.
    pub(crate) fn mounts(
        &self,
        hold: &Hold,
        wishes: &Wishes,
        image: &ContainerConfig,
        owner: &Owner<'_>,
        kernel: (u32, u32),
        mounts: &mut Mounts,
    ) -> Result<(), Error> {
        for from in &wishes.volumes_from {
            for record in self.mounts_of(from)? {
                mounts.records.retain(|r| r.target != record.target);
                mounts.records.push(record);
            }
        }
        let inherited = mounts.records.len();
        for wish in &wishes.mounts {
            check_target(&wish.target)?;
            let mine = &mounts.records[inherited.min(mounts.records.len())..];
            if mine.iter().any(|r| r.target == wish.target) {
                return Err(Error::Argument {
                    what: "mount point",
                    value: wish.target.clone(),
                    why: "something else is to be mounted there as well",
                });
            }
            self.mount(hold, wish, owner, kernel, mounts)?;
        }
        // What is mounted at the same place comes from the user, not from the other container.
        let own: Vec<String> = mounts.records[inherited..]
            .iter()
            .map(|r| r.target.clone())
            .collect();
        let mut number = 0;
        mounts.records.retain(|r| {
            number += 1;
            number > inherited || !own.contains(&r.target)
        });
        for target in image.volumes.keys() {
            let target = clean(target);
            if target == "/" || mounts.records.iter().any(|r| r.target == target) {
                continue;
            }
            let wish = MountWish {
                target,
                access: Access::ReadWrite,
                kind: MountWishKind::Volume {
                    name: None,
                    copy: true,
                    labels: BTreeMap::new(),
                },
            };
            self.mount(hold, &wish, owner, kernel, mounts)?;
        }
        Ok(())
    }

    fn mount(
        &self,
        hold: &Hold,
        wish: &MountWish,
        owner: &Owner<'_>,
        kernel: (u32, u32),
        mounts: &mut Mounts,
    ) -> Result<(), Error> {
        let mut record = MountRecord {
            kind: MountKind::Bind,
            name: None,
            source: PathBuf::new(),
            target: wish.target.clone(),
            options: Vec::new(),
            read_only: wish.access != Access::ReadWrite,
            anonymous: false,
        };
        let access = access_option(wish, kernel)?;
        match &wish.kind {
            MountWishKind::Bind {
                source,
                create,
                recursive,
                propagation,
            } => {
                bind_source(source, *create)?;
                record.source.clone_from(source);
                record.options = vec![
                    if *recursive { "rbind" } else { "bind" }.to_owned(),
                    match propagation {
                        Propagation::Private => "rprivate".to_owned(),
                        Propagation::Slave => "rslave".to_owned(),
                    },
                ];
            }
            MountWishKind::Volume { name, copy, labels } => {
                let new = self.new_volume(name.as_deref(), labels, owner)?;
                record.anonymous = new.anonymous;
                let (volume, made) = self.store.make_volume(hold, new)?;
                let name = volume.record().name.clone();
                if made {
                    self.tell_volume(&name, "create");
                }
                if *copy {
                    mounts.fills.push(Fill {
                        volume: name.clone(),
                        target: wish.target.clone(),
                    });
                }
                record.kind = MountKind::Volume;
                record.name = Some(name);
                record.source = volume.data();
                record.options = vec!["rbind".into(), "rprivate".into()];
            }
            MountWishKind::Tmpfs { options } => {
                record.kind = MountKind::Tmpfs;
                record.options = tmpfs_options(options);
            }
        }
        record.options.extend(access.map(str::to_owned));
        mounts.records.push(record);
        Ok(())
    }

    fn new_volume(
        &self,
        name: Option<&str>,
        labels: &BTreeMap<String, String>,
        owner: &Owner<'_>,
    ) -> Result<VolumeRecord, Error> {
        let mut labels = labels.clone();
        let anonymous = name.is_none();
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
                self.store.new_volume_name()?
            }
        };
        Ok(VolumeRecord {
            name,
            created: now().0,
            labels,
            anonymous,
            owner: (anonymous && owner.auto_remove).then(|| owner.id.to_owned()),
        })
    }

    fn mounts_of(&self, from: &VolumesFrom) -> Result<Vec<MountRecord>, Error> {
        let container = self.store.find_container(&from.container)?;
        let state = container.state()?;
        let mut records = state.map(|s| s.mounts).unwrap_or_default();
        records.retain(|r| r.kind != MountKind::Tmpfs);
        if let Some(read_only) = from.read_only {
            for record in &mut records {
                let is_access = |o: &String| matches!(o.as_str(), "ro" | "rro" | "rw");
                if read_only && !record.read_only {
                    record.options.push("rro".to_owned());
                } else if !read_only {
                    record.options.retain(|o| !is_access(o));
                }
                record.read_only = read_only;
            }
        }
        Ok(records)
    }

    /// Copies what the image has into volumes that are empty.
    pub(crate) fn fill_volumes(
        &self,
        fills: &[Fill],
        launch: &Launch<'_>,
        container: &Container,
    ) -> Result<(), Error> {
        let mut filling = Vec::new();
        for Fill { volume, target } in fills {
            let volume = self.store.find_volume(volume)?;
            if let Some(marked) = volume.fill()? {
                filling.push((volume.data(), Path::new(target), marked));
            }
        }
        if filling.is_empty() {
            return Ok(());
        }
        // The container's own writable layer is for one mount only.
        let folder = container.folder().join("fill");
        let rootfs = match launch.rootfs {
            Rootfs::Overlay { lower, .. } => {
                let make = |name: &str| -> Result<PathBuf, Error> {
                    let path = folder.join(name);
                    let mut builder = DirBuilder::new();
                    builder
                        .recursive(true)
                        .mode(0o755)
                        .create(&path)
                        .map_err(|source| Error::Path {
                            operation: "create",
                            path: path.clone(),
                            source,
                        })?;
                    Ok(path)
                };
                Rootfs::Overlay {
                    lower: lower.clone(),
                    upper: make("upper")?,
                    work: make("work")?,
                    volatile: true,
                }
            }
            other => other.clone(),
        };
        let launch = Launch {
            rootfs: &rootfs,
            ..*launch
        };
        let pairs: Vec<(&Path, &Path)> = filling
            .iter()
            .map(|(data, target, _)| (*target, data.as_path()))
            .collect();
        minidock_run::fill_volumes(&launch, &pairs)?;
        filling
            .into_iter()
            .try_for_each(|(_, _, marked)| marked.done().map_err(Error::from))
    }
}

/// Why a path inside cannot be mounted on.
fn check_target(target: &str) -> Result<(), Error> {
    let inside_proc = target == "/proc" || target.starts_with("/proc/");
    if inside_proc && !COVERABLE.contains(&target) {
        return Err(Error::Argument {
            what: "mount point",
            value: target.to_owned(),
            why: "it is inside /proc, by which the container is set up and protected",
        });
    }
    Ok(())
}

/// The option that says what can be written; recursive where the kernel can (mount_setattr(2), Linux 5.12).
fn access_option(wish: &MountWish, kernel: (u32, u32)) -> Result<Option<&'static str>, Error> {
    let recursive = kernel >= (5, 12);
    let memory = matches!(wish.kind, MountWishKind::Tmpfs { .. });
    match wish.access {
        Access::ReadWrite => Ok(None),
        Access::ReadOnly if recursive && !memory => Ok(Some("rro")),
        Access::ReadOnlyRecursive if recursive => Ok(Some("rro")),
        Access::ReadOnlyRecursive => Err(Error::Argument {
            what: "bind-recursive",
            value: "readonly".to_owned(),
            why: "this kernel cannot do that; Linux 5.12 and later can",
        }),
        Access::ReadOnly | Access::ReadOnlyTop => Ok(Some("ro")),
    }
}

/// Docker's defaults, unless one of the options says otherwise.
fn tmpfs_options(options: &[String]) -> Vec<String> {
    let defaults = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")];
    let given = |option: &str| options.iter().any(|o| o == option);
    let mut all: Vec<String> = defaults
        .iter()
        .filter(|(no, yes)| !given(no) && !given(yes))
        .map(|(no, _)| (*no).to_owned())
        .collect();
    all.extend_from_slice(options);
    all
}

fn bind_source(source: &Path, create: bool) -> Result<(), Error> {
    let failed = |operation| {
        move |error| Error::Path {
            operation,
            path: source.to_owned(),
            source: error,
        }
    };
    match std::fs::metadata(source) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if !create {
                return Err(Error::BindSource(source.to_owned()));
            }
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o755);
            builder.create(source).map_err(failed("create"))
        }
        Err(e) => Err(failed("open")(e)),
        Ok(_) => Ok(()),
    }
}

/// A path inside without `.`, `..`, and slashes that say nothing.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A volume as `volume` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeLine {
    /// Its record.
    pub record: VolumeRecord,
    /// What containers see.
    pub mountpoint: PathBuf,
    /// Whether no container has it.
    pub dangling: bool,
}

impl Engine {
    /// Makes a volume; one of that name that is there already is fine. Returns the name.
    ///
    /// # Errors
    /// When the name is not valid, or it cannot be made.
    pub fn create_volume(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<String, Error> {
        self.enter()?;
        let hold = self.store.hold()?;
        let mut record = VolumeRecord {
            created: now().0,
            labels,
            ..VolumeRecord::default()
        };
        match name {
            Some(name) => record.name = name.to_owned(),
            None => {
                record.name = self.store.new_volume_name()?;
                record.anonymous = true;
                record
                    .labels
                    .insert(ANONYMOUS_LABEL.to_owned(), String::new());
            }
        }
        let (volume, made) = self.store.make_volume(&hold, record)?;
        let name = volume.record().name.clone();
        if made {
            self.tell_volume(&name, "create");
        }
        Ok(name)
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn volumes(&self) -> Result<Vec<VolumeLine>, Error> {
        let users = self.store.volume_users()?;
        let volumes = self.store.volumes()?.into_iter();
        Ok(volumes
            .map(|volume| VolumeLine {
                dangling: !users.contains_key(&volume.record().name),
                mountpoint: volume.data(),
                record: volume.record().clone(),
            })
            .collect())
    }

    /// One volume.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn volume(&self, name: &str) -> Result<VolumeLine, Error> {
        let volume = self.store.find_volume(name)?;
        Ok(VolumeLine {
            dangling: !self.store.volume_users()?.contains_key(name),
            mountpoint: volume.data(),
            record: volume.record().clone(),
        })
    }

    /// Removes a volume that no container has.
    ///
    /// # Errors
    /// When there is none, or it is in use.
    pub fn remove_volume(&self, name: &str) -> Result<(), Error> {
        self.enter()?;
        self.store.remove_volume(name)?;
        self.tell_volume(name, "destroy");
        Ok(())
    }
}

/// Whether a text can be a volume's name.
pub fn is_name(text: &str) -> bool {
    is_volume_name(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_plain() {
        for (path, plain) in [
            ("/a/b", "/a/b"),
            ("/a/./b//", "/a/b"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("a", "/a"),
            ("", "/"),
        ] {
            assert_eq!(clean(path), plain);
        }
    }

    #[test]
    fn memory_has_dockers_defaults_unless_they_are_lifted() {
        let options = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|s| (*s).to_owned()).collect();
            tmpfs_options(&given).join(",")
        };
        assert_eq!(options(&[]), "noexec,nosuid,nodev");
        assert_eq!(options(&["size=64m", "exec"]), "nosuid,nodev,size=64m,exec");
    }

    #[test]
    fn proc_is_not_mounted_over() {
        for bad in ["/proc", "/proc/sys", "/proc/self/attr"] {
            assert!(check_target(bad).is_err(), "{bad}");
        }
        for good in ["/procx", "/proc/cpuinfo", "/data"] {
            assert!(check_target(good).is_ok(), "{good}");
        }
    }
}
