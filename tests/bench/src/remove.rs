//! `rmi` and `rm`: they return at once, and the whole work is no more than that of `rm -rf`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::archive::Packing;
use crate::measure::{Cost, cost, pairs};
use crate::{Result, World, table, tree};

pub fn run(world: &World) -> Result<()> {
    table::head();
    let layer = world.layer("layer", &tree::SMALL, Packing::Plain)?;
    let archive = world.archive("small", std::slice::from_ref(&layer))?;
    let mut returned = Vec::new();
    let ours = || {
        let store = world.folder("store")?;
        cost(
            world
                .minidock(&store)
                .args(["load", "-q", "-i"])
                .arg(&archive),
        )?;
        let begin = Instant::now();
        let command = cost(world.minidock(&store).args(["rmi", "small"]))?;
        returned.push(command.wall * 1e3);
        wait_for_trash(&store)?;
        let wall = begin.elapsed().as_secs_f64();
        Ok(Cost { wall, ..command })
    };
    let costs = pairs(world.runs(), ours, || remove_by_hand(world, &layer.file))?;
    table::figure("rmi of 50,000 files returns after", returned, "ms", None);
    table::ratio("rmi of 50,000 files, all of it / rm -rf", &costs, Some(1.2));

    let mut returned = Vec::new();
    let ours = || {
        let store = world.folder("store")?;
        cost(world.minidock(&store).args(["images"]))?;
        // A container that has written as many files, and is not there any more.
        let container = store.join(format!("containers/{:064x}", 1));
        let upper = container.join("upper");
        cost(world.program("mkdir").arg("-p").arg(&upper))?;
        cost(
            world
                .program("tar")
                .arg("-xf")
                .arg(&layer.file)
                .current_dir(&upper),
        )?;
        let begin = Instant::now();
        let command = cost(world.minidock(&store).args(["rm", "000000"]))?;
        returned.push(command.wall * 1e3);
        wait_for_trash(&store)?;
        let wall = begin.elapsed().as_secs_f64();
        Ok(Cost { wall, ..command })
    };
    let costs = pairs(world.runs(), ours, || remove_by_hand(world, &layer.file))?;
    table::figure("rm of 50,000 files returns after", returned, "ms", None);
    table::ratio("rm of 50,000 files, all of it / rm -rf", &costs, Some(1.2));
    Ok(())
}

fn remove_by_hand(world: &World, tar: &Path) -> Result<Cost> {
    let out = world.folder("out")?;
    cost(world.program("mkdir").arg(out.join("tree")))?;
    cost(
        world
            .program("tar")
            .arg("-xf")
            .arg(tar)
            .current_dir(out.join("tree")),
    )?;
    cost(world.program("rm").arg("-rf").arg(out.join("tree")))
}

fn wait_for_trash(store: &Path) -> Result<()> {
    let begin = Instant::now();
    while std::fs::read_dir(store.join("trash")).is_ok_and(|mut entries| entries.next().is_some()) {
        if begin.elapsed() > Duration::from_secs(60) {
            return Err("nobody empties the trash".into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
