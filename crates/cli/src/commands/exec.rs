//! `minidock exec`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::Args;
use minidock_engine::{Error, Exec, ExecRequest, in_background, sealed_copy};

use crate::container::{env_files, environment_entry, switch, utf8};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
#[command(
    override_usage = "minidock exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    mut_args(switch)
)]
pub struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long, value_name = "BOOL")]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long, value_name = "BOOL")]
    pub interactive: bool,
    /// Give extended privileges to the command
    #[arg(long, value_name = "BOOL")]
    pub privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long, value_name = "BOOL")]
    pub tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "USER[:GROUP]", allow_hyphen_values = true)]
    pub user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The container's name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Program and arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND [ARG...]"
    )]
    pub words: Vec<OsString>,
}

/// `minidock exec`. A failure of minidock itself has exit code 1, 125, 126 or 127.
pub fn exec(place: &Place, args: ExecArgs) -> Result<u8, Failure> {
    let request = request(args)?;
    let exec = prepare(place, &request)?;
    if exec.needs_copy() {
        return Err(become_copy());
    }
    if !request.detach {
        return exec.run(&|| {}).map_err(failed);
    }
    // It is found again by the process that stays: that has nothing else of this one's.
    drop(exec);
    let stay = |(place, request): &(&Place, &ExecRequest), started: &dyn Fn()| {
        let ended = prepare(place, request).and_then(|exec| exec.run(started).map_err(failed));
        ended.unwrap_or_else(|failure| {
            failure.report();
            failure.exit_code()
        })
    };
    in_background(&(place, &request), stay).map_err(failed)
}

fn prepare(place: &Place, request: &ExecRequest) -> Result<Exec, Failure> {
    place.engine()?.prepare_exec(request).map_err(failed)
}

fn failed(error: Error) -> Failure {
    let code = error.exec_exit_code();
    Failure::from(error).code(code)
}

/// Does it all again, as a copy of this program that nobody inside can write to.
fn become_copy() -> Failure {
    let copy = match sealed_copy().map_err(Error::from) {
        Ok(copy) => copy,
        Err(error) => return failed(error),
    };
    let error = std::process::Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))
        .arg0("minidock")
        .args(std::env::args_os().skip(1))
        .exec();
    Failure::usage("cannot run the copy of minidock that the container cannot write to")
        .caused_by(error)
}

fn request(args: ExecArgs) -> Result<ExecRequest, Failure> {
    if args.detach_keys.is_some_and(|keys| !keys.is_empty()) {
        return Err(Failure::usage(
            "--detach-keys is not supported: a program that was started with a terminal ends with it",
        )
        .hint("leave it out; a program that is to go on alone is started with -d"));
    }
    if args.tty && args.interactive && !args.detach && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the input device is not a TTY")
            .hint("leave -t out when standard input is a pipe or a file"));
    }
    if let Some(dir) = args.workdir.as_deref().filter(|d| !d.starts_with('/')) {
        return Err(Failure::usage(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )));
    }
    let mut env = env_files(&args.env_file)?;
    for entry in args.env {
        env.push(environment_entry(entry)?);
    }
    Ok(ExecRequest {
        container: args.container,
        command: args.words.into_iter().map(utf8).collect::<Result<_, _>>()?,
        env,
        workdir: args.workdir,
        user: args.user.filter(|user| !user.is_empty()),
        privileged: args.privileged,
        interactive: args.interactive,
        terminal: args.tty,
        detach: args.detach,
    })
}
