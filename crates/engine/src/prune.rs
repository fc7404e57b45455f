//! `prune` and `system df`: what nobody needs, and what all of it takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use minidock_oci::Digest;
use minidock_store::{ImageRecord, Store, Usage};

use crate::containers::ContainerLine;
use crate::events::{Event, Kind};
use crate::images::{ImageSummary, LabelFilter, summaries};
use crate::untag::Removed;
use crate::{Engine, Error};

/// What may be pruned.
#[derive(Clone, Debug, Default)]
pub struct PruneFilters {
    /// What was made until then; anything without a limit.
    pub until: Option<Timestamp>,
    /// What has all of these labels.
    pub labels: Vec<LabelFilter>,
}

impl PruneFilters {
    fn fits(&self, created: Option<Timestamp>, labels: impl FnOnce() -> Labels) -> bool {
        let old = self
            .until
            .is_none_or(|limit| created.is_some_and(|t| t <= limit));
        if !old || self.labels.is_empty() {
            return old;
        }
        let labels = labels();
        self.labels.iter().all(|wanted| wanted.fits(&labels))
    }
}

type Labels = BTreeMap<String, String>;

/// What was pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Names, images and layers.
    pub images: Vec<Removed>,
    /// What all of it took on the disk, in bytes.
    pub bytes: u64,
}

/// What an image takes on the disk.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image.
    pub image: ImageSummary,
    /// All its blobs and layers, in bytes.
    pub size: u64,
    /// Those of them that other images have too.
    pub shared: u64,
    /// How many containers use it.
    pub containers: usize,
}

/// What a container takes on the disk.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    /// The container.
    pub line: ContainerLine,
    /// What it wrote, in bytes.
    pub size: u64,
}

/// What a volume takes on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// How many containers have it.
    pub containers: usize,
    /// What it holds, in bytes.
    pub size: u64,
}

/// What there is on the disk.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// All blobs and layers together, what several images share counted once.
    pub images_size: u64,
    /// What removing every image without a container would give back.
    pub images_reclaimable: u64,
    /// Each container.
    pub containers: Vec<ContainerUsage>,
    /// Each volume.
    pub volumes: Vec<VolumeUsage>,
}

impl Engine {
    /// Removes the containers that do not run.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn prune_containers(&self, filters: &PruneFilters) -> Result<Pruned, Error> {
        let lines = self.containers()?;
        self.enter()?;
        let mut pruned = Pruned::default();
        for line in lines.into_iter().filter(|line| !line.running) {
            let created = i64::try_from(line.state.created).ok();
            let created = created.and_then(|s| Timestamp::from_second(s).ok());
            if !filters.fits(created, || line.state.labels.clone()) {
                continue;
            }
            let container = self.store.find_container(&line.state.id)?;
            // One that is just being started is in use.
            if container.is_supervised()? || line.state.is_starting() {
                continue;
            }
            let usage = self.store.container_usage(&container);
            container.remove()?;
            self.tell(&Event::container(&line.state, "destroy"));
            pruned.bytes = pruned.bytes.saturating_add(usage.disk);
            pruned.containers.push(line.state.id);
        }
        self.tell_pruned(Kind::Container, pruned.bytes);
        Ok(pruned)
    }

    /// Removes the images that no container uses: those without a tag, or with `all` every one. Layers that only a
    /// container needed that is gone go as well.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn prune_images(&self, filters: &PruneFilters, all: bool) -> Result<Pruned, Error> {
        let used = used_images(&self.containers()?);
        let records = self.store.images()?;
        let gone: BTreeSet<Digest> = summaries(&records)
            .into_iter()
            .filter(|image| all || image.tags.is_empty())
            .filter(|image| !used.contains_key(&image.id.to_string()))
            .filter(|image| filters.fits(image.created, || self.labels(&image.id.to_string())))
            .map(|image| image.id)
            .collect();
        let records: Vec<ImageRecord> = records
            .into_iter()
            .filter(|r| gone.contains(&r.image_id))
            .collect();
        self.enter()?;
        // Finds out the size of every layer.
        self.store.parts()?;
        let (images, collected) = self.delete_images(&records)?;
        // What pulls that were given up left for the next one.
        let partial = self.store.discard_partial()?;
        let bytes = collected.bytes.saturating_add(partial);
        self.tell_pruned(Kind::Image, bytes);
        Ok(Pruned {
            images,
            bytes,
            ..Pruned::default()
        })
    }

    /// Removes what no container has: anonymous volumes, with `all` the others as well.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune_volumes(&self, all: bool) -> Result<Pruned, Error> {
        self.enter()?;
        let sizes: BTreeMap<String, u64> = self
            .store
            .volumes()?
            .iter()
            .map(|v| (v.record().name.clone(), self.store.volume_usage(v).disk))
            .collect();
        let gone = self.store.prune_volumes(all)?;
        let volumes: Vec<String> = gone.into_iter().map(|record| record.name).collect();
        let bytes = volumes.iter().filter_map(|name| sizes.get(name)).sum();
        for name in &volumes {
            self.tell_volume(name, "destroy");
        }
        self.tell_pruned(Kind::Volume, bytes);
        Ok(Pruned {
            bytes,
            volumes,
            ..Pruned::default()
        })
    }

    /// What images, containers and volumes take on the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let lines = self.containers()?;
        let used = used_images(&lines);
        let records = self.store.images()?;
        self.enter()?;
        let parts = self.store.parts()?;
        let mut images = Vec::new();
        for image in summaries(&records) {
            let own = records.iter().filter(|r| r.image_id == image.id);
            let names: BTreeSet<String> = own.flat_map(|r| self.store.parts_of_image(r)).collect();
            images.push((image, names));
        }
        let mut users: BTreeMap<&String, usize> = BTreeMap::new();
        for name in images.iter().flat_map(|(_, names)| names) {
            *users.entry(name).or_default() += 1;
        }
        // A container needs its layers also when its image was removed by force.
        let mut needed: BTreeSet<String> =
            lines.iter().flat_map(|l| l.state.layers.clone()).collect();
        needed.extend(lines.iter().map(|l| Store::flat_part(&l.state.layers)));
        let mut usages = Vec::new();
        for (image, names) in &images {
            let shared = names
                .iter()
                .filter(|name| users.get(name).is_some_and(|n| *n > 1));
            let containers = used.get(&image.id.to_string()).copied().unwrap_or(0);
            if containers > 0 {
                needed.extend(names.iter().cloned());
            }
            usages.push(ImageUsage {
                image: image.clone(),
                size: parts.total_of(names),
                shared: parts.total_of(&shared.cloned().collect()),
                containers,
            });
        }
        usages.sort_by_key(|u| std::cmp::Reverse(u.image.created));
        let volume_users = self.store.volume_users()?;
        let volumes = self.store.volumes()?.into_iter().map(|volume| VolumeUsage {
            containers: volume_users.get(&volume.record().name).map_or(0, Vec::len),
            size: self.store.volume_usage(&volume).disk,
            name: volume.record().name.clone(),
        });
        let volumes: Vec<VolumeUsage> = volumes.collect();
        let containers = lines.into_iter().map(|line| ContainerUsage {
            size: self.usage_of(&line.state.id).disk,
            line,
        });
        Ok(DiskUsage {
            images: usages,
            images_size: parts.total(),
            images_reclaimable: parts.total().saturating_sub(parts.total_of(&needed)),
            containers: containers.collect(),
            volumes,
        })
    }

    /// What a container wrote; nothing if it is gone.
    pub(crate) fn usage_of(&self, id: &str) -> Usage {
        let container = self.store.find_container(id);
        container.map_or_else(|_| Usage::default(), |c| self.store.container_usage(&c))
    }

    /// The labels of an image; none when it is gone or damaged.
    pub(crate) fn labels(&self, image_id: &str) -> Labels {
        let config = image_id
            .parse()
            .ok()
            .map(|id: Digest| self.store.image_config(&id));
        config
            .and_then(Result::ok)
            .map(|c| c.config.labels)
            .unwrap_or_default()
    }
}

/// How many containers use an image.
fn used_images(lines: &[ContainerLine]) -> BTreeMap<String, usize> {
    let mut used = BTreeMap::new();
    for line in lines {
        *used.entry(line.state.image_id.clone()).or_default() += 1;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_spare_what_is_young_or_unlabelled() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let labels = || BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let label = |key: &str, unwanted| LabelFilter {
            key: key.to_owned(),
            value: None,
            unwanted,
        };
        let none = PruneFilters::default();
        assert!(none.fits(None, labels) && none.fits(at(9), labels));
        let until = PruneFilters {
            until: at(10),
            ..PruneFilters::default()
        };
        assert!(until.fits(at(9), labels) && until.fits(at(10), labels));
        // Without a date nothing shows that it is old.
        assert!(!until.fits(at(11), labels) && !until.fits(None, labels));
        for (filter, expected) in [
            (label("a", false), true),
            (label("b", false), false),
            (label("a", true), false),
            (label("b", true), true),
        ] {
            let filters = PruneFilters {
                labels: vec![filter],
                ..PruneFilters::default()
            };
            assert_eq!(filters.fits(None, labels), expected, "{filters:?}");
        }
    }
}
