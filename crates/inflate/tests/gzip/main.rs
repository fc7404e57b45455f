//! What comes out is what went in, and what flate2 makes of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod codes;
mod damage;
mod edges;
mod reference;
mod streams;
