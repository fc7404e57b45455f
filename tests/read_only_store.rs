//! A store that cannot be written: everything that reads works, everything else is refused with one clear error.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use crate::support::{Context, Output, saved, scenarios, skip};

scenarios!(
    a_read_only_file_system,
    folders_that_may_not_be_written,
    containers_that_should_be_gone_are_not_seen,
);

/// Makes the store read-only for one program and runs it as the context's caller.
fn on_read_only(cx: &Context, program: &str, args: &[&str]) -> Output {
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    let user = [cx.uid, cx.uid].map(|id| id.to_string());
    let like = cx.command([""; 0]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(cx.root())
        .args(["setpriv", "--reuid", &user[0], "--regid", &user[1]])
        .args(["--clear-groups", program])
        .args(args)
        .env_clear()
        .current_dir(cx.work());
    for (name, value) in like.get_envs() {
        command.env(name, value.unwrap());
    }
    cx.finish(command)
}

fn read_only(cx: &Context, args: &[&str]) -> Output {
    on_read_only(cx, cx.binary().to_str().unwrap(), args)
}

fn can_mount(cx: &Context) -> bool {
    cx.run(["images"]).silent_ok();
    let possible = on_read_only(cx, "true", &[]).code == Some(0);
    if !possible {
        skip("the store cannot be mounted read-only");
    }
    possible
}

/// Verbs that only read, and whose words do not depend on the time.
const READING: [&[&str]; 11] = [
    &["images", "--format", "{{.ID}} {{.Repository}} {{.Tag}}"],
    &["ps", "-a", "--format", "{{.ID}} {{.Names}} {{.Image}}"],
    &["inspect", "busybox", "kept"],
    &["image", "inspect", "app:1"],
    &["history", "-q", "--no-trunc", "app:1"],
    &["diff", "kept"],
    &["volume", "ls"],
    &["volume", "inspect", "vol"],
    &["system", "df"],
    &["info"],
    &["run", "--help"],
];

const WRITING: [&[&str]; 16] = [
    // Where nobody answers: nobody is asked.
    &["pull", "127.0.0.1:1/app:1"],
    // An overlay is mounted with a place to write to.
    &["cp", "kept:/new", "copy"],
    &["cp", "saved.tar", "kept:/"],
    &["run", "--rm", "busybox", "true"],
    &["rmi", "-f", "busybox"],
    &["tag", "busybox", "other:1"],
    &["commit", "kept", "other:1"],
    &["rm", "kept"],
    &["volume", "create", "other"],
    &["volume", "rm", "vol"],
    &["image", "prune", "-f"],
    &["container", "prune", "-f"],
    &["system", "prune", "-f"],
    &["system", "check", "--repair"],
    &["load", "-i", "saved.tar"],
    &["import", "rw.export"],
];

/// One image with a container that wrote something, and a volume.
fn fill(cx: &Context) {
    cx.load_busybox();
    let touch = ["run", "--name", "kept", "busybox", "touch", "/new"];
    cx.run(touch).silent_ok();
    cx.run(["volume", "create", "vol"]).ok();
    cx.write("saved.tar", fs::read(saved()).unwrap());
}

/// Tries all verbs, each run by `run` after `close`; what writes has to say one of `words`.
fn try_all(cx: &Context, close: &dyn Fn(), run: &dyn Fn(&[&str]) -> Output, words: &str) {
    let writable: Vec<_> = READING.iter().map(|args| cx.run(*args)).collect();
    for (verb, of) in [("save", "app:1"), ("export", "kept")] {
        cx.run([verb, "-o", &format!("rw.{verb}"), of]).silent_ok();
    }
    let before = cx.store_files();
    close();
    for (args, writable) in READING.iter().zip(writable) {
        assert_eq!(run(args).silent_ok(), writable.silent_ok());
    }
    for (verb, of) in [("save", "app:1"), ("export", "kept")] {
        run(&[verb, "-o", &format!("ro.{verb}"), of]).silent_ok();
        let read = |kind: &str| fs::read(cx.work().join(format!("{kind}.{verb}"))).unwrap();
        assert!(read("ro") == read("rw"), "{verb} wrote something else");
    }
    assert_eq!(
        run(&["system", "check"]).silent_ok(),
        "Checked 2 images, 2 layers, 6 blobs and 1 container: no problems\n\
         The store cannot be written, so 2 layers could not be unpacked to compare the files\n"
    );
    // What packs files that even their owner may not read is done as root of a namespace, whom no mode keeps out.
    let bound_by_modes =
        |args: &&&[&str]| words != "cannot " || !["commit", "cp"].contains(&args[0]);
    for args in WRITING.iter().filter(bound_by_modes) {
        let output = run(args);
        let message = output.error(if args[0] == "run" { 125 } else { 1 });
        assert!(message.contains(words), "{output}");
        assert!(message.contains("--root or MINIDOCK_ROOT"), "{output}");
    }
    assert_eq!(cx.store_files(), before);
}

fn a_read_only_file_system(cx: &Context) {
    if !can_mount(cx) {
        return;
    }
    fill(cx);
    let root = cx.root();
    let words = format!("the store {} is read-only: cannot ", root.display());
    try_all(cx, &|| {}, &|args| read_only(cx, args), &words);

    // Which driver works cannot be tried, and is no reason to say nothing else.
    fs::remove_file(root.join("driver.json")).unwrap();
    let info = read_only(cx, &["info"]);
    assert!(info.ok().contains("Root Dir: "), "{info}");
    assert!(info.stdout.contains("cannot be tried"), "{info}");

    // A blob that rotted is found although nothing can be unpacked.
    let files = cx.store_files();
    let mut blobs: Vec<_> = files.iter().filter(|f| f.0.starts_with("blobs/")).collect();
    blobs.sort_by_key(|(_, size)| **size);
    let largest = root.join(blobs.last().unwrap().0);
    let mut file = OpenOptions::new().append(true).open(&largest).unwrap();
    file.write_all(b"x").unwrap();
    let check = read_only(cx, &["system", "check"]);
    assert_eq!(check.code, Some(1), "{check}");
    assert!(check.stdout.contains("is damaged or missing"), "{check}");
}

fn folders_that_may_not_be_written(cx: &Context) {
    // No mode keeps root from writing.
    if cx.uid == 0 {
        return;
    }
    fill(cx);
    // The trees of images and containers have folders that nobody may pass; what matters is above them.
    let chmod = |how: &str| {
        let mut command = cx.program("find");
        command.arg(cx.root()).args(["-maxdepth", "2"]);
        command.args(["(", "-type", "d", "-o", "-type", "f", ")"]);
        command.args(["-exec", "chmod", how, "{}", "+"]);
        cx.finish(command).silent_ok();
    };
    try_all(cx, &|| chmod("a-w"), &|args| cx.run(args), "cannot ");
    chmod("u+w");
    cx.run(["rm", "kept"]).ok();
}

fn containers_that_should_be_gone_are_not_seen(cx: &Context) {
    if !can_mount(cx) {
        return;
    }
    cx.load_busybox();
    let mut run = cx.start(cx.command([
        "run",
        "--rm",
        "--name",
        "left",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 1000",
    ]));
    run.wait_for_stdout("up");
    run.kill();
    let list = ["ps", "-a", "--format", "{{.Names}}"];
    assert_eq!(read_only(cx, &list).silent_ok(), "");
    assert!(fs::read_dir(cx.root().join("containers")).unwrap().count() == 1);
    assert_eq!(cx.run(list).silent_ok(), "");
    assert!(fs::read_dir(cx.root().join("containers")).unwrap().count() == 0);
}
