//! What a supervisor calls.

use std::collections::BTreeMap;
use std::path::Path;

use super::json_file::JsonFile;
use super::options::Settings;
use super::{LogDriver, LogError, LogOptions, Stream, attributes};

/// Whose log it is.
#[derive(Clone, Copy, Debug)]
pub struct LogSubject<'a> {
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The image as the user wrote it.
    pub image: &'a str,
    /// The image's id, `sha256:…`.
    pub image_id: &'a str,
    /// Program and arguments.
    pub command: &'a [String],
    /// Labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The environment inside, `NAME=value`.
    pub env: &'a [String],
}

/// Where a container's output goes.
#[derive(Debug)]
pub struct LogWriter(Driver);

#[derive(Debug)]
enum Driver {
    None,
    JsonFile(Box<JsonFile>),
}

impl LogWriter {
    /// Opens the log of the container whose folder this is, for a start or a restart: what is there stays.
    ///
    /// # Errors
    /// When the options make no sense, or the log cannot be opened.
    pub fn open(
        folder: &Path,
        options: &LogOptions,
        subject: &LogSubject<'_>,
    ) -> Result<Self, LogError> {
        let settings: Settings = options.settings()?;
        let driver = match options.driver {
            LogDriver::None => Driver::None,
            LogDriver::JsonFile | LogDriver::Local => {
                let attributes = attributes::json(&settings, subject)?;
                Driver::JsonFile(Box::new(JsonFile::open(folder, &settings, attributes)?))
            }
            LogDriver::Journald => return Err(LogError::NoDriver("journald".to_owned())),
        };
        Ok(Self(driver))
    }

    /// Keeps what a stream brought, as it came from read(2). It is where readers see it when this returns.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match &mut self.0 {
            Driver::None => {}
            Driver::JsonFile(file) => file.write(stream, bytes),
        }
    }

    /// Says that the streams have ended. The same writer may be used for the container's next run.
    pub fn finish(&mut self) {
        match &mut self.0 {
            Driver::None => {}
            Driver::JsonFile(file) => file.finish(),
        }
    }
}
