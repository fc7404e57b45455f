//! Times as Docker reads and writes them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Seconds since 1970 as a time.
pub fn at(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

/// Go's zero time, which stands for none.
pub const NONE: &str = "0001-01-01 00:00:00 +0000 UTC";

/// `2024-01-31 18:00:00 +0100 CET`: as Go prints a time, in the caller's time zone.
pub fn long(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || NONE.to_owned(),
        |time| {
            let zoned = time.to_zoned(TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
        },
    )
}

/// `2024-01-31T18:00:00+01:00`, in the caller's time zone.
pub fn rfc3339_local(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "0001-01-01T00:00:00Z".to_owned(),
        |time| {
            let zoned = time.to_zoned(TimeZone::system());
            if zoned.offset().is_zero() {
                zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
            } else {
                zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
        },
    )
}

/// `2024-01-31T18:00:00.123456789+01:00`, in the caller's time zone.
pub fn precise_local(time: Timestamp) -> String {
    let zoned = time.to_zoned(TimeZone::system());
    let format = match zoned.offset().is_zero() {
        true => "%Y-%m-%dT%H:%M:%S.%9fZ",
        false => "%Y-%m-%dT%H:%M:%S.%9f%:z",
    };
    zoned.strftime(format).to_string()
}

/// How long ago, `3 weeks ago`; nothing for no time.
pub fn since(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| {
        let seconds = now().as_second() - time.as_second();
        crate::units::duration(u64::try_from(seconds).unwrap_or(0)) + " ago"
    })
}

/// A time, a date, seconds since 1970, or how long ago: what Docker's filters take.
pub fn parse(text: &str) -> Option<Timestamp> {
    if let Some(ago) = go_duration(text) {
        return now().checked_sub(ago).ok();
    }
    let local = |time: DateTime| {
        time.to_zoned(TimeZone::system())
            .ok()
            .map(|z| z.timestamp())
    };
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| {
            text.parse::<Date>()
                .ok()
                .filter(|_| text.len() == 10)
                .and_then(|d| local(d.at(0, 0, 0, 0)))
        })
        .or_else(|| text.parse::<DateTime>().ok().and_then(local))
        .or_else(|| {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            if !digits(seconds) || !digits(fraction) {
                return None;
            }
            let nanos: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
            Timestamp::new(seconds.parse().ok()?, nanos).ok()
        })
}

/// `1h30m`, `1.5h`, `300ms`: Go's `time.ParseDuration`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[end..];
    }
    SignedDuration::try_from_secs_f64(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_reads() {
        for (text, seconds) in [
            ("1136073600", 1_136_073_600),
            ("1136073600.5", 1_136_073_600),
            ("2006-01-01T00:00:00Z", 1_136_073_600),
            ("2006-01-01T01:00:00.5+01:00", 1_136_073_600),
        ] {
            assert_eq!(parse(text).unwrap().as_second(), seconds, "{text}");
        }
        let day = parse("2006-01-02").unwrap();
        assert_eq!(parse("2006-01-02T00:00:00").unwrap(), day);
        assert_eq!(parse("2006-01-02T00:00").unwrap(), day);
        for bad in [
            "",
            "x",
            "h",
            "1",
            "1x",
            "1h2",
            "-",
            "2006-13-01",
            "1e5",
            "1.2.3",
            "９s",
        ] {
            assert!(parse(bad).is_none() || bad == "1", "{bad:?}");
        }
    }

    #[test]
    fn durations_read_as_in_go() {
        for (text, milliseconds) in [
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("-2s", -2000),
            ("0s", 0),
        ] {
            assert_eq!(
                go_duration(text).unwrap().as_millis(),
                milliseconds,
                "{text}"
            );
        }
        for bad in [
            "",
            "5",
            "h",
            "1d",
            "1h ",
            " 1h",
            "1h1",
            "..s",
            "9999999999999999999h",
        ] {
            assert!(go_duration(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn no_time_is_gos_zero() {
        assert_eq!(long(None), "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(rfc3339_local(None), "0001-01-01T00:00:00Z");
        assert_eq!(since(None), "");
        let precise = precise_local(Timestamp::from_nanosecond(1_700_000_000_000_000_005).unwrap());
        assert!(precise.contains(".000000005"), "{precise}");
    }
}
