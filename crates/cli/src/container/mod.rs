//! The flags by which a container is described, the same for `run` and `create`, in two steps: what was typed ([`flags`]), and
//! what is wished ([`wishes()`]). A flag whose value has a syntax of its own has a parser of its own.

mod env_file;
mod flags;
mod limits;
mod mounts;
mod refused;
mod security;
mod values;
mod wishes;
mod wrong;

pub use flags::{ContainerFlags, switch};
pub use refused::without_refused;
pub use wishes::{Pull, Typed, bytes, env_files, environment_entry, utf8, wishes};
