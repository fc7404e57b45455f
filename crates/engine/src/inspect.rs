//! `inspect` and `history`: all that is known of one image or container.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use minidock_oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};
use minidock_pull::{Event, PullOptions, remote_image};
use minidock_store::{ImageRecord, StoreError};
use oci_spec::runtime::{LinuxNamespaceType, LinuxPids, LinuxResources, Spec};

use crate::containers::ContainerLine;
use crate::effective;
use crate::images::{ImageSummary, summaries, time};
use crate::{Engine, Error};

/// All that is known of an image.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// Its id, size and names.
    pub summary: ImageSummary,
    /// What it says of itself.
    pub config: ImageConfig,
    /// Where its layers' files are, uppermost first; none when some are missing.
    pub layers: Vec<PathBuf>,
    /// When it last got a name by `tag`.
    pub last_tagged: Option<Timestamp>,
}

/// All that is known of a container.
#[derive(Clone, Debug)]
pub struct ContainerDetails {
    /// Its state, and whether it runs.
    pub line: ContainerLine,
    /// Its folder.
    pub folder: PathBuf,
    /// Where its image's files are, uppermost layer first.
    pub layers: Vec<PathBuf>,
    /// What it was made of: the image's run parameters with the flags of `run` over them.
    pub config: ContainerConfig,
    /// Its host name.
    pub hostname: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its root file system is read only.
    pub read_only: bool,
    /// Whether it shares the host's network.
    pub host_network: bool,
    /// Paths that it cannot see.
    pub masked_paths: Vec<String>,
    /// Paths that it cannot write.
    pub readonly_paths: Vec<String>,
    /// Limits on all of its processes together, in order, by Docker's names for them.
    pub limits: Vec<(&'static str, Limit)>,
    /// What it wrote, and that with its image, in bytes, if that was asked for.
    pub sizes: Option<(u64, u64)>,
}

/// A limit, as Docker's API writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// 0 is none.
    Number(i64),
    /// Empty is none.
    Text(String),
    /// Where there may be none.
    Maybe(Option<i64>),
}

/// What the Spec limits.
fn limits(resources: Option<&LinuxResources>, group: Option<&Path>) -> Vec<(&'static str, Limit)> {
    let memory = resources.and_then(|r| *r.memory()).unwrap_or_default();
    let cpu = resources.and_then(|r| r.cpu().clone()).unwrap_or_default();
    let weight = resources.and_then(|r| r.block_io().as_ref()?.weight());
    let unsigned = |n: Option<u64>| Limit::Number(n.unwrap_or(0).cast_signed());
    let signed = |n: Option<i64>| Limit::Number(n.unwrap_or(0));
    let text = |t: &Option<String>| Limit::Text(t.clone().unwrap_or_default());
    let parent = group
        .and_then(Path::parent)
        .map(|p| p.display().to_string());
    vec![
        ("CpuShares", unsigned(cpu.shares())),
        ("Memory", signed(memory.limit())),
        ("CgroupParent", Limit::Text(parent.unwrap_or_default())),
        ("BlkioWeight", Limit::Number(weight.unwrap_or(0).into())),
        ("CpuPeriod", unsigned(cpu.period())),
        ("CpuQuota", signed(cpu.quota())),
        ("CpusetCpus", text(cpu.cpus())),
        ("CpusetMems", text(cpu.mems())),
        ("MemoryReservation", signed(memory.reservation())),
        ("MemorySwap", signed(memory.swap())),
        (
            "PidsLimit",
            Limit::Maybe(
                resources
                    .and_then(|r| r.pids().as_ref())
                    .map(LinuxPids::limit),
            ),
        ),
    ]
}

/// A line of `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image's id, for the line that made it what it is.
    pub id: Option<Digest>,
    /// When it was done.
    pub created: Option<Timestamp>,
    /// What was done.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Sum of the sizes of the files in its layer, in bytes.
    pub size: u64,
}

/// All that a registry tells of an image without handing out its layers. The size is that of the layers as they are stored
/// there, compressed.
///
/// # Errors
/// When the registry does not have it, cannot be reached, or does not keep its word.
pub fn inspect_remote(
    reference: &Reference,
    options: &PullOptions,
    events: &(dyn Fn(Event) + Sync),
) -> Result<ImageDetails, Error> {
    let image = remote_image(reference, options, events)?;
    let name = reference.familiar_name();
    let tag = reference.tag().map(|tag| (name.clone(), tag.to_owned()));
    Ok(ImageDetails {
        summary: ImageSummary {
            id: image.image_id,
            created: time(&image.config.created),
            size: image.size,
            tags: tag.into_iter().collect(),
            digests: [(name, image.digest)].into(),
        },
        config: image.config,
        layers: Vec::new(),
        last_tagged: None,
    })
}

impl Engine {
    /// All that is known of an image; with a platform, of the one for it that came with the same index.
    ///
    /// # Errors
    /// When there is no such image, or its config cannot be read.
    pub fn inspect_image(
        &self,
        query: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageDetails, Error> {
        let (summary, config) = match platform {
            None => self.image(query)?,
            Some(platform) => {
                let record = self.image_for(query, platform)?;
                self.image(&record.image_id.to_string())?
            }
        };
        let layers = self.store.image_layers(&summary.id, &config);
        let records = self.store.images()?;
        let tagged = records.iter().filter(|r| r.image_id == summary.id);
        let last_tagged = tagged.filter_map(|r| r.last_tagged).max();
        Ok(ImageDetails {
            layers: layers.map(|l| l.trees(&self.store)).unwrap_or_default(),
            last_tagged: last_tagged
                .and_then(|t| Timestamp::from_second(i64::try_from(t).ok()?).ok()),
            summary,
            config,
        })
    }

    /// All that is known of a container; with `size`, also what it wrote.
    ///
    /// # Errors
    /// When there is no such container, or its state cannot be read.
    pub fn inspect_container(&self, query: &str, size: bool) -> Result<ContainerDetails, Error> {
        let container = self.store.find_container(query)?;
        let none = || StoreError::NoSuchContainer(query.to_owned());
        let state = container.state()?.ok_or_else(none)?;
        // One that never started has no Spec.
        let spec = std::fs::read(container.folder().join("config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Spec>(&bytes).ok())
            .unwrap_or_default();
        let config = effective::read(&container)
            .and_then(|map| serde_json::from_value(serde_json::Value::Object(map)).ok());
        let image = state.image_id.parse().ok();
        let image = image.and_then(|id: Digest| self.store.image_config(&id).ok());
        let layers = state.layers.iter().rev();
        let layers = layers.map(|layer| self.store.root().join(layer).join("fs"));
        let sizes = if size {
            self.enter()?;
            let rw = self.store.container_usage(&container).content;
            let records = self.store.images()?;
            let image = records
                .iter()
                .find(|r| r.image_id.to_string() == state.image_id);
            Some((rw, rw.saturating_add(image.map_or(0, |r| r.size))))
        } else {
            None
        };
        let linux = spec.linux().clone().unwrap_or_default();
        let namespaces = linux.namespaces().as_deref().unwrap_or_default();
        let own_network = namespaces
            .iter()
            .any(|n| n.typ() == LinuxNamespaceType::Network);
        Ok(ContainerDetails {
            layers: layers.collect(),
            folder: container.folder().to_owned(),
            config: config.or(image.map(|i| i.config)).unwrap_or_default(),
            hostname: spec.hostname().clone().unwrap_or_default(),
            terminal: spec
                .process()
                .as_ref()
                .and_then(|p| p.terminal())
                .unwrap_or(false),
            read_only: spec
                .root()
                .as_ref()
                .and_then(|r| r.readonly())
                .unwrap_or(false),
            host_network: !own_network && spec.linux().is_some(),
            masked_paths: linux.masked_paths().clone().unwrap_or_default(),
            readonly_paths: linux.readonly_paths().clone().unwrap_or_default(),
            limits: limits(linux.resources().as_ref(), state.cgroup.as_deref()),
            sizes,
            line: ContainerLine {
                running: state.is_alive(),
                state,
            },
        })
    }

    /// Of the images for several platforms that have a name, the one for this.
    pub(crate) fn image_for(&self, query: &str, platform: &Platform) -> Result<ImageRecord, Error> {
        let found = self.store.find_image(query)?;
        let record = found
            .record()
            .ok_or_else(|| Error::ImageNotFound(query.to_owned()))?;
        let fits = |record: &ImageRecord| {
            let config = self.store.image_config(&record.image_id);
            config.is_ok_and(|c| c.platform().is_some_and(|have| platform.admits(&have)))
        };
        let mut family = self.store.family(record)?.into_iter();
        family.find(fits).ok_or_else(|| Error::NotForPlatform {
            image: query.to_owned(),
            wanted: platform.to_string(),
        })
    }

    fn image(&self, query: &str) -> Result<(ImageSummary, ImageConfig), Error> {
        let found = self.store.find_image(query)?;
        let none = || Error::ImageNotFound(query.to_owned());
        let id = found
            .record()
            .map(|r| r.image_id.clone())
            .ok_or_else(none)?;
        let records = self.store.images()?;
        let summary = summaries(records.iter().filter(|r| r.image_id == id)).pop();
        let config = self.store.image_config(&id)?;
        Ok((summary.ok_or_else(none)?, config))
    }

    /// What made an image, the last step first. A layer that its config is silent about is a line as well.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read.
    pub fn history(&self, query: &str) -> Result<Vec<HistoryLine>, Error> {
        let (summary, config) = self.image(query)?;
        let layers = self.store.image_layers(&summary.id, &config)?;
        let sizes = layers.sizes(&self.store)?;
        Ok(lines(&config, &sizes, &summary.id))
    }
}

fn lines(config: &ImageConfig, sizes: &[u64], id: &Digest) -> Vec<HistoryLine> {
    let mut sizes = sizes.iter().copied();
    let mut lines: Vec<HistoryLine> = config
        .history
        .iter()
        .map(|step| HistoryLine {
            id: None,
            created: time(&step.created),
            created_by: step.created_by.clone(),
            comment: step.comment.clone(),
            size: match step.empty_layer {
                true => 0,
                false => sizes.next().unwrap_or(0),
            },
        })
        .collect();
    lines.extend(sizes.map(|size| HistoryLine {
        id: None,
        created: None,
        created_by: String::new(),
        comment: String::new(),
        size,
    }));
    lines.reverse();
    if let Some(top) = lines.first_mut() {
        top.id = Some(id.clone());
    }
    lines
}

#[cfg(test)]
mod tests {
    use minidock_oci::History;

    use super::*;

    #[test]
    fn layers_and_steps_need_not_agree() {
        let step = |by: &str, empty_layer| History {
            created_by: by.to_owned(),
            empty_layer,
            ..History::default()
        };
        let id = Digest::sha256(b"");
        let told = |history: &[History], sizes: &[u64]| -> Vec<(String, u64, bool)> {
            let config = ImageConfig {
                history: history.to_vec(),
                ..ImageConfig::default()
            };
            lines(&config, sizes, &id)
                .into_iter()
                .map(|l| (l.created_by, l.size, l.id.is_some()))
                .collect()
        };
        let line = |by: &str, size, top| (by.to_owned(), size, top);
        let steps = [step("ADD", false), step("CMD", true), step("RUN", false)];
        assert_eq!(
            told(&steps, &[5, 7]),
            [
                line("RUN", 7, true),
                line("CMD", 0, false),
                line("ADD", 5, false)
            ]
        );
        assert_eq!(
            told(&steps[..1], &[5, 7]),
            [line("", 7, true), line("ADD", 5, false)]
        );
        assert_eq!(
            told(&steps, &[5]),
            [
                line("RUN", 0, true),
                line("CMD", 0, false),
                line("ADD", 5, false)
            ]
        );
        assert_eq!(told(&[], &[]), []);
    }
}
