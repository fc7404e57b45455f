//! A failure of a container's monitor, on its way to whoever started it.

use serde::{Deserialize, Serialize};

use crate::Error;

/// What the monitor failed with: the words are kept, for its error is another process's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    message: String,
    /// The causes, one below the other.
    cause: Option<Box<Cause>>,
    hint: Option<String>,
    exit_code: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cause {
    message: String,
    cause: Option<Box<Cause>>,
}

impl Refusal {
    pub(crate) fn new(error: &Error) -> Self {
        fn causes(error: Option<&(dyn std::error::Error + 'static)>) -> Option<Box<Cause>> {
            let error = error?;
            Some(Box::new(Cause {
                message: error.to_string(),
                cause: causes(error.source()),
            }))
        }
        Self {
            message: error.to_string(),
            cause: causes(std::error::Error::source(error)),
            hint: error.hint(),
            exit_code: error.run_exit_code(),
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
