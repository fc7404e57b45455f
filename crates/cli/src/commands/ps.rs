//! `minidock ps`.

use clap::Args;

use super::common::print;
use crate::failure::Failure;
use crate::output::table;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not just running ones
    #[arg(short, long)]
    pub all: bool,
    /// Only display container ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
}

/// `minidock ps`.
pub fn ps(place: &Place, args: PsArgs) -> Result<u8, Failure> {
    let now = units::now();
    let cut = |id: &str, length: usize| {
        if args.no_trunc || id.chars().count() <= length {
            id.to_owned()
        } else {
            id.chars().take(length).collect()
        }
    };
    let header = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut ids = String::new();
    for line in place.engine()?.containers()? {
        if !line.running && !args.all {
            continue;
        }
        let state = &line.state;
        ids.push_str(&format!("{}\n", cut(&state.id, 12)));
        let command = shown_command(&state.command, args.no_trunc);
        let ago = |at: u64| units::duration(now.saturating_sub(at));
        let status = match (line.running, state.exit_code, state.finished) {
            (true, ..) => format!("Up {}", ago(state.created)),
            (false, Some(code), Some(at)) => format!("Exited ({code}) {} ago", ago(at)),
            (false, ..) if state.pid.is_none() => "Created".to_owned(),
            // Nobody was left to see how it ended.
            (false, ..) => "Exited (unknown)".to_owned(),
        };
        rows.push(vec![
            cut(&state.id, 12),
            state.image.clone(),
            command,
            format!("{} ago", ago(state.created)),
            status,
            String::new(),
            state.name.clone(),
        ]);
    }
    print(&if args.quiet { ids } else { table(&rows) })?;
    Ok(0)
}

/// Program and arguments as Docker shows them: arguments with spaces in single quotes, all of it in double ones.
fn shown_command(words: &[String], whole: bool) -> String {
    let quoted = words.iter().enumerate().map(|(i, word)| match i {
        1.. if word.contains(' ') => format!("'{word}'"),
        _ => word.clone(),
    });
    let command = quoted.collect::<Vec<_>>().join(" ");
    if whole || command.chars().count() <= 20 {
        return format!("{command:?}");
    }
    format!(
        "{:?}",
        command.chars().take(19).chain(['…']).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_docker_shows_them() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(shown_command(&words(&["sh"]), false), "\"sh\"");
        let long = words(&["/bin/sh", "-c", "echo $GREETING from here"]);
        assert_eq!(shown_command(&long, false), "\"/bin/sh -c 'echo $G…\"");
        assert_eq!(
            shown_command(&long, true),
            "\"/bin/sh -c 'echo $GREETING from here'\""
        );
    }
}
