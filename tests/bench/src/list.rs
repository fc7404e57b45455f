//! `images` and `ps -a` with a thousand entries.

use std::fs::File;
use std::io::{BufWriter, Write};

use minidock_oci::Digest;
use serde_json::json;

use crate::measure::cost;
use crate::tar_writer::TarWriter;
use crate::{Result, World, table};

const ENTRIES: usize = 1_000;
const LIMIT_MS: f64 = 20.0;

pub fn run(world: &World) -> Result<()> {
    println!("  {:44} {:>22} {:>7}", "", "ms (least-most)", "limit");
    let store = world.folder("store")?;
    images(world, &store)?;
    containers(world, &store)?;
    for args in [&["images"][..], &["ps", "-a"]] {
        let mut times = Vec::new();
        for run in 0..=world.runs() * 4 {
            let cost = cost(world.minidock(&store).args(args))?;
            if run > 0 {
                times.push(cost.wall * 1e3);
            }
        }
        table::figure(
            &format!("{} with {ENTRIES}", args.join(" ")),
            times,
            "ms",
            Some(LIMIT_MS),
        );
    }
    Ok(())
}

/// A thousand images that share a layer, loaded from one archive.
fn images(world: &World, store: &std::path::Path) -> Result<()> {
    let mut layer = TarWriter { out: Vec::new() };
    layer.file("file", 0o644, b"content")?;
    let layer = layer.finish()?;
    let file = world.made("images.tar");
    let mut tar = TarWriter {
        out: BufWriter::new(File::create(&file)?),
    };
    tar.file("layer.tar", 0o644, &layer)?;
    let mut list = Vec::new();
    for i in 0..ENTRIES {
        let config = json!({
            "created": format!("2024-01-01T00:{:02}:{:02}Z", i / 60 % 60, i % 60), "architecture": "amd64", "os": "linux",
            "config": { "Cmd": ["/bin/true"], "Labels": { "number": i.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(&layer).to_string()] },
        })
        .to_string();
        let name = format!("{}.json", Digest::sha256(config.as_bytes()).hex());
        tar.file(&name, 0o644, config.as_bytes())?;
        list.push(json!({ "Config": name, "RepoTags": [format!("example.com/team/image-{i}:1")], "Layers": ["layer.tar"] }));
    }
    tar.file(
        "manifest.json",
        0o644,
        serde_json::to_string(&list)?.as_bytes(),
    )?;
    tar.finish()?.flush()?;
    cost(world.minidock(store).args(["load", "-q", "-i"]).arg(&file))?;
    Ok(())
}

/// A thousand containers that ended, written as minidock writes them.
fn containers(world: &World, store: &std::path::Path) -> Result<()> {
    for i in 0..ENTRIES {
        let id = format!("{:064x}", 0x1000 + i);
        let name = format!("container-{i}");
        let state = json!({
            "id": id, "name": name, "image": "example.com/team/image:1", "image_id": Digest::sha256(b"image").to_string(),
            "layers": [], "command": ["/bin/sh", "-c", "echo hello"], "created": 1_700_000_000 + i, "status": "exited",
            "pid": 4_000_000, "start_time": 1, "exit_code": 0, "finished": 1_700_000_100 + i, "auto_remove": false,
        });
        let folder = store.join("containers").join(&id);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("lock"), "")?;
        std::fs::write(folder.join("state.json"), state.to_string())?;
        std::os::unix::fs::symlink(&id, store.join("names").join(name))?;
    }
    world.give(store)
}
