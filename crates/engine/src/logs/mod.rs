//! What containers say: written by whoever supervises them, to be read by `logs`.
//!
//! # Files
//! ```text
//! containers/<id>/container-json.log       what is being written
//! containers/<id>/container-json.log.7     rotated away; a larger number is newer
//! containers/<id>/container-json.log.6.gz  the same, compressed
//! ```
//! A line is what Docker's `json-file` driver writes: `{"log":"text\n","stream":"stdout","time":"…"}`, with `"attrs"` where
//! labels, variables or a tag are to be kept, so that whatever collects Docker's logs reads these. Keys of ours are added
//! only where Docker would lose something:
//!
//! | key | meaning |
//! |---|---|
//! | `"bytes"` | the exact bytes in base64, where they are not UTF-8; `"log"` then has U+FFFD for what is not |
//! | `"continues"` | `true` where this goes on with the line that the stream's last piece left without an end |
//! | `"lost"` | how many bytes of the stream could not be written before this (a full disk); `"log"` is empty |
//!
//! # Pieces
//! A supervisor hands over what read(2) gave it, and all of it is in the file when [`LogWriter::write`] returns: what is no whole
//! line (a prompt) becomes a piece without a line's end, as Docker's pieces of long lines are. Docker itself waits for the
//! end. Only up to three bytes of a character that is not complete are kept back, and only where the text came in a block
//! as large as stdio's: it was cut by a buffer then, and goes on.
//!
//! # When it cannot be written
//! A container never fails or waits because of its log. What the disk does not take is counted, and told when it takes
//! something again, in the place where it is missing; a line that was written in part is ended, and skipped by readers. The
//! stream goes on with a whole line.
//!
//! # Bounds
//! There are none unless `max-size` is given, as in Docker: a default would silently lose what somebody counts on, and a full
//! disk is no disaster here. `local`, Docker's driver with bounds of its own, is taken as `json-file` with those bounds.
//!
//! # Rotation
//! Rotated files have numbers that never change, so that a reader knows which is next. A reader holds a shared lock on the
//! file that it reads; a file that is due to be deleted stays while it, or an older one, is locked. So a reader that follows
//! loses nothing however quickly files are rotated. Since a reader may be stopped for ever, it stays only up to a bound of
//! [`SURPLUS_BYTES`], and not when the disk is full.
//!
//! # Not there yet
//! Reading more than a line ([`LogEntry`]), and `logs`; compressing (rotated files stay as they are); `journald` (opening such a log is an error); of what is
//! kept beside the text, `labels-regex`, `env-regex` and `tag`. No flag leads here before those do what they say.

mod attributes;
mod entry;
mod files;
mod json_file;
mod line;
mod moment;
mod options;
mod pieces;
mod writer;

use std::path::PathBuf;

pub use entry::LogEntry;
pub use files::SURPLUS_BYTES;
pub use minidock_run::Stream;
pub use options::{LogDriver, LogOptions};
pub use writer::{LogSubject, LogWriter};

/// What goes wrong with logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such driver.
    #[error("logger: no log driver named '{0}' is registered")]
    NoDriver(String),
    /// `none` has no options.
    #[error("invalid logging opts for driver none")]
    OptionsOfNone,
    /// The driver has no such option.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    UnknownOption {
        /// The option.
        option: String,
        /// The driver.
        driver: LogDriver,
    },
    /// An option's value makes no sense.
    #[error("invalid value for log opt '{option}': {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A file of the log cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl LogError {
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDriver(_) => Some("json-file, local, journald and none are there".to_owned()),
            Self::UnknownOption { driver, .. } => {
                let names = options::names(*driver);
                Some(format!("it has {}", names.join(", ")))
            }
            _ => None,
        }
    }
}
