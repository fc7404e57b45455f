//! A program in a container that runs, as an ordered list of kernel steps:
//!
//! 1. What is written to files of this process's own comes first: they can be found by their names only on the host, and
//!    only while the process is not hidden.
//! 2. The process is hidden before it is anywhere where the container could look at it.
//! 3. It enters all namespaces at once, and goes on in a child, which is in the pid namespace as well.
//! 4. That one's life is tied to the supervisor's. From there on all is as for the container's first process: the same steps
//!    in the same order.

use minidock_sys::clone::Namespaces;
use rustix::process::Uid;

use super::ids::{IdMaps, Maps};
use super::process::{self, Command, Groups};
use super::step::Step;
use super::{Plan, c_string, clamp, emulation, filter, join_group, namespaces, refuse};
use crate::join::Join;
use crate::{Host, PlanError};

/// Translates a join for a host.
///
/// # Errors
/// As for [`plan`](super::plan()).
pub(crate) fn plan_join(join: &Join<'_>, host: &Host) -> Result<Plan, PlanError> {
    let Join {
        spec,
        process,
        member,
        ..
    } = *join;
    refuse::refuse_process(process)?;
    let linux = spec
        .linux()
        .as_ref()
        .ok_or(PlanError::Missing { field: "linux" })?;
    let first = spec
        .process()
        .as_ref()
        .ok_or(PlanError::Missing { field: "process" })?;
    let which = namespaces(linux)?;
    let maps = Maps::existing(&member.uids, &member.gids);
    let mut notes = Vec::new();
    let emulated = emulation(
        join.root_emulation,
        process,
        maps.is_single() && !member.sets_groups,
        host,
        &mut notes,
    )?;
    let groups = match (member.sets_groups, &emulated) {
        (true, _) => Groups::Mapped,
        (false, Some(_)) => Groups::Emulated,
        (false, None) => Groups::Fixed,
    };
    let user = process::user(process, &maps, groups)?;

    let mut steps = outside(join)?;
    steps.push(Step::JoinNamespaces(which));
    steps.push(Step::ForkInside);
    steps.push(Step::DieWithSupervisor);
    if maps.has_uid(0) && maps.has_gid(0) && !maps.caller_is_root(host) {
        steps.push(Step::BecomeJoinedRoot);
    }
    steps.push(Step::OpenWorkingDirectory(process::working_directory(
        process,
    )?));
    let terminal = process.terminal().unwrap_or(false);
    if terminal {
        steps.push(Step::OpenTerminalInside);
    }
    let (emulate, emulation) = emulated.unzip();
    let owner: Uid = user.owner.uid;
    let walls = process::Walls {
        // The container's, whatever this one program may do besides.
        filter: filter(join.default_filter, first, linux, host, &mut notes)?,
        emulate,
        personality: process::personality(linux)?,
        landlock: None,
    };
    process::push_process(&mut steps, process, user, false, walls)?;

    Ok(Plan {
        namespaces: Namespaces::NONE,
        id_maps: IdMaps::Own,
        steps,
        command: Command::of(process)?,
        notes,
        terminal,
        host_user: maps.host_uid(owner.as_raw()).unwrap_or(host.uid),
        interactive: join.interactive,
        // What goes on after the program's end is not to keep the caller's pipes open.
        kept: join.attach != [false; 3],
        console_size: process
            .console_size()
            .map(|size| (clamp(size.height()), clamp(size.width()))),
        attach: join.attach,
        program: true,
        init: false,
        own_processes: which.contains(Namespaces::PID),
        emulation,
    })
}

/// What is done before the container is entered.
fn outside(join: &Join<'_>) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    if let Some(group) = join.cgroup {
        steps.extend(join_group(group, false)?);
    }
    if let Some(adjustment) = join.process.oom_score_adj() {
        steps.push(Step::OomScoreAdj(c_string(
            "process.oomScoreAdj",
            adjustment.to_string().as_bytes(),
        )?));
    }
    let profile = join.process.apparmor_profile().as_deref();
    if let Some(profile) = profile.filter(|name| !name.is_empty()) {
        steps.push(Step::AppArmor(c_string(
            "process.apparmorProfile",
            profile.as_bytes(),
        )?));
    }
    steps.push(Step::Hide);
    Ok(steps)
}
