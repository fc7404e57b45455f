//! `images`: what there is, filtered and in order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use minidock_oci::{Digest, Reference};
use minidock_store::ImageRecord;

use crate::pattern::fits;
use crate::{Engine, Error};

/// The name of a repository as Docker shows it.
pub fn familiar(repository: &str) -> String {
    repository
        .parse::<Reference>()
        .map_or_else(|_| repository.to_owned(), |r| r.familiar_name())
}

/// Which images are wanted; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct ImageFilters {
    /// Only those without a tag, or only those with a name.
    pub dangling: Option<bool>,
    /// Those that have all of these.
    pub labels: Vec<LabelFilter>,
    /// Those made before each of these images.
    pub before: Vec<String>,
    /// Those made after each of these images.
    pub since: Vec<String>,
    /// Only names that fit one of these patterns.
    pub references: Vec<String>,
    /// Those made until then.
    pub until: Option<Timestamp>,
}

/// A label that is wanted or unwanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label.
    pub key: String,
    /// Its value; any when none is given.
    pub value: Option<String>,
    /// Whether what has it is left out instead.
    pub unwanted: bool,
}

impl LabelFilter {
    /// Whether labels pass.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = labels
            .get(&self.key)
            .is_some_and(|have| self.value.as_ref().is_none_or(|wanted| wanted == have));
        has != self.unwanted
    }
}

/// An image with all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// Digest of the config.
    pub id: Digest,
    /// When it was made, if it says so.
    pub created: Option<Timestamp>,
    /// Sum of the sizes of the files in its layers, in bytes.
    pub size: u64,
    /// Repository and tag as Docker shows them.
    pub tags: BTreeSet<(String, String)>,
    /// Repository as Docker shows it, and the digest by which its registry knows the image.
    pub digests: BTreeSet<(String, Digest)>,
}

impl ImageSummary {
    fn add(&mut self, record: &ImageRecord) {
        let Some(repository) = record.repository.as_deref().map(familiar) else {
            return;
        };
        if let Some(digest) = &record.digest {
            self.digests.insert((repository.clone(), digest.clone()));
        }
        if let Some(tag) = &record.tag {
            self.tags.insert((repository, tag.clone()));
        }
    }

    /// Whether it has no name at all.
    pub fn is_nameless(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}

/// Groups the names of images.
pub(crate) fn summaries<'a>(
    records: impl IntoIterator<Item = &'a ImageRecord>,
) -> Vec<ImageSummary> {
    let mut places: BTreeMap<&Digest, usize> = BTreeMap::new();
    let mut images: Vec<ImageSummary> = Vec::new();
    for record in records {
        let at = *places.entry(&record.image_id).or_insert_with(|| {
            images.push(ImageSummary {
                id: record.image_id.clone(),
                created: time(&record.created),
                size: record.size,
                tags: BTreeSet::new(),
                digests: BTreeSet::new(),
            });
            images.len() - 1
        });
        images[at].add(record);
    }
    images
}

/// A time as images give it. Go's zero time is none.
pub fn time(text: &str) -> Option<Timestamp> {
    const ZERO: i64 = -62_135_596_800;
    text.parse()
        .ok()
        .filter(|t: &Timestamp| t.as_second() != ZERO)
}

impl Engine {
    /// The images that pass the filters, newest first.
    ///
    /// # Errors
    /// When the index cannot be read, or a filter names an image that is not there.
    pub fn images(&self, filters: &ImageFilters) -> Result<Vec<ImageSummary>, Error> {
        let records = self.store.images()?;
        let mut images = summaries(&records);
        let times = |names: &[String]| -> Result<Vec<Option<Timestamp>>, Error> {
            let made = |name: &String| -> Result<_, Error> {
                let found = self.store.find_image(name)?;
                Ok(found.record().and_then(|r| time(&r.created)))
            };
            names.iter().map(made).collect()
        };
        let (before, since) = (times(&filters.before)?, times(&filters.since)?);
        images.retain(|i| {
            before.iter().all(|limit| i.created < *limit)
                && since.iter().all(|limit| i.created > *limit)
                && filters.until.is_none_or(|limit| i.created <= Some(limit))
        });
        if !filters.references.is_empty() {
            images.retain_mut(|image| {
                only_matching(image, &filters.references);
                !image.is_nameless()
            });
        }
        match filters.dangling {
            Some(true) => images.retain(|i| i.tags.is_empty()),
            Some(false) => images.retain(|i| !i.is_nameless()),
            None => {}
        }
        if !filters.labels.is_empty() {
            images.retain(|image| {
                // An image whose config is damaged has no labels that anybody knows.
                let labels = self.store.image_config(&image.id);
                let labels = labels.map(|c| c.config.labels).unwrap_or_default();
                filters.labels.iter().all(|wanted| wanted.fits(&labels))
            });
        }
        // The sort is stable: of the same age, the one that came first is first.
        images.sort_by_key(|i| std::cmp::Reverse(i.created));
        Ok(images)
    }
}

/// Drops the names that fit no pattern. A pattern may also be a reference in full.
fn only_matching(image: &mut ImageSummary, patterns: &[String]) {
    let wanted = |name: &str, whole: &str| {
        patterns.iter().any(|pattern| {
            let pattern = match pattern.parse::<Reference>() {
                Ok(reference) if Reference::tag_is_implied(pattern) => reference.familiar_name(),
                Ok(reference) => reference.familiar(),
                Err(_) => pattern.clone(),
            };
            fits(&pattern, name) || fits(&pattern, whole)
        })
    };
    image
        .tags
        .retain(|(name, tag)| wanted(name, &format!("{name}:{tag}")));
    image
        .digests
        .retain(|(name, digest)| wanted(name, &format!("{name}@{digest}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_wanted_or_not() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (key, value, unwanted, expected) in [
            ("a", None, false, true),
            ("a", Some("1"), false, true),
            ("a", Some("2"), false, false),
            ("b", None, false, false),
            ("a", None, true, false),
            ("a", Some("2"), true, true),
            ("b", None, true, true),
        ] {
            let filter = LabelFilter {
                key: key.to_owned(),
                value: value.map(str::to_owned),
                unwanted,
            };
            assert_eq!(filter.fits(&labels), expected, "{filter:?}");
        }
    }

    #[test]
    fn names_are_matched_as_shown_or_in_full() {
        let image = ImageSummary {
            id: Digest::sha256(b""),
            created: None,
            size: 0,
            tags: [("busybox", "1"), ("busybox", "2"), ("ghcr.io/o/app", "x")]
                .map(|(r, t)| (r.to_owned(), t.to_owned()))
                .into(),
            digests: BTreeSet::new(),
        };
        for (pattern, left) in [
            ("busybox", 2),
            ("busybox:2", 1),
            ("busy*", 2),
            ("*:2", 1),
            ("docker.io/library/busybox", 2),
            ("docker.io/library/busybox:1", 1),
            ("ghcr.io/o/*", 1),
            ("app", 0),
            ("*", 2),
            ("*/*/*:?", 1),
        ] {
            let mut image = image.clone();
            only_matching(&mut image, &[pattern.to_owned()]);
            assert_eq!(image.tags.len(), left, "{pattern}");
        }
    }

    #[test]
    fn times_that_are_none() {
        assert_eq!(time(""), None);
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        assert_eq!(time("yesterday"), None);
        assert_eq!(
            time("2024-01-01T01:00:00.5+01:00").unwrap().as_second(),
            1_704_067_200
        );
    }
}
