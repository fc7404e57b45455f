//! `minidock ps`.

use clap::Args;
use minidock_engine::oci::Reference;
use minidock_engine::{ContainerLine, ContainerState};

use super::common::print;
use crate::failure::Failure;
use crate::filters::Filters;
use crate::format::{Column, List};
use crate::output::{ellipsis, for_stdout};
use crate::place::Place;
use crate::{times, units};

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not just running ones
    #[arg(short, long)]
    pub all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Show n last created containers (includes all states)
    #[arg(
        short = 'n',
        long,
        value_name = "INT",
        default_value = "-1",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub latest: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub size: bool,
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
    /// What it wrote, and that with its image's files, in bytes.
    sizes: Option<(u64, u64)>,
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
        value: |r| {
            let labels = r.line.state.labels.iter();
            let pairs: Vec<String> = labels.map(|(k, v)| format!("{k}={v}")).collect();
            pairs.join(",")
        },
    },
    Column {
        name: "LocalVolumes",
        header: "LOCAL VOLUMES",
        value: |r| volumes(&r.line).to_string(),
    },
    Column {
        name: "Mounts",
        header: "MOUNTS",
        value: |r| {
            let mounts = r.line.state.mounts.iter();
            let named = mounts.map(|m| {
                m.name
                    .clone()
                    .unwrap_or_else(|| m.source.display().to_string())
            });
            named
                .filter(|n| !n.is_empty())
                .collect::<Vec<_>>()
                .join(",")
        },
    },
    Column {
        name: "Networks",
        header: "NETWORKS",
        value: |_| String::new(),
    },
    Column {
        name: "Size",
        header: "SIZE",
        value: |r| match r.sizes {
            Some((own, all)) => format!("{} (virtual {})", units::size(own), units::size(all)),
            None => String::new(),
        },
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
    methods: &[("Label", |r| r.line.state.labels.clone())],
};

/// The list with the sizes, which take time to find out.
const SIZED: List<'static, Row> = List {
    default: &[
        "ID",
        "Image",
        "Command",
        "RunningFor",
        "Status",
        "Ports",
        "Names",
        "Size",
    ],
    ..LIST
};

/// `minidock ps`.
pub fn ps(place: &Place, args: PsArgs) -> Result<u8, Failure> {
    let filters = Chosen::parse(&args.filter)?;
    let last = if args.latest {
        Some(1)
    } else {
        usize::try_from(args.last).ok().filter(|n| *n > 0)
    };
    let engine = place.engine()?;
    let lines = filters.choose(engine.containers()?)?;
    let all = args.all || last.is_some() || filters.any_state();
    let lines = lines.into_iter().filter(|line| all || line.running);
    let with_size = args.size || args.format.as_deref().is_some_and(|f| f.contains(".Size"));
    let mut rows = Vec::new();
    for line in lines.take(last.unwrap_or(usize::MAX)) {
        let sizes = match with_size {
            // One that has gone meanwhile is of no size.
            true => engine
                .inspect_container(&line.state.id, true)
                .ok()
                .and_then(|details| details.sizes),
            false => None,
        };
        rows.push(Row {
            line,
            whole: args.no_trunc,
            sizes,
        });
    }
    let list = if args.size { SIZED } else { LIST };
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let text = if args.quiet && format.is_none() {
        rows.iter()
            .map(|r| short(&r.line.state.id, r.whole) + "\n")
            .collect()
    } else {
        list.render(format, &rows)?
    };
    print(&for_stdout(text))?;
    Ok(0)
}

/// Docker's filters of containers, as far as they can mean something here.
struct Chosen(Filters);

const FILTERS: [&str; 10] = [
    "ancestor", "before", "exited", "id", "label", "label!", "name", "since", "status", "volume",
];
const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];

impl Chosen {
    fn parse(given: &[String]) -> Result<Self, Failure> {
        let filters = Filters::parse(given, &FILTERS)?;
        let wrong =
            |name: &str, value: &str| Failure::new(format!("invalid filter '{name}={value}'"));
        for state in filters.all("status") {
            if !STATES.contains(&state.as_str()) {
                return Err(
                    wrong("status", state).hint(format!("the states are {}", STATES.join(", ")))
                );
            }
        }
        for code in filters.all("exited") {
            if code.parse::<i64>().is_err() {
                return Err(wrong("exited", code));
            }
        }
        Ok(Self(filters))
    }

    /// A state that was asked for is shown without `-a`.
    fn any_state(&self) -> bool {
        !self.0.all("status").is_empty()
    }

    fn choose(&self, lines: Vec<ContainerLine>) -> Result<Vec<ContainerLine>, Failure> {
        let before = self.position(&lines, "before")?;
        let since = self.position(&lines, "since")?;
        let chosen = lines.into_iter().enumerate().filter(|(at, line)| {
            // Newest first.
            before.is_none_or(|before| *at > before)
                && since.is_none_or(|since| *at < since)
                && self.fits(line)
        });
        Ok(chosen.map(|(_, line)| line).collect())
    }

    /// Where a container stands in the list.
    fn position(&self, lines: &[ContainerLine], filter: &str) -> Result<Option<usize>, Failure> {
        let Some(query) = self.0.all(filter).last() else {
            return Ok(None);
        };
        let named = lines.iter().position(|l| l.state.name == *query);
        let by_id = || {
            lines
                .iter()
                .position(|l| !query.is_empty() && l.state.id.starts_with(query.as_str()))
        };
        match named.or_else(by_id) {
            Some(at) => Ok(Some(at)),
            None => Err(Failure::new(format!("no such container: {query}"))),
        }
    }

    fn fits(&self, line: &ContainerLine) -> bool {
        let state = &line.state;
        let one_of = |filter: &str, fits: &dyn Fn(&str) -> bool| {
            let values = self.0.all(filter);
            values.is_empty() || values.iter().any(|value| fits(value))
        };
        one_of("id", &|id| state.id.starts_with(id))
            && one_of("name", &|name| is_named(&state.name, name))
            && one_of("status", &|status| line.status() == status)
            && one_of("exited", &|code| {
                !line.running && state.exit_code.map(|c| c.to_string()).as_deref() == Some(code)
            })
            && one_of("ancestor", &|image| is_image(state, image))
            && one_of("volume", &|volume| {
                state.mounts.iter().any(|m| {
                    m.name.as_deref() == Some(volume)
                        || m.source.as_os_str() == volume
                        || m.target.trim_end_matches('/') == volume.trim_end_matches('/')
                })
            })
            && self
                .0
                .labels()
                .iter()
                .all(|label| label.fits(&state.labels))
    }
}

/// Docker takes a regular expression; of these, plain text with `^` and `$` is understood.
fn is_named(name: &str, pattern: &str) -> bool {
    let (from_start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    // Docker's names have a slash in front.
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    match (from_start, pattern.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (true, None) => name.starts_with(pattern),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(pattern),
    }
}

/// Whether a container was made of this image, by name or id.
fn is_image(state: &ContainerState, image: &str) -> bool {
    let id = state.image_id.strip_prefix("sha256:").unwrap_or_default();
    let wanted = image.strip_prefix("sha256:").unwrap_or(image);
    let full = |name: &str| name.parse::<Reference>().ok().map(|r| r.to_string());
    (wanted.len() >= 4 && id.starts_with(wanted))
        || state.image == image
        || full(image).is_some_and(|name| full(&state.image) == Some(name))
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
    fn names_are_found_by_a_part_of_them() {
        for (pattern, fits) in [
            ("web", true),
            ("eb1", true),
            ("^web1$", true),
            ("^/web1$", true),
            ("^web", true),
            ("b1$", true),
            ("^eb1", false),
            ("web$", false),
            ("db", false),
        ] {
            assert_eq!(is_named("web1", pattern), fits, "{pattern}");
        }
    }

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
