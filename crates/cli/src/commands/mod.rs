//! The verbs. Each is one file here, with its flags and what it does: flags to a request, values and
//! events to words. A new one is that file, its `mod` line, and a line in [`Verb`], and one in the
//! group that Docker has it in as well.

mod check;
mod commit;
mod common;
mod cp;
mod create;
mod df;
mod diff;
mod doctor;
mod events;
mod exec;
mod export;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod monitor;
mod prune;
mod ps;
mod pull;
mod push;
mod remote;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod tag;
mod version;
mod volume;

use clap::Subcommand;

pub use common::platform;
pub use monitor::launch;
pub use start::keys as detach_keys;

use crate::deferred::Deferred;

use crate::failure::Failure;
use crate::place::Place;

/// Makes an enum of verbs, and the function that carries one out. A line is the name on the command
/// line (with aliases), its help, its flags and its function.
macro_rules! verbs {
    ($(#[$about:meta])* $group:ident: $($(#[$attribute:meta])* $verb:ident($args:ty) => $act:path,)*) => {
        $(#[$about])*
        #[derive(Debug, Subcommand)]
        pub enum $group {
            $($(#[$attribute])* $verb(Deferred<$args>),)*
        }

        impl $group {
            /// Carries the verb out and says what the exit status is.
            pub fn act(place: &Place, verb: Self) -> Result<u8, Failure> {
                let _ = place; // A group may be empty.
                match verb {
                    $(Self::$verb(args) => $act(place, *args.0),)*
                }
            }
        }
    };
}

verbs! {
    /// Everything that may follow `minidock`, in the order of its help.
    Verb:
    /// Create and run a new container from an image
    Run(run::RunArgs) => run::run,
    /// Execute a command in a running container
    Exec(exec::ExecArgs) => exec::exec,
    /// List containers
    Ps(ps::PsArgs) => ps::ps,
    /// Download an image from a registry
    Pull(pull::PullArgs) => pull::pull,
    /// Upload an image to a registry
    Push(push::PushArgs) => push::push,
    /// List images
    Images(images::ImagesArgs) => images::images,
    /// Search Docker Hub, or another registry, for images
    Search(search::SearchArgs) => search::search,

    /// Manage containers
    #[command(subcommand)]
    Container(Container) => Container::act,
    /// Manage images
    #[command(subcommand)]
    Image(Image) => Image::act,
    /// Manage volumes
    #[command(subcommand)]
    Volume(Volume) => Volume::act,
    /// Manage minidock
    #[command(subcommand)]
    System(System) => System::act,

    /// Attach local standard input, output, and error streams to a running container
    Attach(start::AttachArgs) => start::attach,
    /// Create a new container
    Create(create::CreateArgs) => create::create,
    /// Restart one or more containers
    Restart(start::StopArgs) => start::restart,
    /// Start one or more stopped containers
    Start(start::StartArgs) => start::start,
    /// Stop one or more running containers
    Stop(start::StopArgs) => start::stop,
    /// Block until one or more containers stop, then print their exit codes
    Wait(start::WaitArgs) => start::wait,
    /// Stay with a container
    #[command(hide = true)]
    Monitor(monitor::MonitorArgs) => monitor::monitor,

    /// Tell what this host allows, and how to mend what it does not
    Doctor(doctor::DoctorArgs) => doctor::doctor,
    /// Show the history of an image
    History(history::HistoryArgs) => history::history,
    /// Create a new image from a container's changes
    Commit(commit::CommitArgs) => commit::commit,
    /// Copy files/folders between a container and the local filesystem
    Cp(cp::CpArgs) => cp::cp,
    /// Inspect changes to files or directories on a container's filesystem
    Diff(diff::DiffArgs) => diff::diff,
    /// Get real time events: what happens to containers, images and volumes
    Events(events::EventsArgs) => events::events,
    /// Export a container's filesystem as a tar archive
    Export(export::ExportArgs) => export::export,
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs) => import::import,
    /// Display information about this installation
    Info(info::InfoArgs) => info::info,
    /// Return low-level information on containers, images and volumes
    Inspect(inspect::InspectArgs) => inspect::inspect,
    /// Load images from a tar archive or from standard input
    Load(load::LoadArgs) => load::load,
    /// Authenticate to a registry
    Login(login::LoginArgs) => login::login,
    /// Log out from a registry
    Logout(login::LogoutArgs) => login::logout,
    /// Look at manifests in a registry
    #[command(subcommand)]
    Manifest(Manifest) => Manifest::act,
    /// Remove one or more containers
    Rm(rm::RmArgs) => rm::rm,
    /// Remove one or more images
    Rmi(rmi::RmiArgs) => rmi::rmi,
    /// List the tags of a repository in its registry
    Tags(remote::TagsArgs) => remote::tags,
    /// Save one or more images to a tar archive (streamed to standard output by default)
    Save(save::SaveArgs) => save::save,
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::TagArgs) => tag::tag,
    /// Show the version information
    Version(version::VersionArgs) => version::version,
}

verbs! {
    /// `minidock container …`
    Container:
    /// Attach local standard input, output, and error streams to a running container
    Attach(start::AttachArgs) => start::attach,
    /// Create a new image from a container's changes
    Commit(commit::CommitArgs) => commit::commit,
    /// Copy files/folders between a container and the local filesystem
    Cp(cp::CpArgs) => cp::cp,
    /// Inspect changes to files or directories on a container's filesystem
    Diff(diff::DiffArgs) => diff::diff,
    /// Export a container's filesystem as a tar archive
    Export(export::ExportArgs) => export::export,
    /// Execute a command in a running container
    Exec(exec::ExecArgs) => exec::exec,
    /// Display detailed information on one or more containers
    Inspect(inspect::ContainerInspectArgs) => inspect::inspect_containers,
    /// Create a new container
    Create(create::CreateArgs) => create::create,
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(ps::PsArgs) => ps::ps,
    /// Remove all stopped containers
    Prune(prune::ContainerPruneArgs) => prune::containers,
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs) => rm::rm,
    /// Restart one or more containers
    Restart(start::StopArgs) => start::restart,
    /// Create and run a new container from an image
    Run(run::RunArgs) => run::run,
    /// Start one or more stopped containers
    Start(start::StartArgs) => start::start,
    /// Stop one or more running containers
    Stop(start::StopArgs) => start::stop,
    /// Block until one or more containers stop, then print their exit codes
    Wait(start::WaitArgs) => start::wait,
}

verbs! {
    /// `minidock image …`
    Image:
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs) => import::import,
    /// Show the history of an image
    History(history::HistoryArgs) => history::history,
    /// Display detailed information on one or more images
    Inspect(inspect::ImageInspectArgs) => inspect::inspect_images,
    /// Load images from a tar archive or from standard input
    Load(load::LoadArgs) => load::load,
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::ImagesArgs) => images::images,
    /// Remove unused images
    Prune(prune::ImagePruneArgs) => prune::images,
    /// Download an image from a registry
    Pull(pull::PullArgs) => pull::pull,
    /// Upload an image to a registry
    Push(push::PushArgs) => push::push,
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(rmi::RmiArgs) => rmi::rmi,
    /// Save one or more images to a tar archive (streamed to standard output by default)
    Save(save::SaveArgs) => save::save,
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::TagArgs) => tag::tag,
}

verbs! {
    /// `minidock manifest …`
    Manifest:
    /// Display an image's manifest or index, as its registry has it
    Inspect(remote::ManifestInspectArgs) => remote::manifest_inspect,
}

verbs! {
    /// `minidock volume …`
    Volume:
    /// Create a volume
    Create(volume::CreateArgs) => volume::create,
    /// Display detailed information on one or more volumes
    Inspect(volume::InspectArgs) => volume::inspect,
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(volume::LsArgs) => volume::ls,
    /// Remove unused volumes
    Prune(volume::PruneArgs) => volume::prune,
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(volume::RmArgs) => volume::rm,
}

verbs! {
    /// `minidock system …`
    System:
    /// Verify all that is stored, and repair it
    Check(check::CheckArgs) => check::check,
    /// Show disk usage
    Df(df::DfArgs) => df::df,
    /// Get real time events: what happens to containers, images and volumes
    Events(events::EventsArgs) => events::events,
    /// Display information about this installation
    Info(info::InfoArgs) => info::info,
    /// Remove unused data
    Prune(prune::SystemPruneArgs) => prune::system,
}

/// The verbs that have to be quick, by themselves.
#[derive(Debug, Subcommand)]
pub enum Quick {
    /// Create and run a new container from an image
    Run(Deferred<run::RunArgs>),
    /// Execute a command in a running container
    Exec(Deferred<exec::ExecArgs>),
    /// Stay with a container
    Monitor(Deferred<monitor::MonitorArgs>),
}

impl Quick {
    /// The same verb among all; `None` where a flag may have been taken for the image, for not all flags were known.
    pub fn verb(self) -> Option<Verb> {
        match self {
            Self::Run(args) => (!args.0.container.has_strange_image()).then_some(Verb::Run(args)),
            Self::Exec(args) => Some(Verb::Exec(args)),
            Self::Monitor(args) => Some(Verb::Monitor(args)),
        }
    }
}
