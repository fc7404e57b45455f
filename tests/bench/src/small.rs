//! Many small files, against a program that does nothing but make them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use crate::archive::Packing;
use crate::measure::{cost, pairs};
use crate::{Result, World, table, tree};

pub fn run(world: &World) -> Result<()> {
    table::head();
    for (packing, what) in [(Packing::Gzip, "gzip"), (Packing::Plain, "plain")] {
        let layer = world.layer("layer", &tree::SMALL, packing)?;
        let archive = world.archive("small", std::slice::from_ref(&layer))?;
        let floor = || {
            let out = world.folder("out")?;
            let result = cost(world.bench().arg("floor").arg(&out));
            world.delete(&out)?;
            result
        };
        let costs = pairs(world.runs(), || world.load(&archive), floor)?;
        let what = format!("50,000 files, {what} / create, write, chmod, utimes");
        table::ratio(&what, &costs, Some(1.15));
    }
    Ok(())
}

/// The floor: for each file a create relative to its folder, a write, a chmod and a utimes, and nothing else. What to write
/// is the same for all, so that thinking it up costs nothing.
pub fn floor(out: &Path) -> Result<()> {
    let folders = tree::SMALL.files / tree::SMALL.per_folder;
    let size = usize::try_from(tree::SMALL.bytes / tree::SMALL.files as u64).unwrap_or(0);
    let content = vec![b'x'; size];
    let time = Timespec {
        tv_sec: 1_600_000_000,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    for folder in 0..folders {
        let path = out.join(format!("folder-{folder}"));
        fs::create_dir(&path)?;
        let folder: File = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from((OFlags::DIRECTORY | OFlags::PATH).bits()).unwrap_or(0))
            .open(&path)?;
        for i in 0..tree::SMALL.per_folder {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let name = format!("some-name-{i}");
            let fd = rustix::fs::openat(folder.as_fd(), name, flags, Mode::from_raw_mode(0o600))?;
            let mut file = File::from(fd);
            file.write_all(&content)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
            rustix::fs::futimens(&file, &times)?;
        }
    }
    Ok(())
}
