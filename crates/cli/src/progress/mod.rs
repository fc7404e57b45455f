//! How a pull or push is shown: a bar a layer on a terminal, a plain line a layer otherwise, an object a line for programs.
//!
//! | module | task |
//! |---|---|
//! | `bars` | the terminal |
//! | `json` | what programs get: the messages of Docker's API |

mod bars;
mod json;

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use minidock_engine::{Arrival, Event};
use serde_json::Value;

use bars::Bars;
use json::Messages;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `pull` and `push` themselves.
    Stdout,
    /// A pull that another verb needed.
    Stderr,
}

/// `--progress`: how it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// Bars on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// A JSON object a line, each a message of Docker's API.
    Json,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Lines(Stream),
    Bars(Stream, Bars),
    Json(Stream, Messages),
}

/// Shows the events of one pull.
#[derive(Debug)]
pub struct Progress {
    form: Mutex<Form>,
}

impl Progress {
    /// In the style that was asked for.
    pub fn new(style: Style, stream: Stream) -> Self {
        let terminal = match stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        };
        Self::of(match style {
            Style::Json => Form::Json(stream, Messages::default()),
            Style::Auto if terminal => Form::Bars(stream, Bars::new(stream)),
            Style::Auto | Style::Plain => Form::Lines(stream),
        })
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        Self::of(Form::Quiet)
    }

    fn of(form: Form) -> Self {
        Self {
            form: Mutex::new(form),
        }
    }

    /// Shows one event.
    pub fn show(&self, event: Event) {
        match &mut *self.lock() {
            Form::Quiet => {}
            Form::Lines(stream) => {
                if let Some(line) = line(&event) {
                    write_line(*stream, &line);
                }
            }
            Form::Bars(stream, bars) => {
                bars.show(&event);
                if let Some(line) = line(&event) {
                    bars.above(|| write_line(*stream, &line));
                }
            }
            Form::Json(stream, messages) => {
                for message in messages.of(&event, Instant::now()) {
                    write_line(*stream, &message.to_string());
                }
            }
        }
    }

    /// Takes away the bars of layers that did not come to their end.
    pub fn end(&self) {
        if let Form::Bars(_, bars) = &mut *self.lock() {
            bars.clear();
        }
    }

    /// A line of another kind, where progress is shown at all.
    pub fn say(&self, line: &str) {
        match &*self.lock() {
            Form::Quiet => {}
            Form::Lines(stream) => write_line(*stream, line),
            Form::Bars(stream, bars) => bars.above(|| write_line(*stream, line)),
            Form::Json(stream, _) => write_line(*stream, &json::status(line).to_string()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Form> {
        self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages at the end of a pull or push: Docker's words, and the result as an object.
pub fn outcome(words: &str, result: &Value) -> String {
    let words = words.lines().map(json::status);
    let messages = words.chain([json::result(result)]);
    messages.map(|message| format!("{message}\n")).collect()
}

/// The message that tells a program of a failure.
pub fn failed(why: &str) -> String {
    format!("{}\n", json::error(why))
}

/// Progress is a courtesy: a closed stream must not stop the pull.
fn write_line(stream: Stream, line: &str) {
    // Reasons come from registries and credential helpers, and shall not steer the terminal.
    let shown = line
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let line: String = shown.chain(['\n']).collect();
    let _ = match stream {
        Stream::Stdout => io::stdout().write_all(line.as_bytes()),
        Stream::Stderr => io::stderr().write_all(line.as_bytes()),
    };
}

/// What the event is about, and what became of it; steps on the way have no line.
fn words(event: &Event) -> Option<(String, String)> {
    Some(match event {
        Event::Resolved { reference } => {
            // By digest, Docker names all of it.
            let what = match (reference.digest(), reference.tag()) {
                (None, Some(tag)) => tag.to_owned(),
                _ => reference.to_string(),
            };
            (what, format!("Pulling from {}", reference.repository()))
        }
        Event::AlreadyExists { layer } => (layer.short().to_owned(), "Already exists".to_owned()),
        Event::Complete { layer } => (layer.short().to_owned(), "Pull complete".to_owned()),
        Event::Preparing { layer } => (layer.0.short().to_owned(), "Preparing".to_owned()),
        Event::Pushed { layer, how } => {
            let how = match how {
                Arrival::Existed => "Layer already exists".to_owned(),
                Arrival::Mounted { from } => format!("Mounted from {from}"),
                Arrival::Sent => "Pushed".to_owned(),
            };
            (layer.0.short().to_owned(), how)
        }
        Event::MirrorFailed { mirror, why } => {
            (mirror.clone(), format!("the mirror cannot help: {why}"))
        }
        Event::NoCredentials { registry, why } => {
            (registry.clone(), format!("asked without an account: {why}"))
        }
        Event::Retrying { what, why, delay } => {
            (what.clone(), format!("Retrying in {delay:.0?}: {why}"))
        }
        _ => return None,
    })
}

fn line(event: &Event) -> Option<String> {
    words(event).map(|(what, status)| format!("{what}: {status}"))
}
