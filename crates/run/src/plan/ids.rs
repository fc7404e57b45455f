//! Who the container's ids are outside.
//!
//! Two ways need no help from the system: anyone may map the one pair of ids that are his own, once the kernel has been told
//! that groups cannot be changed (`setgroups` deny); and a caller with `CAP_SETUID` and `CAP_SETGID` may map anything. The
//! child does the first for itself; the second has to be done from outside, because the child's capabilities do not
//! reach beyond its new namespace (user_namespaces(7)).

use std::ffi::CString;
use std::fmt::Write as _;

use oci_spec::runtime::{Linux, LinuxIdMapping};

use super::step::SelfMap;
use crate::{Host, PlanError};

/// Who writes the maps.
#[derive(Debug)]
pub(crate) enum IdMaps {
    /// The child, for the caller's own pair of ids.
    Own,
    /// The parent, with these contents for `uid_map` and `gid_map`.
    Parent { uid: String, gid: String },
}

/// Both maps of a Spec.
pub(super) struct Maps<'a> {
    uid: &'a [LinuxIdMapping],
    gid: &'a [LinuxIdMapping],
}

impl<'a> Maps<'a> {
    pub(super) fn of(linux: &'a Linux) -> Result<Self, PlanError> {
        let uid = linux.uid_mappings().as_deref().unwrap_or_default();
        let gid = linux.gid_mappings().as_deref().unwrap_or_default();
        for (map, field) in [(uid, "linux.uidMappings"), (gid, "linux.gidMappings")] {
            if map.is_empty() {
                return Err(PlanError::Missing { field });
            }
        }
        Ok(Self { uid, gid })
    }

    /// Those of a user namespace that exists.
    pub(super) fn existing(uid: &'a [LinuxIdMapping], gid: &'a [LinuxIdMapping]) -> Self {
        Self { uid, gid }
    }

    /// The maps as the child writes them, if this host allows that for this caller.
    pub(super) fn own(&self, host: &Host) -> Option<SelfMap> {
        let single = |map: &[LinuxIdMapping], host_id: u32| match map {
            [only] if only.size() == 1 && only.host_id() == host_id => Some(line(only)),
            _ => None,
        };
        let uid = single(self.uid, host.uid)?;
        let gid = single(self.gid, host.gid)?;
        Some(SelfMap {
            uid: c_string(uid)?,
            gid: c_string(gid)?,
        })
    }

    /// The maps as the parent writes them, if this caller may.
    pub(super) fn by_parent(&self, host: &Host) -> Result<IdMaps, PlanError> {
        if !host.may_map_any_id {
            return Err(PlanError::IdRanges {
                uid: host.uid,
                gid: host.gid,
            });
        }
        Ok(IdMaps::Parent {
            uid: lines(self.uid),
            gid: lines(self.gid),
        })
    }

    pub(super) fn has_uid(&self, id: u32) -> bool {
        contains(self.uid, id)
    }

    /// Whether there is one user and one group.
    pub(super) fn is_single(&self) -> bool {
        let single = |map: &[LinuxIdMapping]| matches!(map, [only] if only.size() == 1);
        single(self.uid) && single(self.gid)
    }

    /// What a user id of the container's is outside.
    pub(super) fn host_uid(&self, id: u32) -> Option<u32> {
        self.uid.iter().find_map(|m| {
            let offset = id
                .checked_sub(m.container_id())
                .filter(|offset| *offset < m.size())?;
            m.host_id().checked_add(offset)
        })
    }

    pub(super) fn has_gid(&self, id: u32) -> bool {
        contains(self.gid, id)
    }

    /// Whether the caller's own ids are the container's root.
    pub(super) fn caller_is_root(&self, host: &Host) -> bool {
        let is_root = |map: &[LinuxIdMapping], id: u32| {
            map.iter()
                .any(|m| m.container_id() == 0 && m.host_id() == id)
        };
        is_root(self.uid, host.uid) && is_root(self.gid, host.gid)
    }
}

fn contains(map: &[LinuxIdMapping], id: u32) -> bool {
    map.iter().any(|m| {
        id.checked_sub(m.container_id())
            .is_some_and(|offset| offset < m.size())
    })
}

fn line(mapping: &LinuxIdMapping) -> String {
    format!(
        "{} {} {}",
        mapping.container_id(),
        mapping.host_id(),
        mapping.size()
    )
}

fn lines(map: &[LinuxIdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, mapping| {
        let _ = writeln!(text, "{}", line(mapping));
        text
    })
}

/// Digits and spaces hold no zero byte; `None` cannot happen.
fn c_string(text: String) -> Option<CString> {
    CString::new(text).ok()
}
