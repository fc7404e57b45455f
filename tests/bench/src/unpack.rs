//! One layer: loading it, with both digests checked and its blob kept, against tools that only make its files.

use crate::archive::Packing;
use crate::measure::pairs;
use crate::world::has;
use crate::{Result, World, table, tree};

pub fn run(world: &World) -> Result<()> {
    table::head();
    let big = |packing| world.layer("layer", &tree::BIG, packing);
    let against =
        |archive: &std::path::Path, what: &str, line: &str, limit: Option<f64>| -> Result<()> {
            let program = line.split_whitespace().next().unwrap_or_default();
            if !has(program) {
                table::skipped(what, &format!("there is no {program}"));
                return Ok(());
            }
            let costs = pairs(world.runs(), || world.load(archive), || world.shell(line))?;
            table::ratio(what, &costs, limit);
            Ok(())
        };

    let plain = world.layer("plain", &tree::BIG, Packing::Plain)?;
    let plain_tar = format!("tar -xf {}", plain.file.display());
    let archive = world.archive("plain", std::slice::from_ref(&plain))?;
    against(&archive, "plain / tar -x", &plain_tar, Some(1.2))?;

    let gzip = big(Packing::Gzip)?;
    let f = gzip.file.display();
    let archive = world.archive("gzip", std::slice::from_ref(&gzip))?;
    against(
        &archive,
        "gzip / tar -xzf",
        &format!("tar -xzf {f}"),
        Some(0.40),
    )?;
    against(
        &archive,
        "gzip / igzip -dc | tar -x",
        &format!("igzip -dc {f} | tar -x"),
        Some(0.85),
    )?;
    against(
        &archive,
        "gzip / tar -x of the plain tar",
        &plain_tar,
        Some(1.4),
    )?;

    let zstd = big(Packing::Zstd)?;
    let f = zstd.file.display();
    let archive = world.archive("zstd", std::slice::from_ref(&zstd))?;
    against(
        &archive,
        "zstd / zstd -dc | tar -x",
        &format!("zstd -dc {f} | tar -x"),
        Some(1.1),
    )?;
    against(
        &archive,
        "zstd / tar -x of the plain tar",
        &plain_tar,
        Some(1.05),
    )?;

    let base = world.layer("layer", &tree::DEBIAN, Packing::Gzip)?;
    let archive = world.archive("debian", std::slice::from_ref(&base))?;
    let line = format!("tar -xzf {}", base.file.display());
    against(
        &archive,
        "a Debian base, gzip / tar -xzf",
        &line,
        Some(0.40),
    )
}
