//! The command line of minidock: arguments in, words on the screen and an exit code out.
//!
//! `main` does three things: run the verb, print the chain of causes once, choose the exit code.
//! Everything that happens is in `minidock_engine`; the environment is read here and nowhere else.
//!
//! # Exit codes
//! | case | code |
//! |---|---|
//! | `run`: the container's own exit / ended by signal n | its code / 128 + n |
//! | `run`: command not found / found but cannot be executed | 127 / 126 |
//! | `run` itself failed; bad usage of any verb | 125 |
//! | any other verb failed | 1 |

mod args;
mod bounds;
mod commands;
mod container;
mod deferred;
mod failure;
mod files;
mod filters;
mod format;
mod output;
mod output_file;
mod place;
mod progress;
mod shape;
mod times;
mod units;
mod usage;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use minidock_engine::Engine;

use args::Cli;
use commands::{Quick, Verb};
use failure::Failure;

/// See the reason in `Cargo.toml`.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words = words(std::env::args_os());
    let cli = match understand(&words) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

/// To describe all verbs and flags takes as long as a good part of a container's start. So `run` and `exec` are understood by
/// themselves where that is possible, which is nearly always.
fn understand(words: &[OsString]) -> Result<Cli, clap::Error> {
    if words
        .iter()
        .skip(1)
        .take(8)
        .any(|word| ["run", "exec", "monitor"].iter().any(|verb| word == verb))
    {
        let quick = container::without_refused(|| Cli::<Quick>::try_parse_from(words));
        if let Ok(Cli {
            version,
            global,
            verb,
        }) = quick
            && let Some(verb) = verb.verb()
        {
            return Ok(Cli {
                version,
                global,
                verb,
            });
        }
    }
    Cli::try_parse_from(words)
}

/// `minidock help VERB` is `minidock VERB --help`.
fn words(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = given.collect();
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

/// Help and version are answers, also to a command without a verb; everything else is bad usage.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // A closed stdout or stderr is nothing that could be reported anywhere.
    match error.kind() {
        ErrorKind::MissingSubcommand => {
            let _ = write!(
                std::io::stderr(),
                "{}",
                Cli::<Verb>::command().render_help()
            );
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let failure = usage::failure(error);
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    let place = place::Place::new(cli.global)?;
    let result = Verb::act(&place, cli.verb);
    Engine::empty_trash_in_background(place.opening());
    result
}
