//! `minidock rmi`.

use clap::Args;
use minidock_engine::Removed;

use super::common::{each, platform, print};
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Remove also what has several names or is used by stopped containers
    #[arg(short, long)]
    pub force: bool,
    /// Do not delete untagged parents (there are none)
    #[arg(long)]
    pub no_prune: bool,
    /// Remove only the image for this platform, if the name stands for several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Image names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `minidock rmi`. With force, what is not there is told and is no failure, as in Docker.
pub fn rmi(place: &Place, args: RmiArgs) -> Result<u8, Failure> {
    let wanted = args.platform.as_deref();
    let wanted = wanted.map(|text| platform(Some(text))).transpose()?;
    let engine = place.engine()?;
    each(&args.images, |image| {
        let mut text = String::new();
        let removed = match &wanted {
            Some(platform) => engine.remove_platform(image, platform, args.force),
            None => engine.remove_image(image, args.force),
        };
        let removed = match removed {
            Err(error) if error.is_no_such_image() && args.force => {
                Failure::from(error).report();
                return Ok(());
            }
            removed => removed?,
        };
        for removed in removed {
            match removed {
                Removed::Untagged(name) => text.push_str(&format!("Untagged: {name}\n")),
                Removed::Deleted(digest) => text.push_str(&format!("Deleted: {digest}\n")),
            }
        }
        print(&text)
    })
}
