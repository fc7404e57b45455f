//! What may be wrong with a stream.

use std::io;

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It does not begin as one.
    #[error("not a gzip stream: it does not begin with 1f 8b")]
    Magic,
    /// Something else than DEFLATE.
    #[error("unknown compression method in the gzip header")]
    Method,
    /// Nobody knows what it means.
    #[error("reserved flag in the gzip header")]
    ReservedFlag,
    /// CRC-16 of the header.
    #[error("checksum mismatch in the gzip header")]
    HeaderCrc,
    /// Neither stored, fixed nor dynamic.
    #[error("invalid block type in the compressed data")]
    BlockType,
    /// Size and its complement.
    #[error("invalid size of a stored block")]
    StoredSize,
    /// More than there are.
    #[error("too many length or distance codes")]
    CodeCount,
    /// Of the code for code lengths.
    #[error("invalid set of code length codes")]
    LengthCode,
    /// Too many, or nothing to repeat.
    #[error("invalid repetition of code lengths")]
    Lengths,
    /// No code for the end of the block.
    #[error("a block of the compressed data cannot end")]
    NoEnd,
    /// Too many or too few.
    #[error("invalid set of literal and length codes")]
    LiteralCodes,
    /// Too many or too few.
    #[error("invalid set of distance codes")]
    DistanceCodes,
    /// One that means nothing.
    #[error("invalid literal or length code")]
    LiteralCode,
    /// One that means nothing.
    #[error("invalid distance code")]
    DistanceCode,
    /// Before the beginning.
    #[error("a distance reaches too far back")]
    Distance,
    /// CRC-32 of the contents.
    #[error("checksum mismatch: the decompressed data is not what was compressed")]
    Crc,
    /// Size of the contents.
    #[error("length mismatch: the decompressed data is not what was compressed")]
    Size,
    /// Neither another member nor padding.
    #[error("something else than gzip follows the compressed data")]
    Trailing,
    /// The input ends too early.
    #[error("the compressed data is truncated")]
    Truncated,
}

impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        let kind = match problem {
            Problem::Truncated => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, problem)
    }
}
