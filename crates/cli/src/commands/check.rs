//! `minidock system check`.

use std::io::{self, IsTerminal};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use minidock_engine::{CheckEvent, Checked, Engine, Finding};

use super::common::print;
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
#[command(
    long_about = "Verify every blob, layer, image, container and name in the store, one line a problem. \
                  A layer is unpacked once more to compare it, so there must be space for the largest one. \
                  Others may use the store meanwhile.",
    after_help = "The exit status is 0 when all is well (again), 1 when there are problems."
)]
pub struct CheckArgs {
    /// Repair what can be: unpack damaged layers anew, remove images whose blobs are lost. What containers wrote is kept
    #[arg(long)]
    pub repair: bool,
    /// Only tell problems
    #[arg(short, long)]
    pub quiet: bool,
}

/// `minidock system check`.
pub fn check(place: &Place, args: CheckArgs) -> Result<u8, Failure> {
    let bar = if io::stderr().is_terminal() && !args.quiet {
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} checking {wide_msg}") {
        bar.set_style(style);
    }
    let mut failed = None;
    let mut show = |event| match event {
        CheckEvent::Reading { subject } => {
            bar.set_message(subject);
            bar.tick();
        }
        CheckEvent::Found(finding) => {
            let told = bar.suspend(|| print(&line(&finding)));
            failed = failed.take().or(told.err());
        }
    };
    let done = Engine::check(place.opening().clone(), args.repair, &mut show)?;
    bar.finish_and_clear();
    if let Some(failure) = failed {
        return Err(failure);
    }
    if !args.quiet {
        print(&summary(&done, args.repair))?;
    }
    Ok(u8::from(done.problems > done.repaired))
}

fn line(finding: &Finding) -> String {
    let mut text = format!("{}: {}", finding.subject, finding.problem);
    if !finding.affects.is_empty() {
        text += &format!(" ({})", finding.affects.join(", "));
    }
    if let Some(repair) = &finding.repair {
        text += &format!(": {repair}");
    }
    // Names of files and images are strangers' words.
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).chain(['\n']).collect()
}

fn summary(done: &Checked, repair: bool) -> String {
    let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut text = format!(
        "Checked {}, {}, {} and {}: ",
        count(done.images, "image"),
        count(done.layers, "layer"),
        count(done.blobs, "blob"),
        count(done.containers, "container"),
    );
    text += &match (done.problems, done.repaired) {
        (0, _) => "no problems\n".to_owned(),
        (n, r) if n == r => format!("{} repaired\n", count(n, "problem")),
        (n, 0) if !repair => {
            format!("{}; --repair repairs what can be\n", count(n, "problem"))
        }
        (n, r) => format!("{}, {r} repaired\n", count(n, "problem")),
    };
    if done.not_compared > 0 {
        text += &format!(
            "The store cannot be written, so {} could not be unpacked to compare the files\n",
            count(done.not_compared, "layer")
        );
    }
    if done.left_over > 0 {
        text += &format!(
            "{} that nothing refers to; the next rmi removes them\n",
            count(done.left_over, "file")
        );
    }
    text
}
