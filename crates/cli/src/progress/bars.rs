//! A bar a layer, and one for all of them.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use minidock_engine::Event;
use minidock_engine::oci::Digest;

use super::Stream;

/// The layers that are on their way. One that is done leaves the bars and becomes a plain line above them, which stays right
/// whatever happens to the window later.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    layers: HashMap<Digest, Layer>,
    /// Below the others, where there are several.
    total: Option<ProgressBar>,
    /// Bytes that are here, and that there will be.
    done: u64,
    size: u64,
}

#[derive(Debug)]
struct Layer {
    bar: ProgressBar,
    done: u64,
    size: u64,
}

impl Bars {
    pub fn new(stream: Stream) -> Self {
        let target = match stream {
            Stream::Stdout => ProgressDrawTarget::stdout(),
            Stream::Stderr => ProgressDrawTarget::stderr(),
        };
        Self {
            all: MultiProgress::with_draw_target(target),
            layers: HashMap::new(),
            total: None,
            done: 0,
            size: 0,
        }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Waiting { layer, size } => {
                let second = !self.layers.is_empty() && !self.layers.contains_key(layer);
                let state = self.layer(layer);
                state.bar.set_message("Waiting");
                state.size = *size;
                if second && self.total.is_none() {
                    let bar = self.all.add(ProgressBar::new(0).with_prefix("Total"));
                    self.total = Some(bar);
                }
                self.size = self.size.saturating_add(*size);
            }
            Event::Downloading { layer, done, total } => {
                let state = self.layer(layer);
                advance(&state.bar, *done, *total, "Downloading");
                let more = done.saturating_sub(state.done);
                state.done = state.done.max(*done);
                self.done = self.done.saturating_add(more);
                self.tell_total();
            }
            Event::Uploading { layer, done, total } => {
                advance(&self.layer(&layer.0).bar, *done, *total, "Pushing");
            }
            Event::Extracting { layer } => {
                let bar = &self.layer(layer).bar;
                bar.set_style(style("{prefix}: {msg}"));
                bar.set_message("Extracting");
            }
            Event::AlreadyExists { layer } => {
                if let Some(state) = self.finish(layer) {
                    self.size = self.size.saturating_sub(state.size);
                    self.tell_total();
                }
            }
            Event::Complete { layer } => drop(self.finish(layer)),
            Event::Pushed { layer, .. } => drop(self.finish(&layer.0)),
            _ => {}
        }
    }

    /// Writes something above the bars.
    pub fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    pub fn clear(&mut self) {
        for (_, layer) in self.layers.drain() {
            layer.bar.finish_and_clear();
        }
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
    }

    fn layer(&mut self, layer: &Digest) -> &mut Layer {
        let new = || {
            let bar = ProgressBar::new(0).with_prefix(layer.short().to_owned());
            let bar = match &self.total {
                Some(total) => self.all.insert_before(total, bar),
                None => self.all.add(bar),
            };
            bar.set_style(style("{prefix}: {msg}"));
            Layer {
                bar,
                done: 0,
                size: 0,
            }
        };
        self.layers.entry(layer.clone()).or_insert_with(new)
    }

    fn finish(&mut self, layer: &Digest) -> Option<Layer> {
        let state = self.layers.remove(layer)?;
        state.bar.finish_and_clear();
        Some(state)
    }

    fn tell_total(&self) {
        if let Some(total) = &self.total {
            advance(total, self.done, self.size, "Downloading");
        }
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
