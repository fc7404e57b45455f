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
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let mut text = format!("{value:.digits$}");
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

/// `3 months ago` for an RFC 3339 time; `N/A` where an image has none.
pub fn age(created: &str, now: u64) -> String {
    match created.parse::<jiff::Timestamp>() {
        // The zero time of Go is what reproducible builds without a date carry.
        Ok(time) if time.as_second() > -62_135_596_800 => {
            let seconds = i64::try_from(now).unwrap_or(i64::MAX) - time.as_second();
            format!("{} ago", duration(u64::try_from(seconds).unwrap_or(0)))
        }
        _ => "N/A".into(),
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
        assert_eq!(age("1970-01-01T00:00:10Z", 70), "About a minute ago");
        assert_eq!(age("0001-01-01T00:00:00Z", 0), "N/A");
        assert_eq!(age("", 0), "N/A");
    }
}
