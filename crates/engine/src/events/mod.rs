//! `events`: what happened to containers, images and volumes, in Docker's words.
//!
//! Verbs tell what they did with [`Engine::tell`]: one line in the store's journal (`minidock_store::Journal`), which
//! [`Engine::events`] reads. There is no daemon that could remember or hand on: whoever wants to know looks at the file, and
//! the kernel says when there is more.

mod choice;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use minidock_oci::Digest;
use minidock_store::{ContainerState, Journal};
use serde::{Deserialize, Serialize};

use crate::{Engine, Error};

pub use choice::EventFilters;

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
}

impl Kind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time: u64,
    /// What it happened to.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What happened, in Docker's words.
    #[serde(rename = "Action")]
    pub action: String,
    /// The id of what it happened to; a volume's name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else there is to say.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    fn new(kind: Kind, id: &str, action: impl Into<String>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            time: since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            kind,
            action: action.into(),
            id: id.to_owned(),
            attributes: BTreeMap::new(),
        }
    }

    /// Of a container, now. Its labels, name and image are told with it.
    pub fn container(state: &ContainerState, action: impl Into<String>) -> Self {
        let mut event = Self::new(Kind::Container, &state.id, action);
        event.attributes.clone_from(&state.labels);
        event.with("image", &state.image).with("name", &state.name)
    }

    /// Of an image, now.
    pub fn image(id: &str, name: &str, action: impl Into<String>) -> Self {
        Self::new(Kind::Image, id, action).with("name", name)
    }

    /// Of a volume, now.
    pub fn volume(name: &str, action: impl Into<String>) -> Self {
        Self::new(Kind::Volume, name, action)
    }

    /// With something else to say.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }
}

impl Engine {
    /// Tells whoever listens, now or later, what happened. Nothing fails because nobody can be told: a store that cannot be
    /// written has no journal.
    pub fn tell(&self, event: &Event) {
        if let Ok(line) = serde_json::to_vec(event) {
            let _ = self.store.note(&line);
        }
    }

    /// Tells what happened to an image. Its labels are told with it, where they are known.
    pub(crate) fn tell_image(&self, id: &str, name: &str, action: &str, image: Option<&Digest>) {
        let mut event = Event::image(id, name, action);
        if let Some(image) = image {
            let labels = self.labels(&image.to_string());
            event.attributes.extend(labels);
            event = event.with("name", name);
        }
        self.tell(&event);
    }

    /// Tells what happened to a volume.
    pub(crate) fn tell_volume(&self, name: &str, action: &str) {
        self.tell(&Event::volume(name, action).with("driver", "local"));
    }

    /// Tells that all of a kind which nobody needed were removed.
    pub(crate) fn tell_pruned(&self, kind: Kind, bytes: u64) {
        self.tell(&Event::new(kind, "", "prune").with("reclaimed", bytes.to_string()));
    }

    /// Tells that a container's volumes are in use (`mount`) or no longer (`unmount`).
    pub fn tell_mounts(&self, state: &ContainerState, action: &str) {
        for mount in &state.mounts {
            let Some(name) = &mount.name else {
                continue;
            };
            let event = Event::volume(name, action)
                .with("driver", "local")
                .with("container", &state.id);
            let event = match action {
                "mount" => event
                    .with("destination", &mount.target)
                    .with("propagation", "")
                    .with("read/write", (!mount.read_only).to_string()),
                _ => event,
            };
            self.tell(&event);
        }
    }

    /// What happened, and what will.
    ///
    /// # Errors
    /// When the journal cannot be read, or not be watched.
    pub fn events(&self, wanted: Wanted) -> Result<Events, Error> {
        let mut journal = self.store.journal(wanted.past)?;
        if wanted.future {
            journal.watch()?;
        }
        Ok(Events { journal })
    }
}

/// Which events to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those that were told already.
    pub past: bool,
    /// Those that will be.
    pub future: bool,
}

/// Events that are being looked at.
#[derive(Debug)]
pub struct Events {
    journal: Journal,
}

impl Events {
    /// All that were told since the last time, in that order.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn take(&mut self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        // A line that a killed process did not finish is none, nor is one of a later release's.
        self.journal
            .read(|line| events.extend(serde_json::from_slice::<Event>(line).ok()))?;
        Ok(events)
    }

    /// Readable when there may be more.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.journal.watched()
    }

    /// Waits until there may be more, or until `until`, in nanoseconds since 1970. Whether that is over.
    ///
    /// # Errors
    /// When the kernel cannot wait.
    pub fn wait(&self, until: Option<u64>) -> Result<bool, Error> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::time::{ClockId, clock_gettime};
        loop {
            let left = until.map(|until| {
                let now = clock_gettime(ClockId::Realtime);
                let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
                (i128::from(until) - now).max(0)
            });
            if left == Some(0) {
                return Ok(true);
            }
            // At most a day at a time, for clocks are set.
            let left = left.map(|left| left.min(86_400 * 1_000_000_000));
            let limit = left.and_then(|left| {
                Some(Timespec {
                    tv_sec: i64::try_from(left / 1_000_000_000).ok()?,
                    tv_nsec: i64::try_from(left % 1_000_000_000).ok()?,
                })
            });
            let watched = self.watched();
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .collect();
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(false),
                Err(e) => {
                    return Err(minidock_store::StoreError::Io {
                        operation: "watch",
                        path: self.journal.folder().to_owned(),
                        source: e.into(),
                    }
                    .into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_event_carries_its_labels_and_its_name() {
        let state = ContainerState {
            id: "c1".into(),
            name: "web".into(),
            image: "busybox".into(),
            labels: [("tier", "front"), ("name", "not this")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..ContainerState::default()
        };
        let event = Event::container(&state, "die").with("exitCode", "3");
        let attributes: Vec<String> = event
            .attributes
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            attributes,
            ["exitCode=3", "image=busybox", "name=web", "tier=front"]
        );
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        // 2020 or later.
        assert!(event.time > 1_577_836_800_000_000_000);
    }
}
