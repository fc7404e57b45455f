//! `minidock start`, `attach`, `stop`, `restart` and `wait`.

use std::io::IsTerminal;

use clap::{ArgAction, Args};
use minidock_engine::{
    Attach, AttachOptions, Attached, DetachKeys, Engine, Error, Restart, signal,
};

use super::common::{each, print};
use super::run::tell;
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct StartArgs {
    /// Attach stdout and stderr, and pass signals on
    #[arg(short, long)]
    pub attach: bool,
    /// Attach the container's stdin
    #[arg(short, long)]
    pub interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Start all containers that the filters let through
    #[arg(long)]
    pub all: bool,
    /// With --all: which containers, for instance restart-policy=always
    #[arg(short, long, value_name = "KEY=VALUE", requires = "all")]
    pub filter: Vec<String>,
    /// Container names or ids
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `minidock start`.
pub fn start(place: &Place, args: StartArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    if args.all {
        return start_all(&engine, &args);
    }
    if !args.attach && !args.interactive {
        return each(&args.containers, |container| {
            engine.start(container, None, &tell(false))?;
            print(&format!("{container}\n"))
        });
    }
    let [container] = args.containers.as_slice() else {
        return Err(Failure::usage(
            "you cannot start and attach multiple containers at once",
        ));
    };
    let keys = keys(args.detach_keys.as_deref())?;
    let attach = Attach {
        options: options(&engine, container, args.interactive, keys, true)?,
        bound: false,
    };
    match engine.start(container, Some(attach), &tell(false)) {
        Ok(attached) => status(container, attached.unwrap_or(Attached::Detached)),
        Err(error) => {
            let code = match error.run_exit_code() {
                code @ (126 | 127) => code,
                _ => 1,
            };
            Err(Failure::from(error).code(code))
        }
    }
}

/// `--all`: what is running stays as it is.
fn start_all(engine: &Engine, args: &StartArgs) -> Result<u8, Failure> {
    if !args.containers.is_empty() {
        return Err(Failure::usage("--all starts every container: name none"));
    }
    let mut policies = Vec::new();
    for filter in &args.filter {
        let policy = filter.strip_prefix("restart-policy=").ok_or_else(|| {
            Failure::usage(format!("invalid filter '{filter}'")).hint(
                "restart-policy=no, on-failure, always and unless-stopped are the filters of start",
            )
        })?;
        policies.push(policy.parse::<Restart>().map_err(Failure::usage)?.name().0);
    }
    let mut names = Vec::new();
    // The one that was made first may be what others need.
    for line in engine.containers()?.into_iter().rev() {
        if line.running {
            continue;
        }
        let Ok(created) = engine.created(&line.state.id) else {
            names.push(line.state.name);
            continue;
        };
        let policy = created.wishes.restart;
        let stopped = policy == Restart::UnlessStopped && line.state.stopped_by_hand;
        let wanted = policies.is_empty() || policies.contains(&policy.name().0);
        if wanted && (policies.is_empty() || !stopped) {
            names.push(line.state.name);
        }
    }
    each(&names, |container| {
        engine.start(container, None, &tell(false))?;
        print(&format!("{container}\n"))
    })
}

#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Do not attach stdin
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container
    #[arg(
        long,
        value_name = "BOOL",
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Container name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `minidock attach`.
pub fn attach(place: &Place, args: AttachArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    let keys = keys(args.detach_keys.as_deref())?;
    let input = !args.no_stdin;
    let options = options(&engine, &args.container, input, keys, args.sig_proxy)?;
    status(&args.container, engine.attach(&args.container, options)?)
}

/// How to be attached to a container, whose terminal can only be had from a terminal.
fn options(
    engine: &Engine,
    container: &str,
    input: bool,
    keys: Option<DetachKeys>,
    signals: bool,
) -> Result<AttachOptions, Failure> {
    let options = engine.attach_options(container, input, keys, signals)?;
    if options.terminal && options.streams[0] && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the input device is not a TTY").code(1));
    }
    Ok(options)
}

/// `--detach-keys`, or Docker's.
pub fn keys(typed: Option<&str>) -> Result<Option<DetachKeys>, Failure> {
    match typed {
        None => Ok(Some(DetachKeys::default())),
        Some(text) => DetachKeys::parse(text).map_err(|e| {
            Failure::usage(format!("invalid detach keys ({text}): {e}"))
                .hint("keys are single characters or ctrl-a to ctrl-z, ctrl-@, ctrl-[, ctrl-\\, ctrl-], ctrl-^, ctrl-_, with commas between")
        }),
    }
}

fn status(container: &str, attached: Attached) -> Result<u8, Failure> {
    let lost = || Error::MonitorLost(container.to_owned()).into();
    attached.shell_code().ok_or_else(lost)
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL", allow_hyphen_values = true)]
    pub signal: Option<String>,
    /// Seconds to wait before killing the container; -1 is for ever
    #[arg(
        short = 't',
        long = "timeout",
        alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    pub timeout: Option<i64>,
    /// Container names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl StopArgs {
    fn signal(&self) -> Result<Option<i32>, Failure> {
        let Some(text) = &self.signal else {
            return Ok(None);
        };
        match signal::number(text) {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::usage(format!("Invalid signal: {text}")).code(1)),
        }
    }
}

/// `minidock stop`.
pub fn stop(place: &Place, args: StopArgs) -> Result<u8, Failure> {
    let signal = args.signal()?;
    let engine = place.engine()?;
    each(&args.containers, |container| {
        engine.stop(container, signal, args.timeout)?;
        print(&format!("{container}\n"))
    })
}

/// `minidock restart`.
pub fn restart(place: &Place, args: StopArgs) -> Result<u8, Failure> {
    let signal = args.signal()?;
    let engine = place.engine()?;
    each(&args.containers, |container| {
        engine.stop(container, signal, args.timeout)?;
        engine.start(container, None, &tell(false))?;
        print(&format!("{container}\n"))
    })
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Container names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `minidock wait`: prints exit statuses.
pub fn wait(place: &Place, args: WaitArgs) -> Result<u8, Failure> {
    let engine = place.engine()?;
    each(&args.containers, |container| {
        let status = engine.wait(container)?;
        print(&format!("{status}\n"))
    })
}
