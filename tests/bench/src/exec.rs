//! `exec true` in a running container, against nsenter(1) into the same namespaces.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::measure::pairs;
use crate::start::{PER_RUN, cost, store_with_image, with};
use crate::world::has;
use crate::{Result, World, table};

pub fn run(world: &World) -> Result<()> {
    if !has("nsenter") {
        table::skipped("all", "nsenter (util-linux) is not installed");
        return Ok(());
    }
    let folder = world.folder("exec")?;
    if !store_with_image(world, &folder, "exec")? {
        return Ok(());
    }
    let status = world
        .bench()
        .arg("exec-as-user")
        .args([world.binary(), &folder])
        .arg((world.runs() * PER_RUN).to_string())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the measuring process: {status}").into()),
    }
}

/// The measuring process: minidock, the folder, how many runs.
pub fn as_user(args: &[String]) -> Result<()> {
    let [minidock, folder, runs] = args else {
        return Err("exec-as-user FILE FOLDER RUNS".into());
    };
    let store = Path::new(folder).join("store");
    let store = store.to_string_lossy();
    let minidock = Path::new(minidock);
    let run = [
        "--root", &store, "run", "--name", "bench", "exec", "sh", "-c",
    ];
    let mut container = Command::new(minidock)
        .args(run)
        .arg("echo ready; exec sleep 100000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let result = compare(minidock, &store, &mut container, runs.parse()?);
    with(minidock, &["--root", &store, "rm", "-f", "bench"]).status()?;
    container.wait()?;
    result
}

fn compare(minidock: &Path, store: &str, container: &mut Child, runs: usize) -> Result<()> {
    let mut ready = [0; 6];
    let mut said = container.stdout.take().ok_or("no output")?;
    said.read_exact(&mut ready)?;
    // The one container there is.
    let entry = fs::read_dir(Path::new(store).join("containers"))?
        .next()
        .ok_or("no container")??;
    let state = fs::read_to_string(entry.path().join("state.json"))?;
    let state: serde_json::Value = serde_json::from_str(&state)?;
    let pid = state["pid"].to_string();
    let ours = || {
        cost(&mut with(
            minidock,
            &["--root", store, "exec", "bench", "true"],
        ))
    };
    // All that the container has of its own: `--all` would try the host's time namespace as well, which is root's.
    let flags = ["-U", "-m", "-u", "-i", "-n", "-p", "-C"];
    let target = ["--preserve-credentials", "-t", &pid, "true"];
    let nsenter = [&flags[..], &target].concat();
    table::head();
    let costs = pairs(runs, ours, || {
        cost(&mut with(Path::new("nsenter"), &nsenter))
    })?;
    table::ratio("exec true / nsenter", &costs, Some(1.5));
    Ok(())
}
