//! `minidock run`.

use std::os::unix::process::CommandExt;

use clap::Args;
use minidock_engine::{Bounds, Engine, Error, RunRequest, Warning};

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
pub const PULLED: &str = "MINIDOCK_PULLED";

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
    let with = With::new(typed, bounds);
    let detach = with.request.detach;
    let print_id = detach || !with.request.attach[1] && !with.request.attach[2];
    with_image(place, with, &|engine, request| {
        engine.run(request, &tell(print_id))
    })
}

/// Words for the user: whatever a container's start has to say. Its id is printed where nothing else of it is.
pub fn tell(print_id: bool) -> impl Fn(Warning) {
    move |warning| match warning {
        Warning::Host(note) => eprint_line(&format!("minidock: note: {note}")),
        Warning::ForeignPlatform { image, host } => eprint_line(&format!(
            "WARNING: The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific platform was requested"
        )),
        Warning::Started(id) if print_id => {
            // A reader that went away does not stop the container.
            let _ = super::common::print(&format!("{id}\n"));
        }
        Warning::Started(_) => {}
    }
}

/// A container that is to be made, and what to do where its image is not there.
pub struct With {
    pub request: RunRequest,
    pull: Pull,
    quiet: bool,
    bounds: Bounds,
}

impl With {
    pub fn new(typed: Typed, bounds: Bounds) -> Self {
        let (pull, quiet) = (typed.pull, typed.quiet);
        Self {
            request: request(typed),
            pull,
            quiet,
            bounds,
        }
    }
}

/// Does something for which an image has to be there: where it is not, and may be pulled, it is.
pub fn with_image(
    place: &Place,
    with: With,
    act: &dyn Fn(&Engine, &RunRequest) -> Result<u8, Error>,
) -> Result<u8, Failure> {
    let With {
        request,
        pull,
        quiet,
        bounds,
    } = with;
    if let Some(path) = request.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(Error::IdFile(path.clone()).into());
    }
    let pulled = std::env::var_os(PULLED).is_some();
    if pull == Pull::Always && !pulled {
        return pull_and_rerun(place, &request, quiet, bounds);
    }
    let engine = place.engine()?;
    let mut result = act(&engine, &request);
    if let Err(Error::ImageNotFound(image)) = &result
        && let Some(image) = super::pull::searched(place, &engine, image)?
    {
        let request = RunRequest {
            image,
            ..request.clone()
        };
        result = act(&engine, &request);
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
        starts: true,
        detach: typed.detach,
        detach_keys: typed.detach_keys,
        signals: typed.signals,
        interactive: typed.interactive,
        attach: typed.attach,
        cidfile: typed.cidfile,
        platform: typed.platform,
    }
}
