//! `rmi` and `tag`: the names of images.

use std::collections::BTreeSet;

use minidock_oci::{ChainId, Digest, Platform, Reference};
use minidock_store::{Collected, Found, ImageRecord};

use crate::containers::ContainerLine;
use crate::events::Event;
use crate::images::familiar;
use crate::{Engine, Error};

/// What `rmi` did, in the order in which Docker prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was removed.
    Untagged(String),
    /// An image or a layer was deleted.
    Deleted(String),
}

impl Removed {
    fn is_deletion(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

/// What removing a name comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    gone: Vec<ImageRecord>,
    /// What stays of them.
    instead: Vec<ImageRecord>,
}

impl Engine {
    /// Removes an image's name, and the image with its last name. With `force`, by id with all
    /// its names, and although stopped containers use it (they keep their layers).
    ///
    /// # Errors
    /// When there is no such image, it is in use, or it has several names and was named by its id.
    pub fn remove_image(&self, query: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let others = match self.store.find_image(query)? {
            Found::Name(record) if record.tag.is_some() => self.orphans(&record)?,
            _ => Vec::new(),
        };
        let mut removed = self.remove_one(query, force)?;
        // Those for other platforms came with it, and go with it, unless somebody uses them.
        for other in others {
            if self.check_unused(&other.image_id, None, force).is_ok() {
                // The digest that they share was told with the name.
                let gone = self.drop_record(&other, None)?;
                removed.extend(gone.into_iter().filter(Removed::is_deletion));
            }
        }
        Ok(removed)
    }

    /// Removes the image for one of the platforms that a name stands for. The name goes to one that is left.
    ///
    /// # Errors
    /// When there is none for this platform, or it is in use.
    pub fn remove_platform(
        &self,
        query: &str,
        platform: &Platform,
        force: bool,
    ) -> Result<Vec<Removed>, Error> {
        let record = self.image_for(query, platform)?;
        let found = self.store.find_image(query)?;
        let named = found.record().unwrap_or(&record);
        let mut family = self.store.family(named)?;
        if family.len() == 1 {
            return self.remove_one(query, force);
        }
        self.check_unused(&record.image_id, None, force)?;
        family.retain(|r| r.manifest != record.manifest);
        let heir = family.into_iter().next();
        let removed = self.drop_record(&record, heir.filter(|_| record.tag.is_some()))?;
        // The name is still there, for the others.
        Ok(removed.into_iter().filter(Removed::is_deletion).collect())
    }

    /// The images for other platforms to which nothing leads when this name goes.
    fn orphans(&self, record: &ImageRecord) -> Result<Vec<ImageRecord>, Error> {
        let stays = self.store.images()?.into_iter().any(|r| {
            r.tag.is_some()
                && r.tag != record.tag
                && r.repository == record.repository
                && r.digest == record.digest
        });
        let mut family = self.store.family(record)?;
        family.retain(|r| !stays && r.manifest != record.manifest);
        Ok(family)
    }

    /// Removes one record; its tag goes to the heir.
    fn drop_record(
        &self,
        record: &ImageRecord,
        heir: Option<ImageRecord>,
    ) -> Result<Vec<Removed>, Error> {
        let instead = heir.iter().map(|heir| ImageRecord {
            tag: record.tag.clone(),
            ..heir.clone()
        });
        let plan = Plan {
            instead: instead.collect(),
            gone: [record.clone()].into_iter().chain(heir.clone()).collect(),
        };
        let mut records = self.store.images()?;
        records.retain(|r| plan.gone.iter().any(|gone| gone.image_id == r.image_id));
        self.take(&records, &plan).map(|(removed, _)| removed)
    }

    fn remove_one(&self, query: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let found = self.store.find_image(query)?;
        let Some(image_id) = found.record().map(|r| r.image_id.clone()) else {
            return Err(Error::ImageNotFound(query.to_owned()));
        };
        let mut records = self.store.images()?;
        records.retain(|r| r.image_id == image_id);
        let plan = match &found {
            Found::Name(_) => by_name(&records, &query.parse()?),
            Found::Id(_) if !force && !is_single(&records) => {
                return Err(Error::SeveralNames(image_id.short().to_owned()));
            }
            Found::Id(_) => Plan {
                gone: records.clone(),
                instead: Vec::new(),
            },
        };
        if plan.gone.len() == records.len() && plan.instead.is_empty() {
            let reference = matches!(found, Found::Name(_)).then_some(query);
            self.check_unused(&image_id, reference, force)?;
        }
        self.take(&records, &plan).map(|(removed, _)| removed)
    }

    /// Removes images with all their names, for `prune`.
    pub(crate) fn delete_images(
        &self,
        records: &[ImageRecord],
    ) -> Result<(Vec<Removed>, Collected), Error> {
        let plan = Plan {
            gone: records.to_vec(),
            instead: Vec::new(),
        };
        self.take(records, &plan)
    }

    /// Carries a plan out on images of which these are all the records, and says what went.
    fn take(
        &self,
        records: &[ImageRecord],
        plan: &Plan,
    ) -> Result<(Vec<Removed>, Collected), Error> {
        let mut images: Vec<(Digest, Vec<ImageRecord>)> = Vec::new();
        for record in records {
            match images.iter_mut().find(|(id, _)| *id == record.image_id) {
                Some((_, records)) => records.push(record.clone()),
                None => images.push((record.image_id.clone(), vec![record.clone()])),
            }
        }
        // Asked before the configs are gone.
        let chains: Vec<_> = images.iter().map(|(id, _)| self.chain(id)).collect();
        self.enter()?;
        let collected = self.store.replace_images(&plan.gone, &plan.instead)?;
        let mut removed = Vec::new();
        let mut told = BTreeSet::new();
        for ((id, records), chain) in images.into_iter().zip(chains) {
            let (gone, mut left): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|r| plan.gone.contains(r));
            left.extend(plan.instead.iter().filter(|r| r.image_id == id).cloned());
            let names = names(&gone)
                .into_iter()
                .filter(|n| !names(&left).contains(n));
            let before = removed.len();
            removed.extend(names.map(|(_, name)| Removed::Untagged(name)));
            let shown = id.to_string();
            for _ in before..removed.len() {
                self.tell(&Event::image(&shown, &shown, "untag"));
            }
            if left.is_empty() {
                self.tell(&Event::image(&shown, &shown, "delete"));
                removed.push(Removed::Deleted(id.to_string()));
                // Docker names a layer after all that is below it as well.
                for (diff_id, chain_id) in chain.iter().rev() {
                    let gone =
                        collected.layers.contains(diff_id) || collected.layers.contains(chain_id);
                    if gone && told.insert(chain_id.clone()) {
                        removed.push(Removed::Deleted(chain_id.clone()));
                    }
                }
            }
        }
        Ok((removed, collected))
    }

    /// An image's layers, base first, by both of the names that they can have. None if its config is damaged.
    fn chain(&self, image_id: &Digest) -> Vec<(String, String)> {
        let config = self.store.image_config(image_id).unwrap_or_default();
        let diff_ids = &config.rootfs.diff_ids;
        let chain = ChainId::of_stack(diff_ids);
        let both = diff_ids.iter().zip(chain);
        both.map(|(diff_id, chain_id)| (diff_id.to_string(), chain_id.to_string()))
            .collect()
    }

    fn check_unused(
        &self,
        image_id: &Digest,
        reference: Option<&str>,
        force: bool,
    ) -> Result<(), Error> {
        let image = image_id.short().to_owned();
        let mut users = self.containers()?;
        for line in users.iter_mut().filter(|line| !line.running) {
            // One that is being started is supervised before its state says that it runs.
            let container = self.store.find_container(&line.state.id);
            line.running = container.is_ok_and(|c| c.is_supervised().unwrap_or(true));
        }
        let users = || {
            users
                .iter()
                .filter(|line| line.state.image_id == image_id.to_string())
        };
        let short = |line: &ContainerLine| line.state.id.chars().take(12).collect::<String>();
        match (reference, users().next()) {
            (_, None) => Ok(()),
            (Some(reference), Some(line)) if !force => Err(Error::ReferenceInUse {
                reference: reference.to_owned(),
                container: short(line),
                image,
            }),
            (_, Some(any)) => match users().find(|line| line.running) {
                Some(line) => Err(Error::ImageRunning {
                    image,
                    container: short(line),
                }),
                None if force => Ok(()),
                None => Err(Error::ImageInUse {
                    image,
                    container: short(any),
                }),
            },
        }
    }

    /// Gives an image another name. An image that had it keeps its layers and loses the name.
    ///
    /// # Errors
    /// When there is no such image, or the name is none that a tag can be.
    pub fn tag(&self, source: &str, target: &str, now: u64) -> Result<(), Error> {
        let name: Reference = target.parse()?;
        if name.digest().is_some() {
            return Err(Error::TagWithDigest(target.to_owned()));
        }
        let found = self.store.find_image(source)?;
        let record = found
            .record()
            .ok_or_else(|| Error::ImageNotFound(source.to_owned()))?;
        if self.store.tag(record, &name, now)? {
            self.enter()?;
            self.store.collect()?;
        }
        self.tell_image(
            &record.image_id.to_string(),
            &name.familiar(),
            "tag",
            Some(&record.image_id),
        );
        Ok(())
    }
}

/// Whether it has at most one tag, and all its names are in one repository: then its id is as good as its name.
fn is_single(records: &[ImageRecord]) -> bool {
    let tags = records.iter().filter(|r| r.tag.is_some()).count();
    let mut repositories: Vec<_> = records
        .iter()
        .filter_map(|r| r.repository.as_ref())
        .collect();
    repositories.dedup();
    tags <= 1 && repositories.len() <= 1
}

/// What removing a name of an image comes to. `records` are all of that image's.
fn by_name(records: &[ImageRecord], name: &Reference) -> Plan {
    let repository = name.name();
    let here = |r: &&ImageRecord| r.repository.as_deref() == Some(&repository);
    if let Some(digest) = name.digest() {
        let named = |r: &&ImageRecord| r.digest.as_ref() == Some(digest) || r.manifest == *digest;
        let gone: Vec<_> = records.iter().filter(here).filter(named).cloned().collect();
        // A tag stays when the digest goes.
        let tagged = gone
            .iter()
            .filter(|r| r.tag.is_some() && r.digest.is_some());
        let instead = tagged.map(|r| ImageRecord {
            digest: None,
            ..r.clone()
        });
        return Plan {
            instead: instead.collect(),
            gone,
        };
    }
    let tag = |r: &ImageRecord| r.tag.as_deref() == name.tag();
    // With a repository's last tag, the digests by which it knows the image go as well.
    let last = records
        .iter()
        .filter(here)
        .all(|r| r.tag.is_none() || tag(r));
    let gone = records.iter().filter(here).filter(|r| last || tag(r));
    Plan {
        gone: gone.cloned().collect(),
        instead: Vec::new(),
    }
}

/// The names of records as Docker shows them, tags before digests.
fn names(records: &[ImageRecord]) -> BTreeSet<(bool, String)> {
    let mut names = BTreeSet::new();
    for record in records {
        let Some(repository) = record.repository.as_deref().map(familiar) else {
            continue;
        };
        if let Some(tag) = &record.tag {
            names.insert((false, format!("{repository}:{tag}")));
        }
        if let Some(digest) = &record.digest {
            names.insert((true, format!("{repository}@{digest}")));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(repository: &str, tag: Option<&str>, digest: Option<&str>) -> ImageRecord {
        ImageRecord {
            repository: Some(format!("docker.io/library/{repository}")),
            tag: tag.map(str::to_owned),
            digest: digest.map(|d| Digest::sha256(d.as_bytes())),
            manifest: Digest::sha256(b"manifest"),
            manifest_size: 1,
            media_type: String::new(),
            image_id: Digest::sha256(b"image"),
            created: String::new(),
            size: 0,
            last_tagged: None,
        }
    }

    #[test]
    fn an_id_is_as_good_as_the_only_name() {
        let nameless = ImageRecord {
            repository: None,
            ..record("", None, None)
        };
        assert!(is_single(&[nameless]));
        assert!(is_single(&[record("a", Some("1"), Some("D"))]));
        assert!(is_single(&[
            record("a", Some("1"), None),
            record("a", None, Some("D"))
        ]));
        assert!(is_single(&[
            record("a", None, Some("D")),
            record("a", None, Some("E"))
        ]));
        assert!(!is_single(&[
            record("a", Some("1"), None),
            record("a", Some("2"), None)
        ]));
        assert!(!is_single(&[
            record("a", Some("1"), None),
            record("b", None, Some("D"))
        ]));
    }

    #[test]
    fn a_name_goes_with_what_hangs_on_it() {
        let all = [
            record("a", Some("1"), Some("D")),
            record("a", Some("2"), Some("E")),
            record("b", Some("1"), Some("D")),
            record("b", None, Some("F")),
        ];
        let plan = |name: &str| by_name(&all, &name.parse().unwrap());
        let gone = |records: &[ImageRecord]| Plan {
            gone: records.to_vec(),
            instead: Vec::new(),
        };
        assert_eq!(plan("a:1"), gone(&all[..1]));
        assert_eq!(plan("b:1"), gone(&all[2..]), "the repository's last tag");
        assert_eq!(plan("b:nosuch"), gone(&[]));
        let digest = Digest::sha256(b"D");
        let instead = record("a", Some("1"), None);
        assert_eq!(
            plan(&format!("a@{digest}")),
            Plan {
                gone: all[..1].to_vec(),
                instead: vec![instead],
            }
        );
        let digest = Digest::sha256(b"F");
        assert_eq!(plan(&format!("b@{digest}")), gone(&all[3..]));
    }
}
