//! What can go wrong, in the caller's words.

/// A Spec that cannot become a plan: found before anything is started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The Spec asks for something that this runtime cannot do.
    #[error("the Spec's {field} is not supported{}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Unsupported {
        /// The field, by its name in the OCI runtime specification.
        field: &'static str,
        /// Which value, where the field alone does not say it.
        detail: Option<String>,
    },
}

/// A container that did not start, or could not be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Spec cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A fact about the host could not be read.
    #[error("cannot find out {what}")]
    Host {
        /// The fact.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The exit code that `minidock run` gives for this error: 127 the command does not exist, 126 it exists but cannot be
    /// executed, 125 anything else.
    pub fn exit_code(&self) -> u8 {
        125
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
