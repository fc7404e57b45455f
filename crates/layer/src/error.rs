//! What can be wrong with a layer.

use std::io;

use minidock_oci::{DiffId, Digest};

/// An error of reading or applying a layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source of the bytes failed.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// The blob could not be kept.
    #[error("cannot write the layer's blob")]
    Blob(#[source] io::Error),
    /// The compressed stream is damaged.
    #[error("the compressed data is damaged")]
    Compression(#[source] io::Error),
    /// A compression that no registry uses.
    #[error("the data is compressed with {0}, which is not supported")]
    UnsupportedCompression(&'static str),
    /// The bytes have another digest.
    #[error("the content has digest {actual}, expected {expected}")]
    BlobDigest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The bytes are more or fewer.
    #[error("the content has {}{actual} bytes, expected {expected}", if *actual > *expected { "at least " } else { "" })]
    BlobSize {
        /// What was promised.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// The uncompressed tar has another digest.
    #[error("the uncompressed content has digest {actual}, but the image config says {expected}")]
    DiffId {
        /// What was promised.
        expected: DiffId,
        /// What came.
        actual: DiffId,
    },
    /// It is no tar, or a malformed one.
    #[error("not a valid tar archive at byte {offset}: {problem}")]
    Tar {
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// An entry has a name that no layer may have.
    #[error("the entry {path:?} {problem}")]
    Entry {
        /// The entry.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the layer could not be made.
    #[error("cannot {operation} {path:?}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The path in the layer.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The layer goes too far.
    #[error("the layer has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The layer unpacks to suspiciously much.
    #[error(
        "the layer unpacks to more than {0} times its size: it looks like a decompression bomb"
    )]
    Bomb(u64),
    /// What is to be read in an image is no regular file.
    #[error("{path:?} in the image is a {kind}, not a regular file")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// What is kept beside the files could not be written.
    #[error("cannot write what is kept aside of the layer")]
    WriteAside(#[source] io::Error),
    /// It could not be read.
    #[error("cannot read what was kept aside of the layer")]
    ReadAside(#[source] io::Error),
    /// It is damaged.
    #[error("what was kept aside of the layer is damaged in line {line}: {problem}")]
    Aside {
        /// Which line.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// It was written by another release.
    #[error(
        "what was kept aside of the layer has format {found}; this minidock knows format {known}"
    )]
    AsideFormat {
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An archive of files could not be written.
    #[error("cannot write the archive")]
    WriteArchive(#[source] io::Error),
    /// Symlinks without end.
    #[error("{0:?} in the image leads through too many symbolic links")]
    Loop(String),
}

impl Error {
    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        let storage = |e: &io::Error| {
            matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::File { source, .. } | Self::Blob(source) | Self::WriteAside(source) | Self::WriteArchive(source)
                if storage(source) =>
            {
                Some("free some space, or use a store on another disk with --root DIR".into())
            }
            // Folders and small files are kept open for a while.
            Self::File { source, .. }
                if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) =>
            {
                Some("let it have 1024 open files: ulimit -n 1024".into())
            }
            Self::Aside { .. } | Self::AsideFormat { .. } => Some(
                "remove the image with `minidock rmi -f` and pull or load it again".into(),
            ),
            Self::Bomb(_) => Some(
                "if you trust whoever made it, raise the limit with --max-expansion N".into(),
            ),
            Self::TooMuch { what: "entries", .. } => Some(
                "if you trust whoever made it, raise the limit with --max-entries N".into(),
            ),
            Self::UnsupportedCompression(_) => Some("use gzip, zstd or no compression".into()),
            Self::BlobDigest { .. } | Self::BlobSize { .. } => Some("the registry or the archive holds damaged or forged content: try again, or ask its owner".into()),
            _ => None,
        }
    }

    /// Whether the stored bytes are not the promised ones, so that they may be better elsewhere.
    pub fn is_of_the_bytes(&self) -> bool {
        matches!(
            self,
            Self::Read(_) | Self::Compression(_) | Self::BlobDigest { .. } | Self::BlobSize { .. }
        )
    }

    pub(crate) fn entry(path: &[u8], problem: impl Into<String>) -> Self {
        Self::Entry {
            path: String::from_utf8_lossy(path).into_owned(),
            problem: problem.into(),
        }
    }

    /// The text is only made when there is an error: this is called for every file.
    pub(crate) fn file<'p>(
        operation: &'static str,
        path: &'p [u8],
    ) -> impl FnOnce(rustix::io::Errno) -> Self + 'p {
        move |e| Self::File {
            operation,
            path: String::from_utf8_lossy(path).into_owned(),
            source: e.into(),
        }
    }
}
