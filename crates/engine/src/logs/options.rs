//! `--log-driver` and `--log-opt`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LogError;

/// Where a container's output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// In Docker's lines of JSON in the container's folder.
    #[default]
    JsonFile,
    /// The same, with the bounds of Docker's driver of this name.
    Local,
    /// In the host's journal.
    Journald,
    /// Nowhere.
    None,
}

impl std::fmt::Display for LogDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::None => "none",
        })
    }
}

/// Driver and options as they were given, which is what `inspect` shows. What is deserialised is checked when it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Where to.
    pub driver: LogDriver,
    /// Options by name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// What the options mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Bytes after which a file is rotated.
    pub max_size: Option<u64>,
    /// How many files there are at most.
    pub max_file: u32,
    /// Whether rotated ones are compressed.
    pub compress: bool,
    /// Drop rather than wait.
    pub non_blocking: bool,
    /// Names of labels to keep.
    pub labels: Vec<String>,
    /// A pattern for them.
    pub labels_regex: Option<String>,
    /// Names of variables to keep.
    pub env: Vec<String>,
    /// A pattern for them.
    pub env_regex: Option<String>,
    /// A template.
    pub tag: Option<String>,
}

const COMMON: [&str; 7] = [
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "tag",
];
const OF_FILES: [&str; 10] = [
    "compress",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "max-file",
    "max-size",
    "mode",
    "tag",
];

/// The options that a driver has.
pub(super) fn names(driver: LogDriver) -> &'static [&'static str] {
    match driver {
        LogDriver::JsonFile | LogDriver::Local => &OF_FILES,
        LogDriver::Journald => &COMMON,
        LogDriver::None => &[],
    }
}

impl LogOptions {
    /// Understands the flags: `driver` is empty or missing for the default one, an option is `name=value`, and later ones win.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(driver: Option<&str>, options: &[String]) -> Result<Self, LogError> {
        let driver = match driver.unwrap_or_default() {
            "" | "json-file" => LogDriver::JsonFile,
            "local" => LogDriver::Local,
            "journald" => LogDriver::Journald,
            "none" => LogDriver::None,
            other => return Err(LogError::NoDriver(other.to_owned())),
        };
        let options = options.iter().map(|option| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            (name.to_owned(), value.to_owned())
        });
        let parsed = Self {
            driver,
            options: options.collect(),
        };
        parsed.settings()?;
        Ok(parsed)
    }

    /// Whether nothing was asked for: a container that nobody will ask for its log needs none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `logs` can show what was kept.
    pub fn is_readable(&self) -> bool {
        self.driver != LogDriver::None
    }

    pub(crate) fn settings(&self) -> Result<Settings, LogError> {
        if self.driver == LogDriver::None && !self.options.is_empty() {
            return Err(LogError::OptionsOfNone);
        }
        let mut settings = Settings::of(self.driver);
        let mut buffer = None;
        for (name, value) in &self.options {
            let Some(name) = names(self.driver).iter().find(|known| *known == name) else {
                return Err(LogError::UnknownOption {
                    option: name.clone(),
                    driver: self.driver,
                });
            };
            let wrong = |why: &str| {
                Err(LogError::Value {
                    option: name,
                    why: why.to_owned(),
                })
            };
            match *name {
                "max-size" => match size(value) {
                    None => return wrong(&format!("invalid size: '{value}'")),
                    Some(0) => return wrong("max-size must be a positive number"),
                    size => settings.max_size = size,
                },
                "max-file" => match value.parse::<i64>().map(u32::try_from) {
                    Err(_) => return wrong(&format!("'{value}' is no number")),
                    Ok(Err(_) | Ok(0)) => return wrong("max-file cannot be less than 1"),
                    Ok(Ok(count)) => settings.max_file = count,
                },
                "compress" => match boolean(value) {
                    None => return wrong(&format!("'{value}' is neither true nor false")),
                    Some(on) => settings.compress = on,
                },
                "mode" => match value.as_str() {
                    "" | "blocking" => {}
                    "non-blocking" => settings.non_blocking = true,
                    _ => return wrong(&format!("logging mode not supported: {value}")),
                },
                "max-buffer-size" => match size(value) {
                    None => return wrong(&format!("invalid size: '{value}'")),
                    some => buffer = some,
                },
                "labels" => settings.labels = list(value),
                "labels-regex" => settings.labels_regex = given(value),
                "env" => settings.env = list(value),
                "env-regex" => settings.env_regex = given(value),
                "tag" => settings.tag = given(value),
                _ => {}
            }
        }
        if buffer.is_some() && !settings.non_blocking {
            return Err(LogError::Value {
                option: "max-buffer-size",
                why: "it is only supported with 'mode=non-blocking'".to_owned(),
            });
        }
        let asked = self.options.contains_key("compress");
        if settings.compress && (settings.max_file < 2 || settings.max_size.is_none()) {
            if asked {
                return Err(LogError::Value {
                    option: "compress",
                    why: "compress cannot be true when max-file is less than 2 or max-size is not set"
                        .to_owned(),
                });
            }
            settings.compress = false;
        }
        Ok(settings)
    }
}

impl Settings {
    fn of(driver: LogDriver) -> Self {
        let local = driver == LogDriver::Local;
        Self {
            max_size: local.then_some(20_000_000),
            max_file: if local { 5 } else { 1 },
            compress: local,
            ..Self::default()
        }
    }
}

fn list(value: &str) -> Vec<String> {
    let words = value.split(',').map(str::trim).filter(|w| !w.is_empty());
    words.map(str::to_owned).collect()
}

fn given(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number of bytes as Docker's logs have it, whose kilobyte is of 1,000 (go-units' `FromHumanSize`): `10m`, `1.5 GB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let digits = digits.strip_suffix(' ').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    let scale = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1e3,
        "m" | "mb" | "mib" => 1e6,
        "g" | "gb" | "gib" => 1e9,
        "t" | "tb" | "tib" => 1e12,
        "p" | "pb" | "pib" => 1e15,
        _ => return None,
    };
    let bytes = number * scale;
    // Within what a signed number of 64 bits holds.
    (bytes < 9.2e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &[&str]) -> Result<LogOptions, String> {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        LogOptions::parse(Some(driver), &options).map_err(|e| e.to_string())
    }

    #[test]
    fn options_mean_what_docker_means() {
        let settings =
            |driver, options: &[&str]| parse(driver, options).unwrap().settings().unwrap();
        let plain = settings("", &[]);
        assert_eq!(
            (plain.max_size, plain.max_file, plain.compress),
            (None, 1, false)
        );
        let sized = settings(
            "json-file",
            &["max-size=10m", "max-file=3", "compress=true"],
        );
        assert_eq!(
            (sized.max_size, sized.max_file, sized.compress),
            (Some(10_000_000), 3, true)
        );
        let local = settings("local", &[]);
        assert_eq!(
            (local.max_size, local.max_file, local.compress),
            (Some(20_000_000), 5, true)
        );
        assert!(!settings("local", &["max-file=1"]).compress);
        let kept = settings(
            "journald",
            &["labels=a,b", "env=X", "tag={{.Name}}", "mode=non-blocking"],
        );
        assert_eq!(kept.labels, ["a", "b"]);
        assert_eq!(kept.env, ["X"]);
        assert_eq!(kept.tag.as_deref(), Some("{{.Name}}"));
        assert!(kept.non_blocking);
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        for (driver, options, told) in [
            (
                "fluentd",
                &[][..],
                "logger: no log driver named 'fluentd' is registered",
            ),
            (
                "json-file",
                &["x=1"],
                "unknown log opt 'x' for json-file log driver",
            ),
            ("json-file", &["max-size"], "invalid size: ''"),
            ("json-file", &["max-size=1x"], "invalid size: '1x'"),
            ("json-file", &["max-size=-1"], "invalid size: '-1'"),
            (
                "json-file",
                &["max-size=0"],
                "max-size must be a positive number",
            ),
            (
                "json-file",
                &["max-file=0"],
                "max-file cannot be less than 1",
            ),
            (
                "json-file",
                &["max-file=-2"],
                "max-file cannot be less than 1",
            ),
            ("json-file", &["max-file=x"], "'x' is no number"),
            (
                "json-file",
                &["compress=true"],
                "compress cannot be true when max-file is less than 2",
            ),
            ("json-file", &["compress=maybe"], "neither true nor false"),
            (
                "json-file",
                &["mode=maybe"],
                "logging mode not supported: maybe",
            ),
            (
                "json-file",
                &["max-buffer-size=1m"],
                "only supported with 'mode=non-blocking'",
            ),
            (
                "journald",
                &["max-size=1m"],
                "unknown log opt 'max-size' for journald log driver",
            ),
            (
                "none",
                &["max-size=1m"],
                "invalid logging opts for driver none",
            ),
        ] {
            let error = parse(driver, options).unwrap_err();
            assert!(error.contains(told), "{driver} {options:?}: {error}");
        }
    }

    #[test]
    fn they_are_kept_as_they_were_given() {
        let options = parse("json-file", &["max-size=1k", "max-size=2k"]).unwrap();
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(
            text,
            r#"{"driver":"json-file","options":{"max-size":"2k"}}"#
        );
        assert_eq!(serde_json::from_str::<LogOptions>(&text).unwrap(), options);
        assert!(!options.is_default() && parse("json-file", &[]).unwrap().is_default());
    }
}
