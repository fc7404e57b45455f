//! What can be typed between `run` or `create` and the image.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Args};

use super::refused::Refused;

/// Makes a flag that is on or off take an optional value as Docker's do: `--rm`, `--rm=true`, `--rm=0`.
fn switch(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    if names.len() != 1 || names[0] != "BOOL" {
        return arg;
    }
    let arg = match arg.get_default_values() {
        [] => arg.default_value("false"),
        _ => arg,
    };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_parser(parse_bool)
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// The flags of `run` and `create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(switch))]
pub struct ContainerFlags {
    /// Keep standard input open
    #[arg(short, long, value_name = "BOOL")]
    pub interactive: bool,
    /// Allocate a terminal
    #[arg(short, long, value_name = "BOOL")]
    pub tty: bool,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long, value_name = "BOOL")]
    pub rm: bool,
    /// Mount the container's root file system as read only
    #[arg(long, value_name = "BOOL")]
    pub read_only: bool,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
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
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Network of the container: none or host
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "none"
    )]
    pub network: String,
    /// Mount a volume, or a folder or file of the host's
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Mount a file system: type=bind|volume|tmpfs,source=…,target=…
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub mount: Vec<String>,
    /// Mount memory
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Mount what another container has mounted
    #[arg(long, value_name = "CONTAINER[:ro|rw]")]
    pub volumes_from: Vec<String>,
    /// Platform that the image must have
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub help: Option<bool>,
    #[command(flatten)]
    pub refused: Refused,
    /// Image, command and arguments: everything after the image belongs to the container.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "IMAGE [COMMAND] [ARG...]",
        hide = true
    )]
    pub words: Vec<OsString>,
}
