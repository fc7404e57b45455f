//! From what was typed to what is wished: values are parsed, files read, the caller's environment and folder consulted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::CommandFactory;
use minidock_engine::logs::LogOptions;
use minidock_engine::oci::Platform;
use minidock_engine::signal;
use minidock_engine::spec::{Dns, MountWish, Namespaces};
use minidock_engine::{DetachKeys, Network, Restart, Wishes};

use super::flags::ContainerFlags;
use super::limits::limits;
use super::security::security;
use super::wrong::{Wrong, parse_each, parse_one, wrong};
use super::{env_file, mounts, refused, values};
use crate::args::Cli;
use crate::commands::{Verb, detach_keys, platform};
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
    /// Do not wait for it.
    pub detach: bool,
    /// The keys that detach its terminal.
    pub detach_keys: Option<DetachKeys>,
    /// Pass signals on.
    pub signals: bool,
    /// Pass standard input on.
    pub interactive: bool,
    /// Which of the standard streams it has.
    pub attach: [bool; 3],
    /// Where its id is to be written.
    pub cidfile: Option<PathBuf>,
    /// When to pull.
    pub pull: Pull,
    /// Pull without a word.
    pub quiet: bool,
    /// The platform that the image must have.
    pub platform: Option<Platform>,
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Before anything else.
    Always,
    /// When it is not there.
    Missing,
    /// Not at all.
    Never,
}

/// Understands the flags of `verb`.
pub fn wishes(verb: &str, flags: ContainerFlags) -> Result<Typed, Failure> {
    flags.refused.check()?;
    let mut words = flags.words.iter().cloned();
    let image = utf8(words.next().unwrap_or_default())?;
    if image.len() > 1 && image.starts_with('-') {
        return Err(unknown_flag(verb, &image));
    }
    let command = words.map(utf8).collect::<Result<Vec<_>, _>>()?;
    if flags.tty
        && flags.interactive
        && !flags.detach
        && verb == "run"
        && !std::io::stdin().is_terminal()
    {
        return Err(Failure::usage("the input device is not a TTY")
            .hint("leave -t out when standard input is a pipe or a file"));
    }
    if let Some(dir) = flags.workdir.as_deref().filter(|d| !d.starts_with('/')) {
        return Err(Failure::usage(format!(
            "the working directory '{dir}' is invalid, it needs to be an absolute path"
        )));
    }
    let mut env = env_files(&flags.env_file)?;
    for entry in &flags.env {
        env.push(environment_entry(entry.clone())?);
    }
    let network = network(&flags.network)?;
    let namespaces = namespaces(&flags)?;
    let (attach, interactive) = attach(&flags)?;
    let restart: Restart = flags
        .restart
        .parse()
        .map_err(|why| Failure::usage(format!("invalid restart policy: {why}")))?;
    if flags.rm && restart != Restart::No {
        return Err(Failure::usage(
            "conflicting options: cannot specify both --restart and --rm",
        ));
    }
    let oom = number(
        "--oom-score-adj",
        flags.oom_score_adj.as_ref(),
        -1000..=1000,
    )?;
    let hostname = parse_one("--hostname", flags.hostname.as_ref(), values::host_name)?;
    let domainname = parse_one("--domainname", flags.domainname.as_ref(), values::host_name)?;
    if namespaces.host_uts && (hostname.is_some() || domainname.is_some()) {
        return Err(Failure::usage(
            "conflicting options: hostname and the UTS mode",
        ));
    }
    if !flags.disable_content_trust {
        return Err(Failure::usage(
            "--disable-content-trust=false is not supported: there are no signatures to verify",
        )
        .hint("name the image by its digest: NAME@sha256:…"));
    }
    Ok(Typed {
        image,
        wishes: Wishes {
            command,
            env,
            hostname,
            domainname,
            network,
            namespaces,
            restart,
            mounts: mounts(&flags)?,
            volumes_from: parse_each("--volumes-from", &flags.volumes_from, mounts::volumes_from)?,
            labels: labels(&flags)?,
            annotations: parse_each("--annotation", &flags.annotation, values::annotation)?,
            stop_signal: parse_one("--stop-signal", flags.stop_signal.as_ref(), |text| {
                signal::number(text).map_or_else(|| wrong(format!("Invalid signal: {text}")), Ok)
            })?,
            stop_timeout: number(
                "--stop-timeout",
                flags.stop_timeout.as_ref(),
                -1..=i64::from(i32::MAX),
            )?,
            root_emulation: parse_one(
                "--root-emulation",
                Some(&flags.root_emulation),
                values::root_emulation,
            )?
            .unwrap_or_default(),
            security: security(&flags)?,
            devices: parse_each("--device", &flags.device, values::device)?,
            ulimits: parse_each("--ulimit", &flags.ulimit, values::ulimit)?,
            shm_size: parse_one("--shm-size", flags.shm_size.as_ref(), |text| {
                let size = bytes(text).filter(|size| *size > 0);
                size.map_or_else(|| wrong(format!("invalid size: '{text}'")), Ok)
            })?,
            sysctls: parse_each("--sysctl", &flags.sysctl, values::sysctl)?,
            limits: limits(&flags.limits)?,
            oom_score_adj: oom.and_then(|number| i32::try_from(number).ok()),
            hosts: parse_each("--add-host", &flags.add_host, values::host)?,
            dns: Dns {
                servers: parse_each("--dns", &flags.dns, values::dns)?,
                search: parse_each("--dns-search", &flags.dns_search, values::resolv_word)?,
                options: parse_each("--dns-option", &flags.dns_option, values::resolv_word)?,
            },
            log: LogOptions::default(),
            entrypoint: flags.entrypoint,
            workdir: flags.workdir,
            user: flags.user,
            group_add: flags.group_add,
            init: flags.init,
            terminal: flags.tty,
            read_only: flags.read_only,
        },
        name: flags.name,
        auto_remove: flags.rm,
        detach: flags.detach,
        detach_keys: detach_keys(flags.detach_keys.as_deref())?,
        signals: flags.sig_proxy,
        interactive,
        attach,
        cidfile: flags.cidfile,
        pull: match flags.pull.as_str() {
            "always" => Pull::Always,
            "missing" | "" => Pull::Missing,
            "never" => Pull::Never,
            other => {
                return Err(Failure::usage(format!(
                    "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
                )));
            }
        },
        quiet: flags.quiet,
        platform: match &flags.platform {
            Some(text) => Some(platform(Some(text))?),
            None => None,
        },
    })
}

fn mounts(flags: &ContainerFlags) -> Result<Vec<MountWish>, Failure> {
    let here = std::env::current_dir()
        .map_err(|e| Failure::usage("cannot tell what the current folder is").caused_by(e))?;
    let mut wished: Vec<MountWish> =
        parse_each("--volume", &flags.volume, |v| mounts::volume(v, &here))?;
    let more: Vec<MountWish> = parse_each("--mount", &flags.mount, |v| mounts::mount(v, &here))?;
    wished.extend(more);
    let memory: Vec<MountWish> = parse_each("--tmpfs", &flags.tmpfs, mounts::tmpfs)?;
    wished.extend(memory);
    Ok(wished)
}

fn namespaces(flags: &ContainerFlags) -> Result<Namespaces, Failure> {
    let host = |flag: &'static str, value: &Option<String>, own| {
        parse_one(flag, value.as_ref(), values::is_host(flag, own)).map(Option::unwrap_or_default)
    };
    let user = parse_one("--userns", flags.userns.as_ref(), values::userns)?.unwrap_or_default();
    Ok(Namespaces {
        host_pid: host("--pid", &flags.pid, &["", "private"])?,
        host_uts: host("--uts", &flags.uts, &["", "private"])?,
        host_cgroup: host("--cgroupns", &flags.cgroupns, &["", "private"])?,
        ipc: parse_one("--ipc", flags.ipc.as_ref(), values::ipc)?.unwrap_or_default(),
        keep_id: user.keep_id,
        auto_ids: user.auto_ids,
    })
}

/// Which streams the container has, and whether it has standard input.
fn attach(flags: &ContainerFlags) -> Result<([bool; 3], bool), Failure> {
    if flags.detach && !flags.attach.is_empty() {
        return Err(Failure::usage("Conflicting options: -a and -d"));
    }
    let streams: Vec<usize> = parse_each("--attach", &flags.attach, values::stream)?;
    if streams.is_empty() {
        return Ok(([true; 3], flags.interactive));
    }
    let attach = [0, 1, 2].map(|stream| streams.contains(&stream));
    if flags.tty && !attach[1] {
        return Err(
            Failure::usage("--attach without stdout is not supported together with --tty")
                .hint("a terminal's output is one stream: add -a stdout, or leave -t out"),
        );
    }
    Ok((attach, flags.interactive && attach[0]))
}

fn labels(flags: &ContainerFlags) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for path in &flags.label_file {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::usage(format!("cannot read the label file {name}")).caused_by(e)
        })?;
        // One that stands for a variable of the caller's makes no sense here: its value is empty.
        let lines = env_file::parse(&text, |_| Some(String::new())).map_err(|(line, why)| {
            Failure::usage(format!("label file {name}, line {line}: {why}"))
        })?;
        let parsed: Vec<_> = parse_each("--label-file", &lines, values::label)?;
        labels.extend(parsed);
    }
    let given: Vec<_> = parse_each("--label", &flags.label, values::label)?;
    labels.extend(given);
    Ok(labels)
}

/// A whole number in a range.
pub fn number(
    flag: &str,
    value: Option<&String>,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, Failure> {
    parse_one(flag, value, |text| in_range(text, &range))
}

fn in_range(text: &str, range: &RangeInclusive<i64>) -> Result<i64, Wrong> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) => wrong(format!(
            "it has to be between {} and {}",
            range.start(),
            range.end()
        )),
        Err(_) => wrong("it is no number"),
    }
}

/// A word of a command.
pub fn utf8(word: OsString) -> Result<String, Failure> {
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
    let mut command = Cli::<Verb>::command();
    // The flags of a verb are put together when they are asked for.
    command.build();
    let similar = command
        .find_subcommand(verb)
        .filter(|_| flag.starts_with("--"))
        .and_then(|command| refused::similar(command, flag));
    match similar {
        Some(similar) => failure.hint(format!("did you mean {similar}?")),
        None => failure.hint(format!("see `minidock {verb} --help`")),
    }
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

/// The entries of `--env-file`.
pub fn env_files(paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
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
pub fn environment_entry(entry: String) -> Result<String, Failure> {
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
