//! What can be typed before a verb. The verbs are in [`crate::commands`]; their flags and help are Docker's
//! where Docker has them.

use std::path::PathBuf;

use clap::Parser;

use crate::commands::Verb;

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
