//! The real thing: Debian's `docker-registry` on a loopback port.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Context, Running, repository, skip};

/// A running registry, gone when dropped.
pub struct DockerRegistry {
    /// Where it listens, `127.0.0.1:PORT`.
    pub host: String,
    _process: Running,
}

impl DockerRegistry {
    /// Starts one with its storage in the context's folder; `None`, and a word why, when the
    /// package is not installed.
    pub fn start(cx: &Context) -> Option<Self> {
        Self::start_with(cx, "")
    }

    /// Starts one for the account `me` with the password `open sesame`, on the storage of the context's other ones.
    pub fn start_private(cx: &Context) -> Option<Self> {
        let accounts = cx.dir.join("htpasswd");
        let hash = "me:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
        fs::write(&accounts, hash).unwrap();
        let path = accounts.display();
        Self::start_with(
            cx,
            &format!("auth: {{htpasswd: {{realm: here, path: {path}}}}}\n"),
        )
    }

    fn start_with(cx: &Context, more: &str) -> Option<Self> {
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:0}}\n{more}",
            cx.dir.join("registry").display()
        );
        let config_path = cx.dir.join("registry.yml");
        fs::write(&config_path, config).unwrap();
        if !Path::new("/usr/bin/docker-registry").exists() {
            skip("docker-registry is not installed; `make deps` installs it");
            return None;
        }
        // It goes when this test's thread goes, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(config_path);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Running::spawn(&mut command);
        let log = process.wait_for_stderr("listening on 127.0.0.1:");
        let port = log.rsplit("listening on 127.0.0.1:").next().unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Some(Self {
            host: format!("127.0.0.1:{port}"),
            _process: process,
        })
    }

    /// Pushes the first image of an OCI layout as `name`, and returns its full reference.
    pub fn push(&self, layout: &Path, name: &str) -> String {
        let reference = format!("{}/{name}", self.host);
        let status = Command::new(repository().join("fixtures/push.sh"))
            .arg(layout)
            .arg(&reference)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "cannot push {} as {reference}",
            layout.display()
        );
        reference
    }
}
