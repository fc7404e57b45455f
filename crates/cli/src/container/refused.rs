//! Flags of Docker's that minidock knows and cannot honour: each is refused by name, with the reason and what to do instead.
//! None is ignored.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::failure::Failure;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

/// Why nothing can be done about a flag here.
struct Known {
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    why: &'static str,
    remedy: &'static str,
}

const fn known(
    long: &'static str,
    takes: Takes,
    (why, remedy): (&'static str, &'static str),
) -> Known {
    Known {
        long,
        short: None,
        takes,
        why,
        remedy,
    }
}

const fn short(short: char, mut flag: Known) -> Known {
    flag.short = Some(short);
    flag
}

type Reason = (&'static str, &'static str);

const CGROUP: Reason = (
    "control groups of version 2 have no such limit",
    "leave it out",
);
const NETWORK: Reason = (
    "containers have no network of their own but loopback so far",
    "use --network host, whose ports are the host's",
);
const HEALTH: Reason = (
    "nothing watches a container's health",
    "leave it out, or let the container's own program check it",
);
const LOGS: Reason = (
    "a container's output goes to where minidock's goes, and nowhere else",
    "redirect minidock's output",
);
const WINDOWS: Reason = ("it is for Windows containers only", "leave it out");

use Takes::{Nothing, Value};

const REFUSED: [Known; 44] = [
    known("cpu-count", Value, WINDOWS),
    known("cpu-percent", Value, WINDOWS),
    known("cpu-rt-period", Value, CGROUP),
    known("cpu-rt-runtime", Value, CGROUP),
    known(
        "device-cgroup-rule",
        Value,
        (
            "access to devices is the host's file permissions; no cgroup adds to it",
            "give the device itself with --device",
        ),
    ),
    known(
        "gpus",
        Value,
        (
            "minidock has no hook of a GPU vendor's",
            "give the devices with --device and the driver's libraries with -v",
        ),
    ),
    known("health-cmd", Value, HEALTH),
    known("health-interval", Value, HEALTH),
    known("health-retries", Value, HEALTH),
    known("health-start-interval", Value, HEALTH),
    known("health-start-period", Value, HEALTH),
    known("health-timeout", Value, HEALTH),
    known("io-maxbandwidth", Value, WINDOWS),
    known("io-maxiops", Value, WINDOWS),
    known("ip", Value, NETWORK),
    known("ip6", Value, NETWORK),
    known("isolation", Value, WINDOWS),
    known(
        "kernel-memory",
        Value,
        (
            "the kernel has no such limit any more (removed from cgroups in Linux 5.16, and never in version 2)",
            "leave it out",
        ),
    ),
    known("link", Value, NETWORK),
    known("link-local-ip", Value, NETWORK),
    known("log-driver", Value, LOGS),
    known("log-opt", Value, LOGS),
    known("mac-address", Value, NETWORK),
    known("memory-swappiness", Value, CGROUP),
    known("network-alias", Value, NETWORK),
    known("net-alias", Value, NETWORK),
    known(
        "oom-kill-disable",
        Nothing,
        (
            "the kernel cannot do that with cgroups of version 2, and without cgroups never could",
            "lower the container's priority for it with --oom-score-adj",
        ),
    ),
    short('p', known("publish", Value, NETWORK)),
    short('P', known("publish-all", Nothing, NETWORK)),
    known("expose", Value, NETWORK),
    known(
        "runtime",
        Value,
        ("minidock is its own runtime", "leave it out"),
    ),
    known(
        "storage-opt",
        Value,
        (
            "the writable layer is a folder of the store's file system, which has no size of its own",
            "limit the file system, or give the container a --tmpfs with size=…",
        ),
    ),
    known(
        "volume-driver",
        Value,
        (
            "volumes are folders of the store (driver `local`)",
            "mount it on the host and give it with -v",
        ),
    ),
    known(
        "use-api-socket",
        Nothing,
        ("there is no daemon and no socket", "leave it out"),
    ),
    known(
        "rootfs",
        Nothing,
        ("it is Podman's", "make an image of the folder"),
    ),
    known("pod", Value, ("it is Podman's", "leave it out")),
    known(
        "replace",
        Nothing,
        (
            "it is Podman's",
            "remove the other container first: `minidock rm -f NAME`",
        ),
    ),
    known("systemd", Value, ("it is Podman's", "leave it out")),
    known("timezone", Value, ("it is Podman's", "use -e TZ=…")),
    known("tz", Value, ("it is Podman's", "use -e TZ=…")),
    known(
        "uidmap",
        Value,
        ("it is Podman's", "use -u, or --userns keep-id"),
    ),
    known(
        "gidmap",
        Value,
        ("it is Podman's", "use -u, or --userns keep-id"),
    ),
    known(
        "secret",
        Value,
        (
            "it is Podman's",
            "mount the file with -v FILE:/run/secrets/NAME:ro",
        ),
    ),
    known(
        "umask",
        Value,
        (
            "it is Podman's",
            "set it in the container's command: sh -c 'umask 0077; …'",
        ),
    ),
];

thread_local! {
    static KNOWN: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

/// Does something without the refused flags being known: they are more than all others together, and hardly ever typed. Where
/// the command line then makes no sense, it has to be looked at again with them.
pub fn without_refused<T>(work: impl FnOnce() -> T) -> T {
    KNOWN.set(false);
    let result = work();
    KNOWN.set(true);
    result
}

/// Refused flags that were given.
#[derive(Debug, Default)]
pub struct Refused(Vec<usize>);

impl Args for Refused {
    fn augment_args(command: Command) -> Command {
        if !KNOWN.get() {
            return command;
        }
        REFUSED.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.long).long(flag.long).hide(true);
            let arg = match flag.short {
                Some(short) => arg.short(short),
                None => arg,
            };
            command.arg(match flag.takes {
                Nothing => arg
                    .action(ArgAction::Append)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                Value => arg.action(ArgAction::Append).allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Whether a value asks for what is so anyway: `--publish-all=false`, `--memory 0`, `--restart no`.
fn is_default(flag: &Known, value: &str) -> bool {
    if flag.takes == Nothing {
        return matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False");
    }
    match flag.long {
        "isolation" => matches!(value, "default" | ""),
        "memory-swappiness" => matches!(value, "-1" | "0"),
        "volume-driver" => matches!(value, "local" | ""),
        _ if flag.why == CGROUP.0 => matches!(value, "0" | ""),
        _ => false,
    }
}

impl FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if !KNOWN.get() {
            return Ok(Self::default());
        }
        let given = |flag: &Known| {
            let values = matches.get_many::<String>(flag.long);
            // `--publish-all=false` asks for what is so anyway.
            let off = |value: &String| is_default(flag, value);
            values.is_some_and(|mut values| !values.all(off))
        };
        let flags = REFUSED.iter().enumerate();
        Ok(Self(
            flags.filter(|(_, f)| given(f)).map(|(n, _)| n).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Refused {
    /// Fails if any was given.
    pub fn check(&self) -> Result<(), Failure> {
        match self.0.first().and_then(|&number| REFUSED.get(number)) {
            Some(flag) => Err(Failure::usage(format!(
                "--{} is not supported: {}",
                flag.long, flag.why
            ))
            .hint(flag.remedy)),
            None => Ok(()),
        }
    }
}

/// The flag that somebody who typed `wrong` may have meant, of all those that `command` has.
pub fn similar(command: &Command, wrong: &str) -> Option<String> {
    let wrong = wrong.trim_start_matches('-');
    let longs = command.get_arguments().filter_map(Arg::get_long);
    let scored = longs.map(|long| (strsim::jaro_winkler(wrong, long), long));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, long)| format!("--{long}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_flag_is_refused_by_name_with_a_remedy() {
        for flag in &REFUSED {
            let name = format!("--{}", flag.long);
            let value = match flag.takes {
                Nothing => vec![name.clone()],
                Value => vec![name.clone(), "-7".to_owned()],
            };
            let command = Refused::augment_args(Command::new("run").no_binary_name(true));
            let matches = command.try_get_matches_from(value).unwrap();
            let refused = Refused::from_arg_matches(&matches).unwrap();
            let text = format!("{:?}", refused.check().unwrap_err());
            assert!(text.contains(&name) && !flag.remedy.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_switched_off_is_not_asked_for() {
        let command = Refused::augment_args(Command::new("run").no_binary_name(true));
        let matches = command
            .try_get_matches_from(["--publish-all=false", "--oom-kill-disable=0"])
            .unwrap();
        assert!(Refused::from_arg_matches(&matches).unwrap().check().is_ok());
    }
}
