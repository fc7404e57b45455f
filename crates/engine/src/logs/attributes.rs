//! What is kept beside the text: labels, variables, a tag.

use std::collections::BTreeMap;

use super::options::Settings;
use super::{LogError, LogSubject};

/// The labels and variables that were asked for.
pub(super) fn attributes(
    settings: &Settings,
    subject: &LogSubject<'_>,
) -> Result<BTreeMap<String, String>, LogError> {
    let mut kept = BTreeMap::new();
    for (name, value) in subject.labels {
        if settings.labels.contains(name) {
            kept.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in subject.env.iter().filter_map(|v| v.split_once('=')) {
        if settings.env.iter().any(|n| n == name) {
            kept.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(kept)
}

/// As a JSON object; nothing where there are none.
pub(super) fn json(settings: &Settings, subject: &LogSubject<'_>) -> Result<String, LogError> {
    let kept = attributes(settings, subject)?;
    if kept.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&kept).map_err(|e| LogError::Value {
        option: "labels",
        why: e.to_string(),
    })
}
