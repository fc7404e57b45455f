//! One function a verb: arguments to a request, values and events to words.

mod images;
mod pull;
mod run;

use std::io::{self, Write};

use minidock_engine::Removed;
use minidock_engine::oci::Platform;

use crate::args::{LoadArgs, PsArgs, RmArgs, RmiArgs};
use crate::failure::Failure;
use crate::output::table;
use crate::place::Place;
use crate::units;

pub use images::images;
pub use pull::pull;
pub use run::run;

/// Prints to standard output; a reader that went away ends the program quietly.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// `--platform`, or this machine.
fn platform(given: Option<&str>) -> Result<Platform, Failure> {
    match given {
        Some(text) => text
            .parse()
            .map_err(|e: minidock_engine::oci::PlatformError| Failure::usage(e.to_string())),
        None => Ok(Platform::host()),
    }
}

/// Does the same to several subjects: each failure is told, the others are still done.
fn each(
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

/// `minidock load`.
pub fn load(place: &Place, args: &LoadArgs) -> Result<u8, Failure> {
    let platform = platform(args.platform.as_deref())?;
    let loaded = match &args.input {
        Some(path) => {
            let failed = |e| Failure::new(format!("cannot open {}", path.display())).caused_by(e);
            let file = std::fs::File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(Failure::new(format!(
                    "{} is a folder, not a tar archive",
                    path.display()
                )));
            }
            place.engine()?.load(file, &platform)
        }
        None => {
            let stdin = io::stdin();
            if io::IsTerminal::is_terminal(&stdin) {
                return Err(
                    Failure::usage("requested load from stdin, but stdin is a terminal")
                        .hint("name a file with -i, or pipe an archive in"),
                );
            }
            place.engine()?.load(stdin, &platform)
        }
    }?;
    for image in loaded {
        if args.quiet {
            continue;
        }
        match image.reference {
            Some(reference) => print(&format!("Loaded image: {}\n", reference.familiar()))?,
            None => print(&format!("Loaded image ID: {}\n", image.image_id))?,
        }
    }
    Ok(0)
}

/// `minidock rmi`.
pub fn rmi(place: &Place, args: &RmiArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    each(&args.images, |image| {
        let mut text = String::new();
        for removed in engine.remove_image(image, args.force)? {
            match removed {
                Removed::Untagged(name) => text.push_str(&format!("Untagged: {name}\n")),
                Removed::Deleted(digest) => text.push_str(&format!("Deleted: {digest}\n")),
            }
        }
        print(&text)
    })
}

/// `minidock rm`.
pub fn rm(place: &Place, args: &RmArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    each(&args.containers, |container| {
        engine.remove_container(container, args.force)?;
        print(&format!("{container}\n"))
    })
}

/// `minidock ps`.
pub fn ps(place: &Place, args: &PsArgs) -> Result<u8, Failure> {
    let now = units::now();
    let cut = |id: &str, length: usize| {
        if args.no_trunc || id.chars().count() <= length {
            id.to_owned()
        } else {
            id.chars().take(length).collect()
        }
    };
    let header = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut ids = String::new();
    for line in place.engine()?.containers()? {
        if !line.running && !args.all {
            continue;
        }
        let state = &line.state;
        ids.push_str(&format!("{}\n", cut(&state.id, 12)));
        let command = state.command.join(" ");
        let command = if !args.no_trunc && command.chars().count() > 20 {
            format!("\"{}…\"", command.chars().take(19).collect::<String>())
        } else {
            format!("\"{command}\"")
        };
        let ago = |at: u64| units::duration(now.saturating_sub(at));
        let status = match (line.running, state.exit_code, state.finished) {
            (true, ..) => format!("Up {}", ago(state.created)),
            (false, Some(code), Some(at)) => format!("Exited ({code}) {} ago", ago(at)),
            (false, ..) if state.pid.is_none() => "Created".to_owned(),
            // Nobody was left to see how it ended.
            (false, ..) => "Exited (unknown)".to_owned(),
        };
        rows.push(vec![
            cut(&state.id, 12),
            state.image.clone(),
            command,
            format!("{} ago", ago(state.created)),
            status,
            String::new(),
            state.name.clone(),
        ]);
    }
    print(&if args.quiet { ids } else { table(&rows) })?;
    Ok(0)
}
