//! Which system calls a container can make: a Spec's `linux.seccomp`, or Docker's default profile, as a program for the kernel.
//!
//! ```text
//! syscalls.txt ──▶ table ──▶ docker: the default profile  ─┐
//!                    └─────▶ oci: a Spec's linux.seccomp  ─┴─▶ policy ──compile──▶ Filter
//! ```
//!
//! The default profile is data of our own (`syscalls.txt`, one line per system call), compared by a test with the file that Docker
//! ships. Its program is made anew for each start, for it depends on the container's capabilities.
//!
//! # Calls that a profile cannot know
//! Docker's default action is `EPERM`, and a C library that gets that from a call newer than the profile gives up, where
//! `ENOSYS` would send it the old way. So runc answers `ENOSYS` for every number beyond the highest that the profile names for
//! the architecture, unless the default action permits; and so do we. Below that number it is `EPERM`, also for numbers
//! that this kernel does not have.
//!
//! # What libseccomp does otherwise
//! A foreign architecture's call kills the process, not the thread alone: a process that lost one thread in the middle of
//! something is in nobody's interest.

mod compile;
mod docker;
mod notified;
mod oci;
mod policy;
mod table;
#[cfg(test)]
mod tests;

use minidock_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};
use oci_spec::runtime::LinuxSeccomp;
use rustix::thread::CapabilitySet;

pub(crate) use self::notified::Numbers;
use self::policy::{Action, Policy};
use crate::PlanError;

/// A program that the kernel can run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Filter {
    /// Docker's default for a container with this bounding set on this kernel.
    pub(crate) fn docker(bounding: CapabilitySet, kernel: (u32, u32)) -> Self {
        Self::of(&docker::policy(bounding, kernel, docker::ABIS))
    }

    /// That of root emulation, and what the numbers are that it lets the supervisor answer.
    pub(crate) fn of_emulation() -> (Self, Numbers) {
        notified::filter()
    }

    /// What a Spec asks for, and the names in it that are no system calls; no filter where it permits everything.
    ///
    /// # Errors
    /// [`PlanError::Unsupported`] names what cannot be had.
    pub(crate) fn of_spec(
        seccomp: &LinuxSeccomp,
    ) -> Result<(Option<Self>, Vec<String>), PlanError> {
        let (policy, unknown) = oci::policy(seccomp)?;
        if policy.default == Action::ALLOW && policy.verdicts.is_empty() {
            return Ok((None, unknown));
        }
        let filter = Self::of(&policy);
        if filter.program.len() > MAX_INSTRUCTIONS {
            return Err(PlanError::Unsupported {
                field: "linux.seccomp",
                detail: Some(format!(
                    "it comes to {} instructions, and the kernel takes {MAX_INSTRUCTIONS}",
                    filter.program.len()
                )),
            });
        }
        Ok((Some(filter), unknown))
    }

    fn of(policy: &Policy) -> Self {
        Self {
            program: compile::compile(policy),
            flags: policy.flags,
        }
    }
}
