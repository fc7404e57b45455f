//! Asking the service manager for a part of the tree: a scope with delegation (systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! On a machine with systemd an ordinary user's processes are in groups that belong to root, and only the user's own service
//! manager can move them to where the user may make groups. What `systemd-run --user --scope -p Delegate=yes` does is done
//! here for the supervisor itself: it moves into a scope of its own, below that into a group of its own (a group with
//! processes cannot limit what is below it), and the container's group is made beside that.

use std::fs;
use std::path::{Path, PathBuf};

use super::bus::{Arguments, Bus, BusError};
use super::{CgroupError, PROCESSES, place};

/// A scope of the service manager's that can be had.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a> {
    /// The socket of its message bus.
    pub bus: &'a Path,
    /// The scope's name, without `.scope`.
    pub scope: &'a str,
}

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";

/// Moves this process into a scope of its own, and returns the scope's folder, in which groups can be made. The service
/// manager removes the scope when the last process in it has ended.
pub(super) fn enter_scope(manager: &Manager<'_>) -> Result<PathBuf, CgroupError> {
    let unit = format!("{}.scope", manager.scope);
    let failed = |source: BusError| CgroupError::Manager {
        scope: unit.clone(),
        source: Box::new(source),
    };
    let mut bus = Bus::connect(manager.bus).map_err(failed)?;
    let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
    bus.watch(&rule).map_err(failed)?;
    bus.call(DESTINATION, PATH, MANAGER, "Subscribe", Arguments::none())
        .map_err(failed)?;
    let arguments = scope_arguments(&unit, std::process::id());
    let reply = bus
        .call(DESTINATION, PATH, MANAGER, "StartTransientUnit", arguments)
        .map_err(failed)?;
    let job = reply.reader().string().map_err(failed)?.to_owned();
    loop {
        let signal = bus.signal("JobRemoved").map_err(failed)?;
        let mut reader = signal.reader();
        let mut removed = || -> Result<(String, String), BusError> {
            reader.number()?;
            let path = reader.string()?.to_owned();
            reader.string()?;
            Ok((path, reader.string()?.to_owned()))
        };
        match removed().map_err(failed)? {
            (path, result) if path == job && result == "done" => break,
            (path, result) if path == job => return Err(failed(BusError::Job(result))),
            _ => {}
        }
    }
    let folder = place::own_folder().map_err(CgroupError::NoPlace)?;
    let supervisor = folder.join("supervisor");
    fs::create_dir(&supervisor).map_err(CgroupError::io("make the control group", &supervisor))?;
    let processes = supervisor.join(PROCESSES);
    fs::write(&processes, "0").map_err(CgroupError::io("join", &processes))?;
    Ok(folder)
}

/// `StartTransientUnit(in s name, in s mode, in a(sv) properties, in a(sa(sv)) aux)`.
fn scope_arguments(unit: &str, pid: u32) -> Arguments {
    let mut arguments = Arguments::of("ssa(sv)a(sa(sv))");
    arguments.string(unit);
    arguments.string("fail");
    arguments.array(8, |a| {
        a.pair("Description", "s", |a| a.string("a container's supervisor"));
        a.pair("Delegate", "b", |a| a.number(1));
        a.pair("CollectMode", "s", |a| a.string("inactive-or-failed"));
        a.pair("PIDs", "au", |a| a.array(4, |a| a.number(pid)));
    });
    arguments.array(8, |_| {});
    arguments
}
