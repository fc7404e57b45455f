//! Starting a container: `run true` against bubblewrap, crun, podman and a floor.
//!
//! What is measured lasts a few milliseconds, so the launcher must not count: this program runs itself anew as the user,
//! and that one starts each side by posix_spawn(3), waits for its end, and knows nothing of the others. The processes that
//! come first warm up the page cache; the rest are alternating pairs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::archive::Layer;
use crate::measure::{Cost, Spread, pairs};
use crate::tar_writer::TarWriter;
use crate::world::has;
use crate::{Result, World, table};

/// Runs of each side per comparison, for each that the command line asks for.
pub const PER_RUN: usize = 20;
/// How many are started at once.
const AT_ONCE: usize = 50;
const LAYERS: usize = 60;

pub fn run(world: &World) -> Result<()> {
    let Ok(busybox) = fs::read("/bin/busybox") else {
        table::skipped("all", "/bin/busybox (busybox-static) is not installed");
        return Ok(());
    };
    let busybox = busybox.as_slice();
    let folder = world.folder("start")?;
    let image = |name: &str, layers: usize| -> Result<PathBuf> {
        let mut all = Vec::new();
        for number in 0..layers {
            let tar = layer(number, busybox)?;
            all.push(Layer::plain(&tar, &world.made(&format!("layer-{number}")))?);
        }
        world.archive(name, &all)
    };
    let store = folder.join("store");
    for archive in [image("start", 1)?, image("layers", LAYERS)?] {
        let loaded = world
            .minidock(&store)
            .args(["load", "-q", "-i"])
            .arg(archive)
            .stdout(Stdio::null())
            .status()?;
        if !loaded.success() {
            return Err("minidock load failed".into());
        }
    }
    // The rest is done by the user himself.
    let status = world
        .bench()
        .arg("start-as-user")
        .args([world.binary(), &folder])
        .arg((world.runs() * PER_RUN).to_string())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the measuring process: {status}").into())
    }
}

/// A store in `folder` with an image of this name; `false` where it cannot be had.
pub fn store_with_image(world: &World, folder: &Path, name: &str) -> Result<bool> {
    let Ok(busybox) = fs::read("/bin/busybox") else {
        table::skipped("all", "/bin/busybox (busybox-static) is not installed");
        return Ok(false);
    };
    let tar = layer(0, &busybox)?;
    let archive = world.archive(name, &[Layer::plain(&tar, &world.made("layer-exec"))?])?;
    let loaded = world
        .minidock(&folder.join("store"))
        .args(["load", "-q", "-i"])
        .arg(archive)
        .stdout(Stdio::null())
        .status()?;
    match loaded.success() {
        true => Ok(true),
        false => Err("minidock load failed".into()),
    }
}

/// The first has the programs; each other one has a file.
fn layer(number: usize, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut tar = TarWriter { out: Vec::new() };
    if number == 0 {
        tar.folder("bin/", 0o755)?;
        tar.file("bin/busybox", 0o755, busybox)?;
        for name in ["true", "sleep", "sh"] {
            tar.link(&format!("bin/{name}"), "busybox")?;
        }
        for folder in ["etc/", "proc/", "dev/", "sys/", "tmp/"] {
            tar.folder(folder, 0o755)?;
        }
    } else {
        tar.file(&format!("file-{number}"), 0o644, b"content")?;
    }
    Ok(tar.finish()?)
}

/// One process from posix_spawn(3) to its end.
pub fn cost(command: &mut Command) -> Result<Cost> {
    let begin = Instant::now();
    let child = command.spawn()?;
    let usage = minidock_sys::process::wait_with_usage(rustix::process::Pid::from_child(&child))?;
    let wall = begin.elapsed().as_secs_f64();
    if usage.status != Some(0) {
        return Err(format!("{command:?} failed: {:?}", usage.status).into());
    }
    Ok(Cost {
        wall,
        cpu: usage.cpu.as_secs_f64(),
        peak: usage.peak_kib,
    })
}

fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

pub fn with(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    quiet(command)
}

/// The measuring process: minidock, the folder, how many runs.
pub fn as_user(args: &[String]) -> Result<()> {
    let [minidock, folder, runs] = args else {
        return Err("start-as-user FILE FOLDER RUNS".into());
    };
    let (minidock, folder) = (Path::new(minidock), Path::new(folder));
    let runs: usize = runs.parse()?;
    let store = folder.join("store");
    let store = store.to_string_lossy();
    let run = |image: &str| {
        with(
            minidock,
            &[
                "--root",
                &store,
                "run",
                "--rm",
                "--network",
                "none",
                image,
                "true",
            ],
        )
    };
    let ours = || cost(&mut run("start"));
    ours()?;
    let rootfs = rootfs(minidock, folder, &store)?;
    let floor = floor_folder(folder, &rootfs)?;
    let itself = std::env::current_exe()?;
    table::head();
    let compare = |what: &str, limit, few: usize, theirs: &mut dyn FnMut() -> Result<Cost>| {
        let costs = pairs(few, ours, theirs)?;
        table::ratio(what, &costs, limit);
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    compare("run true / floor", Some(1.6), runs, &mut || {
        let mut command = Command::new(&itself);
        command.arg("floor-start").arg(&floor);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let result = cost(&mut command);
        // A volatile overlay's work folder has to be empty again; parts of it have mode 000.
        for folder in [
            "work/work",
            "work/work/incompat",
            "work/work/incompat/volatile",
        ] {
            let _ = fs::set_permissions(floor.join(folder), PermissionsExt::from_mode(0o700));
        }
        fs::remove_dir_all(floor.join("work/work"))?;
        result
    })?;
    bubblewrap(&rootfs, &mut |what, limit, theirs| {
        compare(what, limit, runs, theirs)
    })?;
    crun(
        minidock,
        folder,
        &store,
        &rootfs,
        &mut |what, limit, theirs| compare(what, limit, runs, theirs),
    )?;
    podman(folder, &rootfs, &mut |what, limit, theirs| {
        compare(what, limit, 5, theirs)
    })?;
    let layers = pairs(runs, || cost(&mut run("layers")), ours)?;
    table::ratio("60 layers / one layer", &layers, Some(1.3));
    at_once(&|| run("start"))?;
    memory(minidock, &store)
}

type Compare<'a> =
    &'a mut dyn FnMut(&str, Option<f64>, &mut dyn FnMut() -> Result<Cost>) -> Result<()>;

/// The image's files in a plain folder, by way of a container that has them all.
fn rootfs(minidock: &Path, folder: &Path, store: &str) -> Result<PathBuf> {
    let rootfs = folder.join("rootfs");
    let made = with(
        minidock,
        &["--root", store, "run", "--name", "files", "start", "true"],
    )
    .status()?;
    if !made.success() {
        return Err("minidock run failed".into());
    }
    fs::create_dir(&rootfs)?;
    let mut export = Command::new(minidock);
    let mut export = export
        .args(["--root", store, "export", "files"])
        .stdout(Stdio::piped())
        .spawn()?;
    let tar = export.stdout.take().ok_or("no output")?;
    let unpacked = Command::new("tar")
        .args(["-x", "-C"])
        .arg(&rootfs)
        .stdin(tar)
        .status()?;
    if !(export.wait()?.success() && unpacked.success()) {
        return Err("minidock export failed".into());
    }
    Ok(rootfs)
}

fn floor_folder(folder: &Path, rootfs: &Path) -> Result<PathBuf> {
    let floor = folder.join("floor");
    for name in ["upper", "work", "mountpoint"] {
        fs::create_dir_all(floor.join(name))?;
    }
    fs::write(floor.join("hosts"), "127.0.0.1 localhost\n")?;
    std::os::unix::fs::symlink(rootfs, floor.join("layer"))?;
    Ok(floor)
}

fn bubblewrap(rootfs: &Path, compare: Compare<'_>) -> Result<()> {
    if !has("bwrap") {
        table::skipped("run true / bwrap", "bwrap is not installed");
        return Ok(());
    }
    let rootfs = rootfs.to_string_lossy();
    let args = [
        "--unshare-all",
        "--uid",
        "0",
        "--gid",
        "0",
        "--hostname",
        "h",
        "--bind",
        &rootfs,
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "/bin/true",
    ];
    compare("run true / bwrap", Some(1.0), &mut || {
        cost(&mut with(Path::new("bwrap"), &args))
    })
}

/// Docker's profile as the `containers` packages bring it, reduced to what an OCI Spec can say for this machine.
fn profile() -> Option<Value> {
    let text = fs::read_to_string("/usr/share/containers/seccomp.json").ok()?;
    let profile: Value = serde_json::from_str(&text).ok()?;
    let machine = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let applies = |rule: &&Value| {
        let caps = &rule["includes"]["caps"];
        let arches = &rule["includes"]["arches"];
        let no_caps = caps.as_array().is_none_or(Vec::is_empty);
        let here = arches
            .as_array()
            .is_none_or(|list| list.iter().any(|arch| arch == machine));
        no_caps && here
    };
    let rules: Vec<Value> = profile["syscalls"]
        .as_array()?
        .iter()
        .filter(applies)
        .map(|rule| {
            let mut kept = json!({});
            for key in ["names", "action", "args", "errnoRet"] {
                if !rule[key].is_null() {
                    kept[key] = rule[key].clone();
                }
            }
            kept
        })
        .collect();
    Some(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "syscalls": rules,
    }))
}

fn crun(
    minidock: &Path,
    folder: &Path,
    store: &str,
    rootfs: &Path,
    compare: Compare<'_>,
) -> Result<()> {
    const WHAT: &str = "run true / crun run, the same Spec";
    if !has("crun") {
        table::skipped(WHAT, "crun is not installed");
        return Ok(());
    }
    let Some(profile) = profile() else {
        table::skipped(WHAT, "no /usr/share/containers/seccomp.json");
        return Ok(());
    };
    let inspected = Command::new(minidock)
        .args(["--root", store, "inspect", "--format", "{{.Id}}", "files"])
        .output()?;
    let id = String::from_utf8(inspected.stdout)?;
    let path = Path::new(store)
        .join("containers")
        .join(id.trim())
        .join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(path)?)?;
    spec["root"]["path"] = rootfs.to_string_lossy().into();
    spec["linux"]["seccomp"] = profile;
    // Releases of before 2024 know no later one.
    spec["ociVersion"] = "1.0.2".into();
    let bundle = folder.join("bundle");
    fs::create_dir(&bundle)?;
    fs::write(bundle.join("config.json"), spec.to_string())?;
    let state = folder.join("crun");
    let (bundle, state) = (bundle.to_string_lossy(), state.to_string_lossy());
    let args = [
        "--root",
        &state,
        "--cgroup-manager",
        "disabled",
        "run",
        "-b",
        &bundle,
        "x",
    ];
    let mut crun = || cost(&mut with(Path::new("crun"), &args));
    if crun().is_err() {
        table::skipped(WHAT, "crun does not start it on this host");
        return Ok(());
    }
    compare(WHAT, Some(0.3), &mut crun)
}

fn podman(folder: &Path, rootfs: &Path, compare: Compare<'_>) -> Result<()> {
    const WHAT: &str = "run true / podman run";
    if !has("podman") {
        table::skipped(WHAT, "podman is not installed");
        return Ok(());
    }
    let state = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (root, runroot, tmp) = (state("podman"), state("podman-run"), state("podman-tmp"));
    fs::create_dir_all(&runroot)?;
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        command
            .env("XDG_RUNTIME_DIR", &runroot)
            .args(["--root", &root, "--runroot", &runroot, "--tmpdir", &tmp])
            .args(["--cgroup-manager", "cgroupfs", "--log-level", "error"])
            .args(args);
        quiet(command)
    };
    let mut archive = Command::new("tar")
        .args(["--owner=0", "--group=0", "-c", "-C"])
        .arg(rootfs)
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()?;
    let tar = archive.stdout.take().ok_or("no output")?;
    let mut import = podman(&["import", "-", "start"]);
    let imported = import.stdin(tar).status()?;
    archive.wait()?;
    let tmp = Path::new(&tmp);
    if !imported.success() {
        end_pause(tmp);
        table::skipped(WHAT, "podman import failed");
        return Ok(());
    }
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "--cgroups",
        "disabled",
        "start",
        "true",
    ];
    let mut run = || cost(&mut podman(&args));
    let result = match run() {
        Ok(_) => compare(WHAT, Some(0.06), &mut run),
        Err(_) => {
            table::skipped(WHAT, "podman does not start it on this host");
            Ok(())
        }
    };
    end_pause(tmp);
    result
}

/// Podman leaves a process behind that keeps its user namespace.
fn end_pause(tmp: &Path) {
    let pid = fs::read_to_string(tmp.join("pause.pid")).unwrap_or_default();
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Fifty at once, against fifty times one divided by the processors.
fn at_once(run: &dyn Fn() -> Command) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let one = Spread::of(
            (0..20)
                .map(|_| cost(&mut run()).map(|cost| cost.wall))
                .collect::<Result<Vec<_>>>()?,
        );
        let begin = Instant::now();
        let all: Vec<_> = (0..AT_ONCE)
            .map(|_| run().spawn())
            .collect::<std::io::Result<_>>()?;
        for mut child in all {
            if !child.wait()?.success() {
                return Err("one of many failed".into());
            }
        }
        let bound = one.median * AT_ONCE as f64 / cores as f64;
        ratios.push(begin.elapsed().as_secs_f64() / bound);
    }
    table::figure("50 at once / 50 × one / processors", ratios, "", Some(1.3));
    Ok(())
}

/// What stays in the foreground beside a container that sleeps.
fn memory(minidock: &Path, store: &str) -> Result<()> {
    let mut command = with(
        minidock,
        &[
            "--root",
            store,
            "run",
            "--rm",
            "--network",
            "none",
            "start",
            "sleep",
            "100",
        ],
    );
    let mut child = command.spawn()?;
    let status = format!("/proc/{0}/task/{0}/children", child.id());
    let rollup = format!("/proc/{}/smaps_rollup", child.id());
    let pss = || -> Option<f64> {
        let text = fs::read_to_string(&rollup).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").trim().parse().ok()
    };
    // The container runs once its first process is called `sleep`.
    let running = || {
        let pid = fs::read_to_string(&status).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        name.trim() == "sleep" || name.trim() == "busybox"
    };
    let begin = Instant::now();
    while !running() && begin.elapsed().as_secs() < 10 {}
    std::thread::sleep(std::time::Duration::from_millis(100));
    let figure = pss().ok_or("no smaps_rollup");
    child.kill()?;
    child.wait()?;
    table::figure("PSS of the supervisor", [figure?], "KiB", Some(600.0));
    Ok(())
}
