//! `--filter name=value`.

use std::collections::BTreeMap;

use minidock_engine::{LabelFilter, Timestamp};

use crate::failure::Failure;
use crate::times;

/// What was given, by name.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Sorts what was typed; only these names are known.
    pub fn parse(given: &[String], known: &[&str]) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for text in given.iter().filter(|t| !t.is_empty()) {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Failure::usage(format!(
                    "invalid argument {text:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"
                )));
            };
            let name = name.trim().to_lowercase();
            if !known.contains(&name.as_str()) {
                return Err(Failure::new(format!("invalid filter '{name}'"))
                    .hint(format!("the filters here are {}", known.join(", "))));
            }
            filters
                .0
                .entry(name)
                .or_default()
                .push(value.trim().to_owned());
        }
        Ok(filters)
    }

    /// All values of a filter.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// A filter that is true or false.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let mut flag = None;
        for value in self.all(name) {
            flag = Some(match value.to_lowercase().as_str() {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(invalid(name, value)),
            });
        }
        Ok(flag)
    }

    /// `label` and `label!`.
    pub fn labels(&self) -> Vec<LabelFilter> {
        let some = |name: &str, unwanted: bool| {
            let filters = self.all(name).iter().map(move |text| {
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (text.as_str(), None),
                };
                LabelFilter {
                    key: key.to_owned(),
                    value,
                    unwanted,
                }
            });
            filters.collect::<Vec<_>>()
        };
        [some("label", false), some("label!", true)].concat()
    }

    /// `until`: a time, a date, seconds since 1970, or how long ago.
    pub fn until(&self) -> Result<Option<Timestamp>, Failure> {
        match self.all("until") {
            [] => Ok(None),
            [value] => match times::parse(value) {
                Some(time) => Ok(Some(time)),
                None => Err(invalid("until", value)
                    .hint("a date (2024-01-31), a time (2024-01-31T18:00:00), seconds since 1970, or how long ago (24h, 1h30m)")),
            },
            _ => Err(Failure::new("more than one until filter specified")),
        }
    }
}

fn invalid(name: &str, value: &str) -> Failure {
    Failure::new(format!("invalid filter '{name}={value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(list: &[&str]) -> Result<Filters, Failure> {
        let list: Vec<String> = list.iter().map(|s| (*s).to_owned()).collect();
        Filters::parse(&list, &["dangling", "label", "label!", "until"])
    }

    #[test]
    fn reads_what_docker_reads() {
        let filters = given(&["dangling=true", "label=a", "Label = b=c=d", "label!=e"]).unwrap();
        assert_eq!(filters.flag("dangling").unwrap(), Some(true));
        assert_eq!(filters.flag("other").unwrap(), None);
        let labels: Vec<_> = filters
            .labels()
            .into_iter()
            .map(|l| (l.key, l.value, l.unwanted))
            .collect();
        assert_eq!(
            labels,
            [
                ("a".to_owned(), None, false),
                ("b".to_owned(), Some("c=d".to_owned()), false),
                ("e".to_owned(), None, true),
            ]
        );
    }

    #[test]
    fn refuses_what_docker_refuses() {
        assert_eq!(given(&["dangling"]).unwrap_err().exit_code(), 125);
        assert_eq!(given(&["nosuch=1"]).unwrap_err().exit_code(), 1);
        assert!(
            given(&["dangling=maybe"])
                .unwrap()
                .flag("dangling")
                .is_err()
        );
        assert!(given(&["until=soon"]).unwrap().until().is_err());
        assert!(given(&["until=1h", "until=2h"]).unwrap().until().is_err());
    }
}
