//! `minidock inspect`, and that of images and containers.

use clap::Args;
use minidock_engine::{Engine, Error, PullOptions, StoreError, inspect_remote};

use super::common::{not_a_reference, platform, print};
use super::remote::weather;
use crate::failure::Failure;
use crate::format::json::Json;
use crate::format::parsing;
use crate::format::template::Template;
use crate::output::for_stdout;
use crate::place::Place;
use crate::shape;

#[derive(Debug, Args)]
pub struct ImageInspectArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Of this platform, if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Ask the image's registry instead of the store; no layer is pulled
    #[arg(long)]
    pub remote: bool,
    /// Image names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerInspectArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    pub size: bool,
    /// Container names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Display total file sizes of containers
    #[arg(short, long)]
    pub size: bool,
    /// Only look for this: container, image or volume
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME|ID")]
    pub objects: Vec<String>,
}

/// From a name to what `inspect` shows.
type Finder<'a> = Box<dyn Fn(&str) -> Result<Json, Failure> + 'a>;

/// `minidock inspect`.
pub fn inspect(place: &Place, args: InspectArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    let size = args.size;
    let find: Finder<'_> = match args.kind.as_deref() {
        None | Some("") => Box::new(|name| anything(&engine, name, size)),
        Some("container") => Box::new(|name| container(&engine, name, size)),
        Some("image") => Box::new(|name| image(&engine, name)),
        Some("volume") => Box::new(|name| volume(&engine, name)),
        Some(kind) => {
            return Err(Failure::new(format!(
                "unknown type: {kind:?}: must be one of \"container\", \"image\", \"volume\""
            )));
        }
    };
    show(&args.objects, args.format.as_deref(), find)
}

/// `minidock container inspect`.
pub fn inspect_containers(place: &Place, args: ContainerInspectArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    let find = |name: &str| container(&engine, name, args.size);
    show(&args.containers, args.format.as_deref(), find)
}

fn container(engine: &Engine, name: &str, size: bool) -> Result<Json, Failure> {
    Ok(shape::container(&engine.inspect_container(name, size)?))
}

/// A volume.
pub fn volume(engine: &Engine, name: &str) -> Result<Json, Failure> {
    Ok(Json::from(&super::volume::json(&engine.volume(name)?)))
}

/// Whatever has that name: a container, else an image, else a volume.
fn anything(engine: &Engine, name: &str, size: bool) -> Result<Json, Failure> {
    match engine.inspect_container(name, size) {
        Err(Error::Store(StoreError::NoSuchContainer(_))) => {}
        found => return Ok(shape::container(&found?)),
    }
    match engine.inspect_image(name, None) {
        Err(Error::Store(StoreError::NoSuchImage(_)) | Error::ImageNotFound(_)) => {}
        found => return Ok(shape::image(&found?)),
    }
    match engine.volume(name) {
        Err(Error::Store(StoreError::NoSuchVolume(_))) => {
            Err(Failure::new(format!("no such object: {name}")))
        }
        found => Ok(Json::from(&super::volume::json(&found?))),
    }
}

/// `minidock image inspect`.
pub fn inspect_images(place: &Place, args: ImageInspectArgs) -> Result<u8, Failure> {
    let wanted = args.platform.as_deref();
    let wanted = wanted.map(|text| platform(Some(text))).transpose()?;
    let format = args.format.as_deref();
    if args.remote {
        let options = PullOptions {
            platform: wanted,
            ..place.pull_options()?
        };
        return show(&args.images, format, |name| remote(name, &options));
    }
    let engine = place.engine()?;
    show(&args.images, format, |name| {
        Ok(shape::image(&engine.inspect_image(name, wanted.as_ref())?))
    })
}

/// An image at the first of the registries that its name may mean and that has it.
fn remote(name: &str, options: &PullOptions) -> Result<Json, Failure> {
    let candidates = options.registries.candidates(name);
    let candidates = candidates.map_err(not_a_reference)?;
    let mut last = Failure::new(format!("no registry is named for {name}"));
    for candidate in candidates {
        match inspect_remote(&candidate, options, &weather()) {
            Ok(details) => return Ok(shape::image(&details)),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn image(engine: &Engine, name: &str) -> Result<Json, Failure> {
    Ok(shape::image(&engine.inspect_image(name, None)?))
}

/// Shows what was found, then tells what was not.
pub fn show(
    names: &[String],
    format: Option<&str>,
    find: impl Fn(&str) -> Result<Json, Failure>,
) -> Result<u8, Failure> {
    let format = format.filter(|f| !f.is_empty());
    let template = match format {
        Some(format) if format != "json" => {
            // Docker's exit status for a template that does not parse.
            let template = Template::parse(format, &[]);
            Some(template.map_err(|fault| parsing(&fault).code(64))?)
        }
        _ => None,
    };
    let mut objects = Vec::new();
    let mut failures = Vec::new();
    let mut text = String::new();
    for name in names {
        match (find(name), &template) {
            (Ok(object), None) => objects.push(object),
            (Ok(object), Some(template)) => match template.render(&object) {
                Ok(line) => text += &(line + "\n"),
                Err(fault) => {
                    print(&for_stdout(text + "\n"))?;
                    return Err(parsing(&fault));
                }
            },
            (Err(failure), _) => failures.push(failure),
        }
    }
    if template.is_none() {
        let list = Json::List(objects);
        text = if format.is_some() {
            list.compact()
        } else {
            list.pretty()
        };
        text.push('\n');
    }
    print(&for_stdout(text))?;
    failures.iter().for_each(Failure::report);
    Ok(failures.first().map_or(0, Failure::exit_code))
}
