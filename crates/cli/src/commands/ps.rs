//! `minidock ps`.

use std::collections::BTreeMap;

use clap::Args;
use minidock_engine::ContainerLine;

use super::common::print;
use crate::failure::Failure;
use crate::format::{Column, List};
use crate::output::{ellipsis, for_stdout};
use crate::place::Place;
use crate::{times, units};

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
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// A container, and whether it is shown at full length.
pub struct Row {
    line: ContainerLine,
    whole: bool,
}

const COLUMNS: [Column<Row>; 14] = [
    Column {
        name: "ID",
        header: "CONTAINER ID",
        value: |r| short(&r.line.state.id, r.whole),
    },
    Column {
        name: "Image",
        header: "IMAGE",
        value: |r| r.line.state.image.clone(),
    },
    Column {
        name: "Command",
        header: "COMMAND",
        value: |r| shown_command(&r.line.state.command, r.whole),
    },
    Column {
        name: "RunningFor",
        header: "CREATED",
        value: |r| times::since(times::at(r.line.state.created)),
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
        value: |r| times::long(times::at(r.line.state.created)),
    },
    Column {
        name: "Status",
        header: "STATUS",
        value: |r| status(&r.line),
    },
    Column {
        name: "State",
        header: "STATE",
        value: |r| r.line.status().to_owned(),
    },
    Column {
        name: "Ports",
        header: "PORTS",
        value: |_| String::new(),
    },
    Column {
        name: "Names",
        header: "NAMES",
        value: |r| r.line.state.name.clone(),
    },
    Column {
        name: "Labels",
        header: "LABELS",
        value: |_| String::new(),
    },
    Column {
        name: "LocalVolumes",
        header: "LOCAL VOLUMES",
        value: |_| "0".to_owned(),
    },
    Column {
        name: "Mounts",
        header: "MOUNTS",
        value: |_| String::new(),
    },
    Column {
        name: "Networks",
        header: "NETWORKS",
        value: |_| String::new(),
    },
    Column {
        name: "Size",
        header: "SIZE",
        value: |_| String::new(),
    },
];

/// The list of containers, also for `system df`.
pub const LIST: List<'static, Row> = List {
    columns: &COLUMNS,
    default: &[
        "ID",
        "Image",
        "Command",
        "RunningFor",
        "Status",
        "Ports",
        "Names",
    ],
    instead: &[],
    methods: &[("Label", |_| BTreeMap::new())],
};

/// `minidock ps`.
pub fn ps(place: &Place, args: PsArgs) -> Result<u8, Failure> {
    let lines = place.engine()?.containers()?;
    let rows: Vec<Row> = lines
        .into_iter()
        .filter(|line| args.all || line.running)
        .map(|line| Row {
            line,
            whole: args.no_trunc,
        })
        .collect();
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let text = if args.quiet && format.is_none() {
        rows.iter()
            .map(|r| short(&r.line.state.id, r.whole) + "\n")
            .collect()
    } else {
        LIST.render(format, &rows)?
    };
    print(&for_stdout(text))?;
    Ok(0)
}

/// How many volumes of the store it has.
pub fn volumes(line: &ContainerLine) -> usize {
    line.state
        .mounts
        .iter()
        .filter(|m| m.name.is_some())
        .count()
}

fn short(id: &str, whole: bool) -> String {
    if whole {
        id.to_owned()
    } else {
        id.chars().take(12).collect()
    }
}

/// `Up 3 minutes`, `Exited (0) 2 days ago`.
pub fn status(line: &ContainerLine) -> String {
    let state = &line.state;
    match (line.running, state.exit_code, state.finished) {
        (true, ..) => format!(
            "Up {}",
            units::duration(units::now().saturating_sub(state.created))
        ),
        (false, Some(code), Some(at)) => format!("Exited ({code}) {}", times::since(times::at(at))),
        (false, ..) if line.status() == "created" => "Created".to_owned(),
        // Nobody was left to see how it ended.
        (false, ..) => "Exited (unknown)".to_owned(),
    }
}

/// Program and arguments as Docker shows them: arguments with spaces in single quotes, all of it in double ones.
pub fn shown_command(words: &[String], whole: bool) -> String {
    let quoted = words.iter().enumerate().map(|(i, word)| match i {
        1.. if word.contains(' ') => format!("'{word}'"),
        _ => word.clone(),
    });
    let command = quoted.collect::<Vec<_>>().join(" ");
    let shown = if whole {
        command
    } else {
        ellipsis(&command, 20)
    };
    format!("{shown:?}")
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
