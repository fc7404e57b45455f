//! One test's own world: a folder, a home, a store, and who runs minidock in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tempfile::TempDir;

use super::{Output, PATIENCE, skip};

/// Who runs minidock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: a user id with no passwd entry, no groups and no subordinate ids when
    /// the tests run as root, otherwise whoever runs the tests.
    Ordinary,
    /// The superuser.
    Root,
}

/// Runs a scenario in a world of its own, or says why it cannot.
pub fn scenario(caller: Caller, body: fn(&Context)) {
    if let Some(cx) = Context::new(caller) {
        body(&cx);
    }
}

/// Where one test happens.
pub struct Context {
    /// Who runs minidock here.
    pub caller: Caller,
    /// The caller's user and group id.
    pub uid: u32,
    /// The caller's own folder; the store, the home and the runtime folder are in it.
    pub dir: PathBuf,
    binary: PathBuf,
    _temp: Cleared,
}

/// The process that stays with the container in this folder of a store, as its state names it.
pub fn monitor_of(container: &Path) -> Option<Pid> {
    let state = fs::read(container.join("state.json")).ok()?;
    let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
    Pid::from_raw(state["monitor"]["pid"].as_i64()?.try_into().ok()?)
}

impl Drop for Context {
    /// Ends what a scenario left running in the background, above all one that failed.
    fn drop(&mut self) {
        let folders = fs::read_dir(self.root().join("containers"));
        for folder in folders.into_iter().flatten().flatten() {
            let pid = monitor_of(&folder.path());
            // Only if it is still this one's.
            let command = pid.map(|pid| format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
            let command = command.and_then(|path| fs::read_to_string(path).ok());
            let id = folder.file_name().to_string_lossy().into_owned();
            if let Some(pid) = pid.filter(|_| command.is_some_and(|c| c.contains(&id))) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Context {
    /// A fresh one; `None`, and a word why, when this caller cannot be had.
    pub fn new(caller: Caller) -> Option<Self> {
        let me = rustix::process::getuid().as_raw();
        let uid = match caller {
            Caller::Ordinary if me == 0 => *STRANGER,
            Caller::Root if me != 0 => {
                skip("the tests were not started by root, so nothing can be tried as root");
                return None;
            }
            _ => me,
        };
        // Short, and below a folder that everybody may pass through.
        let temp = tempfile::Builder::new()
            .prefix("minidock-test-")
            .tempdir()
            .unwrap();
        let dir = temp.path().canonicalize().unwrap();
        for folder in ["home", "run", "work"] {
            fs::create_dir(dir.join(folder)).unwrap();
            fs::set_permissions(dir.join(folder), PermissionsExt::from_mode(0o700)).unwrap();
            chown(dir.join(folder), Some(uid), Some(uid)).unwrap();
        }
        chown(&dir, Some(uid), Some(uid)).unwrap();
        let binary = reachable(&dir, Path::new(env!("CARGO_BIN_EXE_minidock")), "minidock");
        Some(Self {
            caller,
            uid,
            dir,
            binary,
            _temp: Cleared(temp),
        })
    }

    /// The store's folder. It does not exist before minidock makes it.
    pub fn root(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The folder in which commands start.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Runs minidock to its end, with nothing on standard input.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.finish(self.command(args))
    }

    /// Runs minidock to its end with `input` on standard input.
    #[track_caller]
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        let mut running = self.start(self.command(args));
        running.feed(input);
        running.wait()
    }

    /// Runs a command of this context to its end.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Output {
        let mut running = self.start(command);
        running.feed(b"");
        running.wait()
    }

    /// Starts a command of this context with pipes for all three streams.
    #[track_caller]
    pub fn start(&self, mut command: Command) -> Running {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::spawn(&mut command)
    }

    /// The same, but whoever called feeds standard input.
    #[track_caller]
    pub fn start_held(&self, command: Command) -> (Running, ChildStdin) {
        let mut running = self.start(command);
        let stdin = running.child.stdin.take().unwrap();
        (running, stdin)
    }

    /// `minidock ARGS`, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(&self.binary);
        command.args(args);
        command
    }

    /// Any program, started as this context's caller in its environment, with `minidock` in its path.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:/usr/bin:/bin:/usr/sbin:/sbin",
            self.binary.parent().unwrap().display()
        );
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
            .env("MINIDOCK_ROOT", self.root())
            .env("LANG", "C.UTF-8")
            .current_dir(self.work());
        if rustix::process::getuid().is_root() {
            command.uid(self.uid).gid(self.uid);
        } else {
            // Whoever runs the tests may have subordinate ids; the tests are about a caller who has none.
            command.env("MINIDOCK_ID_MAP", "single");
        }
        command
    }

    /// The binary under test, where this context's caller can reach it.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs one of these tests, which is `#[ignore]`d otherwise, in user, network and mount namespaces of its own, where the
    /// caller is root, `lo` is up and files of the host's are others. What it runs finds this context's environment.
    pub fn apart(&self, test: &str, files: &[(&str, &Path)]) -> Output {
        let mut script = "ip link set lo up".to_owned();
        for (theirs, ours) in files {
            script += &format!("; mount --bind {} {theirs}", ours.display());
        }
        script += r#"; exec "$0" "$@""#;
        let tests = reachable(&self.dir, &std::env::current_exe().unwrap(), "tests");
        let mut command = self.program("unshare");
        command
            .args(["--user", "--map-root-user", "--net", "--mount"])
            .args(["sh", "-euc", &script])
            .arg(tests)
            .args([
                "--exact",
                test,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ]);
        self.finish(command)
    }

    /// Writes a file that the caller owns into the folder where commands start.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(self.uid), Some(self.uid)).unwrap();
        path
    }

    /// Loads a tarball that must be good, through standard input.
    #[track_caller]
    pub fn load(&self, tarball: &Path) -> Output {
        let mut command = self.command(["load"]);
        command
            .stdin(File::open(tarball).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = Running::spawn(&mut command).wait();
        output.ok();
        output
    }

    /// Loads `busybox:latest` and `app:1`.
    #[track_caller]
    pub fn load_busybox(&self) {
        self.load(&super::saved());
    }

    /// Every file of the store with its size, but for what an empty store has too.
    pub fn store_files(&self) -> BTreeMap<String, u64> {
        self.wait_for_trash();
        let mut files = BTreeMap::new();
        list(&self.root(), &self.root(), &mut files);
        files.retain(|path, _| {
            !path.starts_with("locks/")
                && !path.starts_with("events/")
                && ![
                    "version.json",
                    "oci-layout",
                    "index.json",
                    "driver.json",
                    "reserve",
                ]
                .contains(&path.as_str())
        });
        files
    }

    /// Waits until what was removed is deleted, which goes on after a command that removed much.
    #[track_caller]
    pub fn wait_for_trash(&self) {
        let deadline = Instant::now() + PATIENCE;
        let trash = self.root().join("trash");
        while fs::read_dir(&trash).is_ok_and(|mut entries| entries.next().is_some()) {
            assert!(Instant::now() < deadline, "nobody empties the trash");
            std::thread::yield_now();
        }
    }

    /// Fails unless the store holds no image, no blob, no layer, no container and nothing half-made.
    #[track_caller]
    pub fn assert_store_empty(&self) {
        assert_eq!(self.store_files(), BTreeMap::new());
        let images = self.run(["images"]);
        assert_eq!(images.silent_ok().lines().count(), 1, "{images}");
    }
}

/// The one message of a failure must contain every word, and the store must be empty.
#[track_caller]
pub fn refused(cx: &Context, output: &Output, code: i32, words: &[&str]) {
    let message = output.error(code);
    for word in words {
        assert!(
            message.contains(word),
            "{word:?} is not in the message\n{output}"
        );
    }
    cx.assert_store_empty();
}

/// Files below `dir`, and folders that are empty, by their path from `root`.
fn list(root: &Path, dir: &Path, files: &mut BTreeMap<String, u64>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            list(root, &path, files);
        } else {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            files.insert(name, meta.size());
        }
    }
}

/// A user id that nobody has, and that has no range in `/etc/subuid`.
static STRANGER: LazyLock<u32> = LazyLock::new(|| {
    let known = ["/etc/passwd", "/etc/subuid", "/etc/subgid"]
        .map(|file| fs::read_to_string(file).unwrap_or_default())
        .concat();
    let taken = |uid: &u32| {
        let uid = uid.to_string();
        known.lines().any(|line| {
            line.split(':').next() == Some(&uid) || line.split(':').nth(2) == Some(&uid)
        })
    };
    (61_234..62_000).find(|uid| !taken(uid)).unwrap()
});

/// A built program itself, or a copy in `dir` where others may not pass through its folder.
fn reachable(dir: &Path, built: &Path, name: &str) -> PathBuf {
    let open = |path: &Path| path.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0);
    if built.ancestors().all(open) {
        return built.to_owned();
    }
    let copy = dir.join("bin").join(name);
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::set_permissions(dir.join("bin"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::hard_link(built, &copy)
        .or_else(|_| fs::copy(built, &copy).map(drop))
        .unwrap();
    copy
}

/// A temporary folder that can be deleted although an overlay left folders of mode 000 in it.
struct Cleared(TempDir);

impl Drop for Cleared {
    fn drop(&mut self) {
        fn open(dir: &Path) {
            let _ = fs::set_permissions(dir, PermissionsExt::from_mode(0o700));
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open(&entry.path());
                }
            }
        }
        open(self.0.path());
    }
}

/// A started command whose output is being collected. Killed when dropped.
pub struct Running {
    command: String,
    child: Child,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

impl Running {
    /// Starts `command`; whichever of its output streams are pipes are read.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let text = words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start `{text}`: {e}"));
        let stdout = child.stdout.take().map(Stream::read);
        let stderr = child.stderr.take().map(Stream::read);
        Self {
            command: text,
            child,
            stdout,
            stderr,
        }
    }

    /// Writes all of standard input and closes it. A reader that has gone away is not an error.
    pub fn feed(&mut self, input: &[u8]) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let input = input.to_owned();
            std::thread::spawn(move || stdin.write_all(&input));
        }
    }

    /// The process id of minidock.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to minidock.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until standard output contains `text`; all of it so far.
    #[track_caller]
    pub fn wait_for_stdout(&mut self, text: &str) -> String {
        let stream = self.stdout.as_mut().unwrap();
        assert!(
            stream.wait_for(text),
            "`{}` never said {text:?} but {:?}",
            self.command,
            stream.text()
        );
        stream.text()
    }

    /// Waits until standard error contains `text`; all of it so far.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) -> String {
        let stream = self.stderr.as_mut().unwrap();
        assert!(
            stream.wait_for(text),
            "`{}` never said {text:?} but {:?}",
            self.command,
            stream.text()
        );
        stream.text()
    }

    /// Kills minidock outright, as a machine that loses power would.
    pub fn kill(mut self) -> Output {
        self.signal(Signal::KILL);
        self.child.stdin.take();
        self.collect()
    }

    /// Waits for the end that a signal brings.
    #[track_caller]
    pub fn wait_for_signal(mut self) -> Output {
        assert!(self.exit_status().is_some(), "it goes on after the signal");
        let output = self.collect();
        assert_eq!(output.code, None, "{output}");
        output
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        if self.exit_status().is_none() {
            let _ = self.child.kill();
            let output = self.collect();
            panic!("killed after {PATIENCE:?}\n{output}");
        }
        let output = self.collect();
        assert!(output.code.is_some(), "{output}");
        output
    }

    /// The exit status, or `None` when there is none within all patience.
    fn exit_status(&mut self) -> Option<ExitStatus> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let limit = Timespec::try_from(PATIENCE).unwrap();
        let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap();
        (ready == 1).then(|| self.child.wait().unwrap())
    }

    fn collect(&mut self) -> Output {
        let code = self.child.wait().unwrap().code();
        let [stdout, stderr] = [&mut self.stdout, &mut self.stderr].map(|stream| {
            stream.take().map_or_else(String::new, |stream| {
                stream.finish().unwrap_or_else(|text| {
                    panic!(
                        "`{}` is gone but its output is still held open: {text:?}",
                        self.command
                    )
                })
            })
        });
        Output {
            command: self.command.clone(),
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One output stream, read by a thread of its own.
struct Stream {
    chunks: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Stream {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let _ = sender.send(buffer[..length].to_owned());
            }
        });
        Self {
            chunks,
            seen: Vec::new(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    fn wait_for(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(_) => return false,
            }
        }
        true
    }

    /// Everything, or what there was when the stream did not end within all patience.
    fn finish(mut self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(self.text()),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return Err(self.text()),
            }
        }
    }
}
