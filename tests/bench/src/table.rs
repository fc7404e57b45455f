//! The report's lines.

use crate::measure::{Cost, Spread};

/// The head of a group's table.
pub fn head() {
    println!(
        "  {:44} {:>22} {:>7}   median seconds (processor seconds)",
        "", "ratio (least-most)", "limit"
    );
}

fn verdict(value: f64, limit: Option<f64>) -> (String, &'static str) {
    match limit {
        Some(limit) if value > limit => (format!("{limit:.2}"), " <- missed"),
        Some(limit) => (format!("{limit:.2}"), ""),
        None => (String::new(), ""),
    }
}

/// Minidock against something else, pair by pair.
pub fn ratio(what: &str, (ours, theirs): &(Vec<Cost>, Vec<Cost>), limit: Option<f64>) {
    let ratios = Spread::of(ours.iter().zip(theirs).map(|(a, b)| a.wall / b.wall));
    let median = |costs: &[Cost], what: fn(&Cost) -> f64| Spread::of(costs.iter().map(what)).median;
    let (limit, missed) = verdict(ratios.median, limit);
    let times = [
        median(ours, |c| c.wall),
        median(theirs, |c| c.wall),
        median(ours, |c| c.cpu),
        median(theirs, |c| c.cpu),
    ];
    let shown = if times[0] < 0.1 {
        let [a, b, c, d] = times.map(|t| t * 1000.0);
        format!("{a:.2} / {b:.2} ms ({c:.1} / {d:.1})")
    } else {
        let [a, b, c, d] = times;
        format!("{a:.3} / {b:.3} ({c:.2} / {d:.2})")
    };
    println!(
        "  {what:44} {:>8.2} ({:.2}-{:.2}) {limit:>9}   {shown}{missed}",
        ratios.median, ratios.least, ratios.most,
    );
}

/// A figure of one side with its limit in its own unit.
pub fn figure(what: &str, values: impl IntoIterator<Item = f64>, unit: &str, limit: Option<f64>) {
    let spread = Spread::of(values);
    let (limit, missed) = verdict(spread.median, limit);
    println!(
        "  {what:44} {:>8.2} ({:.2}-{:.2}) {limit:>9}   {unit}{missed}",
        spread.median, spread.least, spread.most
    );
}

/// What was not measured.
pub fn skipped(what: &str, why: &str) {
    println!("  {what:44} skipped: {why}");
}
