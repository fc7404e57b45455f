//! `minidock version`.

use clap::Args;

use super::common::print;
use crate::failure::Failure;
use crate::format::json::{Json, Object};
use crate::format::parsing;
use crate::format::template::Template;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `minidock version`. There is no daemon: client and server are one program.
pub fn version(_place: &Place, args: VersionArgs) -> Result<u8, Failure> {
    let text = match args.format.as_deref() {
        None | Some("") => format!(
            "Client:\n Version:    {}\n OS/Arch:    {}/{}\n\nServer: none is needed\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            architecture()
        ),
        Some("json") => object().compact() + "\n",
        Some(format) => {
            let template =
                Template::parse(format, &[]).map_err(|fault| parsing(&fault).code(64))?;
            let text = template.render(&object());
            text.map_err(|fault| parsing(&fault))? + "\n"
        }
    };
    print(&text)?;
    Ok(0)
}

/// Go's word.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn object() -> Json {
    let side = || {
        let text = |t: &str| Json::Text(t.to_owned());
        Json::from(
            Object::new()
                .with("Version", text(env!("CARGO_PKG_VERSION")))
                .with("Os", text(std::env::consts::OS))
                .with("Arch", text(architecture())),
        )
    };
    Object::new()
        .with("Client", side())
        .with("Server", side())
        .into()
}
