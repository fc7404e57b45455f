//! How many pulls a registry allows, in words.
//!
//! Docker Hub counts manifests that are fetched, for an account or, of those who are not logged in, for an address. It
//! says so in `ratelimit-limit` and `ratelimit-remaining` (`100;w=21600`: so many in so many seconds) and in
//! `docker-ratelimit-source` (docs.docker.com, "Docker Hub pull usage and limits").

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::HeaderMap;

/// What the headers of a refusal say about the limit, to be read after the refusal; `None` when they say nothing.
pub fn words(headers: &HeaderMap, account: Option<&str>) -> Option<String> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let (pulls, window) = quota(text("ratelimit-limit")?)?;
    let allowed = match window {
        Some(window) => format!("{pulls} pulls in {}", span(window)),
        None => format!("{pulls} pulls"),
    };
    let whom = match (account, text("docker-ratelimit-source")) {
        (Some(account), _) => format!("the account {account}"),
        // Of an account, Hub names an identifier that says nothing to its owner.
        (None, Some(source)) if source.parse::<IpAddr>().is_ok() => {
            format!("your address {source}")
        }
        (None, _) => "your address".to_owned(),
    };
    Some(
        match text("ratelimit-remaining")
            .and_then(quota)
            .map(|(left, _)| left)
        {
            Some(left) if left > 0 => format!("{left} of the {allowed} for {whom} are left"),
            _ => format!("the {allowed} for {whom} are used up"),
        },
    )
}

/// `100;w=21600`: a number, and the seconds in which it is allowed.
fn quota(text: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window.map(Duration::from_secs)))
}

/// A length of time as people say it: rounded up to minutes, or hours where it is several.
pub fn span(time: Duration) -> String {
    let of = |number: u64, unit: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{number} {unit}{plural}")
    };
    match time.as_secs() {
        seconds @ 0..60 => of(seconds.max(1), "second"),
        seconds @ 60..7200 => of(seconds.div_ceil(60), "minute"),
        seconds => of(seconds.div_ceil(3600), "hour"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&'static str, &str)], account: Option<&str>) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        words(&map, account)
    }

    #[test]
    fn limits_are_told_in_words() {
        let limit = ("ratelimit-limit", "100;w=21600");
        let spent = ("ratelimit-remaining", "0;w=21600");
        let address = ("docker-ratelimit-source", "192.0.2.7");
        let number = ("docker-ratelimit-source", "7e3c9a30-0c0c-4a5e");
        for (headers, account, expected) in [
            (
                vec![limit, spent, address],
                None,
                "the 100 pulls in 6 hours for your address 192.0.2.7 are used up",
            ),
            (
                vec![limit, number],
                Some("alice"),
                "the 100 pulls in 6 hours for the account alice are used up",
            ),
            (
                vec![limit, ("ratelimit-remaining", "76"), number],
                None,
                "76 of the 100 pulls in 6 hours for your address are left",
            ),
            (
                vec![("ratelimit-limit", "7")],
                None,
                "the 7 pulls for your address are used up",
            ),
        ] {
            assert_eq!(said(&headers, account).as_deref(), Some(expected));
        }
        for nonsense in ["", "many", "-1;w=3", "1e9", "100, 200"] {
            assert_eq!(said(&[("ratelimit-limit", nonsense)], None), None);
        }
        assert_eq!(said(&[spent, address], None), None);
    }

    #[test]
    fn time_is_rounded_up() {
        for (seconds, expected) in [
            (0, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (61, "2 minutes"),
            (3600, "60 minutes"),
            (7200, "2 hours"),
            (7201, "3 hours"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
