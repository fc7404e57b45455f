//! What is said to a command line that cannot be understood, in the shape of every other failure.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// What Docker has and minidock has not (yet): its verbs, why, and what to do instead.
const MISSING: &[(&[&str], &str, &str)] = &[
    (
        &["kill"],
        NOT_YET,
        "end it with `minidock stop --signal SIGNAL`, which kills it after a while",
    ),
    (
        &["pause", "unpause", "rename", "update"],
        NOT_YET,
        "stop it and run it anew in another way",
    ),
    (
        &["top", "stats"],
        "what a container's processes do is not told yet",
        "look from inside: `minidock exec CONTAINER ps`, or `top`",
    ),
    (
        &["logs"],
        "what a container prints goes to whoever is attached to it, and is not kept yet",
        "stay attached and redirect it: `minidock run … >FILE 2>&1`",
    ),
    (
        &["build", "buildx", "builder"],
        "images cannot be built from a Dockerfile yet",
        "`minidock commit --change` makes an image of a container, `minidock import` one of a tar archive",
    ),
    (
        &["network", "port"],
        "containers have no network of their own but loopback so far",
        "`minidock run --network host` shares the host's",
    ),
    (
        &[
            "compose",
            "swarm",
            "service",
            "stack",
            "node",
            "secret",
            "config",
            "plugin",
            "context",
            "trust",
            "checkpoint",
        ],
        "there is no daemon that could do it",
        "see `minidock --help` for what there is",
    ),
];

const NOT_YET: &str = "minidock cannot do this to a container yet";

/// The failure that a wrong command line is.
pub fn failure(error: &Error) -> Failure {
    let told = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // The likeliest is the last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned(),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        _ => None,
    };
    let usage = told(ContextKind::Usage).unwrap_or_default();
    let command = command(&usage);
    let help = format!("see `{command} --help`");
    if let Some(verb) = told(ContextKind::InvalidSubcommand) {
        return unknown_verb(&command, &verb, told(ContextKind::SuggestedSubcommand));
    }
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let wanted = usage.trim().trim_start_matches("Usage:").trim();
        return Failure::usage(format!("`{command}` requires more arguments: {wanted}")).hint(help);
    }
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    let meant = told(ContextKind::SuggestedArg).map(|flag| format!("did you mean {flag}?"));
    let choices = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            Some(format!("choose one of {}", values.join(", ")))
        }
        _ => None,
    };
    Failure::usage(line.trim_start_matches("error: ")).hint(meant.or(choices).unwrap_or(help))
}

fn unknown_verb(command: &str, verb: &str, meant: Option<String>) -> Failure {
    let missing = MISSING.iter().find(|(verbs, ..)| verbs.contains(&verb));
    if let Some((_, why, instead)) = missing {
        return Failure::usage(format!("`{command} {verb}` is not supported: {why}"))
            .hint(*instead);
    }
    Failure::usage(format!("unknown command: {command} {verb}")).hint(match meant {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => format!("see `{command} --help`"),
    })
}

/// The words of a usage line before its first argument: `minidock image rm`.
fn command(usage: &str) -> String {
    let words = usage.trim().trim_start_matches("Usage:").split_whitespace();
    let words: Vec<&str> = words
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    if words.is_empty() {
        "minidock COMMAND".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;
    use crate::commands::Verb;

    #[test]
    fn what_there_is_is_not_said_to_be_missing() {
        let command = Cli::<Verb>::command();
        for (verbs, ..) in MISSING {
            for verb in *verbs {
                assert!(command.find_subcommand(verb).is_none(), "{verb}");
            }
        }
    }

    #[test]
    fn each_wrong_command_line_is_one_message_and_a_hint() {
        for (words, message, hint) in [
            (
                &["top", "x"][..],
                "`minidock top` is not supported",
                "`minidock exec CONTAINER ps`",
            ),
            (
                &["container", "kill"],
                "`minidock container kill` is not",
                "`minidock stop",
            ),
            (
                &["imags"],
                "unknown command: minidock imags",
                "did you mean 'images'?",
            ),
            (
                &["xyzzy"],
                "unknown command: minidock xyzzy",
                "see `minidock --help`",
            ),
            (
                &["rmi"],
                "`minidock rmi` requires more arguments: minidock rmi <IMAGE>",
                "see `minidock rmi --help`",
            ),
            (
                &["ps", "--xyzzy"],
                "unexpected argument '--xyzzy' found",
                "see `minidock ps --help`",
            ),
            (
                &["ps", "--quit"],
                "unexpected argument '--quit' found",
                "did you mean --quiet?",
            ),
            (
                &["ps", "extra"],
                "unexpected argument 'extra' found",
                "see `minidock ps --help`",
            ),
        ] {
            let error = Cli::<Verb>::try_parse_from(["minidock"].iter().chain(words)).unwrap_err();
            let failure = failure(&error);
            let text = format!("{failure:?}");
            assert_eq!(failure.exit_code(), 125, "{text}");
            assert!(text.contains(message) && text.contains(hint), "{text}");
        }
    }
}
