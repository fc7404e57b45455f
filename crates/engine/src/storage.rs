//! Storage drivers: what a container's root file system is made of, and which of them works here.
//!
//! | driver | what it is | what it needs |
//! |---|---|---|
//! | `overlay` | the kernel's overlay of the image's layers and a writable one | Linux 5.11, a file system with attributes for users |
//! | `fuse-overlayfs` | the same by a program | the program, `/dev/fuse` |
//! | `flat` | a copy of all of the image's files | space, time where the file system cannot share data between files |
//!
//! Images whose whiteouts had to be [sockets](minidock_layer::Whiteouts::Sockets) can only be had with `flat`.
//!
//! The first one that works is taken. What works is found out by really trying (see [`minidock_run::try_overlay`]) and kept in the
//! store until the kernel or the file system is another one. A container keeps the driver that it was made with.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use minidock_layer::{Files, Ownership, flatten};
use minidock_run::Rootfs;
use minidock_store::{
    Container, Driver, DriverRecord, ImageLayers, Store, StoreError, TriedDriver,
};

use crate::Error;

/// overlayfs takes at most as many lower layers (`OVL_MAX_STACK` of the kernel's sources).
const MOST_LAYERS: usize = 500;

/// A way to make a container's root file system.
pub trait StorageDriver: Debug {
    /// Which one.
    fn driver(&self) -> Driver;

    /// The program that it needs, if there is one.
    fn program(&self) -> Option<&Path> {
        None
    }

    /// Makes the root file system of a new container, or says how it is to be mounted.
    ///
    /// # Errors
    /// When something cannot be made.
    fn rootfs(&self, wanted: &Wanted<'_>) -> Result<Rootfs, Error>;

    /// The image's files as one folder, if this driver has them so: for a container that writes nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    fn whole_image(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, Error> {
        Ok(match wanted.layers.trees(wanted.store).as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        })
    }
}

/// Of what, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the layers are.
    pub store: &'a Store,
    /// The image's.
    pub layers: &'a ImageLayers,
    /// Whose root file system it is.
    pub container: &'a Container,
}

impl Wanted<'_> {
    /// The layers, uppermost first; at least one, for an empty folder stands for the layers of `FROM scratch`.
    fn lower(&self) -> Vec<PathBuf> {
        let mut lower = self.layers.trees(self.store);
        if lower.is_empty() {
            lower.push(self.container.folder().join("rootfs"));
        }
        lower
    }
}

#[derive(Debug)]
struct Overlay;

impl StorageDriver for Overlay {
    fn driver(&self) -> Driver {
        Driver::Overlay
    }

    fn rootfs(&self, wanted: &Wanted<'_>) -> Result<Rootfs, Error> {
        let work = wanted.container.folder().join("work");
        clear_work(&work);
        Ok(Rootfs::Overlay {
            lower: wanted.lower(),
            upper: wanted.container.written(Driver::Overlay),
            work,
            volatile: true,
        })
    }
}

/// Removes what the last mount left. It was a volatile one, for which overlayfs leaves a mark: what was written may have been
/// lost in a crash of the host. What is there is what the container left, so it may be mounted again.
fn clear_work(work: &Path) {
    let left = work.join("work");
    let mark = left.join("incompat");
    // They are made without any permission. What stays is told by the kernel when it refuses the mount.
    for folder in [&left, &mark, &mark.join("volatile")] {
        let _ = std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700));
    }
    let _ = std::fs::remove_dir_all(&mark);
}

#[derive(Debug)]
struct FuseOverlayfs {
    program: PathBuf,
}

impl StorageDriver for FuseOverlayfs {
    fn driver(&self) -> Driver {
        Driver::FuseOverlayfs
    }

    fn program(&self) -> Option<&Path> {
        Some(&self.program)
    }

    fn rootfs(&self, wanted: &Wanted<'_>) -> Result<Rootfs, Error> {
        Ok(Rootfs::FuseOverlay {
            program: self.program.clone(),
            lower: wanted.lower(),
            upper: wanted.container.written(Driver::FuseOverlayfs),
            work: wanted.container.folder().join("work"),
        })
    }
}

/// Says that a container has got its copy of the image's files.
const COPIED: &str = "copied";

#[derive(Debug)]
struct Flat;

impl StorageDriver for Flat {
    fn driver(&self) -> Driver {
        Driver::Flat
    }

    fn rootfs(&self, wanted: &Wanted<'_>) -> Result<Rootfs, Error> {
        let Wanted {
            store, container, ..
        } = *wanted;
        let tree = container.written(Driver::Flat);
        // Once only: what is there afterwards is the container's own.
        let mark = container.folder().join(COPIED);
        if !mark.exists()
            && let Some(image) = self.whole_image(wanted)?
        {
            make_flat(store, &[image], &tree, Files::Copied)?;
            container.write_file(COPIED, b"", 0o600)?;
        }
        Ok(Rootfs::Bind(tree))
    }

    fn whole_image(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, Error> {
        let Wanted { store, layers, .. } = *wanted;
        let image = store.make_flat_image(&layers.folders, |target| {
            make_flat(store, &layers.trees(store), target, Files::Linked)?;
            Ok::<_, Error>(store.set_root(target, layers.root)?)
        })?;
        Ok(Some(image))
    }
}

/// One tree of layers, the uppermost first. A caller with one id does it as root of a namespace of his own, for some files
/// may not be read even by their owner.
fn make_flat(store: &Store, layers: &[PathBuf], target: &Path, files: Files) -> Result<(), Error> {
    let ownership = if store.id_map().has_owners() {
        Ownership::Host
    } else {
        Ownership::Single
    };
    let make = || -> Result<(), String> {
        let open = |path: &Path| {
            File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))
        };
        let layers = layers
            .iter()
            .map(|path| open(path))
            .collect::<Result<Vec<_>, _>>()?;
        let layers: Vec<_> = layers.iter().map(AsFd::as_fd).collect();
        flatten(&layers, open(target)?.as_fd(), files, ownership).map_err(|e| with_causes(&e))
    };
    let made = match ownership {
        Ownership::Host => make(),
        Ownership::Single => match minidock_run::as_own_root(&make) {
            Err(minidock_run::Error::OwnRoot(why)) => Err(why),
            other => return Ok(other?),
        },
    };
    made.map_err(|why| Error::Flat {
        target: target.to_owned(),
        why,
    })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The driver for new containers, and why it is not a better one.
#[derive(Debug)]
pub struct Choice {
    /// The driver.
    pub driver: Box<dyn StorageDriver>,
    /// One sentence for each better driver that does not work here.
    pub reasons: Vec<String>,
}

/// Chooses a driver for an image of these layers, or for any ordinary one: the wanted one, or the first that works.
///
/// # Errors
/// When the wanted one does not work, or none can be tried because user namespaces are refused.
pub fn choose(
    store: &Store,
    wanted: Option<Driver>,
    layers: Option<&ImageLayers>,
    search: &OsStr,
) -> Result<Choice, Error> {
    let mut known = Known::read(store, search)?;
    let mut reasons = Vec::new();
    let order = match wanted {
        Some(driver) => vec![driver],
        None => vec![Driver::Overlay, Driver::FuseOverlayfs, Driver::Flat],
    };
    let mut chosen: Box<dyn StorageDriver> = Box::new(Flat);
    for driver in order {
        if let Some(why) = layers.and_then(|layers| image_refusal(driver, layers)) {
            if wanted.is_some() {
                return Err(Error::StorageOfImage { driver, why });
            }
            reasons.push(format!("{driver}: {why}"));
            continue;
        }
        let refusal = match driver {
            Driver::Flat => None,
            driver => known.refusal(driver)?,
        };
        match (refusal, wanted) {
            (None, _) => {
                chosen = known.driver(driver);
                break;
            }
            (Some(why), Some(driver)) => return Err(Error::Storage { driver, why }),
            (Some(why), None) => reasons.push(format!("{driver}: {why}")),
        }
    }
    known.keep();
    Ok(Choice {
        driver: chosen,
        reasons,
    })
}

/// Why a driver cannot make containers of an image, even where it works.
fn image_refusal(driver: Driver, layers: &ImageLayers) -> Option<String> {
    let count = layers.folders.len();
    match driver {
        Driver::Overlay | Driver::FuseOverlayfs if layers.socket_whiteouts => Some(
            "the file system took no devices 0:0 when the image came, and overlays know no other mark of deleted files"
                .into(),
        ),
        Driver::Overlay if count > MOST_LAYERS => Some(format!(
            "the kernel takes at most {MOST_LAYERS} layers, and the image has {count}"
        )),
        _ => None,
    }
}

/// What is known of the drivers in a store.
struct Known<'a> {
    store: &'a Store,
    search: &'a OsStr,
    record: DriverRecord,
    changed: bool,
}

impl<'a> Known<'a> {
    fn read(store: &'a Store, search: &'a OsStr) -> Result<Self, Error> {
        let root = store.root();
        let found = rustix::fs::statfs(root).map_err(|e| StoreError::Io {
            operation: "look at the file system of",
            path: root.to_owned(),
            source: e.into(),
        })?;
        let kernel = rustix::system::uname();
        let now = DriverRecord {
            kernel: kernel.release().to_string_lossy().into_owned(),
            file_system: format!("{:x}", found.f_type),
            tried: Vec::new(),
        };
        let record = store
            .driver_record()
            .filter(|r| (&r.kernel, &r.file_system) == (&now.kernel, &now.file_system))
            .unwrap_or(now);
        Ok(Self {
            store,
            search,
            record,
            changed: false,
        })
    }

    /// Why a driver does not work here; `None` if it does.
    fn refusal(&mut self, driver: Driver) -> Result<Option<String>, Error> {
        if let Some(tried) = self.tried(driver)
            && tried.program.as_ref().is_none_or(|p| p.exists())
        {
            return Ok(tried.refusal.clone());
        }
        let program = match driver {
            Driver::FuseOverlayfs => {
                match minidock_run::find_program("fuse-overlayfs", self.search) {
                    Some(program) => Some(program),
                    // It may be there the next time, so this is not kept.
                    None => return Ok(Some("the program fuse-overlayfs is not installed".into())),
                }
            }
            Driver::Overlay | Driver::Flat => None,
        };
        let refusal = self.store.in_scratch(|folder| {
            let tried = minidock_run::try_overlay(folder, program.as_deref())?;
            Ok::<_, Error>(tried.map(|refusal| with_causes(&refusal)))
        });
        let refusal = match refusal {
            // Nor can it be kept that it could not be tried.
            Err(Error::Store(e)) if e.is_unwritable() => {
                return Ok(Some(format!("it cannot be tried: {e}")));
            }
            result => result?,
        };
        self.record.tried.retain(|t| t.driver != driver);
        self.record.tried.push(TriedDriver {
            driver,
            program,
            refusal: refusal.clone(),
        });
        self.changed = true;
        Ok(refusal)
    }

    fn tried(&self, driver: Driver) -> Option<&TriedDriver> {
        self.record.tried.iter().find(|t| t.driver == driver)
    }

    fn driver(&self, driver: Driver) -> Box<dyn StorageDriver> {
        let program = self.tried(driver).and_then(|t| t.program.clone());
        match (driver, program) {
            (Driver::Overlay, _) => Box::new(Overlay),
            (Driver::FuseOverlayfs, Some(program)) => Box::new(FuseOverlayfs { program }),
            (Driver::FuseOverlayfs | Driver::Flat, _) => Box::new(Flat),
        }
    }

    /// Keeps what was found out. That it cannot be kept only costs time.
    fn keep(&self) {
        if self.changed {
            let _ = self.store.set_driver_record(&self.record);
        }
    }
}
