//! `config.json` and `auth.json`. What other tools keep in them beside credentials is left as it is.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::helper::Helper;
use super::{Credential, CredentialError, Kept, key};

/// Largest file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// One file as it was read; a file that is not there is an empty one.
pub struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl ConfigFile {
    pub fn read(path: &Path) -> Result<Self, CredentialError> {
        let failed = |source| CredentialError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        };
        let bytes = match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
            Ok(meta) if meta.len() > MAX_SIZE || !meta.is_file() => {
                return Err(failed(io::Error::other("it is no small file")));
            }
            Ok(_) => std::fs::read(path).map_err(failed)?,
        };
        let parsed = if bytes.trim_ascii().is_empty() {
            Ok(Map::new())
        } else {
            serde_json::from_slice(&bytes)
        };
        Ok(Self {
            path: path.to_owned(),
            // Line and column, nothing of the content.
            content: parsed.map_err(|e| CredentialError::Parse {
                path: path.to_owned(),
                problem: format!("no JSON object at line {}, column {}", e.line(), e.column()),
            })?,
        })
    }

    /// What the file has for a repository, itself or through a helper that it names.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some(helper) = self.helper(registry)
            && let Some(found) = helper.get(key(registry))?
        {
            return Ok(Some(found));
        }
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        // `host/a/b`, `host/a`, `host`.
        let mut place = format!("{registry}/{repository}");
        loop {
            let entry = auths.iter().find(|(key, _)| normal(key) == place);
            if let Some(found) = entry.and_then(|(_, entry)| credential(entry).transpose()) {
                return found.map(Some).map_err(|problem| CredentialError::Parse {
                    path: self.path.clone(),
                    problem: format!("the entry for {place} {problem}"),
                });
            }
            match place.rfind('/') {
                Some(at) => place.truncate(at),
                None => return Ok(None),
            }
        }
    }

    /// The helper for a registry.
    fn helper(&self, registry: &str) -> Option<Helper<'_>> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| {
            let mut entries = helpers.iter();
            entries.find_map(|(key, name)| (normal(key) == registry).then_some(name))
        });
        let name = own.or_else(|| self.content.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then_some(Helper {
            name,
            named_in: &self.path,
        })
    }

    pub fn store(mut self, registry: &str, login: &Credential) -> Result<Kept, CredentialError> {
        if let Some(helper) = self.helper(registry) {
            helper.store(key(registry), login)?;
            return Ok(Kept::Helper(helper.program()));
        }
        let entry = match login {
            Credential::Password { username, password } => {
                serde_json::json!({"auth": STANDARD.encode(format!("{username}:{password}"))})
            }
            Credential::IdentityToken(token) => serde_json::json!({"identitytoken": token}),
            Credential::RegistryToken(token) => serde_json::json!({"registrytoken": token}),
        };
        let auths = self
            .content
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else {
            return Err(CredentialError::Parse {
                path: self.path,
                problem: "auths is no object".into(),
            });
        };
        auths.retain(|name, _| normal(name) != registry);
        auths.insert(key(registry).to_owned(), entry);
        self.write()?;
        Ok(Kept::File(self.path))
    }

    pub fn erase(mut self, registry: &str) -> Result<bool, CredentialError> {
        let mut had = match self.helper(registry) {
            Some(helper) => helper.erase(key(registry))?,
            None => false,
        };
        if let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|name, _| normal(name) != registry);
            if auths.len() != before {
                had = true;
                self.write()?;
            }
        }
        Ok(had)
    }

    /// Replaces the file, readable by its owner only. One that is a symbolic link stays one.
    fn write(&self) -> Result<(), CredentialError> {
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed = |source| CredentialError::Io {
            operation: "write",
            path: target.clone(),
            source,
        };
        let text = serde_json::to_string_pretty(&self.content).map_err(|e| failed(e.into()))?;
        let mut temporary = target.clone().into_os_string();
        temporary.push(format!(".{}.new", std::process::id()));
        let write = || -> io::Result<()> {
            if let Some(folder) = target.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&temporary, &target)
        };
        write().map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            failed(e)
        })
    }
}

/// A key as registry and path: without scheme and API version, Docker Hub by its one name.
fn normal(key: &str) -> String {
    let (plain, was_url) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let host = plain.split('/').next().unwrap_or(plain);
    let rest = plain[host.len()..].trim_end_matches('/');
    let rest = if was_url || matches!(rest, "/v1" | "/v2") {
        ""
    } else {
        rest
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    format!("{host}{rest}")
}

/// An entry of `auths`; `None` for one without a secret, as those that only say where a helper was used.
fn credential(entry: &Value) -> Result<Option<Credential>, &'static str> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str)?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(token)));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    if let Some(auth) = text("auth") {
        let auth = auth.trim();
        let bytes = STANDARD
            .decode(auth)
            .or_else(|_| STANDARD_NO_PAD.decode(auth))
            .map_err(|_| "is not base64")?;
        let pair = String::from_utf8(bytes).map_err(|_| "is not text")?;
        let (username, password) = pair.split_once(':').ok_or("has no colon")?;
        return Ok(Some(Credential::Password {
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        }));
    }
    match (text("username"), text("password")) {
        (Some(username), Some(password)) => Ok(Some(Credential::Password { username, password })),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, content: &str) -> PathBuf {
        let path = folder.path().join("config.json");
        std::fs::write(&path, content).unwrap();
        path
    }

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn keys_are_told_in_all_their_forms() {
        for (key, expected) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://reg.example.com", "reg.example.com"),
            ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
            ("reg.example.com:5000", "reg.example.com:5000"),
            ("reg.example.com/v2/", "reg.example.com"),
            ("quay.io/team", "quay.io/team"),
            ("quay.io/team/app", "quay.io/team/app"),
        ] {
            assert_eq!(normal(key), expected, "{key}");
        }
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let folder = tempfile::tempdir().unwrap();
        // a:b, c:d, and e:f with the NULs that old clients wrote.
        let path = file(
            &folder,
            r#"{"auths": {"quay.io": {"auth": "YTpi"}, "quay.io/team": {"auth": "Yzpk"},
                "https://index.docker.io/v1/": {"auth": "ZTpmAAA="},
                "token.example.com": {"auth": "YTpi", "identitytoken": "t"},
                "helped.example.com": {}, "old.example.com": {"username": "u", "password": "p"}}}"#,
        );
        let find = |registry, repository| {
            let file = ConfigFile::read(&path).unwrap();
            file.find(registry, repository).unwrap()
        };
        assert_eq!(find("quay.io", "team/app"), Some(password("c", "d")));
        assert_eq!(find("quay.io", "teams/app"), Some(password("a", "b")));
        assert_eq!(
            find("docker.io", "library/busybox"),
            Some(password("e", "f"))
        );
        assert_eq!(
            find("token.example.com", "x"),
            Some(Credential::IdentityToken("t".into()))
        );
        assert_eq!(find("old.example.com", "x"), Some(password("u", "p")));
        assert_eq!(find("helped.example.com", "x"), None);
        assert_eq!(find("evil-quay.io", "team/app"), None);
    }

    #[test]
    fn damaged_files_are_told_without_their_secrets() {
        let folder = tempfile::tempdir().unwrap();
        for content in [
            r#"{"auths": {"a.io": {"auth": "secret!"}}}"#,
            r#"{"auths": {"a.io": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"a.io": {"auth": "secret"#,
            r#"["secret"]"#,
        ] {
            let path = file(&folder, content);
            let found = ConfigFile::read(&path).and_then(|f| f.find("a.io", "x"));
            let error = found.unwrap_err().to_string();
            assert!(
                error.contains("config.json") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_login_is_kept_beside_everything_else_and_forgotten_again() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = file(
            &folder,
            r#"{"psFormat": "x", "auths": {"docker.io": {"auth": "YTpi"}}}"#,
        );
        let read = || ConfigFile::read(&path).unwrap();
        read()
            .store("docker.io", &password("me", "new:pass"))
            .unwrap();
        read().store("a.io:5000", &password("u", "p")).unwrap();
        assert_eq!(
            read().find("docker.io", "x").unwrap(),
            Some(password("me", "new:pass"))
        );
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["psFormat"], "x");
        assert_eq!(value["auths"].as_object().unwrap().len(), 2);
        assert!(value["auths"].get(super::super::HUB_KEY).is_some());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(read().erase("docker.io").unwrap());
        assert!(!read().erase("docker.io").unwrap());
        assert_eq!(read().find("docker.io", "x").unwrap(), None);
        assert_eq!(
            read().find("a.io:5000", "x").unwrap(),
            Some(password("u", "p"))
        );
    }

    #[test]
    fn secrets_are_never_printed() {
        for secret in [
            password("u", "hidden"),
            Credential::IdentityToken("hidden".into()),
            Credential::RegistryToken("hidden".into()),
        ] {
            assert!(!format!("{secret:?}").contains("hidden"));
        }
    }
}
