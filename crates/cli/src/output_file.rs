//! Where an archive goes: `-o FILE`, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Hands `write` where to write to. A file gets its name only when it is whole.
pub fn write_to(
    path: Option<&Path>,
    verb: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            return Err(
                Failure::new(format!("cowardly refusing to {verb} to a terminal"))
                    .hint("use the -o flag or redirect"),
            );
        }
        return write(&mut out);
    };
    let shown = path.display();
    let failed = |e: io::Error| Failure::new(format!("cannot write {shown}")).caused_by(e);
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(Failure::new(format!(
                "cannot write {shown}: it is a folder"
            )));
        }
        // A device or a pipe has no other content that it could keep.
        Ok(meta) if !meta.is_file() => {
            let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return write(&mut file);
        }
        _ => {}
    }
    let temporary = beside(path);
    let mut file = File::create_new(&temporary).map_err(failed)?;
    let written = write(&mut file).and_then(|()| fs::rename(&temporary, path).map_err(failed));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A name in the same folder that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
