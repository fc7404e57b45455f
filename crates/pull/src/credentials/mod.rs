//! Who we are to a registry: `~/.docker/config.json` as `docker login` writes it, then the files that Podman and its
//! relatives keep (containers-auth.json(5)), then nobody.
//!
//! In one file, a `credHelpers` entry for the registry comes before `credsStore`, and both before `auths`. Secrets are in
//! [`Credential`]s only, which print nothing of them.

mod file;
mod helper;

use std::fmt;
use std::io;
use std::path::PathBuf;

use file::ConfigFile;

/// The name under which Docker keeps what belongs to Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// What credential helpers say instead of a user name when the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and its password, or a personal access token in its place.
    Password {
        /// The account.
        username: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token.
    IdentityToken(String),
    /// A bearer token that the registry takes as it is.
    RegistryToken(String),
}

impl Credential {
    /// The account's name, where it is known.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            _ => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

/// Why credentials could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a valid configuration: {problem}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong; never holds a secret.
        problem: String,
    },
    /// The program that keeps the credentials failed.
    #[error("the credential helper {program} (named in {}) failed: {problem}", path.display())]
    Helper {
        /// `docker-credential-NAME`.
        program: String,
        /// The file that names it.
        path: PathBuf,
        /// What it said, or why it could not be started.
        problem: String,
    },
    /// There is no place to write to.
    #[error("cannot tell where to keep credentials: neither HOME nor DOCKER_CONFIG is set")]
    NoPlace,
}

impl CredentialError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helper { program, path, .. } => Some(format!(
                "install {program}, or remove it from {} and log in again",
                path.display()
            )),
            Self::Parse { path, .. } => Some(format!(
                "mend or remove {}, then `minidock login`",
                path.display()
            )),
            _ => None,
        }
    }
}

/// Where a login was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a file, readable by its owner.
    File(PathBuf),
    /// By a credential helper.
    Helper(String),
}

/// The places where credentials are.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Docker's `config.json`: read first, and written.
    pub docker: Option<PathBuf>,
    /// Others in the same form, in order: read only.
    pub others: Vec<PathBuf>,
}

impl Credentials {
    /// What is known for a repository of a registry; the most specific entry of the first file that has one.
    ///
    /// # Errors
    /// When a file is there and unusable, or a helper fails.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        for path in self.docker.iter().chain(&self.others) {
            if let Some(found) = ConfigFile::read(path)?.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps a login, where Docker would.
    ///
    /// # Errors
    /// When the file or the helper refuses.
    pub fn store(&self, registry: &str, login: &Credential) -> Result<Kept, CredentialError> {
        self.docker_file()?.store(registry, login)
    }

    /// Forgets a login. Returns whether there was one.
    ///
    /// # Errors
    /// When the file or the helper refuses.
    pub fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        self.docker_file()?.erase(registry)
    }

    fn docker_file(&self) -> Result<ConfigFile, CredentialError> {
        ConfigFile::read(self.docker.as_ref().ok_or(CredentialError::NoPlace)?)
    }
}

/// The key of a registry in `auths`, and its name to helpers.
fn key(registry: &str) -> &str {
    if registry == "docker.io" {
        HUB_KEY
    } else {
        registry
    }
}
