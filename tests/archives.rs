//! `save`, `export` and `import`: what goes out comes back, here and elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Context, Layer, Output, Terminal, fixtures, layout_manifest, layout_tar, scenarios, sha256,
    shared,
};

scenarios!(
    saving_what_was_loaded_gives_back_the_same_bytes,
    an_archive_has_the_layout_that_docker_writes,
    all_tags_or_one_or_none,
    an_archive_is_written_whole_or_not_at_all,
    no_archive_goes_to_a_terminal,
    other_engines_read_what_was_saved,
    export_gives_the_true_owners_back,
    what_was_exported_can_be_imported_and_run,
    import_takes_changes_and_refuses_nonsense,
);

/// Names and contents of a tarball's files.
pub fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

fn json_of(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&files[name]).unwrap()
}

fn blob<'f>(files: &'f BTreeMap<String, Vec<u8>>, digest: &str) -> &'f [u8] {
    &files[&format!("blobs/{}", digest.replace(':', "/"))]
}

fn save(cx: &Context, args: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let path = cx.work().join("saved.tar");
    let _ = fs::remove_file(&path);
    let mut words = vec!["save", "-o", "saved.tar"];
    words.extend(args);
    cx.run(words).silent_ok();
    files(&path)
}

fn saving_what_was_loaded_gives_back_the_same_bytes(cx: &Context) {
    let Some(shared) = shared() else {
        return; // Said once already.
    };
    let layout = shared.join("busybox/glibc-amd64");
    let manifest = layout_manifest(&layout);
    let loaded = cx.run_with_input(["load"], &layout_tar(&layout));
    let named = loaded
        .silent_ok()
        .trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    for format in ["docker-archive", "oci-archive"] {
        let saved = save(cx, &["--format", format, &named]);
        assert_eq!(
            json_of(&saved, "index.json")["manifests"][0]["digest"],
            json!(manifest)
        );
        let mut blobs = 0;
        for (name, content) in &saved {
            let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|h| !h.is_empty()) else {
                continue;
            };
            let original = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
            assert!(original == *content, "{name} is not what was loaded");
            blobs += 1;
        }
        assert_eq!(blobs, 3, "{format}");
        // Into another store and out again: not a byte is different.
        let tarball = fs::read(cx.work().join("saved.tar")).unwrap();
        let other = |args: &[&str], input: &[u8]| {
            let mut words = vec!["--root", "other"];
            words.extend(args);
            cx.run_with_input(words, input).ok().to_owned()
        };
        assert_eq!(
            other(&["load"], &tarball),
            format!("Loaded image: {named}\n")
        );
        other(
            &["save", "--format", format, "-o", "again.tar", &named],
            b"",
        );
        assert!(fs::read(cx.work().join("again.tar")).unwrap() == tarball);
    }
}

fn an_archive_has_the_layout_that_docker_writes(cx: &Context) {
    cx.load_busybox();
    let saved = save(cx, &["app:1", "busybox:latest"]);
    let index = json_of(&saved, "index.json");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let first = &index["manifests"][0];
    assert_eq!(
        first["annotations"],
        json!({
            "io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.ref.name": "1",
        })
    );
    let manifest: Value =
        serde_json::from_slice(blob(&saved, first["digest"].as_str().unwrap())).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap();
    let id = cx.run(["images", "-q", "--no-trunc", "app:1"]);
    assert_eq!(id.silent_ok(), format!("{config}\n"));
    let entries = json_of(&saved, "manifest.json");
    assert_eq!(entries[0]["RepoTags"], json!(["app:1"]));
    assert_eq!(entries[1]["RepoTags"], json!(["busybox:latest"]));
    assert_eq!(
        entries[0]["Config"],
        json!(format!("blobs/{}", config.replace(':', "/")))
    );
    let layers = entries[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert!(saved.contains_key(layer.as_str().unwrap()), "{layer}");
    }
    let top = layers[1].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(json_of(&saved, "repositories")["app"]["1"], json!(top));
    assert_eq!(saved["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    for (name, content) in &saved {
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|h| !h.is_empty()) {
            assert_eq!(sha256(content), format!("sha256:{hex}"));
        }
    }
    let oci = save(cx, &["--format", "oci-archive", "app:1"]);
    assert!(!oci.contains_key("manifest.json") && !oci.contains_key("repositories"));
}

fn all_tags_or_one_or_none(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "c1", "app:1"]).silent_ok();
    for name in ["app:2", "app:3", "other:1"] {
        cx.run(["commit", "--timestamp", "0", "-c", "CMD true", "c1", name])
            .silent_ok();
    }
    let tags = |args: &[&str]| {
        let mut tags: Vec<Value> = json_of(&save(cx, args), "manifest.json")
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["RepoTags"].clone())
            .collect();
        tags.sort_by_key(Value::to_string);
        Value::Array(tags)
    };
    assert_eq!(tags(&["app:2"]), json!([["app:2"]]));
    assert_eq!(tags(&["app"]), json!([["app:1"], ["app:2", "app:3"]]));
    let id = cx
        .run(["images", "-q", "app:1"])
        .silent_ok()
        .trim()
        .to_owned();
    assert_eq!(tags(&[&id]), json!([null]));
    assert_eq!(tags(&[&id, "app:1", "app:1"]), json!([["app:1"]]));
    let saved = fs::read(cx.work().join("saved.tar")).unwrap();
    cx.run(["rm", "c1"]).ok();
    cx.run(["rmi", "-f", "app:1", "app:2", "app:3", "other:1", "busybox"])
        .ok();
    cx.run_with_input(["load"], &saved).ok();
    assert_eq!(
        cx.run(["run", "--rm", "app:1"]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
}

fn an_archive_is_written_whole_or_not_at_all(cx: &Context) {
    cx.load_busybox();
    fs::write(cx.work().join("kept.tar"), "precious").unwrap();
    rustix::fs::chown(
        cx.work().join("kept.tar"),
        Some(rustix::fs::Uid::from_raw(cx.uid)),
        None,
    )
    .unwrap();
    let missing = cx.run(["save", "-o", "kept.tar", "busybox", "no/such:image"]);
    assert!(missing.error(1).contains("no such image: no/such:image"));
    let missing = cx.run(["export", "-o", "new.tar", "nobody"]);
    assert!(missing.error(1).contains("no such container: nobody"));
    // A blob that is no longer what it was is found out.
    let id = cx.run(["images", "-q", "--no-trunc", "busybox"]);
    let config = cx
        .root()
        .join("blobs/sha256")
        .join(&id.silent_ok().trim()[7..]);
    let mut bytes = fs::read(&config).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    fs::write(&config, bytes).unwrap();
    let damaged = cx.run(["save", "-o", "kept.tar", "busybox"]);
    assert!(damaged.error(1).contains("is damaged"), "{damaged}");
    let names: Vec<_> = fs::read_dir(cx.work())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kept.tar"]);
    assert_eq!(fs::read(cx.work().join("kept.tar")).unwrap(), b"precious");
    for (args, told) in [
        (["save", "-o", ".", "app:1"], "it is a folder"),
        (
            ["save", "-o", "no/such/folder", "app:1"],
            "cannot write no/such/folder",
        ),
        (
            ["save", "--platform", "linux/s390x", "app:1"],
            "linux/s390x was asked for",
        ),
        (["save", "--format", "zip", "app:1"], "oci-archive"),
    ] {
        let output = cx.run(args);
        assert_ne!(output.code, Some(0), "{output}");
        assert!(output.stderr.contains(told), "{output}");
    }
    cx.run(["save", "-o", "/dev/null", "app:1"]).silent_ok();
}

fn no_archive_goes_to_a_terminal(cx: &Context) {
    cx.load_busybox();
    for (verb, subject) in [("save", "busybox"), ("export", "nobody")] {
        let mut terminal = Terminal::start(cx, [verb, subject]);
        terminal.expect(&format!("cowardly refusing to {verb} to a terminal"));
        terminal.expect("use the -o flag or redirect");
    }
}

/// Runs a program that may not be there.
fn peer(cx: &Context, program: &str, args: &[&str]) -> Option<String> {
    let mut command: Command = cx.program(program);
    command.args(args);
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {args:?}: {said}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            crate::support::say(&format!("{program} is not installed: not compared with it"));
            None
        }
    }
}

fn other_engines_read_what_was_saved(cx: &Context) {
    cx.load_busybox();
    cx.run([
        "run",
        "--name",
        "c1",
        "-u",
        "0",
        "busybox",
        "sh",
        "-c",
        "echo new > /new",
    ])
    .silent_ok();
    cx.run(["commit", "c1", "made:1"]).silent_ok();
    cx.run(["save", "-o", "docker.tar", "made:1", "app:1"])
        .silent_ok();
    cx.run(["save", "--format", "oci-archive", "-o", "oci.tar", "made:1"])
        .silent_ok();
    let id = cx.run(["images", "-q", "--no-trunc", "made:1"]);
    let id = id.silent_ok().trim();
    for (number, from) in [
        "docker-archive:docker.tar:docker.io/library/made:1",
        "oci-archive:oci.tar:docker.io/library/made:1",
    ]
    .iter()
    .enumerate()
    {
        // Copying reads every layer and compares its digests.
        let to = format!("oci:copy{number}:x");
        let copied = peer(
            cx,
            "skopeo",
            &["--insecure-policy", "copy", "-q", from, &to],
        );
        if copied.is_none() {
            return;
        }
        let copied = files_of_layout(&cx.work().join(format!("copy{number}")));
        assert_eq!(
            copied["rootfs"]["diff_ids"].as_array().unwrap().len(),
            2,
            "{from}"
        );
        // The same config, if for the order of its keys.
        if from.starts_with("oci") {
            assert_eq!(copied["id"], json!(id));
        }
    }
}

/// The config of an OCI layout's only image, with its digest.
fn files_of_layout(layout: &Path) -> Value {
    let read =
        |digest: &str| fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap();
    let manifest: Value = serde_json::from_slice(&read(&layout_manifest(layout))).unwrap();
    let digest = manifest["config"]["digest"].as_str().unwrap();
    let mut config: Value = serde_json::from_slice(&read(digest)).unwrap();
    config["id"] = json!(digest);
    config
}

fn export(cx: &Context, container: &str) -> std::path::PathBuf {
    let path = cx.work().join("exported.tar");
    let _ = fs::remove_file(&path);
    cx.run(["export", "-o", "exported.tar", container])
        .silent_ok();
    path
}

/// What a tarball says of its files, in the words of `app-1.expected`.
pub(crate) fn listing(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut lines: BTreeMap<String, (String, u32)> = BTreeMap::new();
    let mut firsts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let name = name.trim_end_matches('/').to_owned();
        let link = entry
            .link_name_bytes()
            .map(|l| String::from_utf8(l.into_owned()).unwrap());
        let owner = format!("{} {}", header.uid().unwrap(), header.gid().unwrap());
        let mode = format!("{:o}", header.mode().unwrap());
        let line = match header.entry_type() {
            tar::EntryType::Directory => format!("{name} directory {mode} {owner}"),
            tar::EntryType::Symlink => {
                format!(
                    "'{name}' -> '{}' symbolic link {mode} {owner} 1",
                    link.unwrap()
                )
            }
            tar::EntryType::Link => {
                let link = link.unwrap();
                let group = firsts
                    .entry(link.clone())
                    .or_insert_with(|| vec![link.clone()]);
                group.push(name.clone());
                format!("{name} regular file {mode} {owner}")
            }
            tar::EntryType::Regular => format!("{name} regular file {mode} {owner}"),
            other => format!("{name} {other:?} {mode} {owner}"),
        };
        lines.insert(name, (line, 1));
    }
    for group in firsts.values() {
        for name in group {
            lines.get_mut(name).unwrap().1 = u32::try_from(group.len()).unwrap();
        }
    }
    lines
        .into_iter()
        .map(|(name, (line, links))| {
            let line = if line.contains(" regular file ") {
                format!("{line} {links}")
            } else {
                line
            };
            (name, line)
        })
        .collect()
}

fn export_gives_the_true_owners_back(cx: &Context) {
    cx.load(&fixtures().join("docker-26.tar.gz"));
    cx.run(["run", "--name", "c1", "app:1"]).silent_ok();
    let listing = listing(&export(cx, "c1"));
    let expected = fs::read_to_string(fixtures().join("app-1.expected")).unwrap();
    let shown: Vec<&str> = listing.values().map(String::as_str).collect();
    for line in expected.lines() {
        assert!(
            shown.contains(&line),
            "export lacks {line:?}\n{}",
            shown.join("\n")
        );
    }
    assert!(
        expected
            .lines()
            .any(|l| l == "srv/app directory 755 1000 1000")
    );
    // Nothing below the folders that the expectation is about is there besides.
    for name in listing
        .keys()
        .filter(|n| n.starts_with("srv") || n.starts_with("var"))
    {
        assert!(
            expected
                .lines()
                .any(|l| l.trim_start_matches('\'').starts_with(name.as_str())),
            "{name} is not expected"
        );
    }
}

fn what_was_exported_can_be_imported_and_run(cx: &Context) {
    cx.load_busybox();
    let script = "mkdir /locked && echo secret > /locked/s && chmod 0 /locked && mkfifo /p && \
                  echo x > \"$(printf '/a\\nb')\" && rm -r /srv && ln -s loop1 /loop2 && ln -s loop2 /loop1 && \
                  printf abc > /setuid && chmod 4711 /setuid && dd if=/dev/zero of=/hole bs=1 count=0 seek=9999999 2>/dev/null";
    cx.run([
        "run",
        "--name",
        "c1",
        "-u",
        "0",
        "--entrypoint",
        "sh",
        "app:1",
        "-c",
        script,
    ])
    .silent_ok();
    let path = export(cx, "c1");
    let before = listing(&path);
    assert_eq!(before["locked"], "locked directory 0 0 0");
    assert_eq!(before["setuid"], "setuid regular file 4711 0 0 1");
    assert_eq!(before["a\nb"], "a\nb regular file 644 0 0 1");
    assert!(before.contains_key("p") && !before.contains_key("srv"));
    let imported = cx.run(["import", "-m", "a remark", "exported.tar", "flat:1"]);
    let id = imported.silent_ok().trim().to_owned();
    assert!(id.starts_with("sha256:"), "{imported}");
    let history = cx.run(["history", "flat:1"]);
    assert!(history.silent_ok().contains("a remark"), "{history}");
    let check = "cat /locked/s && ls /p && readlink /loop1 && stat -c '%a %s' /setuid /hole";
    let ran = cx.run([
        "run", "--name", "c2", "-u", "0", "flat:1", "sh", "-c", check,
    ]);
    assert_eq!(ran.silent_ok(), "secret\n/p\nloop2\n4711 3\n644 9999999\n");
    let mut after = listing(&export(cx, "c2"));
    // The second container has the same files, with the same owners.
    after.retain(|name, _| before.contains_key(name));
    assert_eq!(after, before);
}

fn import_takes_changes_and_refuses_nonsense(cx: &Context) {
    let tar = Layer::new().file("file", 0o644, b"content").tar();
    let gzipped = crate::support::piped("gzip", &["-n"], &tar);
    let mut ids = Vec::new();
    for input in [&tar, &gzipped] {
        let output = cx.run_with_input(
            [
                "import",
                "--timestamp",
                "0",
                "-c",
                "CMD [\"/file\"]",
                "-c",
                "ENV A=1 B=$A",
                "--platform",
                "linux/arm/v7",
                "-",
                "made:1",
            ],
            input,
        );
        ids.push(output.silent_ok().to_owned());
    }
    assert_eq!(
        ids[0], ids[1],
        "the id comes from the config, which is about plain content"
    );
    let saved = save(cx, &["made:1"]);
    let entry = &json_of(&saved, "manifest.json")[0];
    let config = json_of(&saved, entry["Config"].as_str().unwrap());
    assert_eq!(config["config"]["Cmd"], json!(["/file"]));
    assert_eq!(config["config"]["Env"], json!(["A=1", "B="]));
    assert_eq!(config["architecture"], "arm");
    assert_eq!(config["variant"], "v7");
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    let refused = |args: &[&str], input: &[u8]| -> Output { cx.run_with_input(args, input) };
    for (args, input, told) in [
        (
            &["import", "-"][..],
            &b"no tar at all"[..],
            "not a valid tar archive",
        ),
        (
            &["import", "-"],
            b"BZh91AY&SY",
            "bzip2 -dc FILE | minidock import -",
        ),
        (
            &["import", "-c", "RUN x", "-"],
            &tar,
            "RUN is not a valid change command",
        ),
        (&["import", "-", "Upper"], &tar, "lower case"),
        (&["import", "nosuch.tar"], b"", "cannot open nosuch.tar"),
        (&["import", "."], b"", "is a folder"),
    ] {
        let output = refused(args, input);
        assert!(output.error(1).contains(told), "{output}");
    }
    assert_eq!(cx.run(["images", "-aq"]).ok().lines().count(), 1);
}
