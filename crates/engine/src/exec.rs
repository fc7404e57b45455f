//! `exec`: another program in a container that runs.
//!
//! It is what the container's first process is, in all that is not asked for otherwise: its Spec says so, and what the
//! container was made from. The environment is put together anew by the same rules, so that a terminal or another user's
//! home count as they do at the start of a container.

use std::path::Path;

use minidock_run::{Join, Member, Prepared, RootEmulation, prepare_join, read_inside};
use minidock_store::{Container, ContainerState, IdMap, StoreError};
use minidock_sys::process;
use oci_spec::runtime::{Process, Spec, UserBuilder};

use crate::created::Created;
use crate::spec::{self, EmulationWish};
use crate::user::{self, ResolvedUser};
use crate::{Engine, Error, netfiles};

/// A program to run.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Name, id or beginning of an id.
    pub container: String,
    /// Program and arguments; at least one word.
    pub command: Vec<String>,
    /// `NAME=value`, later ones win; a bare `NAME` removes the container's.
    pub env: Vec<String>,
    /// The folder to start in, where not the container's.
    pub workdir: Option<String>,
    /// `user[:group]`, where not the container's.
    pub user: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// Pass the caller's standard input on.
    pub interactive: bool,
    /// With a terminal of its own.
    pub terminal: bool,
    /// With nothing of the caller's standard streams.
    pub detach: bool,
}

/// A program about which all is known, ready to be started.
#[derive(Debug)]
pub struct Exec {
    prepared: Prepared,
    container: String,
}

impl Exec {
    /// Whether this process should become a copy of itself before [`run`](Self::run): see [`Prepared::needs_copy`].
    pub fn needs_copy(&self) -> bool {
        self.prepared.needs_copy()
    }

    /// Runs it to its end, and returns the exit status that the caller should end with: its own, or 128 + n when a signal
    /// ended it. `started` is called as soon as it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, started: &dyn Fn()) -> Result<u8, Error> {
        let running = self.prepared.start().map_err(|error| match error {
            minidock_run::Error::Ended => Error::NotRunning(self.container.clone()),
            other => other.into(),
        })?;
        // What the host could not give was told when the container started.
        started();
        Ok(running.supervise()?.shell_code())
    }
}

/// Runs a program that nobody waits for: `main` in a process of its own, until it calls what it is given, or ends. Returns the
/// exit status then: 0, or what `main` returned.
///
/// # Errors
/// When no process can be had.
pub fn in_background<T>(arg: &T, main: fn(&T, &dyn Fn()) -> u8) -> Result<u8, Error> {
    struct Work<'a, T>(&'a T, fn(&T, &dyn Fn()) -> u8);
    let work = Work(arg, main);
    let code =
        process::until_it_goes_on_alone(&work, |work, alone| (work.1)(work.0, &|| alone.now()));
    code.map_err(|errno| Error::Path {
        operation: "start a process for",
        path: "minidock".into(),
        source: errno.into(),
    })
}

/// The container, as it was found.
struct Found {
    state: ContainerState,
    spec: Spec,
    created: Created,
    member: Member,
}

impl Engine {
    /// Finds out all that is needed to run a program in a container.
    ///
    /// # Errors
    /// When there is no such container, it does not run or stands still ([`Error::NotRunning`], [`Error::PausedExec`]), or has
    /// no such user.
    pub fn prepare_exec(&self, request: &ExecRequest) -> Result<Exec, Error> {
        let found = self.find_running(&request.container)?;
        let user = match &request.user {
            Some(wanted) => Some(self.exec_user(&found, wanted)?),
            None => None,
        };
        let process = process_of(&found, request, user.as_ref())?;
        let kept = !request.detach;
        let join = Join {
            spec: &found.spec,
            process: &process,
            member: &found.member,
            interactive: request.interactive && kept,
            attach: [kept; 3],
            default_filter: true,
            root_emulation: self.exec_emulation(&found.created, &process),
            cgroup: found.state.cgroup.as_deref(),
        };
        Ok(Exec {
            prepared: prepare_join(&join)?,
            container: found.state.name,
        })
    }

    fn find_running(&self, query: &str) -> Result<Found, Error> {
        let (container, state) = self.find(query)?;
        let not_running = || Error::NotRunning(state.name.clone());
        let process = state.process().filter(|_| state.is_alive());
        let process = process.ok_or_else(not_running)?;
        if state.paused {
            return Err(Error::PausedExec(state.name));
        }
        let member = Member::find(process.pid, process.start_time)?.ok_or_else(not_running)?;
        Ok(Found {
            spec: read_spec(&container)?,
            created: Created::read(&container)?,
            state,
            member,
        })
    }

    /// Looks the user up in the container's own files, as they are now.
    fn exec_user(&self, found: &Found, wanted: &str) -> Result<ResolvedUser, Error> {
        let files = ["/etc/passwd", "/etc/group"];
        let texts = read_inside(&found.member, &files, user::MAX_FILE)?;
        let texts: Vec<_> = texts.iter().map(|t| String::from_utf8_lossy(t)).collect();
        let [passwd, group] = texts.as_slice() else {
            return Err(Error::NotRunning(found.state.name.clone()));
        };
        let failed = |source| Error::ExecUser {
            container: found.state.name.clone(),
            user: wanted.to_owned(),
            source,
        };
        let mut user = user::resolve(wanted, passwd, group).map_err(failed)?;
        let further = user::groups(&found.created.wishes.group_add, group).map_err(failed)?;
        if self.store.id_map().has_owners() {
            user.additional_gids.extend(further);
            user.additional_gids.sort_unstable();
            user.additional_gids.dedup();
        } else {
            // With one id there are none.
            user.additional_gids.clear();
        }
        Ok(user)
    }

    /// As the container has it, as far as the program can have it.
    fn exec_emulation(&self, created: &Created, process: &Process) -> RootEmulation {
        let user = process.user();
        let may = self.store.id_map() == IdMap::Single && (user.uid(), user.gid()) == (0, 0);
        match created.wishes.root_emulation {
            EmulationWish::Auto | EmulationWish::On if may => RootEmulation::Wanted,
            _ => RootEmulation::Off,
        }
    }
}

fn read_spec(container: &Container) -> Result<Spec, Error> {
    let path = container.folder().join("config.json");
    let bytes = std::fs::read(&path).map_err(|source| StoreError::Io {
        operation: "read",
        path: path.clone(),
        source,
    })?;
    let spec = serde_json::from_slice(&bytes).map_err(|e| StoreError::Damaged {
        path,
        problem: e.to_string(),
    })?;
    Ok(spec)
}

/// The container's own process, with what is asked for otherwise.
fn process_of(
    found: &Found,
    request: &ExecRequest,
    user: Option<&ResolvedUser>,
) -> Result<Process, Error> {
    let Found { spec, created, .. } = found;
    let mut process = spec.process().clone().unwrap_or_default();
    let home = match user {
        Some(user) => user.home.clone(),
        None => home_of(&process),
    };
    if let Some(user) = user {
        let user = UserBuilder::default()
            .uid(user.uid)
            .gid(user.gid)
            .additional_gids(user.additional_gids.clone())
            .build()?;
        process.set_user(user);
    }
    let mut wishes = created.wishes.clone();
    wishes.terminal = request.terminal;
    wishes.env.extend(request.env.iter().cloned());
    let hostname = match spec.hostname() {
        Some(name) => name.clone(),
        None => netfiles::read_host("/proc/sys/kernel/hostname")
            .trim()
            .to_owned(),
    };
    process.set_env(Some(spec::environment(
        &created.config,
        &wishes,
        &hostname,
        &home,
    )));
    process.set_args(Some(request.command.clone()));
    process.set_terminal(Some(request.terminal));
    process.set_console_size(None);
    if let Some(folder) = &request.workdir {
        process.set_cwd(Path::new("/").join(folder));
    }
    if request.privileged {
        process.set_capabilities(Some(spec::every_capability()?));
    }
    Ok(process)
}

fn home_of(process: &Process) -> String {
    let env = process.env().as_deref().unwrap_or_default();
    let home = env.iter().find_map(|entry| entry.strip_prefix("HOME="));
    home.unwrap_or("/").to_owned()
}
