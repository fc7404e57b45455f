//! Messages for programs, one JSON object a line: those that Docker's API sends during a pull or push (`POST
//! /images/create` and `POST /images/NAME/push`), so that what reads these reads ours.
//!
//! | object | meaning |
//! |---|---|
//! | `{"status": …, "id": …, "progressDetail": {"current": …, "total": …}}` | something happened to a layer, or to what else `id` names; bytes where they are counted |
//! | `{"status": …}` | words |
//! | `{"aux": {…}}` | the result of one reference: `Reference`, `Digest`, `Previous` (the digest that the tag had before, if it moved), and `ID` and `New` of a pull, `Tag` and `Size` (of the manifest) of a push |
//! | `{"error": …, "errorDetail": {"message": …}}` | it failed; standard error says it as well |

use std::collections::HashMap;
use std::time::{Duration, Instant};

use minidock_engine::Event;
use serde_json::{Value, json};

/// Bytes of one layer are told no more often.
const PACE: Duration = Duration::from_millis(100);

/// What has been said of the layers.
#[derive(Debug, Default)]
pub struct Messages {
    told: HashMap<String, Instant>,
}

impl Messages {
    /// The messages for an event.
    pub fn of(&mut self, event: &Event, now: Instant) -> Vec<Value> {
        match event {
            Event::Waiting { layer, size } => {
                vec![counted("Pulling fs layer", layer.short(), 0, *size)]
            }
            Event::Downloading { layer, done, total } => {
                self.paced("Downloading", layer.short(), *done, *total, now)
            }
            Event::Uploading { layer, done, total } => {
                self.paced("Pushing", layer.0.short(), *done, *total, now)
            }
            Event::Extracting { layer } => ["Download complete", "Extracting"]
                .map(|status| about(status, layer.short(), json!({})))
                .into(),
            Event::Resolved { .. } => super::words(event)
                .map(|(id, status)| json!({"status": status, "id": id}))
                .into_iter()
                .collect(),
            _ => super::words(event)
                .map(|(id, status)| about(&status, &id, json!({})))
                .into_iter()
                .collect(),
        }
    }

    fn paced(&mut self, status: &str, id: &str, done: u64, total: u64, now: Instant) -> Vec<Value> {
        let last = self.told.get(id);
        if done < total && last.is_some_and(|last| now.duration_since(*last) < PACE) {
            return Vec::new();
        }
        self.told.insert(id.to_owned(), now);
        vec![counted(status, id, done, total)]
    }
}

fn about(status: &str, id: &str, detail: Value) -> Value {
    json!({"status": status, "progressDetail": detail, "id": id})
}

fn counted(status: &str, id: &str, done: u64, total: u64) -> Value {
    about(status, id, json!({"current": done, "total": total}))
}

pub fn status(words: &str) -> Value {
    json!({"status": words})
}

pub fn result(result: &Value) -> Value {
    json!({"progressDetail": {}, "aux": result})
}

pub fn error(why: &str) -> Value {
    json!({"errorDetail": {"message": why}, "error": why})
}

#[cfg(test)]
mod tests {
    use minidock_engine::oci::Digest;

    use super::*;

    #[test]
    fn bytes_are_told_at_a_pace_and_always_at_the_end() {
        let mut messages = Messages::default();
        let layer = Digest::sha256(b"");
        let start = Instant::now();
        let mut came = |done, milliseconds| {
            let event = Event::Downloading {
                layer: layer.clone(),
                done,
                total: 1000,
            };
            messages.of(&event, start + Duration::from_millis(milliseconds))
        };
        assert_eq!(
            came(1, 0)[0].to_string(),
            r#"{"id":"e3b0c44298fc","progressDetail":{"current":1,"total":1000},"status":"Downloading"}"#
        );
        assert_eq!(came(2, 99), Vec::<Value>::new());
        assert_eq!(came(3, 100)[0]["progressDetail"]["current"], 3);
        assert_eq!(came(4, 199), Vec::<Value>::new());
        assert_eq!(came(1000, 199)[0]["progressDetail"]["current"], 1000);
    }
}
