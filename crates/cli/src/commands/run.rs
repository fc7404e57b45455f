//! `minidock run`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use minidock_engine::oci::Reference;
use minidock_engine::{Error, Network, RunRequest, Warning, Wishes};

use super::common::platform;
use crate::env_file;
use crate::failure::Failure;
use crate::place::Place;

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
    pub words: Vec<OsString>,
}

/// Set for the process that replaces this one after an implicit pull, so that it never pulls again.
const PULLED: &str = "MINIDOCK_PULLED";

/// `minidock run`. Every failure of minidock itself has exit code 125, 126 or 127.
pub fn run(place: &Place, args: RunArgs) -> Result<u8, Failure> {
    let request = request(args).map_err(|f| f.code(125))?;
    let engine = place.engine().map_err(|f| f.code(125))?;
    let warn = |warning| match warning {
        Warning::Host(note) => eprint_line(&format!("minidock: note: {note}")),
        Warning::ForeignPlatform { image, host } => eprint_line(&format!(
            "WARNING: The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific platform was requested"
        )),
    };
    match engine.run(&request, &warn) {
        Err(Error::ImageNotFound(_)) if std::env::var_os(PULLED).is_none() => {
            drop(engine);
            pull_and_rerun(place, &request).map_err(|f| f.code(125))
        }
        result => result.map_err(|error| {
            let code = error.run_exit_code();
            Failure::from(error).code(code)
        }),
    }
}

/// Pulls the image and runs minidock anew: a container is only ever started by a process that never
/// had a second thread.
fn pull_and_rerun(place: &Place, request: &RunRequest) -> Result<u8, Failure> {
    let reference: Reference = request
        .image
        .parse()
        .map_err(|e: minidock_engine::oci::ReferenceError| Failure::new(e.to_string()))?;
    eprint_line(&format!(
        "Unable to find image '{}' locally",
        reference.familiar()
    ));
    super::pull::for_run(place, &reference, request.platform.as_ref())?;
    let error = std::process::Command::new("/proc/self/exe")
        .arg0("minidock")
        .args(std::env::args_os().skip(1))
        .env(PULLED, "1")
        .exec();
    Err(Failure::new("cannot run minidock anew after the pull").caused_by(error))
}

fn eprint_line(text: &str) {
    use std::io::Write;
    // Nothing is left to tell that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn utf8(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| {
        Failure::usage(format!(
            "the argument {} is not UTF-8, which the OCI runtime specification requires",
            word.display()
        ))
    })
}

fn request(args: RunArgs) -> Result<RunRequest, Failure> {
    let mut words = args.words.into_iter();
    let image = utf8(words.next().unwrap_or_default())?;
    if let Some(flag) = image.strip_prefix('-').filter(|f| !f.is_empty()) {
        let flag = flag.split('=').next().unwrap_or(flag);
        return Err(Failure::usage(format!("unknown flag -{flag} for run"))
            .hint("see `minidock run --help`"));
    }
    let command = words.map(utf8).collect::<Result<Vec<_>, _>>()?;
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the input device is not a TTY")
            .hint("leave -t out when standard input is a pipe or a file"));
    }
    if let Some(dir) = args.workdir.as_deref().filter(|d| !d.starts_with('/')) {
        return Err(Failure::usage(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )));
    }
    let network = match args.network.as_str() {
        "none" => Network::None,
        "host" => Network::Host,
        other => {
            return Err(
                Failure::usage(format!("network {other:?} is not available"))
                    .hint("--network none and --network host are"),
            );
        }
    };
    let mut env = Vec::new();
    for path in &args.env_file {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::usage(format!("cannot read the env file {name}")).caused_by(e))?;
        env.extend(
            env_file::parse(&text, |name| std::env::var(name).ok()).map_err(|(line, why)| {
                Failure::usage(format!("env file {name}, line {line}: {why}"))
            })?,
        );
    }
    for entry in args.env {
        env.push(environment_entry(entry)?);
    }
    Ok(RunRequest {
        image,
        wishes: Wishes {
            command,
            entrypoint: args.entrypoint,
            env,
            workdir: args.workdir,
            user: args.user,
            hostname: args.hostname,
            terminal: args.tty,
            read_only: args.read_only,
            network,
        },
        name: args.name,
        auto_remove: args.rm,
        interactive: args.interactive,
        platform: match &args.platform {
            Some(text) => Some(platform(Some(text))?),
            None => None,
        },
    })
}

/// `NAME=value` as it is; `NAME` with the caller's value, or bare, which removes the image's.
fn environment_entry(entry: String) -> Result<String, Failure> {
    if entry.is_empty() || entry.starts_with('=') {
        return Err(Failure::usage(format!(
            "invalid environment variable: {entry:?} has no name"
        )));
    }
    if entry.contains('=') {
        return Ok(entry);
    }
    Ok(match std::env::var(&entry) {
        Ok(value) => format!("{entry}={value}"),
        Err(_) => entry,
    })
}
