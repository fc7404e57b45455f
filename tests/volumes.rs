//! `-v`, `--mount`, `--tmpfs`, `--volumes-from` and `minidock volume`: what is mounted, where, for how long.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Caller, Context, ImageTar, Layer, piped, scenarios, skip};

scenarios!(
    folders_and_files_of_the_host,
    read_only_is_recursive,
    a_missing_folder_is_made_for_v_and_not_for_mount,
    named_volumes_are_filled_once_and_stay,
    an_image_s_volumes_are_anonymous_and_go_with_rm,
    volumes_of_another_container,
    memory,
    what_the_user_mounts_replaces_the_default,
    the_image_s_links_lead_nowhere_else,
    flags_of_the_hosts_mounts_stay,
    what_the_host_mounts_later_is_seen_by_a_slave,
    volumes_in_use_are_not_removed,
    prune_spares_named_volumes,
    volumes_of_a_killed_container_go,
    what_cannot_be_mounted_is_refused,
);

fn shell(cx: &Context, flags: &[&str], script: &str) -> String {
    let args = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    cx.run(args).silent_ok().to_owned()
}

/// A folder in the caller's current one, the caller's own.
fn folder(cx: &Context, name: &str) -> PathBuf {
    let path = cx.work().join(name);
    fs::create_dir_all(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(cx.uid), Some(cx.uid)).unwrap();
    path
}

fn volumes(cx: &Context) -> Vec<String> {
    let list = cx.run(["volume", "ls", "-q"]);
    list.silent_ok().lines().map(str::to_owned).collect()
}

fn folders_and_files_of_the_host(cx: &Context) {
    cx.load_busybox();
    let host = folder(cx, "host");
    cx.write("host/file", "from the host");
    let absolute = format!("{}:/data", host.display());
    for volume in [absolute.as_str(), "./host:/data", "host/../host/.:/data"] {
        if !volume.starts_with(['/', '.']) {
            let refused = cx.run(["run", "--rm", "-v", volume, "busybox", "true"]);
            assert!(refused.error(125).contains("./"), "{refused}");
            continue;
        }
        assert_eq!(
            shell(cx, &["-v", volume], "cat /data/file"),
            "from the host"
        );
    }
    shell(
        cx,
        &["-v", "./host:/deep/er/data"],
        "echo written >/deep/er/data/new",
    );
    assert_eq!(fs::read_to_string(host.join("new")).unwrap(), "written\n");
    assert_eq!(fs::metadata(host.join("new")).unwrap().uid(), cx.uid);
    // A file on a path that the image lacks, through a link on the host.
    symlink("file", host.join("link")).unwrap();
    let volume = "./host/link:/etc/new/name:ro";
    let script = "cat /etc/new/name; echo x 2>/dev/null >/etc/new/name || echo ' read-only'";
    assert_eq!(
        shell(cx, &["-v", volume], script),
        "from the host read-only\n"
    );
    // A socket is not a file either, and can be mounted.
    let _socket = std::os::unix::net::UnixListener::bind(host.join("socket")).unwrap();
    let script = "test -S /run.sock && echo socket";
    assert_eq!(
        shell(cx, &["-v", "./host/socket:/run.sock"], script),
        "socket\n"
    );
    let mount = "type=bind,source=./host,target=/data,readonly";
    let script = "cat /data/file; touch /data/x 2>&1";
    let output = cx.run([
        "run", "--rm", "--mount", mount, "busybox", "sh", "-c", script,
    ]);
    assert_eq!(output.fails(1), "", "{output}");
    assert!(
        output.stdout.ends_with("/data/x: Read-only file system\n"),
        "{output}"
    );
}

fn read_only_is_recursive(cx: &Context) {
    cx.load_busybox();
    // /dev has other file systems below it for everybody.
    let script = "touch /host/shm/minidock-test 2>/dev/null && echo written; echo x >/host/null && echo device";
    let shm = Path::new("/dev/shm").metadata().unwrap();
    if shm.dev() == Path::new("/dev").metadata().unwrap().dev() {
        return skip("/dev/shm is no mount of its own here, so nothing lies below a mount");
    }
    assert_eq!(shell(cx, &["-v", "/dev:/host:ro"], script), "device\n");
    let top_only = "type=bind,src=/dev,dst=/host,ro,bind-recursive=writable";
    let script = "touch /host/minidock-test 2>/dev/null && echo written; rm -f /host/shm/minidock-test; \
                  echo x >/host/shm/minidock-test && rm /host/shm/minidock-test && echo below";
    assert_eq!(shell(cx, &["--mount", top_only], script), "below\n");
}

fn a_missing_folder_is_made_for_v_and_not_for_mount(cx: &Context) {
    cx.load_busybox();
    shell(cx, &["-v", "./made/for/you:/data"], "echo x >/data/file");
    let made = cx.work().join("made/for/you");
    assert_eq!(fs::read_to_string(made.join("file")).unwrap(), "x\n");
    assert_eq!(
        made.metadata().unwrap().permissions().mode() & 0o7777,
        0o755
    );
    let missing = "type=bind,src=./missing,dst=/data";
    let refused = cx.run(["run", "--rm", "--mount", missing, "busybox", "true"]);
    assert!(
        refused
            .error(125)
            .contains("bind source path does not exist: "),
        "{refused}"
    );
    assert!(!cx.work().join("missing").exists());
    assert_eq!(cx.run(["ps", "-aq"]).silent_ok(), "");
}

/// `filled:1`: /data with files of odd modes, a link, a hard link, and a folder that a second layer changes.
fn load_filled(cx: &Context) {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str,
                   kind: tar::EntryType,
                   mode: u32,
                   id: u64,
                   link: Option<&str>,
                   content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(id);
        header.set_gid(id);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match link {
            Some(link) => tar.append_link(&mut header, path, link).unwrap(),
            None => tar.append_data(&mut header, path, content).unwrap(),
        }
    };
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    add("bin/", Directory, 0o755, 0, None, b"");
    add("bin/busybox", Regular, 0o755, 0, None, &busybox);
    add("bin/sh", Symlink, 0o777, 0, Some("busybox"), b"");
    add("real/", Directory, 0o1770, 7, None, b"");
    add("data", Symlink, 0o777, 0, Some("/real"), b"");
    add("real/secret", Regular, 0o000, 7, None, b"nobody reads me");
    add("real/twin", Link, 0o000, 7, Some("real/secret"), b"");
    add("real/link", Symlink, 0o777, 7, Some("/etc/passwd"), b"");
    add("real/sub/", Directory, 0o750, 8, None, b"");
    add("real/sub/old", Regular, 0o644, 8, None, b"old");
    add("real/sub/gone", Regular, 0o644, 8, None, b"gone");
    let base = tar.into_inner().unwrap();
    let above = Layer::new()
        .file("real/sub/.wh.gone", 0o644, b"")
        .file("real/sub/new", 0o644, b"new")
        .tar();
    let config = json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "Volumes": { "/data": {}, "/empty/": {} } });
    let mut image = ImageTar::new("filled:1", base, config);
    image.layers.push(above);
    cx.run_with_input(["load"], &piped("gzip", &["-c"], &image.tar()))
        .ok();
}

fn named_volumes_are_filled_once_and_stay(cx: &Context) {
    load_filled(cx);
    let run = |volume: &str, script: &str| {
        let args = [
            "run", "--rm", "-v", volume, "filled:1", "busybox", "sh", "-c", script,
        ];
        cx.run(args).silent_ok().to_owned()
    };
    let list = "export PATH=/bin; cd /data; busybox stat -c '%n %a %h %Y %F' . secret sub sub/* | busybox sort; \
                busybox readlink link; busybox stat -c %u:%g . sub";
    let ids = if cx.caller == Caller::Root {
        "7:7\n8:8\n"
    } else {
        "0:0\n0:0\n"
    };
    let listed = run("vol:/data", list);
    assert_eq!(
        listed,
        format!(
            ". 1770 3 1600000000 directory\nsecret 0 2 1600000000 regular file\nsub 750 2 1600000000 directory\n\
             sub/new 644 1 0 regular file\nsub/old 644 1 1600000000 regular file\n/etc/passwd\n{ids}"
        ),
    );
    run(
        "vol:/data",
        "echo mine >/data/mine; busybox rm /data/sub/old",
    );
    assert_eq!(
        run(
            "vol:/elsewhere",
            "cat /elsewhere/mine; cd /elsewhere/sub; echo *"
        ),
        "mine\nnew\n"
    );
    assert_eq!(run("bare:/data:nocopy", "busybox ls -A /data"), "");
    // It is empty still, so the next one fills it.
    assert_eq!(
        run("bare:/data/sub:ro", "busybox ls -A /data/sub"),
        "new\nold\n"
    );
    assert_eq!(volumes(cx), ["bare", "vol"]);
}

fn an_image_s_volumes_are_anonymous_and_go_with_rm(cx: &Context) {
    load_filled(cx);
    let script = "echo x >/empty/x; busybox ls /data/sub; busybox grep -c ' /real \\| /empty ' /proc/self/mounts";
    let run = cx.run(["run", "--rm", "filled:1", "sh", "-c", script]);
    assert_eq!(run.silent_ok(), "new\nold\n2\n");
    assert_eq!(volumes(cx), [""; 0]);
    let run = cx.run(["run", "--name", "kept", "filled:1", "sh", "-c", script]);
    run.silent_ok();
    let made = volumes(cx);
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made.iter().all(|name| name.len() == 64), "{made:?}");
    cx.run(["rm", "kept"]).silent_ok();
    assert_eq!(volumes(cx), made);
    cx.run(["run", "--name", "kept", "-v", "/more", "filled:1", "true"])
        .fails(127);
    assert_eq!(
        volumes(cx),
        made,
        "a container that did not start left volumes"
    );
    cx.run([
        "run",
        "--name",
        "kept",
        "-v",
        "named:/more",
        "filled:1",
        "busybox",
        "true",
    ])
    .silent_ok();
    assert_eq!(volumes(cx).len(), 5);
    cx.run(["rm", "-v", "kept"]).silent_ok();
    let mut left = made;
    left.push("named".to_owned());
    left.sort();
    assert_eq!(volumes(cx), left);
}

fn volumes_of_another_container(cx: &Context) {
    cx.load_busybox();
    folder(cx, "host");
    let first = [
        "run",
        "--name",
        "first",
        "-v",
        "/anonymous",
        "-v",
        "named:/named",
        "-v",
        "./host:/host:ro",
        "--tmpfs",
        "/memory",
        "busybox",
        "sh",
        "-c",
        "echo a >/anonymous/a; echo n >/named/n",
    ];
    cx.run(first).silent_ok();
    let script = "cat /anonymous/a /named/n; touch /host/x 2>/dev/null || echo ro; touch /anonymous/x && echo rw; \
                  test -d /memory || echo no memory";
    assert_eq!(
        shell(cx, &["--volumes-from", "first"], script),
        "a\nn\nro\nrw\nno memory\n"
    );
    let script = "touch /anonymous/y /named/y 2>/dev/null || echo ro; cat /anonymous/a";
    assert_eq!(
        shell(cx, &["--volumes-from", "first:ro"], script),
        "ro\na\n"
    );
    // What the container itself wants at a place comes first.
    let script = "ls /named; ls /anonymous";
    assert_eq!(
        shell(
            cx,
            &["--volumes-from", "first", "-v", "other:/named"],
            script
        ),
        "a\nx\n"
    );
    // Its end did not take away what is not its own.
    assert_eq!(volumes(cx).len(), 3);
    let missing = cx.run(["run", "--rm", "--volumes-from", "nosuch", "busybox", "true"]);
    assert!(missing.error(125).contains("nosuch"), "{missing}");
}

fn memory(cx: &Context) {
    cx.load_busybox();
    let script = "stat -c %a /m; df -k /m | tail -1 | tr -s ' ' | cut -d' ' -f2; \
                  grep -o ' /m tmpfs [^ ]*' /proc/mounts | grep -o 'nosuid\\|nodev\\|noexec' | sort";
    assert_eq!(
        shell(cx, &["--tmpfs", "/m:size=1m,mode=0700"], script),
        "700\n1024\nnodev\nnoexec\nnosuid\n"
    );
    let exec = "cp /bin/busybox /m/busybox; /m/busybox echo runs";
    assert_eq!(shell(cx, &["--tmpfs", "/m:exec"], exec), "runs\n");
    let mount = "type=tmpfs,dst=/m,tmpfs-size=2m,tmpfs-mode=1770";
    assert_eq!(
        shell(cx, &["--mount", mount], script),
        "1770\n2048\nnodev\nnoexec\nnosuid\n"
    );
    let both = shell(
        cx,
        &["--read-only", "--tmpfs", "/tmp"],
        "touch /x 2>/dev/null || touch /tmp/x && echo written",
    );
    assert_eq!(both, "written\n");
}

fn what_the_user_mounts_replaces_the_default(cx: &Context) {
    cx.load_busybox();
    cx.write("hosts", "127.0.0.9 mine\n");
    assert_eq!(
        shell(cx, &["-v", "./hosts:/etc/hosts"], "cat /etc/hosts"),
        "127.0.0.9 mine\n"
    );
    let script =
        "touch /dev/shm/x; grep -c ' /dev/shm ' /proc/mounts; ls /proc/host/self >/dev/null; echo";
    let output = shell(
        cx,
        &["--tmpfs", "/dev/shm:size=1m", "-v", "/proc:/hostproc:ro"],
        &script.replace("/proc/host", "/hostproc"),
    );
    assert_eq!(output, "1\n\n");
    // Deeper ones come later, in whatever order they are given.
    folder(cx, "outer");
    folder(cx, "inner");
    cx.write("inner/file", "inner");
    let flags = ["-v", "./inner:/a/b/c", "-v", "./outer:/a"];
    assert_eq!(shell(cx, &flags, "cat /a/b/c/file"), "inner");
}

fn the_image_s_links_lead_nowhere_else(cx: &Context) {
    let target = folder(cx, "target");
    let mut tar = tar::Builder::new(Vec::new());
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(busybox.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "busybox", busybox.as_slice())
        .unwrap();
    let outside = target.display().to_string();
    let up = format!("../../../../../../../..{outside}");
    for (path, link) in [
        ("absolute", outside.as_str()),
        ("relative", up.as_str()),
        ("magic", "/proc/self/root"),
        ("loop", "loop"),
        ("kernel", "/proc/sys"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, path, link).unwrap();
    }
    let image = ImageTar::new("links:1", tar.into_inner().unwrap(), json!({}));
    cx.run_with_input(["load"], &piped("gzip", &["-c"], &image.tar()))
        .ok();
    folder(cx, "host");
    cx.write("host/file", "from the host");
    for (inside, works) in [
        ("/absolute/x", true),
        ("/relative/x", true),
        ("/magic/x", false),
        ("/loop/x", false),
        ("/kernel", false),
        ("/kernel/kernel/hostname", false),
    ] {
        for flag in [format!("./host:{inside}"), format!("vol:{inside}")] {
            let volume = flag.as_str();
            let output = cx.run(["run", "--rm", "-v", volume, "links:1", "/busybox", "true"]);
            if works {
                assert_eq!(output.code, Some(0), "{output}");
            } else {
                assert_eq!(output.code, Some(125), "{output}");
            }
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{output}");
        }
    }
    // Nor are volumes filled from anywhere else.
    cx.write("target/secret", "secret");
    for inside in ["/absolute", "/relative", "/magic"] {
        let volume = format!("fill{}:{inside}", inside.len());
        let output = cx.run(["run", "--rm", "-v", &volume, "links:1", "/busybox", "true"]);
        assert!(matches!(output.code, Some(0 | 125)), "{output}");
    }
    let found = fs::read_dir(cx.root().join("volumes")).unwrap();
    for volume in found {
        let data = volume.unwrap().path().join("_data");
        assert_eq!(
            fs::read_dir(&data).unwrap().count(),
            0,
            "{}",
            data.display()
        );
    }
}

/// Something mounted on the host, which only root can do, whoever then runs containers.
struct Mounted(PathBuf);

impl Mounted {
    fn new(args: &[&str], target: &Path) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skip("only root can mount something on the host");
            return None;
        }
        let mut command = std::process::Command::new("mount");
        let done = command.args(args).arg(target).status().unwrap();
        assert!(done.success(), "mount {args:?} {}", target.display());
        Some(Self(target.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("umount");
        let _ = command.arg("-l").arg(&self.0).status();
    }
}

fn flags_of_the_hosts_mounts_stay(cx: &Context) {
    cx.load_busybox();
    let host = folder(cx, "host");
    let args = ["-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=1777", "none"];
    let Some(_mounted) = Mounted::new(&args, &host) else {
        return;
    };
    let options = |mode: &str| {
        let volume = format!("./host:/h{mode}");
        let line = shell(cx, &["-v", &volume], "grep ' /h ' /proc/mounts");
        let words = line.split(' ').nth(3).unwrap().split(',');
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    for (mode, writable) in [("", "rw"), (":ro", "ro")] {
        let options = options(mode);
        for flag in ["nosuid", "nodev", "noexec", writable] {
            assert!(options.iter().any(|o| o == flag), "{flag}: {options:?}");
        }
    }
    // What the host keeps read-only is not writable inside, whatever is asked for.
    let remount = ["-o", "remount,ro"];
    let _read_only = Mounted::new(&remount, &host);
    let script = "touch /h/x 2>&1; true";
    let shown = shell(cx, &["-v", "./host:/h:rw"], script);
    assert_eq!(shown, "touch: /h/x: Read-only file system\n");
}

fn what_the_host_mounts_later_is_seen_by_a_slave(cx: &Context) {
    cx.load_busybox();
    let host = folder(cx, "host");
    let path = host.to_str().unwrap();
    let Some(_mounted) = Mounted::new(&["--bind", "--make-rshared", path], &host) else {
        return;
    };
    let below = folder(cx, "host/below");
    let script = "echo ready; read line; ls /slave/below /private/below";
    let flags = [
        "run",
        "--rm",
        "-i",
        "-v",
        "./host:/slave:rslave",
        "-v",
        "./host:/private",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let (mut running, stdin) = cx.start_held(cx.command(flags));
    running.wait_for_stdout("ready\n");
    let _later = Mounted::new(&["-t", "tmpfs", "-o", "mode=1777", "none"], &below);
    fs::write(below.join("file"), "x").unwrap();
    drop(stdin);
    let output = running.wait();
    assert_eq!(
        output.silent_ok(),
        "ready\n/private/below:\n\n/slave/below:\nfile\n"
    );
}

fn volumes_in_use_are_not_removed(cx: &Context) {
    cx.load_busybox();
    assert_eq!(
        cx.run(["volume", "create", "--label", "a=b", "mine"])
            .silent_ok(),
        "mine\n"
    );
    assert_eq!(cx.run(["volume", "create", "mine"]).silent_ok(), "mine\n");
    let inspected = cx.run(["volume", "inspect", "mine"]);
    let value: Value = serde_json::from_str(inspected.silent_ok()).unwrap();
    assert_eq!(value[0]["Labels"], json!({"a": "b"}));
    assert_eq!(value[0]["Name"], "mine");
    let mountpoint = Path::new(value[0]["Mountpoint"].as_str().unwrap()).to_owned();
    cx.run([
        "run",
        "--name",
        "user",
        "-v",
        "mine:/data",
        "busybox",
        "touch",
        "/data/file",
    ])
    .silent_ok();
    assert!(mountpoint.join("file").exists());
    let refused = cx.run(["volume", "rm", "mine"]);
    assert!(
        refused.error(1).contains("volume mine is in use"),
        "{refused}"
    );
    cx.run(["rm", "user"]).silent_ok();
    assert_eq!(cx.run(["volume", "rm", "mine"]).silent_ok(), "mine\n");
    assert!(!mountpoint.exists());
    let missing = cx.run(["volume", "rm", "mine"]);
    assert!(
        missing.error(1).contains("no such volume: mine"),
        "{missing}"
    );
    cx.run(["volume", "rm", "-f", "mine"]).ok();
    cx.run(["volume", "create", "torn"]).silent_ok();
    fs::write(cx.root().join("volumes/torn/volume.json"), "").unwrap();
    cx.run(["ps", "-a"]).silent_ok();
    let torn = cx.run(["volume", "inspect", "torn"]);
    assert!(torn.fails(1).contains("volume.json is damaged"), "{torn}");
    for bad in ["../mine", "a", "/etc", ""] {
        cx.run(["volume", "create", bad]).error(1);
        cx.run(["volume", "inspect", bad]).fails(1);
    }
}

fn prune_spares_named_volumes(cx: &Context) {
    cx.load_busybox();
    cx.run(["volume", "create", "named"]).silent_ok();
    let anonymous = cx.run(["volume", "create"]).silent_ok().trim().to_owned();
    cx.run(["run", "--name", "user", "-v", "/used", "busybox", "true"])
        .silent_ok();
    let no = cx.run_with_input(["volume", "prune"], b"n\n");
    assert_eq!(
        no.silent_ok(),
        "WARNING! This will remove anonymous local volumes not used by at least one container.\n\
         Are you sure you want to continue? [y/N] "
    );
    assert_eq!(volumes(cx).len(), 3);
    let pruned = cx.run(["volume", "prune", "-f"]);
    let told = format!("Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: ");
    assert!(pruned.silent_ok().starts_with(&told), "{pruned}");
    assert_eq!(volumes(cx).len(), 2);
    let pruned = cx.run(["volume", "prune", "-af"]);
    let told = "Deleted Volumes:\nnamed\n\nTotal reclaimed space: ";
    assert!(pruned.silent_ok().starts_with(told), "{pruned}");
    assert_eq!(volumes(cx).len(), 1);
    assert_eq!(
        cx.run(["volume", "ls", "-qf", "dangling=true"]).silent_ok(),
        ""
    );
}

fn volumes_of_a_killed_container_go(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run",
        "--rm",
        "-v",
        "/anonymous",
        "-v",
        "named:/named",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 1000",
    ];
    let mut running = cx.start(cx.command(args));
    running.wait_for_stdout("up\n");
    assert_eq!(volumes(cx).len(), 2);
    running.kill();
    cx.run(["ps", "-a"]).silent_ok();
    assert_eq!(volumes(cx), ["named"]);
    let mut running = cx.start(cx.command(args));
    running.wait_for_stdout("up\n");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code, Some(143));
    assert_eq!(volumes(cx), ["named"]);
}

fn what_cannot_be_mounted_is_refused(cx: &Context) {
    cx.load_busybox();
    for (flags, word) in [
        (&["-v", "/etc:/proc"][..], "/proc"),
        (&["-v", "/etc:/proc/self/fd"], "/proc"),
        (&["--tmpfs", "/proc"], "/proc"),
        (&["-v", "/etc:/a", "--mount", "type=tmpfs,dst=/a"], "/a"),
        (&["-v", "/a", "-v", "x1:/b/../a/"], "/a"),
        (&["-v", "/etc:/"], "'/'"),
        (&["-v", "/etc:/a:rshared"], "user namespace"),
        (&["-v", "~/a:/b"], "absolute path"),
        (&["-v", "/etc/passwd/x:/b"], "/etc/passwd/x"),
        (&["-v", "/etc:/etc/passwd"], "/etc/passwd"),
        (&["-v", "/etc/passwd:/bin"], "/bin"),
        (&["--tmpfs", "/a:size=lots"], "/a"),
        (&["--mount", "type=tmpfs,dst=/a,lowerdir=/etc"], "lowerdir"),
        (&["--tmpfs", "/a:lowerdir=/etc"], "lowerdir"),
    ] {
        let output = cx.run([&["run", "--rm"], flags, &["busybox", "true"]].concat());
        assert!(output.error(125).contains(word), "{output}");
    }
    assert_eq!(volumes(cx), [""; 0]);
    assert_eq!(cx.run(["ps", "-aq"]).silent_ok(), "");
}
