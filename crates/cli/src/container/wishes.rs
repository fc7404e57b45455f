//! From what was typed to what is wished: values are parsed, files read, the caller's environment and folder consulted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::CommandFactory;
use minidock_engine::oci::Platform;
use minidock_engine::{Network, Wishes};

use super::flags::ContainerFlags;
use super::mounts::{self, Wrong};
use super::{env_file, refused};
use crate::args::Cli;
use crate::commands::platform;
use crate::failure::Failure;

/// Everything that the flags say.
#[derive(Debug)]
pub struct Typed {
    /// The image, as written.
    pub image: String,
    /// What the container should be like.
    pub wishes: Wishes,
    /// Its name.
    pub name: Option<String>,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// Pass standard input on.
    pub interactive: bool,
    /// The platform that the image must have.
    pub platform: Option<Platform>,
}

/// Understands the flags of `verb`.
pub fn wishes(verb: &str, flags: ContainerFlags) -> Result<Typed, Failure> {
    flags.refused.check()?;
    let mut words = flags.words.into_iter();
    let image = utf8(words.next().unwrap_or_default())?;
    if image.len() > 1 && image.starts_with('-') {
        return Err(unknown_flag(verb, &image));
    }
    let command = words.map(utf8).collect::<Result<Vec<_>, _>>()?;
    if flags.tty && flags.interactive && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the input device is not a TTY")
            .hint("leave -t out when standard input is a pipe or a file"));
    }
    if let Some(dir) = flags.workdir.as_deref().filter(|d| !d.starts_with('/')) {
        return Err(Failure::usage(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )));
    }
    let mut env = env_files(&flags.env_file)?;
    for entry in flags.env {
        env.push(environment_entry(entry)?);
    }
    let here = std::env::current_dir()
        .map_err(|e| Failure::usage("cannot tell what the current folder is").caused_by(e))?;
    let mut wished = parse_each("--volume", &flags.volume, |v| mounts::volume(v, &here))?;
    wished.extend(parse_each("--mount", &flags.mount, |v| {
        mounts::mount(v, &here)
    })?);
    wished.extend(parse_each("--tmpfs", &flags.tmpfs, mounts::tmpfs)?);
    Ok(Typed {
        image,
        wishes: Wishes {
            command,
            entrypoint: flags.entrypoint,
            env,
            workdir: flags.workdir,
            user: flags.user,
            hostname: flags.hostname,
            terminal: flags.tty,
            read_only: flags.read_only,
            network: network(&flags.network)?,
            mounts: wished,
            volumes_from: parse_each("--volumes-from", &flags.volumes_from, mounts::volumes_from)?,
            labels: BTreeMap::new(),
        },
        name: flags.name,
        auto_remove: flags.rm,
        interactive: flags.interactive,
        platform: match &flags.platform {
            Some(text) => Some(platform(Some(text))?),
            None => None,
        },
    })
}

fn utf8(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| {
        Failure::usage(format!(
            "the argument {} is not UTF-8, which the OCI runtime specification requires",
            word.display()
        ))
    })
}

/// What stands where the image should and looks like a flag is one that nobody knows.
fn unknown_flag(verb: &str, word: &str) -> Failure {
    let flag = word.split('=').next().unwrap_or(word);
    let failure = Failure::usage(format!("unknown flag {flag} for {verb}"));
    let command = Cli::command();
    let similar = command
        .find_subcommand(verb)
        .filter(|_| flag.starts_with("--"))
        .and_then(|command| refused::similar(command, flag));
    match similar {
        Some(similar) => failure.hint(format!("did you mean {similar}?")),
        None => failure.hint(format!("see `minidock {verb} --help`")),
    }
}

/// Parses every value of a flag that may be repeated.
fn parse_each<T>(
    flag: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Failure> {
    let parse = |value: &String| {
        parse(value).map_err(|Wrong { why, remedy }| {
            let failure = Failure::usage(format!("invalid argument {value:?} for {flag}: {why}"));
            match remedy {
                Some(remedy) => failure.hint(remedy),
                None => failure,
            }
        })
    };
    values.iter().map(parse).collect()
}

fn network(name: &str) -> Result<Network, Failure> {
    match name {
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(
            Failure::usage(format!("network {other:?} is not available"))
                .hint("--network none and --network host are"),
        ),
    }
}

fn env_files(paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    for path in paths {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::usage(format!("cannot read the env file {name}")).caused_by(e))?;
        env.extend(
            env_file::parse(&text, |name| std::env::var(name).ok()).map_err(|(line, why)| {
                Failure::usage(format!("env file {name}, line {line}: {why}"))
            })?,
        );
    }
    Ok(env)
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

/// A number of bytes, as Docker's flags have it: `64m`, `1.5 GiB`, `1048576`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let digits = digits.strip_suffix(' ').unwrap_or(digits);
    let number: f64 = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.')
        .then(|| digits.parse().ok())
        .flatten()?;
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.is_empty() || unit == "b" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    // Within what a signed number of 64 bits holds.
    (bytes < 9.2e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("32b", Some(32)),
            ("1k", Some(1024)),
            ("1KB", Some(1024)),
            ("1KiB", Some(1024)),
            ("64m", Some(64 << 20)),
            ("1.5 G", Some(3 << 29)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1mm", None),
            ("-1", None),
            ("1e3", None),
            ("0x10", None),
            ("99999999999999999999", None),
            ("9999999999p", None),
            (".", None),
            ("inf", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
