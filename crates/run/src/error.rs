//! What can go wrong, in the caller's words.

use std::io;
use std::path::PathBuf;

use minidock_sys::Errno;

use crate::Exit;
use crate::render::StepFailure;

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
    /// The Spec lacks something without which no container can be started.
    #[error("the Spec has no {field}")]
    Missing {
        /// The field, by its name in the OCI runtime specification.
        field: &'static str,
    },
    /// The Spec and the caller disagree on whether the container has a terminal.
    #[error("the Spec's process.terminal is {spec}, the launch says otherwise")]
    TerminalMismatch {
        /// What the Spec says.
        spec: bool,
    },
    /// An id map of more than the caller's own ids, which only a privileged helper could write.
    #[error(
        "the id maps go beyond the caller's own ids ({uid}:{gid}), which needs CAP_SETUID and CAP_SETGID"
    )]
    IdRanges {
        /// The caller's user id.
        uid: u32,
        /// The caller's group id.
        gid: u32,
    },
    /// The container's user or one of its groups does not exist in its user namespace.
    #[error("{field} {id} is not in the container's id maps")]
    IdNotMapped {
        /// The field, by its name in the OCI runtime specification.
        field: &'static str,
        /// The id, as the container counts.
        id: u32,
    },
    /// A path that has to be absolute is not.
    #[error("{what} {} is not an absolute path", path.display())]
    NotAbsolute {
        /// What the path is.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A string that the kernel cannot take.
    #[error("{field} contains a zero byte: {text:?}")]
    ZeroByte {
        /// The field, by its name in the OCI runtime specification.
        field: &'static str,
        /// The string.
        text: String,
    },
}

impl PlanError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::IdRanges { uid, .. } => Some(format!(
                "map the container's root alone to your own id {uid}"
            )),
            Self::IdNotMapped { .. } => Some(
                "with a single id only that one exists inside; run as root, or as the mapped id"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// A container that did not start, or could not be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Spec cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The container's control group could not be made.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    /// A fact about the host could not be read.
    #[error("cannot find out {what}")]
    Host {
        /// The fact.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The process has more threads than one, and a clone would take only the calling one along.
    #[error(
        "a container can be started only by a process with one thread, and this one has {threads}"
    )]
    Threads {
        /// How many there are.
        threads: u64,
    },
    /// The kernel refused the new process or its namespaces.
    #[error("cannot create the container's namespaces")]
    Clone {
        /// Why.
        #[source]
        source: io::Error,
        /// The remedy, where the host's settings tell it.
        hint: Option<String>,
    },
    /// The id maps of subordinate ids could not be written: what newuidmap(1) or newgidmap(1) said.
    #[error("{0}")]
    Ranges(String),
    /// Work as root of a namespace of the caller's own failed.
    #[error("{0}")]
    OwnRoot(String),
    /// The program that serves the root file system ended.
    #[error("{program} does not serve the container's files: {said}")]
    Server {
        /// The program.
        program: String,
        /// What it said, or how it ended.
        said: String,
    },
    /// A step of setting up the container failed.
    #[error(transparent)]
    Step(#[from] Box<StepFailure>),
    /// No such command.
    #[error("command not found: {command}{}", search.as_deref().map(|p| format!(" (in PATH {p})")).unwrap_or_default())]
    NotFound {
        /// The command as given.
        command: String,
        /// Where it was looked for.
        search: Option<String>,
        /// Why not, where there was only one place to look.
        source: Option<io::Error>,
    },
    /// The command is there; the program that has to interpret it (of a `#!` line, or the dynamic loader) is not.
    #[error("cannot execute {path}: the interpreter it names does not exist in the container")]
    Interpreter {
        /// The file that was found.
        path: String,
    },
    /// The command is there and cannot be executed.
    #[error("cannot execute {path}")]
    NotExecutable {
        /// The file that was found.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The container that was to be joined has ended.
    #[error("the container has ended")]
    Ended,
    /// The folder where the program was to start cannot be entered.
    #[error("cannot enter the working directory {path}")]
    WorkingDirectory {
        /// Its path inside.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The new process ended before it had finished its set-up or said why.
    #[error("the container ended while it was being set up ({0:?})")]
    Died(Exit),
    /// A call of the supervisor's failed.
    #[error("cannot {what}")]
    Supervise {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The exit code that `minidock run` gives for this error: 127 the command does not exist, 126 it exists but cannot be
    /// executed, 125 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::Interpreter { .. } => 127,
            Self::WorkingDirectory { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                127
            }
            Self::NotExecutable { .. } | Self::WorkingDirectory { .. } => 126,
            _ => 125,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Cgroup(error) => error.hint(),
            Self::Clone { hint, .. } => hint.clone(),
            Self::Step(failure) => failure.hint.clone(),
            Self::Supervise { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Some(
                    "free some space on the store's disk: `minidock rmi`, `minidock rm`".to_owned(),
                )
            }
            Self::NotExecutable { source, .. }
                if source.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) =>
            {
                Some(
                    "the file is no program for this machine, or a script without a #! line"
                        .to_owned(),
                )
            }
            Self::NotFound { command, .. } if command.starts_with('-') => {
                Some("flags go before the image's name; what follows it is the command".to_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn supervise(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Supervise {
            what,
            source: errno.into(),
        }
    }
}
