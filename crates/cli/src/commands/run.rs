//! `minidock run`.

use std::os::unix::process::CommandExt;

use clap::Args;
use minidock_engine::oci::Reference;
use minidock_engine::{Error, RunRequest, Warning};

use crate::container::{ContainerFlags, wishes};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
#[command(
    override_usage = "minidock run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "A container has a network namespace of its own with nothing but the loopback \
                  interface, unless --network host is given."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub container: ContainerFlags,
}

/// Set for the process that replaces this one after an implicit pull, so that it never pulls again.
const PULLED: &str = "MINIDOCK_PULLED";

/// `minidock run`. Every failure of minidock itself has exit code 125, 126 or 127.
pub fn run(place: &Place, args: RunArgs) -> Result<u8, Failure> {
    let request = request(args).map_err(|f| f.code(125))?;
    let engine = place.engine().map_err(|f| f.code(125))?;
    let warn = |warning| match warning {
        Warning::Host(note) => eprint_line(&format!("minidock: note: {note}")),
        Warning::ForeignPlatform { image, host } => eprint_line(&format!(
            "WARNING: The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific platform was requested"
        )),
    };
    let mut result = engine.run(&request, &warn);
    if let Err(Error::ImageNotFound(image)) = &result
        && let Some(image) = super::pull::searched(place, &engine, image)?
    {
        let request = RunRequest {
            image,
            ..request.clone()
        };
        result = engine.run(&request, &warn);
    }
    match result {
        Err(Error::ImageNotFound(_)) if std::env::var_os(PULLED).is_none() => {
            drop(engine);
            pull_and_rerun(place, &request).map_err(|f| f.code(125))
        }
        result => result.map_err(|error| {
            let code = error.run_exit_code();
            Failure::from(error).code(code)
        }),
    }
}

/// Pulls the image and runs minidock anew: a container is only ever started by a process that never
/// had a second thread.
fn pull_and_rerun(place: &Place, request: &RunRequest) -> Result<u8, Failure> {
    let reference: Reference = request
        .image
        .parse()
        .map_err(|e: minidock_engine::oci::ReferenceError| Failure::new(e.to_string()))?;
    eprint_line(&format!(
        "Unable to find image '{}' locally",
        reference.familiar()
    ));
    super::pull::for_run(place, &request.image, request.platform.as_ref())?;
    let error = std::process::Command::new("/proc/self/exe")
        .arg0("minidock")
        .args(std::env::args_os().skip(1))
        .env(PULLED, "1")
        .exec();
    Err(Failure::new("cannot run minidock anew after the pull").caused_by(error))
}

fn eprint_line(text: &str) {
    use std::io::Write;
    // Nothing is left to tell that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn request(args: RunArgs) -> Result<RunRequest, Failure> {
    let typed = wishes("run", args.container)?;
    Ok(RunRequest {
        image: typed.image,
        wishes: typed.wishes,
        name: typed.name,
        auto_remove: typed.auto_remove,
        interactive: typed.interactive,
        platform: typed.platform,
    })
}
