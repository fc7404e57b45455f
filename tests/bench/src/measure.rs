//! One process, from its start to its end; two, in turn.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;

/// What a finished process cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of processor time, of all threads, user and system.
    pub cpu: f64,
    /// Most memory it had at once, in KiB; of a shell, the largest of its programs.
    pub peak: u64,
}

/// Runs a command to its end.
pub fn cost(command: &mut Command) -> Result<Cost> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut said)?;
    }
    let pid = rustix::process::Pid::from_child(&child);
    let usage = minidock_sys::process::wait_with_usage(pid)?;
    let wall = begin.elapsed().as_secs_f64();
    if usage.status != Some(0) {
        let program = command.get_program();
        return Err(format!("{} failed: {}", program.display(), said.trim()).into());
    }
    Ok(Cost {
        wall,
        cpu: usage.cpu.as_secs_f64(),
        peak: usage.peak_kib,
    })
}

/// As another user.
pub fn as_user(command: &mut Command, id: Option<u32>) -> &mut Command {
    if let Some(id) = id {
        command.uid(id).gid(id);
    }
    command
}

/// Median, least and most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) && middle > 0 {
            f64::midpoint(at(middle - 1), at(middle))
        } else {
            at(middle)
        };
        Self {
            least: at(0),
            median,
            most: at(values.len().saturating_sub(1)),
        }
    }
}

/// Runs two things in turn, after one uncounted round. Returns the costs of each.
pub fn pairs(
    runs: usize,
    mut a: impl FnMut() -> Result<Cost>,
    mut b: impl FnMut() -> Result<Cost>,
) -> Result<(Vec<Cost>, Vec<Cost>)> {
    let mut costs = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let (x, y) = (a()?, b()?);
        if run > 0 {
            costs.0.push(x);
            costs.1.push(y);
        }
    }
    Ok(costs)
}
