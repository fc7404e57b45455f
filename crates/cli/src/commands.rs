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
    let (from, loaded) = match &args.input {
        Some(path) => {
            let failed = |e| Failure::new(format!("cannot open {}", path.display())).caused_by(e);
            let file = std::fs::File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(Failure::new(format!(
                    "{} is a folder, not a tar archive",
                    path.display()
                )));
            }
            (
                path.display().to_string(),
                place.engine()?.load(file, &platform),
            )
        }
        None => {
            let stdin = io::stdin();
            if io::IsTerminal::is_terminal(&stdin) {
                return Err(
                    Failure::usage("requested load from stdin, but stdin is a terminal")
                        .hint("name a file with -i, or pipe an archive in"),
                );
            }
            (
                "standard input".to_owned(),
                place.engine()?.load(stdin, &platform),
            )
        }
    };
    let loaded =
        loaded.map_err(|e| Failure::from(e).while_trying(format!("cannot load {from}")))?;
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
        let command = shown_command(&state.command, args.no_trunc);
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

/// Program and arguments as Docker shows them: arguments with spaces in single quotes, all of it in double ones.
fn shown_command(words: &[String], whole: bool) -> String {
    let quoted = words.iter().enumerate().map(|(i, word)| match i {
        1.. if word.contains(' ') => format!("'{word}'"),
        _ => word.clone(),
    });
    let command = quoted.collect::<Vec<_>>().join(" ");
    if whole || command.chars().count() <= 20 {
        return format!("{command:?}");
    }
    format!(
        "{:?}",
        command.chars().take(19).chain(['…']).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_docker_shows_them() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(shown_command(&words(&["sh"]), false), "\"sh\"");
        let long = words(&["/bin/sh", "-c", "echo $GREETING from here"]);
        assert_eq!(shown_command(&long, false), "\"/bin/sh -c 'echo $G…\"");
        assert_eq!(
            shown_command(&long, true),
            "\"/bin/sh -c 'echo $GREETING from here'\""
        );
    }
}
