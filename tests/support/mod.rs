//! What the scenarios share: who runs minidock, where, on which images, and how its output is read.

mod context;
mod images;
mod output;
mod registry;
mod terminal;

pub use context::{Caller, Context, Running, monitor_of, refused, scenario};
pub use images::{
    ImageTar, Layer, fixtures, layout_manifest, layout_tar, members, piped, repository, saved,
    sha256, shared, tarball,
};
pub use output::Output;
pub use registry::DockerRegistry;
pub use terminal::Terminal;

use std::io::Write;
use std::time::Duration;

/// How long anything may take before a test calls it hung. Nothing is measured with it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Says why something cannot be tested here. Where `MINIDOCK_TEST_MUST_WORK=1` that is a failure.
pub fn skip(why: &str) {
    let must_work = std::env::var("MINIDOCK_TEST_MUST_WORK").is_ok_and(|value| value == "1");
    assert!(!must_work, "everything must work here, but {why}");
    let test = std::thread::current();
    say(&format!(
        "skipped {}: {why}",
        test.name().unwrap_or("a test")
    ));
}

/// Prints past the capture of passing tests' output.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes each function `fn name(cx: &Context)` two tests: one as an ordinary user, one as root.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod ordinary_user {
            $(#[test]
            fn $name() {
                crate::support::scenario(crate::support::Caller::Ordinary, super::$name);
            })+
        }
        mod root {
            $(#[test]
            fn $name() {
                crate::support::scenario(crate::support::Caller::Root, super::$name);
            })+
        }
    };
}
pub(crate) use scenarios;
