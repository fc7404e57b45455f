//! Pulling from a registry on loopback: what the network adds to unpacking, and what other tools need for the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{Documents, Layer, Packing};
use crate::measure::{Cost, cost, pairs};
use crate::registry::Registry;
use crate::world::has;
use crate::{Result, World, table, tree};

pub fn run(world: &World) -> Result<()> {
    table::head();
    let one = |name: &str, tree| world.layer(name, tree, Packing::Gzip).map(|l| vec![l]);
    let ten = tree::python()
        .iter()
        .enumerate()
        .map(|(i, tree)| world.layer(&format!("python-{i}"), tree, Packing::Gzip))
        .collect::<Result<Vec<Layer>>>()?;
    image(world, "a Debian base", &one("debian", &tree::DEBIAN)?)?;
    image(world, "ten layers", &ten)?;
    image(world, "50,000 files", &one("small", &tree::SMALL)?)
}

fn image(world: &World, what: &str, layers: &[Layer]) -> Result<()> {
    let registry = Registry::start(Documents::new(layers), layers)?;
    let name = registry.reference("image");
    let archive = world.archive("pulled", layers)?;
    let ours = || pull(world, &name);
    let costs = pairs(world.runs(), ours, || world.load(&archive))?;
    table::ratio(&format!("{what} / load from an archive"), &costs, Some(1.1));
    // Slow, and far from the limit: few runs tell enough.
    let few = world.runs().min(3);
    let line = format!(
        "skopeo copy -q --src-tls-verify=false docker://{name} oci:layout:i && umoci unpack --rootless --image layout:i bundle"
    );
    if has("skopeo") && has("umoci") {
        let costs = pairs(few, ours, || world.shell(&line))?;
        table::ratio(&format!("{what} / skopeo and umoci"), &costs, Some(0.3));
    } else {
        table::skipped(what, "there is no skopeo or no umoci");
    }
    match podman(world, &name, few) {
        Ok(costs) => table::ratio(&format!("{what} / podman pull"), &costs, Some(0.35)),
        Err(error) => table::skipped("podman pull", &error.to_string().replace('\n', "; ")),
    }
    up_to_date(world, &name)
}

/// The cost of a pull into an empty store.
fn pull(world: &World, name: &str) -> Result<Cost> {
    let store = world.folder("store")?;
    let result = cost(world.minidock(&store).args(["pull", "-q", name]));
    world.delete(&store)?;
    result
}

/// Both as whoever called: rootless podman needs subordinate ids, which the measuring user has not.
fn podman(world: &World, name: &str, runs: usize) -> Result<(Vec<Cost>, Vec<Cost>)> {
    if !has("podman") {
        return Err("there is no podman".into());
    }
    let taken = |name: &str| -> Result<PathBuf> {
        let folder = world.folder(name)?;
        world.take(&folder)?;
        Ok(folder)
    };
    let ours = || {
        let store = taken("store")?;
        let result = cost(world.minidock_as_caller(&store).args(["pull", "-q", name]));
        world.delete(&store)?;
        result
    };
    let theirs = || {
        let folder = taken("podman")?;
        let result = cost(podman_in(&folder).args(["pull", "-q", "--tls-verify=false", name]));
        world.delete(&folder)?;
        result
    };
    pairs(runs, ours, theirs)
}

fn podman_in(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    command
        .arg("--root")
        .arg(folder.join("root"))
        .arg("--runroot")
        .arg(folder.join("run"))
        .args(["--storage-driver", "overlay"]);
    command
}

fn up_to_date(world: &World, name: &str) -> Result<()> {
    if !has("curl") {
        table::skipped("up to date / curl -I", "there is no curl");
        return Ok(());
    }
    let store = world.folder("store")?;
    cost(world.minidock(&store).args(["pull", "-q", name]))?;
    let (host, rest) = name.split_once('/').unwrap_or_default();
    let (repository, tag) = rest.split_once(':').unwrap_or_default();
    let url = format!("http://{host}/v2/{repository}/manifests/{tag}");
    let costs = pairs(
        world.runs() * 4,
        || cost(world.minidock(&store).args(["pull", "-q", name])),
        || cost(world.program("curl").args(["-sI", &url])),
    )?;
    table::ratio("  up to date / curl -I", &costs, Some(3.0));
    world.delete(&store)
}
