//! Bytes of an OCI layer to files.
//!
//! # Form on disk
//! A layer's folder is what overlayfs expects of a lower layer mounted with `userxattr`: a whiteout is a character device
//! 0:0, or a socket where the file system takes no such device ([`Whiteouts`]); an opaque folder has the extended attribute `user.overlay.opaque=y`.
//! What the file system cannot represent is written [`aside`]: true owners where the caller has one id only, device
//! numbers, extended attributes that were not set.
//!
//! # Safety
//! Entries are written by strangers. Every path is walked component by component with `O_NOFOLLOW` on folder
//! descriptors; a symlink on the way is resolved by ourselves within the layer, as a container would see it, so nothing
//! outside can be reached whatever an entry is called (`walk`). `..` in an entry's name is refused.
//!
//! # Pipeline
//! One thread reads and inflates, one hashes and keeps the blob, one makes the files and another fills the small ones; they
//! share a few recycled buffers, so memory is bounded whatever the layer's size.

pub mod aside;
mod buffers;
pub mod change;
mod compare;
mod complete;
mod content;
mod decode;
mod error;
mod extract;
mod flatten;
mod hashing;
mod lookup;
pub mod merged;
mod pipeline;
mod remove;
mod tar_reader;
mod walk;
mod whiteout;
pub mod write;
pub mod xattr;

use std::fs::File;
use std::os::fd::BorrowedFd;

use minidock_oci::{DiffId, Digest};

pub use compare::{Differences, compare};
pub use complete::{Lower, complete};
pub use decode::{MAGIC, decompress, is_compressed};
pub use error::Error;
pub use extract::NeedsLower;
pub use flatten::{Files, flatten};
pub use lookup::open_in_layers;
pub use pipeline::{identify, unpack};
pub use remove::{remove_some, remove_tree};
pub use tar_reader::{Entry, Kind, TarReader};
pub use whiteout::Whiteouts;

/// Whose the files will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The caller may give files away: they get their true owners.
    Host,
    /// The caller has one id: files are the caller's, true owners are kept aside.
    Single,
}

/// How far a layer may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes for each compressed one. Real layers stay below 100; zeros in gzip reach 1,030.
    pub max_ratio: u64,
    /// Uncompressed bytes that are fine at any ratio.
    pub ratio_free: u64,
    /// Most entries.
    pub max_entries: u64,
    /// Most bytes of the uncompressed tar.
    pub max_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_ratio: 200,
            ratio_free: 256 << 20,
            max_entries: 1_000_000,
            max_size: 1 << 40,
        }
    }
}

/// What the layer is promised to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// Digest of the bytes as they come.
    pub blob: Option<&'a Digest>,
    /// Their number. Not one more is read.
    pub blob_size: Option<u64>,
    /// Digest of the uncompressed tar.
    pub diff_id: Option<&'a DiffId>,
}

/// Where the layer goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// An empty folder for the files.
    pub tree: BorrowedFd<'a>,
    /// Receives the bytes as they come.
    pub blob: Option<&'a File>,
    /// Receives what the file system cannot represent.
    pub aside: Option<&'a File>,
}

/// How to unpack.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose the files will be.
    pub ownership: Ownership,
    /// How far the layer may go.
    pub limits: Limits,
    /// How whiteouts are made.
    pub whiteouts: Whiteouts,
}

/// What a layer turned out to be.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Digest of the bytes as they came.
    pub blob: Digest,
    /// Their number.
    pub blob_size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Its size in bytes.
    pub tar_size: u64,
    /// Sum of the sizes of the files.
    pub content_size: u64,
    /// Number of entries.
    pub entries: u64,
    /// Whether the root folder itself had an entry.
    pub root_seen: bool,
    /// What only the layers below can tell.
    pub needs_lower: NeedsLower,
}

/// What a layer's bytes are, without its files.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Digest of the bytes as they came.
    pub blob: Digest,
    /// Their number.
    pub blob_size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Its size in bytes.
    pub tar_size: u64,
}
