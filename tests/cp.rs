//! `cp`: files into containers and out of them, by Docker's rules, whatever the container does meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use crate::support::{Context, Running, scenarios};

scenarios!(
    out_of_a_container_by_dockers_rules,
    into_a_container_by_dockers_rules,
    a_tar_goes_in_and_comes_out,
    a_running_container_is_seen_with_its_mounts,
    a_container_that_ended_is_seen_with_its_volumes,
    a_container_of_one_plain_folder_is_copied_as_well,
    links_lead_nowhere_else,
    a_container_that_swaps_links_reaches_nothing,
    a_hostile_tar_stays_where_it_is_put,
    ends_that_make_no_sense,
);

/// A container that has ended, after a script.
fn ended(cx: &Context, script: &str) {
    cx.load_busybox();
    cx.run([
        "run", "--name", "box", "-u", "0", "busybox", "sh", "-c", script,
    ])
    .silent_ok();
}

/// A container that runs until it is dropped, after a script.
fn live(cx: &Context, script: &str, more: &[&str]) -> (Running, std::process::ChildStdin) {
    cx.load_busybox();
    let script = format!("{script}; echo ready; cat");
    let mut args = vec!["run", "--name", "box", "-i", "-u", "0"];
    args.extend(more);
    args.extend(["busybox", "sh", "-c", &script]);
    let (mut running, stdin) = cx.start_held(cx.command(args));
    running.wait_for_stdout("ready");
    (running, stdin)
}

fn cp(cx: &Context, args: &[&str]) {
    let mut words = vec!["cp"];
    words.extend(args);
    let output = cx.run(words);
    assert_eq!(output.silent_ok(), "", "{output}");
}

fn refused(cx: &Context, args: &[&str], told: &str) {
    let mut words = vec!["cp"];
    words.extend(args);
    let output = cx.run(words);
    assert!(output.error(1).contains(told), "{told:?} in {output}");
}

/// A folder of the caller's in which commands start.
fn folder(cx: &Context, name: &str) -> PathBuf {
    let path = cx.work().join(name);
    fs::create_dir_all(&path).unwrap();
    let owner = rustix::fs::Uid::from_raw(cx.uid);
    rustix::fs::chown(&path, Some(owner), None).unwrap();
    path
}

fn read(cx: &Context, name: &str) -> String {
    fs::read_to_string(cx.work().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What a container shows of a path, after it ended.
fn shown(cx: &Context, path: &str) -> String {
    let to = cx.work().join("shown");
    let _ = fs::remove_file(&to);
    cp(cx, &[&format!("box:{path}"), "shown"]);
    fs::read_to_string(&to).unwrap()
}

fn out_of_a_container_by_dockers_rules(cx: &Context) {
    ended(
        cx,
        "mkdir -p /d/sub && echo one > /d/sub/f && echo 2 > /d/g && ln -s /d /link && ln -s sub/f /d/l && \
         touch -d @1000 /d/g && chmod 4751 /d/g && mkdir /d/closed && echo c > /d/closed/c && chmod 0 /d/closed",
    );
    folder(cx, "there");
    cx.write("file", "before");
    // A file: into a folder, under a name, over a file.
    cp(cx, &["box:/d/g", "there"]);
    cp(cx, &["box:d/g", "named"]);
    cp(cx, &["box:/d/sub/../g", "file"]);
    assert_eq!(
        [read(cx, "there/g"), read(cx, "named"), read(cx, "file")],
        ["2\n"; 3]
    );
    let meta = fs::metadata(cx.work().join("named")).unwrap();
    assert_eq!(
        (meta.mtime(), meta.mode() & 0o7777, meta.uid()),
        (1000, 0o4751, cx.uid)
    );
    // A folder: into one, as a new one, what is in it.
    cp(cx, &["box:/d", "there/"]);
    cp(cx, &["box:/d/", "fresh"]);
    cp(cx, &["box:/d/.", "there"]);
    for place in ["there/d", "fresh", "there"] {
        assert_eq!(read(cx, &format!("{place}/sub/f")), "one\n", "{place}");
        let link = fs::read_link(cx.work().join(place).join("l")).unwrap();
        assert_eq!(link, PathBuf::from("sub/f"), "{place}");
        let closed = cx.work().join(place).join("closed");
        assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o777, 0);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(read(cx, &format!("{place}/closed/c")), "c\n");
    }
    // Links: as they are, followed where asked for, and on the way.
    cp(cx, &["box:/link", "aslink"]);
    assert_eq!(
        fs::read_link(cx.work().join("aslink")).unwrap(),
        PathBuf::from("/d")
    );
    cp(cx, &["-L", "box:/link", "followed"]);
    assert_eq!(read(cx, "followed/g"), "2\n");
    cp(cx, &["box:/link/sub/f", "through"]);
    assert_eq!(read(cx, "through"), "one\n");
    cp(cx, &["-L", "box:/d/l", "there"]);
    assert_eq!(
        read(cx, "there/l"),
        "one\n",
        "a followed link keeps its name"
    );
    refused(
        cx,
        &["box:/nothing", "."],
        "could not find the file /nothing in container box",
    );
    refused(
        cx,
        &["box:/d", "file"],
        "file is no folder: cannot copy a directory",
    );
    refused(cx, &["box:/d/g", "absent/"], "absent/ does not exist");
    refused(cx, &["box:/d/g", "absent/x"], "cannot write to absent/x");
    refused(cx, &["box:/d/g/", "x"], "is no folder");
    refused(cx, &["nobody:/x", "x"], "no such container: nobody");
    cp(cx, &["-q", "-a", "box:/d/g", "kept"]);
}

fn into_a_container_by_dockers_rules(cx: &Context) {
    ended(
        cx,
        "mkdir -p /d/sub && echo old > /d/f && ln -s /d /link && ln -s nowhere /dangling && rm -r /var && \
         echo low > /etc/passwd",
    );
    cx.write("file", "new\n");
    folder(cx, "tree/in");
    cx.write("tree/in/leaf", "leaf\n");
    cx.write("tree/top", "top\n");
    symlink("top", cx.work().join("tree/sym")).unwrap();
    cp(cx, &["file", "box:/d"]);
    cp(cx, &["file", "box:/d/f"]);
    cp(cx, &["file", "box:made"]);
    cp(cx, &["file", "box:/link/linked"]);
    cp(cx, &["file", "box:/link"]);
    cp(cx, &["file", "box:/dangling"]);
    cp(cx, &["tree", "box:/d"]);
    cp(cx, &["tree", "box:/fresh"]);
    cp(cx, &["tree/.", "box:/d/sub"]);
    cp(cx, &["tree", "box:/var"]);
    cp(cx, &["-L", "tree/sym", "box:/d/sub/copied"]);
    for (path, content) in [
        ("/d/file", "new\n"),
        ("/d/f", "new\n"),
        ("/made", "new\n"),
        ("/d/linked", "new\n"),
        ("/nowhere", "new\n"),
        ("/d/tree/in/leaf", "leaf\n"),
        ("/fresh/top", "top\n"),
        ("/d/sub/in/leaf", "leaf\n"),
        ("/var/in/leaf", "leaf\n"),
        ("/d/sub/copied", "top\n"),
        ("/etc/passwd", "low\n"),
    ] {
        assert_eq!(shown(cx, path), content, "{path}");
    }
    refused(cx, &["tree", "box:/d/f"], "cannot copy a directory");
    refused(
        cx,
        &["file", "box:/no/such"],
        "could not find the file /no/such",
    );
    refused(
        cx,
        &["file", "box:/absent/"],
        "does not exist, and a file is to go into it",
    );
    refused(cx, &["absent", "box:/d"], "cannot read absent");
    folder(cx, "clash/f");
    refused(
        cx,
        &["clash/.", "box:/d"],
        "is no folder: cannot overwrite it with a directory",
    );
    // What was copied is the container's when it is committed.
    cx.run(["commit", "box", "copied:1"]).silent_ok();
    let ran = cx.run([
        "run",
        "--rm",
        "-u",
        "0",
        "copied:1",
        "stat",
        "-c",
        "%u:%g %n",
        "/d/file",
        "/fresh/in",
    ]);
    assert_eq!(ran.silent_ok(), "0:0 /d/file\n0:0 /fresh/in\n");
}

fn a_tar_goes_in_and_comes_out(cx: &Context) {
    ended(cx, "mkdir -p /d/e && echo x > /d/e/f && ln /d/e/f /d/g");
    let mut command = cx.program("sh");
    command.args(["-c", "minidock cp box:/d - > out.tar && minidock cp - box:/tmp < out.tar && minidock cp box:/d/. - | tar -tf -"]);
    let output = cx.finish(command);
    assert_eq!(output.silent_ok(), "./\ne/\ne/f\ng\n");
    let mut archive = tar::Archive::new(fs::File::open(cx.work().join("out.tar")).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|e| {
            let entry = e.unwrap();
            assert_eq!(
                (entry.header().uid().unwrap(), entry.header().gid().unwrap()),
                (0, 0)
            );
            String::from_utf8(entry.path_bytes().into_owned()).unwrap()
        })
        .collect();
    assert_eq!(names, ["d/", "d/e/", "d/e/f", "d/g"]);
    assert_eq!(shown(cx, "/tmp/d/e/f"), "x\n");
    let tar = fs::read(cx.work().join("out.tar")).unwrap();
    let gzipped = crate::support::piped("gzip", &["-n"], &tar);
    cx.run_with_input(["cp", "-", "box:/home"], &gzipped)
        .silent_ok();
    assert_eq!(shown(cx, "/home/d/g"), "x\n");
    let output = cx.run_with_input(["cp", "-", "box:/d/g"], &tar);
    assert!(output.error(1).contains("must be a directory"), "{output}");
    let output = cx.run_with_input(["cp", "-", "box:/d"], b"no tar");
    assert!(
        output.error(1).contains("not a valid tar archive"),
        "{output}"
    );
}

fn a_running_container_is_seen_with_its_mounts(cx: &Context) {
    let host = folder(cx, "host");
    fs::write(host.join("from-host"), "host\n").unwrap();
    let volume = format!("{}:/mnt", host.display());
    let (running, stdin) = live(
        cx,
        "echo live > /live; echo mem > /dev/shm/mem",
        &["-v", &volume],
    );
    cp(cx, &["box:/live", "live"]);
    cp(cx, &["box:/mnt/from-host", "seen"]);
    cp(cx, &["box:/dev/shm/mem", "mem"]);
    assert_eq!(
        [read(cx, "live"), read(cx, "seen"), read(cx, "mem")],
        ["live\n", "host\n", "mem\n"]
    );
    cx.write("file", "new\n");
    cp(cx, &["file", "box:/mnt/in"]);
    cp(cx, &["file", "box:/tmp/"]);
    assert_eq!(fs::read_to_string(host.join("in")).unwrap(), "new\n");
    drop(stdin);
    running.wait().ok();
    assert_eq!(shown(cx, "/tmp/file"), "new\n");
}

fn a_container_that_ended_is_seen_with_its_volumes(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run",
        "--name",
        "box",
        "-u",
        "0",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/f",
    ];
    cx.run(args).silent_ok();
    assert_eq!(shown(cx, "/data/f"), "kept\n");
    cx.write("file", "new\n");
    cp(cx, &["file", "box:/data/g"]);
    let other = cx.run([
        "run",
        "--rm",
        "-v",
        "data:/there",
        "busybox",
        "cat",
        "/there/g",
    ]);
    assert_eq!(other.silent_ok(), "new\n");
}

fn a_container_of_one_plain_folder_is_copied_as_well(cx: &Context) {
    cx.load_busybox();
    let args = [
        "--storage-driver",
        "flat",
        "run",
        "--name",
        "box",
        "-u",
        "0",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/f; echo made > /made",
    ];
    cx.run(args).silent_ok();
    cx.write("file", "new\n");
    cp(cx, &["file", "box:/etc/passwd"]);
    cp(cx, &["file", "box:/data/g"]);
    for (path, content) in [
        ("/made", "made\n"),
        ("/data/f", "kept\n"),
        ("/data/g", "new\n"),
        ("/etc/passwd", "new\n"),
    ] {
        assert_eq!(shown(cx, path), content, "{path}");
    }
    // The image's own file, which the folder may share, is as it was.
    let passwd = cx.run(["run", "--rm", "busybox", "cat", "/etc/passwd"]);
    assert!(passwd.silent_ok().starts_with("root:"), "{passwd}");
}

fn links_lead_nowhere_else(cx: &Context) {
    let outside = folder(cx, "outside");
    fs::write(outside.join("secret"), "secret\n").unwrap();
    cx.write("file", "new\n");
    let path = outside.display();
    let script = format!(
        "ln -s {path} /abs && ln -s ../../../../../../../../{path} /up && ln -s /proc/1/root /magic && \
         ln -s loop2 /loop1 && ln -s loop1 /loop2"
    );
    let (running, stdin) = live(cx, &script, &[]);
    for link in ["abs", "up", "magic/proc/1/root/abs"] {
        refused(
            cx,
            &[&format!("box:/{link}/secret"), "x"],
            "could not find the file",
        );
        refused(
            cx,
            &["file", &format!("box:/{link}/secret")],
            "could not find the file",
        );
    }
    refused(cx, &["box:/loop1/x", "x"], "cannot read box:/loop1/x");
    // `..` ends at the container's root.
    refused(
        cx,
        &[&format!("box:/../../../{path}/secret"), "x"],
        "could not find the file",
    );
    cp(cx, &["box:/magic/etc/passwd", "passwd"]);
    assert!(read(cx, "passwd").contains("root:"));
    drop(stdin);
    running.wait().ok();
    for link in ["abs", "up"] {
        refused(
            cx,
            &[&format!("box:/{link}/secret"), "x"],
            "could not find the file",
        );
        refused(
            cx,
            &["file", &format!("box:/{link}/secret")],
            "could not find the file",
        );
    }
    assert_eq!(
        fs::read_to_string(outside.join("secret")).unwrap(),
        "secret\n"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

fn a_container_that_swaps_links_reaches_nothing(cx: &Context) {
    let outside = folder(cx, "outside");
    fs::write(outside.join("f"), "secret\n").unwrap();
    folder(cx, "tree/d/e");
    cx.write("tree/d/e/f", "written\n");
    let script = format!(
        "mkdir -p /t/d/e /real/e && echo inside > /real/e/f && echo inside > /t/d/e/f && ln -s {} /evil && \
         (while :; do mv /t/d /t/x; cp -a /evil /t/d; rm /t/d; mv /t/x /t/d; mv /t/d/e /t/d/y; cp -a /evil /t/d/e; rm /t/d/e; mv /t/d/y /t/d/e; done) >/dev/null 2>&1 & true",
        outside.display()
    );
    let (running, stdin) = live(cx, &script, &[]);
    for _ in 0..40 {
        // Whether it works is a matter of luck; what it reaches is not.
        let _ = cx.run(["cp", "tree/.", "box:/t"]);
        let _ = cx.run(["cp", "box:/t/d/e/f", "got"]);
        if let Ok(got) = fs::read_to_string(cx.work().join("got")) {
            assert_ne!(got, "secret\n");
            fs::remove_file(cx.work().join("got")).unwrap();
        }
        assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "secret\n");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
    drop(stdin);
    drop(running);
}

fn a_hostile_tar_stays_where_it_is_put(cx: &Context) {
    use tar::EntryType::{Link, Regular, Symlink};
    ended(cx, "mkdir /d && echo keep > /keep");
    let tar = |name: &str, kind: tar::EntryType, link: &str, then: Option<&str>| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut put = |name: &str, kind, link: &str, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(data.len() as u64);
            // Written directly: the library would refuse these names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            builder.append(&header, data).unwrap();
        };
        let data: &[u8] = if kind == Regular { b"bad\n" } else { b"" };
        put(name, kind, link, data);
        if let Some(then) = then {
            put(then, Regular, "", b"bad\n");
        }
        builder.into_inner().unwrap()
    };
    for (bytes, told) in [
        (tar("../keep", Regular, "", None), "leads out of the target"),
        (tar("l", Symlink, "..", Some("l/keep")), "is no folder"),
        (tar("m", Symlink, "/", Some("m/keep")), "is no folder"),
        (tar("h", Link, "../keep", None), "leads out of the target"),
    ] {
        let output = cx.run_with_input(["cp", "-", "box:/d"], &bytes);
        assert!(output.error(1).contains(told), "{told}: {output}");
    }
    // An absolute name is one below the target.
    cx.run_with_input(["cp", "-", "box:/d"], &tar("/keep", Regular, "", None))
        .silent_ok();
    assert_eq!(
        (shown(cx, "/keep"), shown(cx, "/d/keep")),
        ("keep\n".into(), "bad\n".into())
    );
}

fn ends_that_make_no_sense(cx: &Context) {
    ended(cx, "true");
    cx.write("file", "x");
    refused(
        cx,
        &["box:/a", "box:/b"],
        "copying between containers is not supported",
    );
    refused(
        cx,
        &["file", "other"],
        "must specify at least one container source",
    );
    refused(cx, &["box:", "x"], "the path in the container is missing");
    cx.run(["run", "--name", "fixed", "--read-only", "busybox", "true"])
        .silent_ok();
    refused(
        cx,
        &["file", "fixed:/x"],
        "container rootfs is marked read-only",
    );
}
