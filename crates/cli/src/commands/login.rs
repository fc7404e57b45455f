//! `minidock login` and `minidock logout`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use clap::Args;
use minidock_engine::{Credential, Kept};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::common::print;
use crate::failure::Failure;
use crate::place::Place;

/// Bytes of a password that are read.
const MAX_PASSWORD: u64 = 64 << 10;

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password or personal access token; other users can see it in the list of processes
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// The registry's host and port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The registry's host and port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `minidock login`: asks the registry before anything is kept.
pub fn login(place: &Place, args: LoginArgs) -> Result<u8, Failure> {
    let registry = registry(args.server.as_deref())?;
    let options = place.pull_options()?;
    let try_with = |credential: &Credential| {
        minidock_engine::login(&registry, credential, &options, &|_| {}).map_err(Failure::from)
    };
    if args.username.is_none() && args.password.is_none() && !args.password_stdin {
        let known = options.credentials.find(&registry, "");
        if let Ok(Some(known)) = known {
            print("Authenticating with existing credentials...\n")?;
            match try_with(&known) {
                Ok(_) => return succeeded(None),
                Err(failure) if !io::stdin().is_terminal() => return Err(failure),
                Err(failure) => failure.report(),
            }
        }
    }
    let kept = try_with(&ask(&args)?)?;
    succeeded(Some(&kept))
}

fn succeeded(kept: Option<&Kept>) -> Result<u8, Failure> {
    if let Some(Kept::File(path)) = kept {
        let warning = format!(
            "WARNING! The credentials are stored unencrypted in '{}'.\n\
             A credential helper (credsStore in that file) keeps them in a keychain instead.\n",
            path.display()
        );
        io::stderr().write_all(warning.as_bytes())?;
    }
    print("Login Succeeded\n")?;
    Ok(0)
}

/// `minidock logout`.
pub fn logout(place: &Place, args: LogoutArgs) -> Result<u8, Failure> {
    let registry = registry(args.server.as_deref())?;
    let had = place
        .pull_options()?
        .credentials
        .erase(&registry)
        .map_err(|e| Failure::from(minidock_engine::Error::from(e)))?;
    print(&if had {
        format!("Removing login credentials for {registry}\n")
    } else {
        format!("Not logged in to {registry}\n")
    })?;
    Ok(0)
}

/// The registry's name as references have it. A whole address is accepted, as in Docker.
fn registry(server: Option<&str>) -> Result<String, Failure> {
    let Some(server) = server.filter(|s| !s.is_empty()) else {
        return Ok("docker.io".to_owned());
    };
    let plain = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = plain.split('/').next().unwrap_or(plain);
    let known = minidock_engine::oci::Reference::check_registry(host);
    if !known {
        return Err(Failure::usage(format!(
            "{server:?} is no registry: a host name is needed, with a port where it has one"
        )));
    }
    Ok(match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
    .to_owned())
}

fn ask(args: &LoginArgs) -> Result<Credential, Failure> {
    if args.password_stdin {
        let username = args
            .username
            .clone()
            .ok_or_else(|| Failure::usage("--password-stdin needs --username"))?;
        let mut bytes = Vec::new();
        io::stdin()
            .take(MAX_PASSWORD)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::new("cannot read the password").caused_by(e))?;
        return credential(username, String::from_utf8_lossy(&bytes).into_owned());
    }
    if args.password.is_some() {
        let warning =
            "WARNING! Other users can see a password on the command line. Use --password-stdin.\n";
        io::stderr().write_all(warning.as_bytes())?;
    }
    if let (Some(username), Some(password)) = (&args.username, &args.password) {
        return credential(username.clone(), password.clone());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "cannot ask for name and password: standard input is no terminal",
        )
        .hint("use --username NAME --password-stdin"));
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None => prompt("Username: ", true)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => prompt("Password: ", false)?,
    };
    credential(username, password)
}

fn credential(username: String, password: String) -> Result<Credential, Failure> {
    let password = password.trim_end_matches(['\n', '\r']).to_owned();
    if username.is_empty() || username.contains(':') {
        return Err(Failure::usage("a user name is needed, without a colon"));
    }
    if password.is_empty() {
        return Err(Failure::usage("a password is needed"));
    }
    Ok(Credential::Password { username, password })
}

/// A terminal that does not show what is typed, until dropped.
struct Silent<'t>(&'t File, Termios);

impl<'t> Silent<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Drain, &silent)?;
        Ok(Self(terminal, before))
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Drain, &self.1);
    }
}

/// Asks on the terminal itself, whatever standard output is.
fn prompt(question: &str, show: bool) -> Result<String, Failure> {
    let failed = |e| Failure::new("cannot ask on the terminal").caused_by(e);
    let terminal = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    // Silent before it asks: whoever answers quickly is not shown either.
    let silent = if show {
        None
    } else {
        Some(Silent::new(&terminal).map_err(failed)?)
    };
    io::stderr().write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new((&terminal).take(MAX_PASSWORD))
        .read_line(&mut line)
        .map_err(failed)?;
    if silent.is_some() {
        io::stderr().write_all(b"\n")?;
    }
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn servers_are_named_as_references_name_them() {
        for (server, expected) in [
            (None, "docker.io"),
            (Some(""), "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry-1.docker.io"), "docker.io"),
            (Some("quay.io"), "quay.io"),
            (Some("http://127.0.0.1:5000/v2/"), "127.0.0.1:5000"),
            (Some("[::1]:5000"), "[::1]:5000"),
        ] {
            assert_eq!(registry(server).unwrap(), expected);
        }
        for bad in ["a b", "..", "host:port", "-x", "@", "a/../b:c:d\0"] {
            let result = registry(Some(bad));
            assert!(bad.starts_with("a/") || result.is_err(), "{bad}");
        }
    }
}
