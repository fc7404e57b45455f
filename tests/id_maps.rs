//! Stores of one id and of subordinate ranges: who owns the files, and what a host must go on giving.
//!
//! What `/etc/subuid` and its kin say is changed for the tested process alone, in a mount namespace of its own, which takes
//! a superuser to make.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::{
    Caller, Context, DockerRegistry, ImageTar, Output, fixtures, scenarios, skip,
};

scenarios!(without_ranges_a_store_has_one_id);

/// First subordinate user and group of the tests' host.
const USERS: u32 = 700_000;
const GROUPS: u32 = 800_000;

/// What the host gives the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// Ranges, and the programs that map them.
    Ranges,
    /// Other ranges than before.
    OtherRanges,
    /// Ranges, but newuidmap(1) is not installed.
    NoPrograms,
    /// Ranges that a directory service knows of, not the files: getsubids(1) lists them.
    Directory,
    /// Nothing.
    Nothing,
}

/// A caller who has subordinate ids, or had.
struct World {
    cx: Context,
}

impl World {
    fn new() -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skip("only the superuser can grant subordinate ids for a test");
            return None;
        }
        let cx = Context::new(Caller::Ordinary)?;
        Some(Self { cx })
    }

    /// `minidock ARGS` on a host, not yet started.
    fn command<S: AsRef<OsStr>>(&self, host: Host, args: impl IntoIterator<Item = S>) -> Command {
        let uid = self.cx.uid;
        let etc = self.cx.dir.join("etc");
        fs::create_dir_all(&etc).unwrap();
        let grant = |first: u32| match host {
            Host::Ranges | Host::NoPrograms => format!("tester:{first}:65536\n"),
            Host::OtherRanges => format!("tester:{}:65536\n", first + 100_000),
            // newuidmap(1) looks at all names of the user's number, so that it grants what minidock does not find there.
            Host::Directory => format!("alias:{first}:65536\n"),
            Host::Nothing => String::new(),
        };
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let files = [
            (
                "passwd",
                format!(
                    "{passwd}tester:x:{uid}:{uid}::/:/bin/sh\nalias:x:{uid}:{uid}::/:/bin/sh\n"
                ),
            ),
            ("subuid", grant(USERS)),
            ("subgid", grant(GROUPS)),
        ];
        let mut script = String::from("set -e\n");
        for (name, text) in files {
            let path = etc.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            script += &format!("mount --bind {} /etc/{name}\n", path.display());
        }
        if host == Host::NoPrograms {
            script += &format!(
                "mount --bind {} $(command -v newuidmap)\n",
                etc.join("subuid").display()
            );
        }
        script += &format!("exec setpriv --reuid={uid} --regid={uid} --clear-groups \"$@\"");
        let mut plain = self.cx.command(args);
        if host == Host::Directory {
            let bin = etc.join("bin");
            fs::create_dir_all(&bin).unwrap();
            let text = format!(
                "#!/bin/sh\n[ \"$1\" = -g ] && shift && set -- \"$1\" {GROUPS}\n[ \"$1\" = tester ] || exit 1\n\
                 echo \"0: tester ${{2:-{USERS}}} 65536\"\n"
            );
            fs::write(bin.join("getsubids"), text).unwrap();
            fs::set_permissions(bin.join("getsubids"), PermissionsExt::from_mode(0o755)).unwrap();
            let path = std::env::var("PATH").unwrap_or_default();
            plain.env("PATH", format!("{}:{path}", bin.display()));
        }
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(
                plain
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.cx.work());
        command
    }

    #[track_caller]
    fn run<S: AsRef<OsStr>>(&self, host: Host, args: impl IntoIterator<Item = S>) -> Output {
        self.cx.finish(self.command(host, args))
    }

    /// Loads `owners:1`, whose layer has files of several owners.
    fn load(&self, host: Host) {
        let image = self.cx.write("owners.tar", owners());
        fs::set_permissions(&image, PermissionsExt::from_mode(0o600)).unwrap();
        self.run(host, ["load", "-i", "owners.tar"]).ok();
    }

    /// The file of the unpacked layer at a path.
    fn in_layer(&self, path: &str) -> PathBuf {
        let layers = fs::read_dir(self.cx.root().join("layers/sha256")).unwrap();
        let mut found = layers.map(|l| l.unwrap().path().join("fs").join(path));
        found.find(|p| p.symlink_metadata().is_ok()).unwrap()
    }

    fn id_map(&self) -> String {
        let text = fs::read_to_string(self.cx.root().join("version.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["id_map"].as_str().unwrap().to_owned()
    }
}

/// An image of busybox and files of several owners.
fn owners() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, ids: (u64, u64), content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(ids.0);
        header.set_gid(ids.1);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    };
    let busybox = fs::read("/bin/busybox").unwrap();
    use tar::EntryType::{Directory, Regular};
    add("bin/", Directory, 0o755, (0, 0), b"");
    add("bin/busybox", Regular, 0o755, (0, 0), &busybox);
    add("tmp/", Directory, 0o1777, (0, 0), b"");
    add("www/", Directory, 0o750, (33, 44), b"");
    add("www/page", Regular, 0o640, (33, 44), b"hello");
    add("last", Regular, 0o600, (65_534, 65_534), b"");
    let layer = tar.into_inner().unwrap();
    ImageTar::new("owners:1", layer, json!({"Entrypoint": ["/bin/busybox"]})).tar()
}

fn without_ranges_a_store_has_one_id(cx: &Context) {
    let image = cx.write("owners.tar", owners());
    let loaded = cx.run(["load", "-i", image.to_str().unwrap()]);
    loaded.ok();
    let version = fs::read_to_string(cx.root().join("version.json")).unwrap();
    let wanted = match cx.caller {
        Caller::Ordinary => "single",
        Caller::Root => "host",
    };
    let single = cx.caller == Caller::Ordinary;
    assert_eq!(version, format!("{{\"format\":1,\"id_map\":\"{wanted}\"}}"));
    let seen = cx.run([
        "run",
        "--rm",
        "owners:1",
        "stat",
        "-c",
        "%u:%g",
        "/www/page",
    ]);
    assert_eq!(seen.silent_ok(), if single { "0:0\n" } else { "33:44\n" });
    // What cannot be had is said, with the remedy, and no store is made.
    let mut command = cx.command(["--id-map", "ranges", "images"]);
    command.env("MINIDOCK_ROOT", cx.dir.join("other"));
    let refused = cx.finish(command);
    let text = refused.error(1);
    if single {
        assert!(text.contains("/etc/subuid grants nothing to"), "{refused}");
        assert!(text.contains("--add-subuids"), "{refused}");
    }
    assert!(text.contains("`ranges` cannot be made"), "{refused}");
    assert!(!cx.dir.join("other").exists());
    // Nor is a store of the other kind used.
    let refused = cx.run(["--id-map", "ranges", "images"]);
    assert!(
        refused
            .error(1)
            .contains(&format!("was made with the id map `{wanted}`")),
        "{refused}"
    );
    assert!(
        cx.run(["--id-map", "several", "images"])
            .error(125)
            .contains("auto, single and ranges")
    );
}

#[test]
fn files_have_their_owners_where_ranges_are_granted() {
    let Some(world) = World::new() else { return };
    world.load(Host::Ranges);
    assert_eq!(world.id_map(), "ranges");
    let page = world.in_layer("www/page").symlink_metadata().unwrap();
    assert_eq!((page.uid(), page.gid()), (USERS + 32, GROUPS + 43));
    let last = world.in_layer("last").symlink_metadata().unwrap();
    assert_eq!(last.uid(), USERS + 65_533);
    let own = world.in_layer("bin/busybox").symlink_metadata().unwrap();
    assert_eq!((own.uid(), own.gid()), (world.cx.uid, world.cx.uid));

    let script = "stat -c '%n %u:%g %a' /www /www/page /last /bin; id -u; touch /tmp/f; chown 5:6 /tmp/f; \
                  stat -c %u:%g /tmp/f; awk '{n += $3} END {print n}' /proc/self/uid_map";
    let seen = world.run(
        Host::Ranges,
        ["run", "--rm", "owners:1", "sh", "-c", script],
    );
    assert_eq!(
        seen.silent_ok(),
        "/www 33:44 750\n/www/page 33:44 640\n/last 65534:65534 600\n/bin 0:0 755\n0\n5:6\n65537\n"
    );
    let info = world.run(Host::Ranges, ["info"]);
    let text = info.silent_ok();
    assert!(text.contains("\nID Map: ranges\n"), "{info}");
    let users = format!(" Users: 0 -> {}, 1-65536 -> {USERS}\n", world.cx.uid);
    assert!(text.contains(&users), "{info}");
    assert!(!text.contains("one id for all files"), "{info}");
    // Another user is another user: group membership opens, nothing else does.
    let cat = |user: &str| {
        world.run(
            Host::Ranges,
            ["run", "--rm", "-u", user, "owners:1", "cat", "/www/page"],
        )
    };
    assert_eq!(cat("33").silent_ok(), "hello");
    assert_eq!(cat("1000:44").silent_ok(), "hello");
    let refused = cat("1000");
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("Permission denied"), "{refused}");
}

#[test]
fn ranges_may_be_granted_by_a_directory_service() {
    let Some(world) = World::new() else { return };
    world.load(Host::Directory);
    assert_eq!(world.id_map(), "ranges");
    let page = world.in_layer("www/page").symlink_metadata().unwrap();
    assert_eq!((page.uid(), page.gid()), (USERS + 32, GROUPS + 43));
}

/// The process that replaces itself after an implicit pull is in the namespace of the store already.
#[test]
fn run_pulls_what_is_missing_into_a_store_of_ranges() {
    let Some(world) = World::new() else { return };
    let Some(registry) = DockerRegistry::start(&world.cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    let script = [
        "run",
        "--rm",
        "--entrypoint",
        "",
        &reference,
        "cat",
        "/proc/self/uid_map",
    ];
    let output = world.run(Host::Ranges, script);
    assert_eq!(world.id_map(), "ranges");
    let words: Vec<&str> = output.ok().split_ascii_whitespace().collect();
    assert_eq!(words, ["0", "0", "1", "1", "1", "65536"], "{output}");
    assert!(output.stderr.contains("locally"), "{output}");
}

#[test]
fn standard_streams_reach_other_users() {
    let Some(world) = World::new() else { return };
    world.load(Host::Ranges);
    let args = ["run", "--rm", "-i", "-u", "1000", "owners:1", "sh", "-c"];
    let mut command = world.command(
        Host::Ranges,
        args.into_iter()
            .chain(["cat; echo out >/dev/stdout; echo err >&2; exit 7"]),
    );
    // A file that only the caller can read, opened before anything is entered.
    let input = world.cx.write("input", "from a file\n");
    fs::set_permissions(&input, PermissionsExt::from_mode(0o600)).unwrap();
    command
        .stdin(fs::File::open(&input).unwrap())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = crate::support::Running::spawn(&mut command).wait();
    assert_eq!(output.stdout, "from a file\nout\n", "{output}");
    assert_eq!(output.stderr, "err\n");
    assert_eq!(output.code, Some(7));
}

#[test]
fn containers_of_other_users_are_ended_and_removed() {
    let Some(world) = World::new() else { return };
    world.load(Host::Ranges);
    let script =
        "mkdir -p /tmp/d/e; touch /tmp/d/e/f; chmod 000 /tmp/d/e /tmp/d; echo ready; sleep 1000";
    let start = |name: &str| {
        let args = ["run", "--name", name, "-u", "1000", "owners:1", "sh", "-c"];
        let command = world.command(Host::Ranges, args.into_iter().chain([script]));
        let mut running = world.cx.start(command);
        running.wait_for_stdout("ready");
        running
    };
    let (one, two) = (start("one"), start("two"));
    // Only the container's process: whoever wrote the maps is gone.
    let pid = one.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children.split_ascii_whitespace().count(), 1, "{children}");

    let refused = world.run(Host::Ranges, ["rm", "one"]);
    assert!(refused.error(1).contains("is running"), "{refused}");
    let removed = world.run(Host::Ranges, ["rm", "-f", "one", "two"]);
    assert_eq!(removed.silent_ok(), "one\ntwo\n");
    assert_eq!(one.wait().code, Some(137));
    assert_eq!(two.wait().code, Some(137));
    let left = fs::read_dir(world.cx.root().join("containers"))
        .unwrap()
        .count();
    assert_eq!(left, 0);

    // One that was killed together with its supervisor, and was to be removed.
    let args = ["run", "--rm", "-u", "1000", "owners:1", "sh", "-c", script];
    let mut running = world.cx.start(world.command(Host::Ranges, args));
    running.wait_for_stdout("ready");
    running.kill();
    let listed = world.run(Host::Ranges, ["ps", "-aq"]);
    assert_eq!(listed.silent_ok(), "");
    assert_eq!(
        fs::read_dir(world.cx.root().join("containers"))
            .unwrap()
            .count(),
        0
    );
    world.run(Host::Ranges, ["rmi", "owners:1"]).ok();
    world.cx.assert_store_empty();
}

#[test]
fn a_store_keeps_its_map_whatever_the_host_gives_later() {
    let Some(world) = World::new() else { return };
    // Made while there was nothing to be had, and while the programs were missing.
    for host in [Host::Nothing, Host::NoPrograms] {
        world.load(host);
        assert_eq!(world.id_map(), "single");
        for later in [host, Host::Ranges] {
            let seen = world.run(
                later,
                ["run", "--rm", "owners:1", "stat", "-c", "%u", "/www/page"],
            );
            assert_eq!(seen.silent_ok(), "0\n");
        }
        let refused = world.run(Host::Ranges, ["--id-map", "ranges", "images"]);
        assert!(refused.error(1).contains("id map `single`"), "{refused}");
        fs::remove_dir_all(world.cx.root()).unwrap();
    }
    let plain = world.run(Host::Ranges, ["--id-map", "single", "images"]);
    plain.ok();
    assert_eq!(world.id_map(), "single");
}

#[test]
fn a_store_whose_ranges_are_gone_is_refused_with_the_remedy() {
    let Some(world) = World::new() else { return };
    world.load(Host::Ranges);
    for (host, why) in [
        (Host::Nothing, "newuidmap"),
        (Host::OtherRanges, "newuidmap"),
        (
            Host::NoPrograms,
            "newuidmap and newgidmap are not installed",
        ),
    ] {
        for args in [
            &["run", "--rm", "owners:1", "true"][..],
            &["rmi", "owners:1"],
        ] {
            let refused = world.run(host, args);
            let text = refused.error(if args[0] == "run" { 125 } else { 1 });
            assert!(
                text.contains(
                    "was made with subordinate ids, which this host does not give any more"
                ),
                "{refused}"
            );
            assert!(text.contains(why), "{refused}");
            assert!(text.contains("hint: as root, restore"), "{refused}");
        }
        // What needs no files still works.
        let listed = world.run(host, ["images", "-q"]);
        assert_eq!(listed.silent_ok().lines().count(), 1);
    }
    let mixed = world.run(Host::Ranges, ["--id-map", "single", "images"]);
    assert!(mixed.error(1).contains("id map `ranges`"), "{mixed}");
    // Nothing was harmed.
    let seen = world.run(
        Host::Ranges,
        ["run", "--rm", "owners:1", "stat", "-c", "%u", "/www/page"],
    );
    assert_eq!(seen.silent_ok(), "33\n");
}

#[test]
fn volumes_have_owners_of_their_own_where_ranges_are_granted() {
    let Some(world) = World::new() else { return };
    world.load(Host::Ranges);
    let run = |flags: &[&str], script: &str| {
        let args = [&["run", "--rm"], flags, &["owners:1", "sh", "-c", script]].concat();
        let output = world.run(Host::Ranges, args);
        output.silent_ok().to_owned()
    };
    let stat = "stat -c '%n %u:%g %a' /www /www/page";
    let filled = "/www 33:44 750\n/www/page 33:44 640\n";
    assert_eq!(run(&["-v", "site:/www"], stat), filled);
    let page = world.cx.root().join("volumes/site/_data/page");
    let owner = page.symlink_metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid()), (USERS + 32, GROUPS + 43));
    // What others can neither list nor enter is a volume all the same, and is kept and removed as one.
    run(&["-v", "site:/www", "-u", "33"], "chmod 000 /www; true");
    assert_eq!(
        run(&["-v", "site:/www"], "stat -c '%u %a' /www; cat /www/page"),
        "33 0\nhello"
    );
    run(
        &["-v", "/anonymous"],
        "mkdir -m 000 /anonymous/d; chown -R 5:6 /anonymous",
    );
    let removed = world.run(Host::Ranges, ["volume", "rm", "site"]);
    assert_eq!(removed.silent_ok(), "site\n");
    let left = world.run(Host::Ranges, ["volume", "ls", "-q"]);
    assert_eq!(left.silent_ok(), "");
}
