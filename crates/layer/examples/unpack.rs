//! Unpacks one layer into a folder, for measuring: `unpack BLOB FOLDER`.
#![expect(clippy::print_stdout, reason = "an example")]

use std::fs::File;
use std::os::fd::AsFd;

use minidock_layer::{Expect, Limits, Options, Ownership, Target, Whiteouts, unpack};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(blob), Some(folder)) = (args.next(), args.next()) else {
        return Err("usage: unpack BLOB FOLDER".into());
    };
    std::fs::create_dir(&folder)?;
    let tree = File::open(&folder)?;
    let target = Target {
        tree: tree.as_fd(),
        blob: None,
        aside: None,
    };
    let options = Options {
        ownership: Ownership::Single,
        limits: Limits::default(),
        whiteouts: Whiteouts::default(),
    };
    let unpacked = unpack(File::open(blob)?, &Expect::default(), &target, &options)?;
    println!(
        "{} {} entries, {} bytes",
        unpacked.diff_id, unpacked.entries, unpacked.content_size
    );
    Ok(())
}
