//! `docker-credential-NAME`: programs that keep secrets in a keychain. They take a verb as argument and talk JSON.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Credential, CredentialError, TOKEN_USER};

/// What `get` answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// One helper, as a file names it.
pub struct Helper<'a> {
    pub name: &'a str,
    pub named_in: &'a Path,
}

impl Helper<'_> {
    pub fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// What it has for a server.
    pub fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let Some(output) = self.call("get", server.as_bytes())? else {
            return Ok(None);
        };
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not the JSON of a credential"))?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == TOKEN_USER {
            Credential::IdentityToken(answer.secret)
        } else {
            Credential::Password {
                username: answer.username,
                password: answer.secret,
            }
        }))
    }

    pub fn store(&self, server: &str, login: &Credential) -> Result<(), CredentialError> {
        let (username, secret) = match login {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
                (TOKEN_USER, token)
            }
        };
        let entry =
            serde_json::json!({"ServerURL": server, "Username": username, "Secret": secret});
        self.call("store", entry.to_string().as_bytes()).map(drop)
    }

    /// Returns whether there was something.
    pub fn erase(&self, server: &str) -> Result<bool, CredentialError> {
        let had = self.get(server)?.is_some();
        if had {
            self.call("erase", server.as_bytes())?;
        }
        Ok(had)
    }

    /// Runs it; `None` where it says that it has nothing.
    fn call(&self, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        if self.name.is_empty() || self.name.contains(['/', '\0']) {
            return Err(self.failed("its name is a path"));
        }
        let run = || -> io::Result<std::process::Output> {
            let mut child = Command::new(self.program())
                .arg(verb)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that does not read its input may have answered all the same.
                let _ = stdin.write_all(input);
            }
            child.wait_with_output()
        };
        let output = run().map_err(|e| self.failed(e.to_string()))?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        // Helpers report on standard output; the text is part of the protocol.
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said = if said.trim().is_empty() {
            String::from_utf8_lossy(&output.stderr)
        } else {
            said
        };
        let line = said.trim().lines().next().unwrap_or_default();
        Err(self.failed(format!("{} ({})", line, output.status)))
    }

    fn failed(&self, problem: impl Into<String>) -> CredentialError {
        CredentialError::Helper {
            program: self.program(),
            path: self.named_in.to_owned(),
            problem: problem.into(),
        }
    }
}
