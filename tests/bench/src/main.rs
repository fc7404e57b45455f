//! `make bench`: minidock against the tools that do a part of its work, and against hand-made floors.
//!
//! Everything is made here, the same on every machine: trees that look like a Debian base, a Python image and many small
//! files, as OCI archives in a folder that should be on tmpfs. Each comparison runs the two sides in turn and reports the
//! median of the ratios of the pairs, since the speed of a shared machine drifts; times are those of whole processes. All of
//! it runs as an ordinary user: called by root, the measured programs run as user and group 61234.
//!
//! A missed limit is a line in the table, never a failure: what is slow on one machine is not a bug. Each group of
//! comparisons is a module with one `run` function; a new one is a module and a line in [`GROUPS`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report on standard output is what this program is for"
)]

mod archive;
mod exec;
mod far;
mod floor;
mod image;
mod list;
mod measure;
mod memory;
mod pull;
mod registry;
mod remove;
mod small;
mod start;
mod table;
mod tar_writer;
mod tree;
mod unpack;
mod world;

use std::process::ExitCode;

use world::World;

/// An error is for the reader of the report.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

type Group = fn(&World) -> Result<()>;

/// Name, what it compares, how.
const GROUPS: [(&str, &str, Group); 10] = [
    ("start", "run true against others and a floor", start::run),
    ("exec", "exec true against nsenter", exec::run),
    (
        "unpack",
        "one layer of 540 MB: gzip, zstd, plain; a Debian base",
        unpack::run,
    ),
    ("image", "an image of ten layers", image::run),
    ("small", "50,000 small files against the floor", small::run),
    (
        "pull",
        "pulls from loopback: a base, ten layers, 50,000 files",
        pull::run,
    ),
    (
        "far",
        "a pull over 40 ms and 500 Mbit/s, imitated",
        far::run,
    ),
    ("remove", "rmi and rm of 50,000 files", remove::run),
    ("list", "images and ps with 1,000 entries", list::run),
    ("memory", "peak memory of pull, load and save", memory::run),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut wanted: Vec<String> = Vec::new();
    let mut options = world::Options::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            "--minidock" => options.minidock = value().into(),
            "--dir" => options.dir = value().into(),
            "--runs" => options.runs = value().parse().unwrap_or(options.runs),
            "--keep" => options.keep = true,
            // What the small-files group runs as a program of its own.
            "floor" => return world::exit(small::floor(value().as_ref())),
            // What the start group runs as programs of their own.
            "floor-start" => return world::exit(floor::floor(value().as_ref())),
            "exec-as-user" => return world::exit(exec::as_user(&args.collect::<Vec<_>>())),
            "start-as-user" => return world::exit(start::as_user(&args.collect::<Vec<_>>())),
            name if GROUPS.iter().any(|(group, ..)| *group == name) => wanted.push(arg),
            _ => {
                usage();
                return ExitCode::FAILURE;
            }
        }
    }
    let world = match World::new(options) {
        Ok(world) => world,
        Err(error) => return world::exit(Err(error)),
    };
    println!("{}", world.describe());
    let mut failed = false;
    for (name, what, run) in GROUPS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        println!("\n{name}: {what}");
        if let Err(error) = run(&world) {
            println!("  failed: {error}");
            failed = true;
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn usage() {
    eprintln!(
        "usage: minidock-bench [--minidock FILE] [--dir DIR] [--runs N] [--keep] [GROUP ...]"
    );
    for (name, what, _) in GROUPS {
        eprintln!("  {name:8} {what}");
    }
}
