//! `minidock cp`.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;
use minidock_engine::{Copied, CopyOptions, Inside};

use crate::failure::Failure;
use crate::output_file::write_to;
use crate::place::Place;
use crate::units;

#[derive(Debug, Args)]
#[command(
    override_usage = "minidock cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       minidock cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    after_help = "Use '-' as the source to read a tar archive from standard input and extract it to a directory \
                  destination in a container. Use '-' as the destination to stream a tar archive of a container \
                  source to standard output."
)]
pub struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    pub quiet: bool,
    /// CONTAINER:PATH, a path of this machine, or -
    #[arg(value_name = "SRC_PATH")]
    pub from: OsString,
    /// A path of this machine, CONTAINER:PATH, or -
    #[arg(value_name = "DEST_PATH")]
    pub to: OsString,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End<'a> {
    Here(&'a OsStr),
    Stream,
    Container(&'a str, &'a [u8]),
}

/// `NAME:PATH` is in a container, unless it begins like a path; everything else is here.
fn end(text: &OsStr) -> Result<End<'_>, Failure> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(End::Stream);
    }
    match bytes.iter().position(|b| *b == b':') {
        Some(at) if at > 0 && !bytes.starts_with(b"/") && !bytes.starts_with(b".") => {
            let name = std::str::from_utf8(&bytes[..at])
                .map_err(|_| Failure::new(format!("no such container: {}", text.display())))?;
            Ok(End::Container(name, &bytes[at + 1..]))
        }
        _ => Ok(End::Here(text)),
    }
}

/// `minidock cp`.
pub fn cp(place: &Place, args: CpArgs) -> Result<u8, Failure> {
    let options = CopyOptions {
        archive: args.archive,
        follow: args.follow_link,
    };
    let (from, to) = (end(&args.from)?, end(&args.to)?);
    let copied = match (from, to) {
        (End::Container(..), End::Container(..)) => {
            return Err(Failure::new("copying between containers is not supported"));
        }
        (End::Container(container, path), to) => {
            let from = Inside {
                container,
                path: not_empty(path)?,
            };
            match to {
                End::Stream => {
                    write_to(None, "copy", |out| {
                        Ok(place.engine()?.copy_out_tar(&from, out, options)?)
                    })?;
                    return Ok(0);
                }
                End::Here(path) => place.engine()?.copy_out(&from, Path::new(path), options)?,
                End::Container(..) => Copied::default(),
            }
        }
        (from, End::Container(container, path)) => {
            let to = Inside {
                container,
                path: not_empty(path)?,
            };
            match from {
                End::Stream => place.engine()?.copy_in_tar(std::io::stdin(), &to)?,
                End::Here(path) => place.engine()?.copy_in(Path::new(path), &to, options)?,
                End::Container(..) => Copied::default(),
            }
        }
        _ => {
            return Err(Failure::new("must specify at least one container source")
                .hint("a path in a container is CONTAINER:PATH"));
        }
    };
    tell(&args, copied)?;
    Ok(0)
}

fn not_empty(path: &[u8]) -> Result<&[u8], Failure> {
    if path.is_empty() {
        return Err(Failure::new("the path in the container is missing")
            .hint("`CONTAINER:/` is the container's root folder"));
    }
    Ok(path)
}

/// What Docker says on a terminal, and what should not be missed.
fn tell(args: &CpArgs, copied: Copied) -> Result<(), Failure> {
    let mut err = std::io::stderr();
    if copied.not_given > 0 {
        writeln!(
            err,
            "minidock: note: {} files belong to you: only root may give files to others",
            copied.not_given
        )?;
    }
    if !args.quiet && std::io::stdout().is_terminal() {
        writeln!(
            err,
            "Successfully copied {} to {}",
            units::size(copied.bytes),
            args.to.display()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart_as_docker_does() {
        for (text, expected) in [
            ("-", End::Stream),
            ("c:/x", End::Container("c", b"/x")),
            ("c:x:y", End::Container("c", b"x:y")),
            ("c:", End::Container("c", b"")),
            ("/a:b", End::Here(OsStr::new("/a:b"))),
            ("./a:b", End::Here(OsStr::new("./a:b"))),
            ("file", End::Here(OsStr::new("file"))),
            (":x", End::Here(OsStr::new(":x"))),
        ] {
            assert_eq!(end(OsStr::new(text)).ok(), Some(expected), "{text}");
        }
    }
}
