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
    let mut file = Watched {
        to: File::create_new(&temporary).map_err(failed)?,
        failed: None,
    };
    let written = write(&mut file).map_err(|failure| match file.failed {
        Some(errno) => unwritable(path, io::Error::from_raw_os_error(errno)),
        None => failure,
    });
    let written = written.and_then(|()| fs::rename(&temporary, path).map_err(failed));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn unwritable(path: &Path, error: io::Error) -> Failure {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let failure = Failure::new(format!("cannot write {}", path.display())).caused_by(error);
    if full {
        return failure.hint("free some space, or write to another disk");
    }
    failure
}

/// Remembers that it was the file that could not be written, which whoever writes to it does not know by name.
struct Watched {
    to: File,
    failed: Option<i32>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.failed = error.raw_os_error();
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A name in the same folder that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
