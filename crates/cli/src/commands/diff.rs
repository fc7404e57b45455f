//! `minidock diff`.

use std::io::Write;

use clap::Args;
use minidock_engine::ChangeKind;

use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Container name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `minidock diff`.
pub fn diff(place: &Place, args: DiffArgs) -> Result<u8, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in place.engine()?.diff(&args.container)? {
        let letter = match line.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        // Names are bytes, and shown as they are.
        write!(out, "{letter} ")?;
        out.write_all(&line.path)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(0)
}
