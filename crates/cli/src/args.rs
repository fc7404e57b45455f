//! What can be typed. Verbs, flags and their help are Docker's where Docker has them.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

/// A mini Docker: pull and run containers without a daemon and without root.
#[derive(Debug, Parser)]
#[command(
    name = "minidock",
    version,
    args_override_self = true,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Run 'minidock COMMAND --help' for more information on a command."
)]
pub struct Cli {
    /// Folder of images and containers [default: $XDG_DATA_HOME/minidock]
    #[arg(
        long,
        value_name = "DIR",
        env = "MINIDOCK_ROOT",
        hide_env_values = true
    )]
    pub root: Option<PathBuf>,

    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create and run a new container from an image
    Run(RunArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Load images from a tar archive or from standard input
    Load(LoadArgs),
    /// List images
    Images(ImagesArgs),
    /// Remove one or more images
    Rmi(RmiArgs),
    /// List containers
    Ps(PsArgs),
    /// Remove one or more containers
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Pull for this platform, if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Image references: `NAME[:TAG]` or `NAME@DIGEST`
    #[arg(required = true, value_name = "NAME")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Read from a tar archive file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    pub quiet: bool,
    /// Load this platform, if the archive has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
}

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only this repository or reference
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Remove also what has several names or is used by stopped containers
    #[arg(short, long)]
    pub force: bool,
    /// Image names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not just running ones
    #[arg(short, long)]
    pub all: bool,
    /// Only display container ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// End a running container first
    #[arg(short, long)]
    pub force: bool,
    /// Container names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "minidock run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "A container has a network namespace of its own with nothing but the loopback \
                  interface, unless --network host is given."
)]
pub struct RunArgs {
    /// Keep standard input open
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub interactive: bool,
    /// Allocate a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub tty: bool,
    /// Remove the container when it exits
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub rm: bool,
    /// Mount the container's root file system as read only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub read_only: bool,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User name or id [and group name or id]
    #[arg(short, long, value_name = "USER[:GROUP]", allow_hyphen_values = true)]
    pub user: Option<String>,
    /// Overwrite the image's entrypoint
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub entrypoint: Option<String>,
    /// Container host name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Network of the container: none or host
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "none"
    )]
    pub network: String,
    /// Platform that the image must have
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Image, command and arguments: everything after the image belongs to the container.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "IMAGE [COMMAND] [ARG...]",
        hide = true
    )]
    pub words: Vec<std::ffi::OsString>,
}
