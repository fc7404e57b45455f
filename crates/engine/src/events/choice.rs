//! `events --filter`: which events are wanted, as Docker chooses them.

use minidock_oci::Reference;

use super::{Event, Kind};
use crate::images::LabelFilter;

/// Of each list one must fit; an empty one asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilters {
    /// `container`, `image` or `volume`. What minidock has none of never fits.
    pub kinds: Vec<String>,
    /// What happened. Of those with details (`exec_start: …`, `health_status: …`) the first word is enough.
    pub actions: Vec<String>,
    /// Beginning of a container's id or name.
    pub containers: Vec<String>,
    /// An image's id or name, also of a container's image.
    pub images: Vec<String>,
    /// Beginning of a volume's name, also of one that a container mounts.
    pub volumes: Vec<String>,
    /// Labels, all of which must fit.
    pub labels: Vec<LabelFilter>,
    /// `local` is where everything is.
    pub scopes: Vec<String>,
    /// What only others have: networks, daemons, services.
    pub others: bool,
}

fn none_or_one(wanted: &[String], fits: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| fits(w))
}

impl EventFilters {
    /// Whether an event is wanted.
    pub fn fit(&self, event: &Event) -> bool {
        let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
        let is = |kind| event.kind == kind;
        !self.others
            && none_or_one(&self.kinds, |kind| kind == event.kind.as_str())
            && none_or_one(&self.scopes, |scope| scope == "local")
            && none_or_one(&self.actions, |action| {
                action == event.action
                    || event
                        .action
                        .strip_prefix(action)
                        .is_some_and(|rest| rest.starts_with(": "))
            })
            && none_or_one(&self.containers, |container| {
                is(Kind::Container)
                    && (event.id.starts_with(container)
                        || attribute("name").starts_with(container.trim_start_matches('/')))
            })
            && none_or_one(&self.images, |image| match event.kind {
                Kind::Container => is_image(image, attribute("image")),
                Kind::Image => {
                    let id = event.id.trim_start_matches("sha256:");
                    let wanted = image.trim_start_matches("sha256:");
                    id == wanted
                        || (wanted.len() >= 12 && id.starts_with(wanted))
                        || is_image(image, &event.id)
                        || is_image(image, attribute("name"))
                }
                Kind::Volume => false,
            })
            && none_or_one(&self.volumes, |volume| {
                is(Kind::Volume) && event.id.starts_with(volume)
            })
            && self
                .labels
                .iter()
                .all(|label| label.fits(&event.attributes))
    }
}

/// Whether a name is the wanted one, with or without its tag.
fn is_image(wanted: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let parsed = |text: &str| text.parse::<Reference>().ok();
    let (Some(wanted_name), Some(there)) = (parsed(wanted), parsed(name)) else {
        return wanted == name;
    };
    let tagged = wanted.rsplit('/').next().is_some_and(|w| w.contains(':'));
    wanted_name.name() == there.name() && (!tagged || wanted_name.to_string() == there.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Event {
        Event {
            time: 1,
            kind: Kind::Container,
            action: "exec_start: sh -c true".into(),
            id: "0123456789abcdef".into(),
            attributes: [("image", "busybox:1"), ("name", "web"), ("tier", "front")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        }
    }

    #[test]
    fn docker_s_filters_choose() {
        let image = Event {
            kind: Kind::Image,
            action: "pull".into(),
            id: "busybox:latest".into(),
            attributes: [("name".to_owned(), "busybox".to_owned())].into(),
            ..container()
        };
        let volume = Event {
            kind: Kind::Volume,
            action: "create".into(),
            id: "data".into(),
            attributes: [("driver".to_owned(), "local".to_owned())].into(),
            ..container()
        };
        let one = |word: &str| vec![word.to_owned()];
        let label = |key: &str, value: Option<&str>| LabelFilter {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            unwanted: false,
        };
        let all = EventFilters::default;
        for (filters, expected) in [
            (all(), "civ"),
            (
                EventFilters {
                    kinds: one("image"),
                    ..all()
                },
                "i",
            ),
            (
                EventFilters {
                    kinds: one("network"),
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    actions: one("exec_start"),
                    ..all()
                },
                "c",
            ),
            (
                EventFilters {
                    actions: one("exec"),
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    actions: vec!["pull".into(), "create".into()],
                    ..all()
                },
                "iv",
            ),
            (
                EventFilters {
                    containers: one("web"),
                    ..all()
                },
                "c",
            ),
            (
                EventFilters {
                    containers: one("0123"),
                    ..all()
                },
                "c",
            ),
            (
                EventFilters {
                    containers: one("db"),
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    images: one("busybox"),
                    ..all()
                },
                "ci",
            ),
            (
                EventFilters {
                    images: one("busybox:1"),
                    ..all()
                },
                "c",
            ),
            (
                EventFilters {
                    images: one("alpine"),
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    volumes: one("data"),
                    ..all()
                },
                "v",
            ),
            (
                EventFilters {
                    labels: vec![label("tier", None)],
                    ..all()
                },
                "c",
            ),
            (
                EventFilters {
                    labels: vec![label("tier", Some("back"))],
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    scopes: one("local"),
                    ..all()
                },
                "civ",
            ),
            (
                EventFilters {
                    scopes: one("swarm"),
                    ..all()
                },
                "",
            ),
            (
                EventFilters {
                    others: true,
                    ..all()
                },
                "",
            ),
        ] {
            let fit: String = [("c", &container()), ("i", &image), ("v", &volume)]
                .into_iter()
                .filter(|(_, event)| filters.fit(event))
                .map(|(letter, _)| letter)
                .collect();
            assert_eq!(fit, expected, "{filters:?}");
        }
    }
}
