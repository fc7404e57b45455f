//! Sizes and ages in Docker's words.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// `4.42MB`: three significant digits, powers of 1000.
pub fn size(bytes: u64) -> String {
    size_with(bytes, 3)
}

/// `4.421MB`: four significant digits, as Docker writes totals.
pub fn size_4(bytes: u64) -> String {
    size_with(bytes, 4)
}

fn size_with(bytes: u64, digits: usize) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // One digit before the point unless rounding makes it two.
    let mut decimals = digits - 1;
    let mut limit = 10.0;
    while decimals > 0 && value + 0.5 / 10_f64.powi(i32::try_from(decimals).unwrap_or(0)) >= limit {
        decimals -= 1;
        limit *= 10.0;
    }
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{}", UNITS[unit])
}

/// `3 months`: how long a number of seconds is, as Docker rounds it.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_docker() {
        for (bytes, text) in [
            (0, "0B"),
            (13_256, "13.3kB"),
            (4_421_234, "4.42MB"),
            (999, "999B"),
            (1000, "1kB"),
            (150_000_000, "150MB"),
            (1_204_000_000, "1.2GB"),
            (10_072, "10.1kB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (4_421_234, "4.421MB"),
            (578_766, "578.8kB"),
            (123_456_789, "123.5MB"),
            (9_999_999, "10MB"),
            (999, "999B"),
            (5_000_000, "5MB"),
        ] {
            assert_eq!(size_4(bytes), text);
        }
    }

    #[test]
    fn ages_read_as_in_docker() {
        const DAY: u64 = 86_400;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (15 * DAY, "2 weeks"),
            (61 * DAY, "2 months"),
            (800 * DAY, "2 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }
}
