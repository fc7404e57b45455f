//! What several verbs need.

use std::io::{self, Write};

use minidock_engine::oci::{Platform, Reference, ReferenceError};

use crate::failure::Failure;

/// Prints to standard output; a reader that went away ends the program quietly.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Tells the user something that is no answer.
pub fn eprint_line(text: &str) {
    // Nothing is left to tell that standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// `--platform`, or this machine.
pub fn platform(given: Option<&str>) -> Result<Platform, Failure> {
    match given {
        Some(text) => text
            .parse()
            .map_err(|e: minidock_engine::oci::PlatformError| Failure::usage(e.to_string())),
        None => Ok(Platform::host()),
    }
}

/// A reference as it was typed.
pub fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(not_a_reference)
}

/// Why a text is no reference.
pub fn not_a_reference(error: ReferenceError) -> Failure {
    Failure::new(error.to_string()).caused_by(error)
}

/// Does the same to several subjects: each failure is told, the others are still done.
pub fn each(
    subjects: &[String],
    mut act: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for subject in subjects {
        match act(subject) {
            Ok(()) => {}
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            Err(failure) => {
                failure.report();
                code = failure.exit_code();
            }
        }
    }
    Ok(code)
}

/// The name that a new image is to have: no digest, that is not ours to choose.
pub fn image_name(text: &str) -> Result<Reference, Failure> {
    let reference = reference(text)?;
    if reference.digest().is_some() {
        return Err(Failure::new(format!(
            "cannot give an image the name {text:?}: a digest follows from its content"
        )));
    }
    Ok(reference)
}
