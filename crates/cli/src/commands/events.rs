//! `minidock events`.

use clap::Args;
use minidock_engine::Timestamp;
use minidock_engine::events::{Event, EventFilters, Kind, Wanted};

use super::common::print;
use crate::failure::Failure;
use crate::filters::Filters;
use crate::format::json::{Json, Object};
use crate::format::{parsing, template::Template};
use crate::output::for_stdout;
use crate::place::Place;
use crate::times;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "STRING")]
    pub since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "STRING")]
    pub until: Option<String>,
}

/// `minidock events`: what happened, and what happens until it is stopped.
pub fn events(place: &Place, args: EventsArgs) -> Result<u8, Failure> {
    let filters = filters(&args.filter)?;
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let shape = Shape::parse(format)?;
    let since = args.since.as_deref().filter(|s| !s.is_empty());
    let since = since.map(|text| moment("since", text)).transpose()?;
    let until = args.until.as_deref().filter(|s| !s.is_empty());
    let until = until.map(|text| moment("until", text)).transpose()?;
    if until.is_some_and(|until| since.is_some_and(|since| since > until)) {
        return Err(Failure::new("`since` time cannot be after `until` time"));
    }
    let engine = place.engine()?;
    let over = |at: u64| u128::from(at) <= now();
    let mut events = engine.events(Wanted {
        past: since.is_some() || until.is_some(),
        future: !until.is_some_and(over),
    })?;
    loop {
        // Asked first: what is told until then is read below.
        let last = until.is_some_and(over);
        let mut text = String::new();
        for event in events.take()? {
            let in_time = since.is_none_or(|since| event.time >= since)
                && until.is_none_or(|until| event.time <= until);
            if in_time && filters.fit(&event) {
                text += &shape.show(&event)?;
            }
        }
        if !text.is_empty() {
            print(&for_stdout(text))?;
        }
        if last {
            return Ok(0);
        }
        events.wait(until)?;
    }
}

fn now() -> u128 {
    u128::try_from(times::now().as_nanosecond()).unwrap_or(0)
}

/// A time as nanoseconds since 1970.
fn moment(flag: &str, text: &str) -> Result<u64, Failure> {
    match times::parse(text) {
        Some(time) => Ok(u64::try_from(time.as_nanosecond()).unwrap_or(0)),
        None => Err(Failure::new(format!("invalid value {text:?} for --{flag}"))
            .hint("a date (2024-01-31), a time (2024-01-31T18:00:00), seconds since 1970, or how long ago (24h, 1h30m)")),
    }
}

/// Docker's filters; some are of things that there are none of here.
const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

fn filters(given: &[String]) -> Result<EventFilters, Failure> {
    let given = Filters::parse(given, &FILTERS)?;
    let all = |name: &str| given.all(name).to_vec();
    let foreign = [
        "config", "daemon", "network", "node", "plugin", "secret", "service",
    ];
    Ok(EventFilters {
        kinds: all("type"),
        actions: all("event"),
        containers: all("container"),
        images: all("image"),
        volumes: all("volume"),
        labels: given.labels(),
        scopes: all("scope"),
        others: foreign.iter().any(|name| !given.all(name).is_empty()),
    })
}

/// How an event is shown.
enum Shape {
    Line,
    Json,
    Template(Box<Template>),
}

impl Shape {
    fn parse(format: Option<&str>) -> Result<Self, Failure> {
        match format {
            None => Ok(Self::Line),
            Some("json") => Ok(Self::Json),
            Some(format) => {
                let format = format.replace("\\t", "\t").replace("\\n", "\n");
                // Docker's exit status for a template that does not parse.
                let template = Template::parse(&format, &[]);
                let template = template.map_err(|fault| parsing(&fault).code(64))?;
                Ok(Self::Template(Box::new(template)))
            }
        }
    }

    fn show(&self, event: &Event) -> Result<String, Failure> {
        match self {
            Self::Line => Ok(line(event)),
            Self::Json => Ok(object(event).compact() + "\n"),
            Self::Template(template) => {
                let text = template.render(&object(event));
                Ok(text.map_err(|fault| parsing(&fault))? + "\n")
            }
        }
    }
}

fn line(event: &Event) -> String {
    let time = i128::from(event.time);
    let time = Timestamp::from_nanosecond(time).unwrap_or_default();
    let attributes: Vec<String> = event
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let attributes = match attributes.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join(", ")),
    };
    let (time, kind) = (times::precise_local(time), event.kind.as_str());
    format!("{time} {kind} {} {}{attributes}\n", event.action, event.id)
}

/// Docker's JSON of an event (API 1.51), and the names that its templates have.
fn object(event: &Event) -> Json {
    let attributes = event
        .attributes
        .iter()
        .fold(Object::new(), |o, (name, value)| {
            o.with(name.as_str(), value.as_str())
        });
    let actor = Object::new()
        .with("ID", event.id.as_str())
        .with("Attributes", attributes);
    // The older names of it are kept for containers and images.
    let (status, id, from) = match event.kind {
        Kind::Container => {
            let image = event.attributes.get("image").map_or("", String::as_str);
            (event.action.as_str(), event.id.as_str(), image)
        }
        Kind::Image => (event.action.as_str(), event.id.as_str(), ""),
        Kind::Volume => ("", "", ""),
    };
    let seconds = event.time / 1_000_000_000;
    Object::row()
        .with_some("status", status)
        .with_some("id", id)
        .with_some("from", from)
        .with("Type", event.kind.as_str())
        .with("Action", event.action.as_str())
        .with("Actor", actor)
        .with("scope", "local")
        .with("time", seconds)
        .with("timeNano", event.time)
        .hidden("Status", status)
        .hidden("ID", id)
        .hidden("From", from)
        .hidden("Scope", "local")
        .hidden("Time", seconds)
        .hidden("TimeNano", event.time)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let text = r#"{"timeNano":1700000000000000005,"Type":"container","Action":"die","ID":"c1",
            "Attributes":{"image":"busybox","name":"web","exitCode":"3"}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn events_are_shown_as_docker_shows_them() {
        let json = Shape::Json.show(&event()).unwrap();
        assert_eq!(
            json,
            "{\"status\":\"die\",\"id\":\"c1\",\"from\":\"busybox\",\"Type\":\"container\",\"Action\":\"die\",\
             \"Actor\":{\"ID\":\"c1\",\"Attributes\":{\"exitCode\":\"3\",\"image\":\"busybox\",\"name\":\"web\"}},\
             \"scope\":\"local\",\"time\":1700000000,\"timeNano\":1700000000000000005}\n"
        );
        let shape = Shape::parse(Some(
            "{{.Type}}/{{.Action}} {{.Actor.Attributes.name}} {{.Time}} {{.ID}} {{.From}}",
        ));
        let text = shape.unwrap().show(&event()).unwrap();
        assert_eq!(text, "container/die web 1700000000 c1 busybox\n");
        let text = line(&event());
        assert!(
            text.ends_with(" container die c1 (exitCode=3, image=busybox, name=web)\n"),
            "{text}"
        );
        assert!(text.contains(".000000005"), "{text}");
        assert!(Shape::parse(Some("{{.X")).is_err());
    }

    #[test]
    fn filters_are_docker_s() {
        let given = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|s| (*s).to_owned()).collect();
            filters(&list)
        };
        assert!(
            given(&["type=container", "event=die"])
                .unwrap()
                .fit(&event())
        );
        assert!(!given(&["event=start"]).unwrap().fit(&event()));
        assert!(!given(&["network=x"]).unwrap().fit(&event()));
        assert!(given(&["nosuch=x"]).is_err());
    }
}
