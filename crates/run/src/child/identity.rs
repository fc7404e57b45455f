//! Users, groups, capabilities. rustix makes these calls for this thread alone, without libc's broadcast to threads that
//! do not exist here.

use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::CapabilitySet;
use rustix::thread::{
    CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities as set_capability_sets,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use minidock_sys::Errno;

use crate::plan::step::{Capabilities, Owner};
use crate::report::{During as _, Fail, Phase};

/// After this the kernel would treat `/proc/self` as root's of the host, for ids have changed: hence the last call.
pub(crate) fn become_root() -> Result<(), Fail> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).during(Phase::Act)?;
    set_thread_res_uid(uid, uid, uid).during(Phase::Act)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).during(Phase::Act)
}

/// In a container that runs, where this process is to stay as it is: out of everybody's sight.
pub(super) fn become_joined_root() -> Result<(), Fail> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).during(Phase::Act)?;
    set_thread_res_uid(uid, uid, uid).during(Phase::Act)
}

/// Groups first: they cannot be changed any more once the user is not root.
pub(super) fn become_user(
    owner: Owner,
    groups: Option<&[Gid]>,
    keep_capabilities: bool,
) -> Result<(), Fail> {
    let Owner { uid, gid } = owner;
    if keep_capabilities {
        set_keep_capabilities(true).during(Phase::Act)?;
    }
    if let Some(groups) = groups {
        set_thread_groups(groups).during(Phase::Act)?;
    }
    set_thread_res_gid(gid, gid, gid).during(Phase::Act)?;
    set_thread_res_uid(uid, uid, uid).during(Phase::Act)
}

/// Capabilities that this kernel has and we have no name for are dropped, too.
pub(super) fn bound_capabilities(keep: CapabilitySet) -> Result<(), Fail> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that the kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Fail::new(Phase::Act, errno)),
        }
    }
    Ok(())
}

pub(super) fn set_capabilities(sets: &Capabilities) -> Result<(), Fail> {
    let Capabilities {
        effective,
        permitted,
        inheritable,
        ambient,
    } = *sets;
    clear_ambient_capability_set().during(Phase::Act)?;
    set_capability_sets(
        None,
        CapabilitySets {
            effective,
            permitted,
            inheritable,
        },
    )
    .during(Phase::Act)?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if ambient.contains(capability) {
            configure_capability_in_ambient_set(capability, true)
                .during_number(Phase::Act, number)?;
        }
    }
    Ok(())
}
