//! Where and as whom everything runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::measure::{Cost, as_user, cost};
use crate::{Result, archive};

/// Who measured programs run as when root calls.
const USER: u32 = 61_234;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    pub minidock: PathBuf,
    pub dir: PathBuf,
    pub runs: usize,
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        let shm = Path::new("/dev/shm");
        Self {
            minidock: "target/minidock".into(),
            dir: if shm.is_dir() {
                shm.to_owned()
            } else {
                std::env::temp_dir()
            },
            runs: 5,
            keep: false,
        }
    }
}

/// The folder of this run, and what stands in it.
#[derive(Debug)]
pub struct World {
    options: Options,
    dir: PathBuf,
    minidock: PathBuf,
    user: Option<u32>,
}

impl World {
    pub fn new(options: Options) -> Result<Self> {
        let minidock = fs::canonicalize(&options.minidock).map_err(|e| {
            format!(
                "no {}: {e}; `make build` makes it",
                options.minidock.display()
            )
        })?;
        let name = if options.keep {
            "kept".to_owned()
        } else {
            std::process::id().to_string()
        };
        let dir = options.dir.join(format!("minidock-bench-{name}"));
        fs::create_dir_all(dir.join("made"))?;
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        let user = rustix::process::geteuid().is_root().then_some(USER);
        // The user may not be able to pass through the folders above ours.
        fs::copy(&minidock, dir.join("minidock"))?;
        fs::copy(std::env::current_exe()?, dir.join("bench"))?;
        let world = Self {
            options,
            minidock: dir.join("minidock"),
            dir,
            user,
        };
        world.folder("home")?;
        Ok(world)
    }

    /// What the figures stand for.
    pub fn describe(&self) -> String {
        let said = |command: &mut Command| {
            let output = command.output().map(|o| o.stdout).unwrap_or_default();
            String::from_utf8_lossy(&output)
                .lines()
                .next()
                .unwrap_or("missing")
                .trim()
                .to_owned()
        };
        let version = |program: &str| {
            format!(
                "{program}: {}",
                said(Command::new(program).arg("--version"))
            )
        };
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu
            .lines()
            .find_map(|l| l.strip_prefix("model name"))
            .unwrap_or_default()
            .trim_matches(['\t', ':', ' '])
            .to_owned();
        let mut lines = vec![
            format!(
                "{}, {} processors, Linux {}",
                cpu,
                std::thread::available_parallelism().map_or(0, usize::from),
                said(Command::new("uname").arg("-r"))
            ),
            format!(
                "in {} ({}), {} runs of each after one uncounted",
                self.dir.display(),
                said(Command::new("stat").args(["-f", "-c", "%T"]).arg(&self.dir)),
                self.runs()
            ),
        ];
        lines.extend(
            [
                "minidock", "tar", "gzip", "igzip", "zstd", "umoci", "podman",
            ]
            .map(|p| match p {
                "minidock" => format!(
                    "minidock: {}",
                    said(Command::new(&self.minidock).arg("--version"))
                ),
                p => version(p),
            }),
        );
        lines.join("\n")
    }

    pub fn runs(&self) -> usize {
        self.options.runs
    }

    /// Where made things are kept.
    pub fn made(&self, name: &str) -> PathBuf {
        self.dir.join("made").join(name)
    }

    /// An empty folder of the user's.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if path.exists() {
            self.delete(&path)?;
        }
        fs::create_dir(&path)?;
        chown(&path, self.user, self.user)?;
        Ok(path)
    }

    /// Deletes what a measured program made, uncounted.
    pub fn delete(&self, path: &Path) -> Result<()> {
        let removed = Command::new("rm").arg("-rf").arg(path).status()?;
        if removed.success() {
            Ok(())
        } else {
            Err(format!("cannot delete {}", path.display()).into())
        }
    }

    /// A program, as the user.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.join("home"))
            .current_dir(&self.dir);
        as_user(&mut command, self.user);
        command
    }

    /// Minidock with a store.
    pub fn minidock(&self, store: &Path) -> Command {
        let mut command = self.program(&self.minidock);
        command.arg("--root").arg(store);
        command
    }

    /// Minidock as whoever called.
    pub fn minidock_as_caller(&self, store: &Path) -> Command {
        let mut command = Command::new(&self.minidock);
        command.arg("--root").arg(store);
        command
    }

    /// Makes an empty folder the caller's again.
    pub fn take(&self, folder: &Path) -> Result<()> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(chown(folder, Some(uid.as_raw()), Some(gid.as_raw()))?)
    }

    /// Makes everything below a folder the user's.
    pub fn give(&self, folder: &Path) -> Result<()> {
        if let Some(user) = self.user {
            Command::new("chown")
                .arg("-R")
                .arg(format!("{user}:{user}"))
                .arg(folder)
                .status()?;
        }
        Ok(())
    }

    /// The measured binary, where the user can reach it.
    pub fn binary(&self) -> &Path {
        &self.minidock
    }

    /// This program.
    pub fn bench(&self) -> Command {
        self.program(self.dir.join("bench"))
    }

    /// The cost of a shell's command line in an empty folder.
    pub fn shell(&self, line: &str) -> Result<Cost> {
        let out = self.folder("out")?;
        let result = cost(self.program("sh").args(["-c", line]).current_dir(&out));
        self.delete(&out)?;
        result
    }

    /// The cost of loading an archive into an empty store.
    pub fn load(&self, archive: &Path) -> Result<Cost> {
        let store = self.folder("store")?;
        let result = cost(
            self.minidock(&store)
                .args(["load", "-q", "-i"])
                .arg(archive),
        );
        self.delete(&store)?;
        result
    }

    /// A layer, made when it is not there yet.
    pub fn layer(
        &self,
        name: &str,
        tree: &crate::tree::Tree,
        packing: archive::Packing,
    ) -> Result<archive::Layer> {
        archive::Layer::write(tree, packing, &self.made(name))
    }

    /// An archive of layers.
    pub fn archive(&self, name: &str, layers: &[archive::Layer]) -> Result<PathBuf> {
        let file = self.made(&format!("{name}.oci.tar"));
        archive::write(layers, name, &file)?;
        Ok(file)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.options.keep {
            let _ = self.delete(&self.dir);
        }
    }
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// An exit code, the error told.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minidock-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
