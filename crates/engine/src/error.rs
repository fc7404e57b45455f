//! Errors of the verbs.

use std::path::PathBuf;

use minidock_oci::{Platform, ReferenceError};
use minidock_store::Driver;

use crate::refusal::Refusal;
use crate::user::UserError;

/// What a verb can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image is there, for other platforms.
    #[error("image {image} was found, but not for {wanted}")]
    NotForPlatform {
        /// As it was named.
        image: String,
        /// What was wanted.
        wanted: String,
    },
    /// The reference does not parse.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] minidock_store::StoreError),
    /// The registry or the archive could not be had.
    #[error(transparent)]
    Pull(#[from] minidock_pull::Error),
    /// Credentials could not be read, kept or forgotten.
    #[error(transparent)]
    Credentials(#[from] minidock_pull::CredentialError),
    /// An archive could not be loaded.
    #[error(transparent)]
    Load(#[from] minidock_pull::archive::Error),
    /// Images could not be saved.
    #[error(transparent)]
    Save(#[from] minidock_pull::archive::SaveError),
    /// A profile of system calls cannot be understood.
    #[error("cannot use the seccomp profile {path}: {problem}")]
    SeccompProfile {
        /// The file, as it was named.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The container could not be started.
    #[error(transparent)]
    Run(#[from] minidock_run::Error),
    /// The id map that a new store was to have cannot be had.
    #[error("a store with the id map `{map}` cannot be made: {why}")]
    NoRanges {
        /// What was asked for.
        map: &'static str,
        /// Why not.
        why: String,
    },
    /// The store's files belong to subordinate ids that the host does not give any more.
    #[error("the store {} was made with subordinate ids, which this host does not give any more: {why}", root.display())]
    RangesGone {
        /// The store.
        root: PathBuf,
        /// Why not.
        why: String,
    },
    /// The storage driver that was asked for does not work here.
    #[error("the storage driver {driver} does not work here: {why}")]
    Storage {
        /// Which one.
        driver: Driver,
        /// Why not.
        why: String,
    },
    /// The storage driver that was asked for can make no container of this image.
    #[error("the storage driver {driver} cannot show this image: {why}")]
    StorageOfImage {
        /// Which one.
        driver: Driver,
        /// Why not.
        why: String,
    },
    /// A tree of an image's files could not be made.
    #[error("cannot copy the image's files to {}: {why}", target.display())]
    Flat {
        /// Where.
        target: PathBuf,
        /// Why not.
        why: String,
    },
    /// The image is not in the store.
    #[error("no such image: {0}")]
    ImageNotFound(String),
    /// The image is for another kind of machine.
    #[error("image {image} is for {have}, but {wanted} was asked for")]
    Platform {
        /// The image as asked for.
        image: String,
        /// What it is.
        have: String,
        /// What was wanted.
        wanted: Platform,
    },
    /// Neither the image nor the command line says what to run.
    #[error("image {0} has no default command, and none was given")]
    NoCommand(String),
    /// The user cannot be resolved in the image.
    #[error("cannot run {image} as user {user:?}")]
    User {
        /// The image.
        image: String,
        /// What was asked for.
        user: String,
        /// Why not.
        source: UserError,
    },
    /// A file of the image could not be read.
    #[error("cannot read {path} of image {image}")]
    ImageFile {
        /// The image.
        image: String,
        /// The path inside it.
        path: &'static str,
        /// Why not.
        source: Box<minidock_layer::Error>,
    },
    /// A folder to be mounted is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    BindSource(PathBuf),
    /// A device cannot be given to a container.
    #[error("cannot give the container the device {}: {why}", path.display())]
    Device {
        /// Its path on the host.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file for the container's id is there already.
    #[error("container ID file found, make sure the other container isn't running or delete {}", .0.display())]
    IdFile(PathBuf),
    /// A further group, where there is but one id.
    #[error("cannot add group {0}: the container has one group id only")]
    NoFurtherGroups(u32),
    /// `keep-id` in a store whose files have several owners.
    #[error(
        "--userns keep-id is not supported here: the store's files have owners of their own, which would change inside"
    )]
    KeepId,
    /// `auto` in a store whose files have several owners.
    #[error(
        "--userns auto is not supported here: the store's files have owners of their own, which a range for each container would not have"
    )]
    AutoIds,
    /// Something of the host's could not be used.
    #[error("cannot {operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// An argument cannot be used.
    #[error("{what} {value:?} is not valid: {why}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A container's files could not be read.
    #[error("cannot read the files of container {container}")]
    ContainerFiles {
        /// Its name.
        container: String,
        /// Why not.
        source: Box<minidock_layer::Error>,
    },
    /// Files could not be copied.
    #[error(transparent)]
    Copy(#[from] crate::CopyError),
    /// An instruction of `--change` cannot be applied.
    #[error("invalid --change")]
    Change(#[from] crate::dockerfile::ChangeError),
    /// The config of a new image would be refused when it is used.
    #[error("the image would not be usable")]
    NewConfig(#[source] minidock_oci::ConfigError),
    /// A container that runs was to be paused.
    #[error("cannot pause the container {0} while it is committed")]
    CannotPause(String),
    /// What is to be imported is no tar.
    #[error("cannot import the archive")]
    Import(#[source] minidock_layer::Error),
    /// The Spec could not be put together.
    #[error("cannot describe the container")]
    Spec(#[from] oci_spec::OciSpecError),
    /// The only name of an image that a container uses.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - container {container} is using its referenced image {image}"
    )]
    ReferenceInUse {
        /// The name.
        reference: String,
        /// By which container.
        container: String,
        /// The image.
        image: String,
    },
    /// A running container uses an image.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    ImageRunning {
        /// The image.
        image: String,
        /// By which container.
        container: String,
    },
    /// A container that does not run uses an image.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    ImageInUse {
        /// The image.
        image: String,
        /// By which container.
        container: String,
    },
    /// A tag cannot be given where a digest stands.
    #[error("refusing to create a tag with a digest reference: {0}")]
    TagWithDigest(String),
    /// An image has several names.
    #[error(
        "conflict: unable to delete {0} (must be forced) - image is referenced in multiple repositories"
    )]
    SeveralNames(String),
    /// A container is running.
    #[error(
        "cannot remove container \"/{0}\": container is running: stop the container before removing or force remove"
    )]
    ContainerRunning(String),
    /// Something is asked of a container that does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Something is asked of a container that stands still.
    #[error("container {0} is paused, unpause the container before exec")]
    PausedExec(String),
    /// A user that is to run a program is not in the container.
    #[error("cannot run a program in container {container} as user {user:?}")]
    ExecUser {
        /// Its name.
        container: String,
        /// What was asked for.
        user: String,
        /// Why not.
        source: UserError,
    },
    /// A container's log cannot be written or read.
    #[error(transparent)]
    Log(#[from] crate::logs::LogError),
    /// A container is about to be started again.
    #[error(
        "cannot remove container \"/{0}\": container is restarting: stop the container before removing or force remove"
    )]
    ContainerRestarting(String),
    /// A container runs already.
    #[error("container {0} is running already")]
    AlreadyRunning(String),
    /// A container stands still.
    #[error("cannot {0} a paused container, try unpause instead: {1}")]
    Paused(&'static str, String),
    /// Nobody can be attached to a container that does not run.
    #[error("cannot attach to a stopped container, start it first")]
    AttachStopped,
    /// Nobody can be attached to a container that stands still.
    #[error("cannot attach to a paused container, unpause it first")]
    AttachPaused,
    /// A container's standard streams are those of the process that runs it.
    #[error(
        "cannot attach to container {0}: its standard streams are those of the `minidock run --rm` that runs it"
    )]
    AttachDirect(String),
    /// A container's monitor could not be started or do its work.
    #[error("cannot {what} to stay with the container")]
    Monitor {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A container's monitor is gone.
    #[error("the monitor of container {0} was killed, and the container with it")]
    MonitorLost(String),
    /// What a container's monitor failed with.
    #[error(transparent)]
    Refused(Refusal),
    /// The container's process could not be ended.
    #[error("cannot end container {container}")]
    Kill {
        /// Which.
        container: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether all that is wrong is that no container has this name or id.
    pub fn is_no_such_container(&self) -> bool {
        matches!(
            self,
            Self::Store(minidock_store::StoreError::NoSuchContainer(_))
        )
    }

    /// Whether all that is wrong is that no image has this name or id.
    pub fn is_no_such_image(&self) -> bool {
        matches!(
            self,
            Self::Store(minidock_store::StoreError::NoSuchImage(_))
        )
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::Log(e) => e.hint(),
            Self::NotForPlatform { image, wanted } => Some(format!("its registry may have it: minidock image inspect --remote --platform {wanted} {image}")),
            Self::Pull(e) => e.hint(),
            Self::Credentials(e) => e.hint(),
            Self::Load(e) => e.hint(),
            Self::Run(e) => e.hint(),
            Self::ContainerFiles { source, .. } => source.hint(),
            Self::Copy(crate::CopyError::File { source, .. })
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                ) =>
            {
                Some("free some space where that is (in a container: `minidock rmi`, `minidock rm`); what was copied until then stays".to_owned())
            }
            Self::Copy(crate::CopyError::NeedsRunning(name)) => Some(format!(
                "copy while it runs, or take its files from `minidock export {name}`"
            )),
            Self::Import(minidock_layer::Error::UnsupportedCompression(with)) => Some(format!(
                "unpack it first: `{with} -dc FILE | minidock import -`"
            )),
            Self::Import(minidock_layer::Error::Read(e)) => e
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<minidock_pull::Error>())
                .and_then(minidock_pull::Error::hint),
            Self::Import(e) => e.hint(),
            Self::Storage { driver, .. } => Some(match driver {
                Driver::Overlay => "leave --storage-driver out and what works is taken; overlays of ordinary users need Linux 5.11 and a store on a local file system (--root)".into(),
                Driver::FuseOverlayfs => "install the package fuse-overlayfs and see that /dev/fuse can be opened (as root: modprobe fuse; chmod 666 /dev/fuse), or use --storage-driver flat".into(),
                Driver::Flat => "leave --storage-driver out".into(),
            }),
            Self::StorageOfImage { .. } => Some("leave --storage-driver out and what works is taken; or remove the image and get it again into a store on a local file system (--root)".into()),
            Self::NoRanges { map: "ranges", .. } => Some(
                "as root, install newuidmap and newgidmap (package uidmap or shadow-utils) and grant ids: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`; or use one id with --id-map single"
                    .into(),
            ),
            Self::NoRanges { .. } => Some("leave --id-map out".into()),
            Self::RangesGone { .. } => Some(
                "as root, restore what /etc/subuid, /etc/subgid and the package uidmap (shadow-utils) gave when the store was made; or use another store with --root DIR or MINIDOCK_ROOT"
                    .into(),
            ),
            Self::NoFurtherGroups(_) => Some(
                "leave --group-add out, or make it the primary group with -u USER:GROUP; with subordinate ids (see `minidock doctor`), or as root, there are more"
                    .into(),
            ),
            Self::AutoIds => Some("leave it out: the container then has the store's ids, in a user namespace of its own".into()),
            Self::KeepId => Some("leave it out; it works in a store with one id: --root DIR --id-map single".into()),
            Self::BindSource(path) => Some(format!(
                "make it, or use `-v {}:…`, which makes it as a folder",
                path.display()
            )),
            Self::NoCommand(image) => {
                Some(format!("name one: `minidock run {image} COMMAND [ARG...]`"))
            }
            Self::Platform { wanted, image, .. } => Some(format!(
                "pull it for that platform: `minidock pull --platform {wanted} {image}`"
            )),
            Self::ImageRunning { container, .. } => {
                Some(format!("end it first: `minidock rm -f {container}`"))
            }
            Self::ReferenceInUse { container, .. } | Self::ImageInUse { container, .. } => {
                Some(format!(
                    "remove the container with `minidock rm {container}`, or use `minidock rmi -f`"
                ))
            }
            Self::SeveralNames(_) => {
                Some("remove it by name, or all its names with `minidock rmi -f`".into())
            }
            Self::CannotPause(_) => Some("commit it without --pause, or once it has ended: pausing takes a control group, which minidock has not".into()),
            Self::Refused(refusal) => refusal.hint(),
            Self::ContainerRunning(id) => Some(format!("end and remove it: `minidock rm -f {id}`")),
            _ => None,
        }
    }

    /// Exit status of `exec` for this error: 1 where there is no container to run a program in, 126 where the user or the
    /// working directory will not do, else as for [`run`](Self::run_exit_code).
    pub fn exec_exit_code(&self) -> u8 {
        match self {
            Self::Store(_) | Self::NotRunning(_) | Self::PausedExec(_) => 1,
            Self::ExecUser { .. } => 126,
            other => other.run_exit_code(),
        }
    }

    /// Exit status of `run` for this error: 127, 126 or 125 (see the design's table).
    pub fn run_exit_code(&self) -> u8 {
        match self {
            Self::Run(e) => e.exit_code(),
            Self::Refused(refusal) => refusal.exit_code(),
            _ => 125,
        }
    }
}
