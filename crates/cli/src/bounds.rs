//! The flags that say how much a stranger's image may add to the store.

use clap::Args;
use minidock_engine::Bounds;

use crate::container::bytes;
use crate::failure::Failure;

#[derive(Clone, Debug, Default, Args)]
pub struct BoundFlags {
    /// Refuse a layer or archive that unpacks to more than N times its size [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_expansion: Option<u64>,
    /// Refuse a layer of more than N files [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_entries: Option<u64>,
    /// Stop before less than this is free on the disk [default: a hundredth of it, at most 256m]
    #[arg(long, value_name = "SIZE")]
    pub keep_free: Option<String>,
}

impl BoundFlags {
    /// What they mean.
    pub fn bounds(&self) -> Result<Bounds, Failure> {
        let mut bounds = Bounds::default();
        if let Some(ratio) = self.max_expansion {
            bounds.layer.max_ratio = ratio;
        }
        if let Some(entries) = self.max_entries {
            bounds.layer.max_entries = entries;
        }
        bounds.keep_free = self
            .keep_free
            .as_deref()
            .map(|text| {
                bytes(text).ok_or_else(|| {
                    Failure::usage(format!("invalid size {text:?} of --keep-free"))
                        .hint("a number with a unit, such as 512m or 2g")
                })
            })
            .transpose()?;
        Ok(bounds)
    }
}
