//! The digests of a layer, stored and uncompressed; and the blob kept on the way.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::Receiver;

use minidock_oci::{Algorithm, DiffId, Digest, Hasher};

use crate::buffers::Bytes;
use crate::{Error, Expect};

/// Some bytes of a layer, in their order.
pub enum Work {
    /// As stored; kept already.
    Stored(Bytes),
    /// As stored; to be kept, if the blob is.
    ToKeep(Bytes),
    /// Uncompressed.
    Plain(Bytes),
    /// Stored uncompressed; kept already.
    Both(Bytes),
}

/// What the bytes came to.
pub struct Hashed {
    pub blob: Digest,
    pub blob_size: u64,
    plain: Digest,
    tar_size: u64,
}

/// Hashes what comes until no more can.
pub fn hash(
    work: &Receiver<Work>,
    keep: Option<&File>,
    expect: &Expect<'_>,
) -> Result<Hashed, Error> {
    let sha256 = Algorithm::Sha256;
    let stored_algorithm = expect.blob.map_or(sha256, Digest::algorithm);
    let plain_algorithm = expect.diff_id.map_or(sha256, |d| d.0.algorithm());
    let mut stored = Hasher::new(stored_algorithm);
    let mut plain = Hasher::new(plain_algorithm);
    let (mut blob_size, mut tar_size) = (0, 0);
    let mut same = false;
    for work in work {
        if let Work::Stored(bytes) | Work::ToKeep(bytes) | Work::Both(bytes) = &work {
            stored.update(bytes);
            blob_size += bytes.len() as u64;
        }
        if let (Work::ToKeep(bytes), Some(mut file)) = (&work, keep) {
            file.write_all(bytes).map_err(Error::Blob)?;
        }
        if let Work::Both(_) = &work {
            // One digest is both.
            same = stored_algorithm == plain_algorithm;
        }
        if let Work::Plain(bytes) | Work::Both(bytes) = &work {
            tar_size += bytes.len() as u64;
            if !same {
                plain.update(bytes);
            }
        }
    }
    let blob = stored.finish();
    Ok(Hashed {
        plain: if same { blob.clone() } else { plain.finish() },
        blob,
        blob_size,
        tar_size,
    })
}

impl Hashed {
    /// Whether the stored bytes are the promised ones.
    pub fn check_stored(&self, expect: &Expect<'_>) -> Result<(), Error> {
        if let Some(expected) = expect.blob_size.filter(|s| *s != self.blob_size) {
            return Err(Error::BlobSize {
                expected,
                actual: self.blob_size,
            });
        }
        match expect.blob {
            Some(expected) if *expected != self.blob => Err(Error::BlobDigest {
                expected: expected.clone(),
                actual: self.blob.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Digest and size of the uncompressed tar, if it is the promised one.
    pub fn diff_id(&self, expect: &Expect<'_>) -> Result<(DiffId, u64), Error> {
        let actual = DiffId(self.plain.clone());
        match expect.diff_id {
            Some(expected) if *expected != actual => Err(Error::DiffId {
                expected: expected.clone(),
                actual,
            }),
            _ => Ok((actual, self.tar_size)),
        }
    }
}
