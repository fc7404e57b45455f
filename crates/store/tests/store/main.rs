//! The store's promises, tested on a real file system with small layers made here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod check;
mod containers;
mod crash;
mod images;
mod support;
