//! Containers with one id, in which root acts for others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::json;

use crate::support::{
    Caller, Context, ImageTar, Layer, Output, repository, scenarios, shared, skip,
};

scenarios!(
    with_more_ids_nothing_is_emulated,
    a_capability_that_root_lacks_is_not_emulated,
);

/// A program that changes its ids step by step (`fixtures/ids.c`).
fn ids_program() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ids");
        let status = Command::new("musl-gcc")
            .args(["-static", "-no-pie", "-O1", "-Wall", "-o"])
            .arg(&program)
            .arg(repository().join("fixtures/ids.c"))
            .status()
            .unwrap();
        assert!(status.success());
        program
    });
    &BUILT
}

/// Loads `ids:1`: busybox, and that program.
fn load_ids(cx: &Context) {
    let busybox = fs::read("/bin/busybox").unwrap();
    let layer = Layer::new()
        .file("bin/busybox", 0o755, &busybox)
        .file("bin/ids", 0o755, &fs::read(ids_program()).unwrap())
        .file("tmp/some", 0o644, b"")
        .tar();
    let image = ImageTar::new("ids:1", layer, json!({"Entrypoint": ["/bin/ids"]})).tar();
    let path = cx.write("ids.tar", image);
    cx.run(["load", "-i", path.to_str().unwrap()]).ok();
}

/// An ordinary user's world with that image.
fn world() -> Option<Context> {
    let cx = Context::new(Caller::Ordinary)?;
    load_ids(&cx);
    Some(cx)
}

/// What came of the steps, one a line.
#[track_caller]
fn steps(cx: &Context, flags: &[&str], words: &str) -> String {
    let args = [&["run", "--rm"], flags, &["ids:1"]].concat();
    let words = words.split(' ');
    cx.run(args.into_iter().chain(words)).silent_ok().to_owned()
}

const ROOT: &str = "0,0,0 0,0,0 []\n";

#[test]
fn what_was_set_is_told_and_there_is_no_way_back() {
    let Some(cx) = world() else { return };
    let steps = |words: &str| steps(&cx, &[], words);
    assert_eq!(steps("get"), ROOT);
    assert_eq!(
        steps("setgroups:70000,5 setgid:7 setuid:8 get setuid:0 setgid:0 setgroups: seteuid:0 get"),
        "0\n0\n0\n8,8,8 7,7,7 [5 70000]\nEPERM\nEPERM\nEPERM\nEPERM\n8,8,8 7,7,7 [5 70000]\n"
    );
    // For a while: what apt, sshd and mail servers do.
    assert_eq!(
        steps("setegid:7 seteuid:8 get chown:9,9 setgid:9 seteuid:0 chown:9,9 get"),
        "0\n0\n0,8,0 0,7,0 []\nEPERM\nEPERM\n0\n0\n0,0,0 0,7,0 []\n"
    );
    assert_eq!(
        steps("setreuid:5,6 get setreuid:6,5 get setresuid:-1,-1,0"),
        "0\n5,6,6 0,0,0 []\n0\n6,5,5 0,0,0 []\nEPERM\n"
    );
    assert_eq!(steps("setfsuid:5 setfsuid:6 setfsuid:-1"), "0\n5\n6\n");
    assert_eq!(
        steps("setuid:-1 setresuid:-1,-1,-1 get"),
        format!("EINVAL\n0\n{ROOT}")
    );
}

#[test]
fn ids_are_inherited_and_kept() {
    let Some(cx) = world() else { return };
    let steps = |words: &str| steps(&cx, &[], words);
    let user = "8,8,8 7,7,7 []\n";
    let dropped = format!("0\n0\n{user}");
    for way in [
        "fork get",
        "exec get",
        "fork exec fork get",
        "orphan get",
        "orphan exec get",
    ] {
        let words = format!("setgid:7 setuid:8 {way}");
        assert_eq!(steps(&words), dropped, "{way}");
    }
    // A child's ids are its own, and a program's saved ids are what the one before had last.
    assert_eq!(steps("seteuid:8 exec get"), "0\n0,8,8 0,0,0 []\n");
    let parent = "0\n0\n8,8,8 7,7,7 []\n";
    assert_eq!(
        steps("setgid:7 setuid:8 get fork exec setuid:0"),
        format!("{parent}EPERM\n")
    );
}

#[test]
fn threads_and_32_bit_programs_are_told_the_same() {
    let Some(cx) = world() else { return };
    let steps = |words: &str| steps(&cx, &[], words);
    // The C library makes each call in all threads.
    assert_eq!(
        steps(
            "threads setgroups:5 setresgid:7,7,7 setresuid:8,8,8 get thread:setuid:0 thread:setuid:8"
        ),
        "0\n0\n0\n8,8,8 7,7,7 [5]\nEPERM\n0\n"
    );
    assert_eq!(
        steps("threads thread:seteuid:8 get thread:seteuid:0 get"),
        format!("0\n0,8,0 0,0,0 []\n0\n{ROOT}")
    );
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            steps(
                "oldsetgroups:5,6 setresgid:7,70000,7 oldsetuid:8 old:get get oldsetuid:0 oldchown:9,9 oldchown:8,0xffff"
            ),
            "0\n0\n0\n8,8,8 [5 6] 8 65534 8\n8,8,8 7,70000,7 [5 6]\nEPERM\nEPERM\n0\n"
        );
    }
}

#[test]
fn who_left_root_may_no_more_than_others() {
    let Some(cx) = world() else { return };
    let steps = |words: &str| steps(&cx, &[], words);
    let some = "chown:9,9 chown:8,8 fchown:0,9 mknod:1,3 mkfifo chroot raw datagram capabilities";
    assert_eq!(steps(some), "0\n0\n0\n0\n0\n0\n0\n0\n1\n", "as root");
    assert_eq!(
        steps(&format!("setgid:7 setuid:8 {some}")),
        "0\n0\nEPERM\nEPERM\nEPERM\nEPERM\n0\nEPERM\nEPERM\n0\n0\n",
        "as another"
    );
    assert_eq!(
        steps("missing:9 missing:0 dangling:9 fchown:9,9 closein fchown:9,9"),
        "ENOENT\nENOENT\n0\n0\n0\nEBADF\n",
        "what is not there"
    );
    // The number by which a process is known cannot be forged.
    for forged in ["locks:0", "locks:4000", "oldlocks:1"] {
        let words = format!("setuid:8 {forged} get setuid:0");
        assert_eq!(steps(&words), "0\n0\n8,8,8 0,0,0 []\nEPERM\n", "{forged}");
    }
}

#[test]
fn capabilities_are_kept_for_one_program() {
    let Some(cx) = world() else { return };
    let steps = |words: &str| steps(&cx, &[], words);
    // 6 is CAP_SETGID, 21 CAP_SYS_ADMIN, which the container does not have.
    let kept =
        "keepcaps:1 setuid:8 capabilities setgid:7 activate:21 activate:6 capabilities setgid:7";
    let said = "0\n0\n0\nEPERM\nEPERM\n0\n1\n0\n";
    assert_eq!(
        steps(&format!("{kept} setuid:0 get")),
        format!("{said}EPERM\n8,8,8 7,7,7 []\n")
    );
    assert_eq!(
        steps(&format!("{kept} exec capabilities setgid:9 activate:6")),
        format!("{said}0\nEPERM\nEPERM\n")
    );
}

#[test]
fn the_kernel_answers_where_it_is_switched_off() {
    let Some(cx) = world() else { return };
    let off = |words: &str| steps(&cx, &["--root-emulation=off"], words);
    assert_eq!(
        off("setuid:8 chown:9,9 mknod:1,3 locks:5"),
        "EINVAL\nEINVAL\nEPERM\n0\n"
    );
    // A user other than root is the one id that there is.
    let user = |flags: &[&str]| steps(&cx, flags, "get setuid:0 setuid:1000");
    assert_eq!(
        user(&["-u", "1000:1000"]),
        user(&["-u", "1000:1000", "--root-emulation=off"])
    );
    assert!(user(&["-u", "1000"]).starts_with("1000,1000,1000 0,0,0 ["));
    let refused = cx.run(["run", "-u", "1000", "--root-emulation=on", "ids:1", "get"]);
    assert!(refused.error(125).contains("root emulation"), "{refused}");
    assert!(refused.stderr.contains("is not root"), "{refused}");
    let refused = cx.run([
        "run",
        "--root-emulation=on",
        "--ulimit",
        "locks=7",
        "ids:1",
        "get",
    ]);
    assert!(refused.error(125).contains("RLIMIT_LOCKS"), "{refused}");
    let noted = cx.run(["run", "--ulimit", "locks=7", "ids:1", "setuid:8"]);
    assert_eq!(noted.ok(), "EINVAL\n");
    assert!(noted.stderr.contains("root is not emulated"), "{noted}");
    let refused = cx.run(["run", "--root-emulation=perhaps", "ids:1", "get"]);
    assert!(refused.error(125).contains("auto, on and off"), "{refused}");
}

#[test]
fn it_works_with_whatever_else_there_is() {
    let Some(cx) = world() else { return };
    let dropped = "0\n0\n8,8,8 7,7,7 []\nEPERM\n";
    for flags in [
        &["--init"][..],
        &["--privileged"],
        &["--privileged", "--init"],
        &["--security-opt", "seccomp=unconfined"],
        &["--security-opt", "no-new-privileges=false"],
        &["--read-only"],
        &["--network", "host"],
        &["--pid", "host"],
        &["--cap-add", "ALL"],
    ] {
        let output = cx.run(
            [&["run", "--rm"], flags, &["ids:1"]]
                .concat()
                .into_iter()
                .chain("setgid:7 setuid:8 get chroot".split(' ')),
        );
        assert_eq!(output.ok(), dropped, "{output}");
    }
}

fn with_more_ids_nothing_is_emulated(cx: &Context) {
    load_ids(cx);
    if cx.caller == Caller::Root {
        assert_eq!(
            steps(cx, &[], "chown:9,9 setuid:8 get"),
            "0\n0\n8,8,8 0,0,0 []\n"
        );
        let refused = cx.run(["run", "--root-emulation=on", "ids:1", "get"]);
        assert!(refused.error(125).contains("more than one id"), "{refused}");
    } else {
        assert_eq!(
            steps(cx, &["--root-emulation=on"], "setuid:8 get"),
            "0\n8,8,8 0,0,0 []\n"
        );
    }
}

fn a_capability_that_root_lacks_is_not_emulated(cx: &Context) {
    load_ids(cx);
    let without = |capability: &str, words: &str| steps(cx, &["--cap-drop", capability], words);
    assert_eq!(without("CHOWN", "chown:9,9 setuid:8"), "EPERM\n0\n");
    assert_eq!(without("SETUID", "setuid:8 setgid:8"), "EPERM\n0\n");
    assert_eq!(
        without("SETGID", "setgid:8 setgroups:5 setuid:8"),
        "EPERM\nEPERM\n0\n"
    );
    assert_eq!(
        without("ALL", "chown:9,9 setuid:8 setgid:8 mknod:1,3 raw chroot"),
        "EPERM\n".repeat(6)
    );
}

/// The real Alpine; `None`, and a word why, where it is not at hand.
fn alpine() -> Option<Context> {
    let cx = Context::new(Caller::Ordinary)?;
    let Some(shared) = shared().filter(|_| cfg!(target_arch = "x86_64")) else {
        skip("Alpine's root file system is not beside the project");
        return None;
    };
    let folder = fs::read_dir(shared.join("alpine")).unwrap();
    let archive = folder
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("minirootfs"));
    let archive = cx.write("alpine.tar.gz", fs::read(archive.unwrap()).unwrap());
    cx.run(["import", archive.to_str().unwrap(), "alpine"]).ok();
    Some(cx)
}

fn shell(cx: &Context, image: &str, script: &str) -> Output {
    cx.run(["run", "--rm", image, "sh", "-ec", script])
}

#[test]
fn alpines_programs_get_on() {
    let Some(cx) = alpine() else { return };
    let script = "adduser -D joe; addgroup joe audio; su joe -c id; touch /tmp/a; chown joe:audio /tmp/a; \
        install -o joe -g joe -m 640 /etc/passwd /tmp/b; mknod /tmp/null c 1 3; \
        mkdir /tmp/t; echo x >/tmp/t/f; chown -R 12:34 /tmp/t; tar -C /tmp -cf /tmp/t.tar t; \
        mkdir /tmp/u; tar -C /tmp/u -xpf /tmp/t.tar; cat /tmp/u/t/f; \
        stat -c '%n %F %a' /tmp/a /tmp/b /tmp/null; su nobody -s /bin/sh -c 'id -u; chown 0:5 /tmp/a' || echo denied";
    let output = shell(&cx, "alpine", script);
    assert_eq!(
        output.ok(),
        "uid=1000(joe) gid=1000(joe) groups=18(audio),1000(joe)\nx\n\
         /tmp/a regular empty file 644\n/tmp/b regular file 640\n/tmp/null regular empty file 644\n65534\ndenied\n",
        "{output}"
    );
    let fails = cx.run([
        "run",
        "--rm",
        "--root-emulation=off",
        "alpine",
        "chown",
        "5",
        "/tmp",
    ]);
    assert!(fails.fails(1).contains("Invalid argument"), "{fails}");
}
