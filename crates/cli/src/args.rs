//! What can be typed before a verb. The verbs are in [`crate::commands`]; their flags and help are Docker's
//! where Docker has them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::Verb;

/// A mini Docker: pull and run containers without a daemon and without root.
#[derive(Debug, Parser)]
#[command(
    name = "minidock",
    version,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Run 'minidock COMMAND --help' for more information on a command."
)]
pub struct Cli<V: Subcommand = Verb> {
    /// Print version information and quit
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,

    #[command(flatten)]
    pub global: Global,

    #[command(subcommand)]
    pub verb: V,
}

/// What any verb may be told.
#[derive(Debug, Args)]
pub struct Global {
    /// Folder of images and containers [default: $XDG_DATA_HOME/minidock]
    #[arg(
        long,
        value_name = "DIR",
        env = "MINIDOCK_ROOT",
        hide_env_values = true
    )]
    pub root: Option<PathBuf>,

    /// Ids of files in a new store: auto, single or ranges (of /etc/subuid)
    #[arg(
        long,
        value_name = "MAP",
        env = "MINIDOCK_ID_MAP",
        hide_env_values = true
    )]
    pub id_map: Option<String>,

    /// What containers are made of: overlay, fuse-overlayfs or flat [default: the first that works]
    #[arg(
        long,
        value_name = "DRIVER",
        env = "MINIDOCK_STORAGE_DRIVER",
        hide_env_values = true
    )]
    pub storage_driver: Option<String>,
}
