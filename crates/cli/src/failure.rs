//! How a failure is told: `minidock: what`, then `caused by:` lines, then `hint:`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// A failure on its way to the screen and the exit code.
#[derive(Debug)]
pub struct Failure {
    message: String,
    cause: Option<Box<dyn Error>>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A failure with a text of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            hint: None,
            code: 1,
        }
    }

    /// Says what was being done; what was the message becomes the first cause.
    #[must_use]
    pub fn while_trying(mut self, what: impl Into<String>) -> Self {
        self.message = what.into();
        self
    }

    /// Bad usage: exit code 125.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).code(125)
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// What failed, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether all that happened is that the reader of our output went away.
    pub fn is_broken_pipe(&self) -> bool {
        let mut cause = self.cause.as_deref();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.kind() == io::ErrorKind::BrokenPipe
                && self.message == WRITING
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Prints it to standard error.
    pub fn report(&self) {
        // Nothing is left to tell that standard error is gone.
        let _ = io::stderr().write_all(self.render().as_bytes());
    }

    fn render(&self) -> String {
        let mut text = format!("minidock: {}\n", self.message);
        let mut last = self.message.clone();
        let mut cause = self.cause.as_deref();
        while let Some(error) = cause {
            let line = error.to_string();
            // Transparent wrappers repeat what was said.
            if line != last {
                let _ = writeln!(text, "caused by: {line}");
            }
            last = line;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        // Texts from registries and images may hold what would steer a terminal.
        text.chars()
            .map(|c| {
                if c.is_control() && c != '\n' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect()
    }
}

const WRITING: &str = "cannot write the output";

impl From<io::Error> for Failure {
    /// The only bare I/O of the command line is its own output.
    fn from(error: io::Error) -> Self {
        Self::new(WRITING).caused_by(error)
    }
}

impl From<minidock_engine::Error> for Failure {
    fn from(error: minidock_engine::Error) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
            cause: Some(Box::new(error)),
            code: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_each_cause_once_and_the_hint_last() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("cannot read x")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::new("cannot read x")
            .caused_by(Outer(io::Error::other("bad\x1b[31m")))
            .hint("try y");
        assert_eq!(
            failure.render(),
            "minidock: cannot read x\ncaused by: bad\u{fffd}[31m\nhint: try y\n"
        );
    }
}
