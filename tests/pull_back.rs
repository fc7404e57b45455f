//! What was pushed is read by others: `skopeo` and `podman`, from `docker-registry`, open and with accounts.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Context, DockerRegistry, Layer, Output, scenarios, skip};

scenarios!(
    skopeo_reads_what_was_pushed,
    skopeo_reads_what_was_pushed_with_an_account,
    podman_pulls_what_was_pushed,
);

fn has(program: &str) -> bool {
    let there = Path::new("/usr/bin").join(program).exists();
    if !there {
        skip(&format!("{program} is not installed"));
    }
    there
}

fn finish(cx: &Context, command: Command) -> String {
    let output: Output = cx.finish(command);
    output.ok().to_owned()
}

fn skopeo(cx: &Context, args: &[&str]) -> String {
    let mut command = cx.program("skopeo");
    command.args(["--insecure-policy"]).args(args);
    finish(cx, command)
}

/// Pushes an image that was committed here, of a base that came in gzip and a layer of zstd; its reference and digest.
fn push(cx: &Context, host: &str) -> (String, String) {
    cx.load_busybox();
    cx.run([
        "run",
        "--name",
        "made",
        "busybox",
        "sh",
        "-c",
        "echo new >/new",
    ])
    .silent_ok();
    let name = format!("{host}/team/made:1");
    cx.run(["commit", "--compression", "zstd", "made", &name])
        .ok();
    let pushed = cx.run(["push", &name]);
    let digest = pushed.silent_ok().split("digest: ").nth(1).unwrap();
    let digest = digest.split(' ').next().unwrap().to_owned();
    (name, digest)
}

/// Checks what skopeo copied into an image layout against what was pushed.
fn compare(cx: &Context, name: &str, digest: &str, credentials: &[&str]) {
    let reference = format!("docker://{name}");
    let inspect = ["inspect", "--tls-verify=false"];
    let shown = skopeo(cx, &[&inspect, credentials, &[&reference]].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["Digest"], *digest);
    assert_eq!(shown["RepoTags"], serde_json::json!(["1"]));

    let from = match credentials {
        [] => vec![],
        [_, account] => vec!["--src-creds", account],
        other => panic!("{other:?}"),
    };
    let copy = ["copy", "-q", "--preserve-digests", "--src-tls-verify=false"];
    skopeo(
        cx,
        &[&copy[..], &from, &[&reference, "oci:copied:1"]].concat(),
    );
    // The same bytes: what is loaded from it is the image that we have.
    let index = fs::read(cx.work().join("copied/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"][0]["digest"], *digest);
    let mut tar = cx.program("tar");
    tar.args(["-C", "copied", "-cf", "copied.tar", "."]);
    finish(cx, tar);
    let id = cx.run(["images", "-q", "--no-trunc", name]);
    cx.run(["rmi", "-f", name]).ok();
    cx.run(["load", "-i", "copied.tar"]).ok();
    let run = cx.run(["run", "--rm", id.silent_ok().trim(), "cat", "/new"]);
    assert_eq!(run.silent_ok(), "new\n");
}

fn skopeo_reads_what_was_pushed(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    if has("skopeo") {
        let (name, digest) = push(cx, &registry.host);
        compare(cx, &name, &digest, &[]);
    }
}

fn skopeo_reads_what_was_pushed_with_an_account(cx: &Context) {
    let Some(registry) = DockerRegistry::start_private(cx) else {
        return;
    };
    if !has("skopeo") {
        return;
    }
    let login = ["login", "-u", "me", "--password-stdin", &registry.host];
    cx.run_with_input(login, b"open sesame").ok();
    let (name, digest) = push(cx, &registry.host);
    compare(cx, &name, &digest, &["--creds", "me:open sesame"]);
    // The login that minidock kept is skopeo's as well.
    let shown = skopeo(
        cx,
        &["inspect", "--tls-verify=false", &format!("docker://{name}")],
    );
    assert!(shown.contains(&digest), "{shown}");
}

fn podman_pulls_what_was_pushed(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    if !has("podman") {
        return;
    }
    // Without ranges of ids, podman takes no image in which files are others' than root's.
    let tar = Layer::new().file("hello", 0o755, b"#!/bin/sh").tar();
    let tar = cx.write("files.tar", tar);
    let name = format!("{}/back:1", registry.host);
    cx.run([
        "import",
        "--change",
        "CMD /hello",
        tar.to_str().unwrap(),
        &name,
    ])
    .ok();
    let pushed = cx.run(["push", &name]);
    let pushed = pushed.silent_ok().split("digest: ").nth(1).unwrap();
    let folder = cx.dir.join("podman");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(cx.uid), Some(cx.uid)).unwrap();
    let podman = |args: &[&str]| {
        let mut command = cx.program("podman");
        command.arg("--root").arg(folder.join("root"));
        command.arg("--runroot").arg(folder.join("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command.args(args);
        // Without a range of ids it warns.
        finish(cx, command)
    };
    let id = podman(&["pull", "-q", "--tls-verify=false", &name]);
    let ours = cx.run(["images", "-q", "--no-trunc", &name]);
    assert_eq!(format!("sha256:{}", id.trim()), ours.silent_ok().trim());
    let digest = podman(&["image", "inspect", "--format", "{{.Digest}}", &name]);
    assert!(pushed.starts_with(digest.trim()), "{digest} {pushed}");
    let command = podman(&["image", "inspect", "--format", "{{.Config.Cmd}}", &name]);
    assert_eq!(command.trim(), "[/bin/sh -c /hello]");
}
