//! A store on an overlay, as it is inside any container that has no volume for it: such a file system takes no whiteouts.

use std::fs;
use std::path::{Path, PathBuf};

use crate::archives::listing;
use crate::support::{Caller, Context, Output, fixtures, scenarios, shared, skip};

scenarios!(
    images_with_whiteouts_load_and_run_on_an_overlay,
    what_fuse_overlayfs_deletes_on_an_overlay_is_deleted,
    overlays_are_not_made_of_whiteouts_that_they_do_not_understand,
);

/// Runs a script of minidock's commands in a new folder with the store on an overlay, as the caller or as root of his own.
fn on_an_overlay(cx: &Context, folder: &str, script: &str) -> Output {
    let lay = "set -e; mkdir \"$FOLDER\"; cd \"$FOLDER\"; mkdir lower upper over; mkdir -p \"$MINIDOCK_ROOT\"; \
               mount -t overlay overlay -o \"$OPTIONS\" \"$MINIDOCK_ROOT\"; \
               ! mknod \"$MINIDOCK_ROOT\"/whiteout c 0 0 2>/dev/null; ";
    let (flags, option): (&[&str], _) = match cx.caller {
        Caller::Root => (&["--mount"], ""),
        Caller::Ordinary => (&["--user", "--map-root-user", "--mount"], "userxattr,"),
    };
    let mut command = cx.program("unshare");
    command
        .args(flags)
        .args(["sh", "-c", &[lay, script].concat()]);
    let options = format!("{option}lowerdir=lower,upperdir=upper,workdir=over");
    command.env("OPTIONS", options).env("FOLDER", folder);
    cx.finish(command)
}

fn archives() -> Vec<PathBuf> {
    let mut folders = vec![fixtures().to_owned()];
    if cfg!(target_arch = "x86_64") {
        folders.extend(shared().map(|shared| shared.join("docker-save")));
    }
    let names = ["docker-20.tar.gz", "docker-26.tar.gz"];
    let both = |folder: PathBuf| names.map(|name| folder.join(name));
    folders.into_iter().flat_map(both).collect()
}

fn assert_as_expected(tarball: &Path, exported: &Path) {
    let expected = fs::read_to_string(tarball.with_file_name("app-1.expected")).unwrap();
    let listing = listing(exported);
    let shown: Vec<&str> = listing.values().map(String::as_str).collect();
    for line in expected.lines() {
        assert!(
            shown.contains(&line),
            "no {line:?} in\n{}",
            shown.join("\n")
        );
    }
    for gone in ["bin/vi", "var/spool/mail", "home"] {
        assert!(!listing.contains_key(gone), "{gone}");
    }
    assert!(!listing.keys().any(|name| name.contains(".wh.")));
}

fn images_with_whiteouts_load_and_run_on_an_overlay(cx: &Context) {
    for (number, tarball) in archives().iter().enumerate() {
        let script = "minidock load -q -i \"$0\" >/dev/null; minidock run --rm app:1; \
             minidock run --rm --entrypoint sh app:1 -c \
               'ls -d /home /bin/vi /var/spool/mail 2>/dev/null; cat /srv/link /srv/hard'; \
             minidock run --name one --entrypoint sh -u 0 app:1 -c 'rm /bin/ls; echo new >/srv/new'; \
             minidock diff one; minidock commit one app:2 >/dev/null; \
             minidock run --rm --entrypoint sh app:2 -c 'cat /srv/new; [ -e /bin/ls ] || [ -e /bin/vi ] || echo neither'; \
             minidock run --name two app:1 >/dev/null; minidock export -o exported.tar two; \
             minidock system check; [ \"$(find \"$MINIDOCK_ROOT\"/layers -type s | wc -l)\" -gt 0 ]; \
             minidock rm one two >/dev/null; minidock rmi app:1 app:2 busybox:latest >/dev/null; \
             ls \"$MINIDOCK_ROOT\"/layers/sha256 \"$MINIDOCK_ROOT\"/flat";
        let name = tarball.display();
        let script = script.replace("\"$0\"", &format!("'{name}'"));
        let folder = format!("at{number}");
        let output = on_an_overlay(cx, &folder, &script);
        let mut lines = output.stdout.lines();
        assert_eq!(
            lines.next(),
            Some("hello world from app in /srv/app"),
            "{name}: {output}"
        );
        let rest: Vec<&str> = lines.collect();
        let rest = rest.join("\n");
        let store = cx.root();
        let store = store.display();
        assert_eq!(
            rest,
            format!(
                "data\ndata\nC /bin\nD /bin/ls\nA /data\nC /srv\nA /srv/new\nnew\nneither\n\
                 Checked 3 images, 3 layers, 9 blobs and 2 containers: no problems\n\
                 {store}/flat:\n\n{store}/layers/sha256:"
            ),
            "{name}: {output}"
        );
        assert_eq!(output.code, Some(0), "{name}: {output}");
        assert_as_expected(tarball, &cx.work().join(folder).join("exported.tar"));
    }
}

/// It makes files called `.wh.NAME` there.
fn what_fuse_overlayfs_deletes_on_an_overlay_is_deleted(cx: &Context) {
    let tarball = fixtures().join("docker-26.tar.gz");
    let script = "(command -v fuse-overlayfs && exec 3<>/dev/fuse) >/dev/null 2>&1 || { echo none; exit; }; \
         export MINIDOCK_STORAGE_DRIVER=fuse-overlayfs; minidock load -q -i \"$0\" >/dev/null; \
         minidock run --name one busybox sh -c 'rm /bin/vi; rm -r /var/spool; mkdir /var/spool; echo new >/var/new'; \
         minidock diff one; minidock export one | tar t | grep -E 'wh[.]|bin/vi|spool|var/new' | sort; \
         minidock commit one two:1 >/dev/null; unset MINIDOCK_STORAGE_DRIVER; \
         minidock run --rm two:1 sh -c 'ls /bin/vi /bin/.wh.vi 2>/dev/null; ls /var/spool /var/new'";
    let script = script.replace("\"$0\"", &format!("'{}'", tarball.display()));
    let output = on_an_overlay(cx, "fuse", &script);
    if output.stdout == "none\n" {
        // As root it is tried wherever the program is.
        if cx.caller == Caller::Root || !rustix::process::getuid().is_root() {
            skip("fuse-overlayfs is not installed, or /dev/fuse cannot be opened");
        }
        return;
    }
    let lines = output.stdout.lines().filter(|line| !line.is_empty());
    let expected = [
        "C /bin",
        "D /bin/vi",
        "C /var",
        "A /var/new",
        "C /var/spool",
        "D /var/spool/mail",
        "var/new",
        "var/spool/",
        "/var/new",
        "/var/spool:",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{output}");
}

fn overlays_are_not_made_of_whiteouts_that_they_do_not_understand(cx: &Context) {
    // The store as a container that is gone left it, on a file system that takes whiteouts.
    let tarball = fixtures().join("docker-26.tar.gz");
    let script = format!(
        "minidock load -q -i '{}' >/dev/null; cp -a \"$MINIDOCK_ROOT\" copy; umount \"$MINIDOCK_ROOT\"; \
         rmdir \"$MINIDOCK_ROOT\"; mv copy \"$MINIDOCK_ROOT\"",
        tarball.display()
    );
    on_an_overlay(cx, "before", &script).ok();
    for driver in ["overlay", "fuse-overlayfs"] {
        let output = cx.run(["--storage-driver", driver, "run", "--rm", "app:1"]);
        let why = format!(
            "the storage driver {driver} cannot show this image: the file system took no devices 0:0 when the image \
             came, and overlays know no other mark of deleted files\n"
        );
        assert!(output.error(125).contains(&why), "{output}");
        assert!(output.stderr.contains("remove the image and get it again"));
    }
    let gone = ["run", "--rm", "--entrypoint", "ls", "app:1", "/bin/vi"];
    assert!(cx.run(gone).stderr.contains("No such file"));
    // The image below it is as any other; and what is unpacked anew is as this file system takes it.
    let plain = [
        "--storage-driver",
        "overlay",
        "run",
        "--rm",
        "busybox",
        "true",
    ];
    cx.run(plain).silent_ok();
    cx.run(["system", "check"]).ok();
    cx.run(["rmi", "app:1"]).ok();
    cx.load(&tarball);
    let mut again = vec!["--storage-driver", "overlay"];
    again.extend(gone);
    assert!(cx.run(again).stderr.contains("No such file"));
}
