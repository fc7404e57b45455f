//! What can be typed between `run` or `create` and the image.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Args};

use super::limits::LimitFlags;
use super::refused::Refused;

/// Makes a flag that is on or off take an optional value as Docker's do: `--rm`, `--rm=true`, `--rm=0`.
pub fn switch(arg: Arg) -> Arg {
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

impl ContainerFlags {
    /// Whether what looks like a flag stands where the image should: one that was not known while it was parsed.
    pub fn has_strange_image(&self) -> bool {
        let image = self.words.first();
        image.is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"))
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
    /// Run the container in the background and print its id
    #[arg(short, long, value_name = "BOOL")]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Restart the container when it exits: no, on-failure, on-failure:MOST, always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub restart: String,
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
    /// Set meta data on the container
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Read meta data from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Add an annotation to the container's OCI specification
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Write the container id to a file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Add a further group
    #[arg(long, value_name = "GROUP", allow_hyphen_values = true)]
    pub group_add: Vec<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long, value_name = "BOOL")]
    pub init: bool,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value = "true")]
    pub sig_proxy: bool,
    /// Attach to stdin, stdout or stderr only
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL", allow_hyphen_values = true)]
    pub stop_signal: Option<String>,
    /// Seconds to wait before a container that is to stop is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub stop_timeout: Option<String>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Let the container do and see what the caller may
    #[arg(long, value_name = "BOOL")]
    pub privileged: bool,
    /// Security options: no-new-privileges[=BOOL], systempaths=unconfined, apparmor=, label=
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Add a device of the host's
    #[arg(long, value_name = "PATH[:PATH][:rwm]")]
    pub device: Vec<String>,
    /// Limit what a process may use; -1 is unlimited
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub shm_size: Option<String>,
    /// Set a parameter of the kernel's that the container has for itself
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Pid namespace: host, or the container's own
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC namespace: host, private, shareable or none (without /dev/shm)
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// UTS namespace: host, or the container's own
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// User namespace: host (the usual map), auto or keep-id[:uid=ID,gid=ID]
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Whether chown, setuid and the like work where there is one id: auto, on or off
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub root_emulation: String,
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// How readily the kernel ends the container when memory runs out: -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub oom_score_adj: Option<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// Set a name server
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Set a domain in which short names are looked for
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Disable the image's health check: there is none
    #[arg(long, value_name = "BOOL", hide = true)]
    pub no_healthcheck: bool,
    /// Skip image verification: there is none but that of digests
    #[arg(long, value_name = "BOOL", default_value = "true", hide = true)]
    pub disable_content_trust: bool,
    /// Pull the image: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: String,
    /// Suppress the output of a pull
    #[arg(short, long, value_name = "BOOL")]
    pub quiet: bool,
    /// Platform that the image must have
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    #[command(flatten)]
    pub limits: LimitFlags,
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
