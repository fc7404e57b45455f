//! What can be wrong with an archive.

use std::io;

use minidock_oci::{ConfigError, Digest, ReferenceError};
use minidock_store::StoreError;

/// An error of loading an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is compressed in a way that cannot be read, or damaged.
    #[error("cannot decompress the archive")]
    Compression(#[source] Box<minidock_layer::Error>),
    /// It does not even begin as a tar.
    #[error("the input is not a tar archive")]
    NotTar,
    /// It ends too early, or is malformed.
    #[error("the tar archive is cut off or damaged")]
    Tar(#[source] io::Error),
    /// It inflates to suspiciously much.
    #[error(
        "the archive unpacks to more than {0} times its size: it looks like a decompression bomb"
    )]
    Bomb(u64),
    /// It is a tar archive without an image.
    #[error("the archive holds no image: it has neither manifest.json nor index.json")]
    NoImage,
    /// It was written by a Docker older than 1.10.
    #[error("the archive was written by a Docker older than 1.10, and has no manifest.json")]
    Ancient,
    /// A member's name climbs out of the archive.
    #[error("the archive member {0:?} has a name that leads out of the archive")]
    Escape(String),
    /// Too many members for an image archive.
    #[error("the archive has more than {0} members; no image has")]
    TooMany(usize),
    /// Something that is referred to is not there.
    #[error("the archive refers to the {what} {name:?}, which it does not hold")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// How it is named.
        name: String,
    },
    /// A link leads nowhere, in circles, or to something that is no file.
    #[error("the archive member {0:?} is no regular file, nor a link to one in the archive")]
    NotAFile(String),
    /// A member's content is not what its name promises.
    #[error("the archive member {member:?} has digest {actual}")]
    Digest {
        /// The member.
        member: String,
        /// What it really is.
        actual: Digest,
    },
    /// A JSON member is too large to be one.
    #[error("the archive member {0:?} is too large for what it should be")]
    TooLarge(String),
    /// A JSON member does not parse.
    #[error("the archive member {member:?} is not valid")]
    Json {
        /// The member.
        member: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A config does not parse, or does not fit its manifest.
    #[error("the image config {member:?} in the archive is not usable")]
    Config {
        /// The member.
        member: String,
        /// Why.
        source: ConfigError,
    },
    /// A name that no image can have.
    #[error("the archive names an image {name:?}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// No image for the platform.
    #[error("the archive has no image for {wanted}; it has {}", offered.join(", "))]
    Platform {
        /// What was wanted.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// Indexes within indexes.
    #[error("the archive's image index is nested too deeply")]
    Nested,
    /// A member could not be set down or read again.
    #[error("cannot {operation} the archive member {member:?}")]
    Spool {
        /// What was tried.
        operation: &'static str,
        /// The member.
        member: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::Compression(e) => e.hint(),
            Self::Bomb(_) => Some(
                "if you trust whoever made it, raise the limit with --max-expansion N".into(),
            ),
            Self::NotTar | Self::NoImage => Some(
                "an archive that `docker save` or `skopeo copy` wrote is needed; a plain root file system is none".into(),
            ),
            Self::Ancient => Some("save the image again with a newer Docker".into()),
            Self::Platform { .. } => Some("choose one of them with --platform".into()),
            Self::Spool { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some("free some space, or use a store on another disk with --root".into())
            }
            Self::Digest { .. } => Some("the archive is damaged: save or copy it again".into()),
            _ => None,
        }
    }
}
