//! Limits that each process has for itself.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder};

use super::Wishes;

/// Of several for the same resource, the last one.
pub(super) fn rlimits(wishes: &Wishes) -> Result<Vec<PosixRlimit>, oci_spec::OciSpecError> {
    let mut kept: Vec<&super::Ulimit> = Vec::new();
    for limit in &wishes.ulimits {
        kept.retain(|other| other.kind != limit.kind);
        kept.push(limit);
    }
    kept.into_iter()
        .map(|limit| {
            PosixRlimitBuilder::default()
                .typ(limit.kind)
                .soft(limit.soft)
                .hard(limit.hard)
                .build()
        })
        .collect()
}
