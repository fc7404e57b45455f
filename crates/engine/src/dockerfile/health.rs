//! `HEALTHCHECK`.

use serde_json::{Map, Value, json};

use super::{ChangeError, exec_form, wrong};

const NAME: &str = "HEALTHCHECK";

/// `NONE`, or `[--interval=D] [--timeout=D] [--start-period=D] [--start-interval=D] [--retries=N] CMD …`.
pub fn parse(rest: &str) -> Result<Value, ChangeError> {
    let mut health = Map::new();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let key = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => {
                let retries = value
                    .parse::<u32>()
                    .map_err(|_| wrong(NAME, format!("--retries {value:?} is no number")))?;
                health.insert("Retries".into(), retries.into());
                continue;
            }
            other => return Err(wrong(NAME, format!("unknown flag: --{other}"))),
        };
        let nanos =
            duration(value).ok_or_else(|| wrong(NAME, format!("invalid duration: {value}")))?;
        if nanos != 0 && nanos < 1_000_000 {
            return Err(wrong(NAME, format!("--{name} cannot be less than 1ms")));
        }
        health.insert(key.into(), nanos.into());
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => json!(["NONE"]),
        "NONE" => return Err(wrong(NAME, "NONE takes no arguments")),
        "CMD" if command.is_empty() => {
            return Err(wrong(NAME, "missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match exec_form(command) {
            Some(words) => {
                let mut test = vec!["CMD".to_owned()];
                test.extend(words);
                json!(test)
            }
            None => json!(["CMD-SHELL", command]),
        },
        other => return Err(wrong(NAME, format!("unknown type {other:?}"))),
    };
    health.insert("Test".into(), test);
    Ok(Value::Object(health))
}

/// A duration in Go's words (`1h2m3.5s`, `500ms`) in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    // Half a century is more than any check waits; below, a double is exact enough.
    (!text.is_empty() && total < 1.6e18).then(|| total.round() as u64)
}
