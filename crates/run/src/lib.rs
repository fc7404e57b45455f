//! One container's life in the kernel: an OCI runtime Spec plus a root file system in, a process and its exit status
//! out. It knows no image and no registry.
mod error;
mod exit;
mod host;
mod launch;
mod plan;
mod running;

pub use error::{Error, PlanError};
pub use exit::Exit;
pub use host::Host;
pub use launch::{Launch, Rootfs};
pub use plan::{Plan, plan};
pub use running::{Running, start};
