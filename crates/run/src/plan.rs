//! A Spec as an ordered list of kernel steps.
use crate::{Host, Launch, PlanError};

/// Everything that the new process does between its birth and the container's program, in order.
#[derive(Debug)]
pub struct Plan {
}

/// Translates a launch for a host.
///
/// # Errors
/// A [`PlanError`] names the first field of the Spec that cannot be honoured.
pub fn plan(_launch: &Launch<'_>, _host: &Host) -> Result<Plan, PlanError> {
    Err(PlanError::Unsupported { field: "process", detail: None })
}
