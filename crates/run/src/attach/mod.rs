//! Who is attached to a container that a process of its own watches over: the wire between the two, and both its ends.
//!
//! The watcher ([`crate::Running::keep`]) listens at a socket in the container's folder, or was given the first connection
//! when it was started. Whoever connects is a *guest*: he says which of the container's standard streams he wants (none, for
//! one who only waits for the end), gets what they say, and sends what standard input is to get.
//!
//! The wire is a `SOCK_SEQPACKET` socket: one message is one packet, its first byte says which ([`wire`]). A guest sends one
//! piece of input at a time and the next one when that was taken, so that his other messages never wait behind input that
//! nobody reads. Output goes the other way as fast as the slowest guest takes it, as with Docker: what is slow for a guest
//! is slow for the container, but never for its log.
//!
//! The *first* guest is the one who ran the container in the foreground. It ends when he is gone without a word: a container
//! that was not detached does not outlive its terminal unseen.

mod client;
mod guests;
mod keys;
pub(crate) mod wire;

pub use client::{AttachOptions, Attached, Line, Word};
pub(crate) use guests::Wish;
pub use guests::{Guests, line};
pub use keys::{DetachKeys, KeyError};
pub use wire::Welcome;

/// One of a container's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output, and all that a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// As Docker writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
