//! `minidock run`.

use std::os::unix::process::CommandExt;

use clap::Args;
use minidock_engine::{Bounds, Error, RunRequest, Warning};

use super::common::eprint_line;
use crate::bounds::BoundFlags;
use crate::container::{ContainerFlags, Pull, Typed, wishes};
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
    #[command(flatten)]
    pub bounds: BoundFlags,
}

/// Set for the process that replaces this one after an implicit pull, so that it never pulls again.
const PULLED: &str = "MINIDOCK_PULLED";

/// `minidock run`. Every failure of minidock itself has exit code 125, 126 or 127.
pub fn run(place: &Place, args: RunArgs) -> Result<u8, Failure> {
    run_typed(place, args).map_err(|failure| match failure.exit_code() {
        126 | 127 => failure,
        _ => failure.code(125),
    })
}

fn run_typed(place: &Place, args: RunArgs) -> Result<u8, Failure> {
    let bounds = args.bounds.bounds()?;
    let typed = wishes("run", args.container)?;
    let (pull, quiet) = (typed.pull, typed.quiet);
    let request = request(typed);
    if let Some(path) = request.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(Error::IdFile(path.clone()).into());
    }
    let pulled = std::env::var_os(PULLED).is_some();
    if pull == Pull::Always && !pulled {
        return pull_and_rerun(place, &request, quiet, bounds);
    }
    let engine = place.engine()?;
    let print_id = !request.attach[1] && !request.attach[2];
    let tell = |warning| match warning {
        Warning::Host(note) => eprint_line(&format!("minidock: note: {note}")),
        Warning::ForeignPlatform { image, host } => eprint_line(&format!(
            "WARNING: The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific platform was requested"
        )),
        Warning::Created(id) if print_id => {
            // A reader that went away does not stop the container.
            let _ = super::common::print(&format!("{id}\n"));
        }
        Warning::Created(_) => {}
    };
    let mut result = engine.run(&request, &tell);
    if let Err(Error::ImageNotFound(image)) = &result
        && let Some(image) = super::pull::searched(place, &engine, image)?
    {
        let request = RunRequest {
            image,
            ..request.clone()
        };
        result = engine.run(&request, &tell);
    }
    match result {
        Err(Error::ImageNotFound(_)) if pull == Pull::Missing && !pulled => {
            drop(engine);
            let reference = super::common::reference(&request.image)?;
            if !quiet {
                eprint_line(&format!(
                    "Unable to find image '{}' locally",
                    reference.familiar()
                ));
            }
            pull_and_rerun(place, &request, quiet, bounds)
        }
        result => result.map_err(|error| {
            let code = error.run_exit_code();
            Failure::from(error).code(code)
        }),
    }
}

/// Pulls the image and runs minidock anew: a container is only ever started by a process that never
/// had a second thread.
fn pull_and_rerun(
    place: &Place,
    request: &RunRequest,
    quiet: bool,
    bounds: Bounds,
) -> Result<u8, Failure> {
    super::pull::for_run(
        place,
        &request.image,
        request.platform.as_ref(),
        quiet,
        bounds,
    )?;
    let error = std::process::Command::new("/proc/self/exe")
        .arg0("minidock")
        .args(std::env::args_os().skip(1))
        .env(PULLED, "1")
        .exec();
    Err(Failure::new("cannot run minidock anew after the pull").caused_by(error))
}

fn request(typed: Typed) -> RunRequest {
    RunRequest {
        image: typed.image,
        wishes: typed.wishes,
        name: typed.name,
        auto_remove: typed.auto_remove,
        kept: false,
        interactive: typed.interactive,
        attach: typed.attach,
        cidfile: typed.cidfile,
        platform: typed.platform,
    }
}
