//! An image of ten layers: two processors share its layers.

use crate::archive::{Layer, Packing};
use crate::measure::{Cost, cost, pairs};
use crate::world::has;
use crate::{Result, World, table, tree};

pub fn run(world: &World) -> Result<()> {
    table::head();
    let layers = tree::python()
        .iter()
        .enumerate()
        .map(|(i, tree)| world.layer(&format!("python-{i}"), tree, Packing::Gzip))
        .collect::<Result<Vec<Layer>>>()?;
    let all = world.archive("python", &layers)?;
    let singles = layers
        .iter()
        .enumerate()
        .map(|(i, layer)| world.archive(&format!("single-{i}"), std::slice::from_ref(layer)))
        .collect::<Result<Vec<_>>>()?;
    let one_by_one = || {
        singles.iter().try_fold(Cost::default(), |sum, archive| {
            let cost = world.load(archive)?;
            Ok(Cost {
                wall: sum.wall + cost.wall,
                ..sum
            })
        })
    };
    let costs = pairs(world.runs(), || world.load(&all), one_by_one)?;
    table::ratio("ten layers / their loads one by one", &costs, Some(0.65));

    // Slow, and far from the limit: few runs tell enough.
    let few = world.runs().min(3);
    if has("umoci") {
        let layout = world.folder("layout")?;
        // An OCI archive is a tar of an image layout.
        let mut tar = world.program("tar");
        cost(tar.arg("-xf").arg(&all).arg("-C").arg(&layout))?;
        let line = format!(
            "umoci unpack --rootless --image {}:latest bundle",
            layout.display()
        );
        let costs = pairs(few, || world.load(&all), || world.shell(&line))?;
        table::ratio("ten layers / umoci unpack --rootless", &costs, Some(0.33));
    } else {
        table::skipped("umoci unpack --rootless", "there is no umoci");
    }
    match podman(world, &all, few) {
        Ok(costs) => table::ratio("ten layers / podman load", &costs, Some(0.33)),
        Err(error) => table::skipped("podman load", &error.to_string().replace('\n', "; ")),
    }
    Ok(())
}

/// Both as whoever called: rootless podman needs subordinate ids, which the measuring user has not.
fn podman(world: &World, archive: &std::path::Path, runs: usize) -> Result<(Vec<Cost>, Vec<Cost>)> {
    if !has("podman") {
        return Err("there is no podman".into());
    }
    let ours = || {
        let store = world.folder("store")?;
        world.take(&store)?;
        let mut command = world.minidock_as_caller(&store);
        let result = cost(command.args(["load", "-q", "-i"]).arg(archive));
        world.delete(&store)?;
        result
    };
    let theirs = || {
        let store = world.folder("podman")?;
        world.take(&store)?;
        let mut command = std::process::Command::new("podman");
        command
            .arg("--root")
            .arg(store.join("root"))
            .arg("--runroot")
            .arg(store.join("run"));
        command
            .args(["--storage-driver", "overlay", "load", "-q", "-i"])
            .arg(archive);
        let result = cost(&mut command);
        world.delete(&store)?;
        result
    };
    pairs(runs, ours, theirs)
}
