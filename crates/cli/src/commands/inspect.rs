//! `minidock inspect` and `minidock image inspect`.

use clap::Args;
use minidock_engine::Engine;

use super::common::print;
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
    /// Image names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `minidock image inspect`.
pub fn inspect_images(place: &Place, args: ImageInspectArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    show(&args.images, args.format.as_deref(), |name| {
        image(&engine, name)
    })
}

fn image(engine: &Engine, name: &str) -> Result<Json, Failure> {
    Ok(shape::image(&engine.inspect_image(name)?))
}

/// Shows what was found, then tells what was not.
fn show(
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
