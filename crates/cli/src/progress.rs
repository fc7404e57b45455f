//! How a pull is shown: a bar a layer on a terminal, a plain line a layer otherwise.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use minidock_engine::oci::Digest;
use minidock_engine::{Arrival, Event};

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `pull` itself.
    Stdout,
    /// A pull that another verb needed.
    Stderr,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Lines(Stream),
    Bars {
        stream: Stream,
        all: MultiProgress,
        layers: HashMap<Digest, ProgressBar>,
    },
}

/// Shows the events of one pull.
#[derive(Debug)]
pub struct Progress {
    form: Mutex<Form>,
}

impl Progress {
    /// Bars if the stream is a terminal, lines if not.
    pub fn new(stream: Stream) -> Self {
        let (terminal, target) = match stream {
            Stream::Stdout => (io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
            Stream::Stderr => (io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
        };
        let form = if terminal {
            Form::Bars {
                stream,
                all: MultiProgress::with_draw_target(target),
                layers: HashMap::new(),
            }
        } else {
            Form::Lines(stream)
        };
        Self {
            form: Mutex::new(form),
        }
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        Self {
            form: Mutex::new(Form::Quiet),
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
            Form::Bars {
                stream,
                all,
                layers,
            } => show_bars(*stream, all, layers, event),
        }
    }

    /// Takes away the bars of layers that did not come to their end.
    pub fn end(&self) {
        if let Form::Bars { layers, .. } = &mut *self.lock() {
            for (_, bar) in layers.drain() {
                bar.finish_and_clear();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Form> {
        self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// A line of another kind, where progress is shown at all.
    pub fn say(&self, line: &str) {
        match &*self.form.lock().unwrap_or_else(PoisonError::into_inner) {
            Form::Quiet => {}
            Form::Lines(stream) | Form::Bars { stream, .. } => write_line(*stream, line),
        }
    }
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

/// The plain line for an event; steps on the way have none.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Resolved { reference } => {
            // By digest, Docker names all of it.
            let what = match (reference.digest(), reference.tag()) {
                (None, Some(tag)) => tag.to_owned(),
                _ => reference.to_string(),
            };
            format!("{what}: Pulling from {}", reference.repository())
        }
        Event::AlreadyExists { layer } => format!("{}: Already exists", layer.short()),
        Event::Complete { layer } => format!("{}: Pull complete", layer.short()),
        Event::Preparing { layer } => format!("{}: Preparing", layer.0.short()),
        Event::Pushed { layer, how } => {
            let how = match how {
                Arrival::Existed => "Layer already exists".to_owned(),
                Arrival::Mounted { from } => format!("Mounted from {from}"),
                Arrival::Sent => "Pushed".to_owned(),
            };
            format!("{}: {how}", layer.0.short())
        }
        Event::MirrorFailed { mirror, why } => format!("{mirror}: the mirror cannot help: {why}"),
        Event::NoCredentials { registry, why } => {
            format!("{registry}: asked without an account: {why}")
        }
        Event::Retrying { what, why, delay } => {
            format!("{what}: Retrying in {:.0?}: {why}", delay)
        }
        _ => return None,
    })
}

/// A layer that is done leaves the bars and becomes a plain line above them, which stays right whatever happens to the
/// window later.
fn show_bars(
    stream: Stream,
    all: &MultiProgress,
    layers: &mut HashMap<Digest, ProgressBar>,
    event: Event,
) {
    let mut bar = |layer: &Digest| {
        let new = || {
            let bar = ProgressBar::new(0).with_prefix(layer.short().to_owned());
            let bar = all.add(bar);
            bar.set_style(style("{prefix}: {msg}"));
            bar
        };
        layers.entry(layer.clone()).or_insert_with(new).clone()
    };
    match &event {
        Event::Waiting { layer } => bar(layer).set_message("Waiting"),
        Event::Downloading { layer, done, total } => {
            advance(&bar(layer), *done, *total, "Downloading")
        }
        Event::Uploading { layer, done, total } => {
            advance(&bar(&layer.0), *done, *total, "Pushing")
        }
        Event::Extracting { layer } => {
            let bar = bar(layer);
            bar.set_style(style("{prefix}: {msg}"));
            bar.set_message("Extracting");
        }
        Event::AlreadyExists { layer } | Event::Complete { layer } => {
            bar(layer).finish_and_clear();
            layers.remove(layer);
        }
        Event::Pushed { layer, .. } => {
            if let Some(bar) = layers.remove(&layer.0) {
                bar.finish_and_clear();
            }
        }
        _ => {}
    }
    if let Some(line) = line(&event) {
        all.suspend(|| write_line(stream, &line));
    }
}

fn advance(bar: &ProgressBar, done: u64, total: u64, what: &str) {
    if bar.length() != Some(total) || bar.position() == 0 {
        bar.set_length(total);
        bar.set_style(style(&format!(
            "{{prefix}}: {what} [{{wide_bar:.}}] {{decimal_bytes:>8}}/{{decimal_total_bytes}} {{decimal_bytes_per_sec:>10}}"
        )));
    }
    bar.set_position(done);
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one would show the default bar.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
