//! Peak memory, whatever a layer's size.

use crate::archive::{Documents, Packing};
use crate::measure::cost;
use crate::registry::Registry;
use crate::{Result, World, table, tree};

const LIMIT_MIB: f64 = 64.0;

pub fn run(world: &World) -> Result<()> {
    println!("  {:44} {:>22} {:>7}", "", "MiB (least-most)", "limit");
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
    for (packing, what) in [
        (Packing::Gzip, "gzip"),
        (Packing::Zstd, "zstd"),
        (Packing::Plain, "plain"),
    ] {
        let layer = world.layer("layer", &tree::BIG, packing)?;
        let layers = std::slice::from_ref(&layer);
        let archive = world.archive("big", layers)?;
        let registry = Registry::start(Documents::new(layers), layers)?;
        let mut peaks = (Vec::new(), Vec::new(), Vec::new());
        let mut no_save = None;
        for _ in 0..world.runs().min(3) {
            peaks.0.push(mib(world.load(&archive)?.peak));
            let store = world.folder("store")?;
            let pull =
                cost(
                    world
                        .minidock(&store)
                        .args(["pull", "-q", &registry.reference("big")]),
                )?;
            peaks.1.push(mib(pull.peak));
            let to = world.folder("out")?.join("saved.tar");
            match cost(
                world
                    .minidock(&store)
                    .args(["save", "-o"])
                    .arg(&to)
                    .arg(registry.reference("big")),
            ) {
                Ok(save) => peaks.2.push(mib(save.peak)),
                Err(error) => no_save = Some(error),
            }
            world.delete(&store)?;
        }
        table::figure(&format!("load, {what}"), peaks.0, "MiB", Some(LIMIT_MIB));
        table::figure(&format!("pull, {what}"), peaks.1, "MiB", Some(LIMIT_MIB));
        match no_save {
            None => table::figure(&format!("save, {what}"), peaks.2, "MiB", Some(LIMIT_MIB)),
            Some(error) => table::skipped(
                &format!("save, {what}"),
                error.to_string().lines().next().unwrap_or_default(),
            ),
        }
    }
    Ok(())
}
