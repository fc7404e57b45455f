//! What cannot be done is said in one message: what failed, on what, why, and the remedy if there is
//! one. The exit code is right, and nothing half-made stays in the store.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{
    Context, DockerRegistry, ImageTar, Layer, Output, fixtures, layout_manifest, members, piped,
    saved, scenarios, sha256, tarball,
};

scenarios!(
    references_that_do_not_parse,
    an_image_that_the_registry_does_not_have,
    a_registry_that_cannot_be_reached,
    a_registry_that_lies_about_a_blob,
    a_platform_that_the_index_does_not_have,
    tarballs_that_are_none,
    tarballs_that_are_cut_off,
    tarballs_that_lie,
    layers_that_reach_outside,
    commands_that_cannot_be_executed,
    usage_that_is_wrong,
    a_store_that_cannot_be_used,
);

/// The one message of a failure must contain every word, and the store must be empty.
#[track_caller]
fn refused(cx: &Context, output: &Output, code: i32, words: &[&str]) {
    let message = output.error(code);
    for word in words {
        assert!(
            message.contains(word),
            "{word:?} is not in the message\n{output}"
        );
    }
    cx.assert_store_empty();
}

fn references_that_do_not_parse(cx: &Context) {
    for (text, why) in [
        ("upper/CASE", "lower case"),
        ("busybox:", "invalid reference"),
        ("busybox:-tag", "invalid reference"),
        ("a b", "invalid reference"),
        ("busybox@sha256:abc", "invalid reference"),
        (
            "busybox@md5:00000000000000000000000000000000",
            "invalid reference",
        ),
        ("../../etc/passwd", "invalid reference"),
        ("127.0.0.1:port/busybox", "invalid reference"),
        ("", "reference is needed"),
        ("\u{1b}[31mred", "invalid reference"),
    ] {
        refused(cx, &cx.run(["pull", text]), 1, &[why]);
        refused(cx, &cx.run(["run", text, "true"]), 125, &[why]);
    }
    let escape = cx.run(["pull", "\u{1b}[31mred"]);
    assert!(!escape.stderr.contains('\u{1b}'), "{escape}");
}

fn an_image_that_the_registry_does_not_have(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    registry.push(&fixtures().join("busybox"), "here:1");
    for name in ["nosuch:latest", "here:nosuch"] {
        let reference = format!("{}/{name}", registry.host);
        let pull = cx.run(["pull", &reference]);
        refused(
            cx,
            &Output {
                stdout: String::new(),
                ..pull
            },
            1,
            &[&reference, "not found"],
        );
        let run = cx.run(["run", &reference]);
        assert!(
            run.stderr
                .starts_with(&format!("Unable to find image '{reference}' locally\n")),
            "{run}"
        );
        refused(cx, &run, 125, &[&reference, "not found"]);
    }
    let digest = sha256(b"nothing that was ever pushed");
    let reference = format!("{}/here@{digest}", registry.host);
    let pull = cx.run(["pull", &reference]);
    refused(
        cx,
        &Output {
            stdout: String::new(),
            ..pull
        },
        1,
        &[&digest, "not found"],
    );
}

fn a_registry_that_cannot_be_reached(cx: &Context) {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let reference = format!("127.0.0.1:{port}/busybox");
    let pull = cx.run(["pull", &reference]);
    let host = format!("127.0.0.1:{port}");
    refused(
        cx,
        &Output {
            stdout: String::new(),
            ..pull
        },
        1,
        &[&host, "onnection refused"],
    );
    refused(
        cx,
        &cx.run(["run", &reference, "true"]),
        125,
        &[&host, "onnection refused"],
    );
    let nowhere = cx.run(["pull", "registry.invalid/busybox"]);
    refused(
        cx,
        &Output {
            stdout: String::new(),
            ..nowhere
        },
        1,
        &["registry.invalid"],
    );
}

/// Where the real registry keeps a blob.
fn blob_file(cx: &Context, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    cx.dir.join(format!(
        "registry/docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    ))
}

fn a_registry_that_lies_about_a_blob(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("app");
    let reference = registry.push(&layout, "app:1");
    let manifest_digest = layout_manifest(&layout);
    let manifest = fs::read(blob_file(cx, &manifest_digest)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let digest = |descriptor: &serde_json::Value| descriptor["digest"].as_str().unwrap().to_owned();
    let blobs = [
        ("config", digest(&manifest["config"])),
        ("lower layer", digest(&manifest["layers"][0])),
        ("upper layer", digest(&manifest["layers"][1])),
    ];
    for (what, digest) in blobs {
        let path = blob_file(cx, &digest);
        let honest = fs::read(&path).unwrap();
        let mut other = honest.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        let longer = [&honest[..], b"more"].concat();
        for (lie, bytes) in [
            ("another byte", &other[..]),
            ("cut off", &honest[..middle]),
            ("empty", b""),
            ("longer", &longer),
        ] {
            fs::write(&path, bytes).unwrap();
            let pull = cx.run(["pull", &reference]);
            assert_ne!(pull.code, Some(0), "{what} {lie}: {pull}");
            let message = Output {
                stdout: String::new(),
                ..pull
            };
            refused(cx, &message, 1, &[&digest["sha256:".len()..][..12]]);
        }
        fs::write(&path, honest).unwrap();
    }
    // The registry keeps its word again, and nothing stands in the way.
    cx.run(["pull", &reference]).silent_ok();
    assert_eq!(
        cx.run(["run", "--rm", &reference]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
}

fn a_platform_that_the_index_does_not_have(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("multi"), "multi");
    let pull = cx.run(["pull", "--platform", "linux/riscv64", &reference]);
    // What there is instead belongs in the message; the attestation is no platform.
    let words = [reference.as_str(), "linux/riscv64", "linux/s390x"];
    let message = Output {
        stdout: String::new(),
        ..pull
    };
    refused(cx, &message, 1, &words);
    assert!(!message.stderr.contains("unknown"), "{message}");
    let nonsense = cx.run(["pull", "--platform", "linux/", &reference]);
    refused(cx, &nonsense, 125, &["linux/"]);
}

fn tarballs_that_are_none(cx: &Context) {
    let text = b"This is a letter, not a tarball.\n".repeat(100);
    let gzipped = piped("gzip", &["-c"], &text);
    let empty_tar = Layer::new().tar();
    let other_tar = Layer::new().file("letter", 0o644, b"dear").tar();
    for (what, bytes) in [
        ("text", text.as_slice()),
        ("gzipped text", &gzipped),
        ("nothing", b""),
        ("a tar of nothing", &empty_tar),
        ("a tar of something else", &other_tar),
        ("half a magic number", b"\x1f"),
    ] {
        let output = cx.run_with_input(["load"], bytes);
        assert_eq!(output.code, Some(1), "{what}: {output}");
        refused(cx, &output, 1, &["load"]);
    }
    cx.write("letter.txt", &text);
    refused(
        cx,
        &cx.run(["load", "-i", "letter.txt"]),
        1,
        &["letter.txt"],
    );
    refused(
        cx,
        &cx.run(["load", "-i", "missing.tar"]),
        1,
        &["missing.tar", "No such file"],
    );
    refused(cx, &cx.run(["load", "-i", "."]), 1, &["."]);
}

fn tarballs_that_are_cut_off(cx: &Context) {
    for name in ["docker-20.tar.gz", "docker-26.tar.gz"] {
        let gzipped = fs::read(fixtures().join(name)).unwrap();
        let plain = piped("gzip", &["-dc"], &gzipped);
        for bytes in [&gzipped, &plain] {
            for part in [1, 3, 5, 7] {
                let output = cx.run_with_input(["load"], &bytes[..bytes.len() * part / 8]);
                refused(cx, &output, 1, &["load"]);
            }
        }
    }
}

fn tarballs_that_lie(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let image = || ImageTar::new("liar:1", layer.clone(), json!({}));

    let other = sha256(b"another layer");
    let wrong_id = ImageTar {
        diff_ids: Some(vec![other.clone()]),
        ..image()
    };
    let output = cx.run_with_input(["load"], &wrong_id.tar());
    refused(cx, &output, 1, &[&other["sha256:".len()..][..12]]);
    let too_few = ImageTar {
        diff_ids: Some(vec![]),
        ..image()
    };
    refused(
        cx,
        &cx.run_with_input(["load"], &too_few.tar()),
        1,
        &["load"],
    );

    // Without each of its members in turn.
    let whole = members(&image().tar());
    for absent in 0..whole.len() {
        let mut rest = whole.clone();
        let (header, _) = rest.remove(absent);
        let name = header.path().unwrap().display().to_string();
        let output = cx.run_with_input(["load"], &tarball(&rest));
        assert_eq!(output.code, Some(1), "without {name}: {output}");
        refused(cx, &output, 1, &["load"]);
    }
    // With one byte of each of them changed.
    for changed in 0..whole.len() {
        let mut other = whole.clone();
        let content = &mut other[changed].1;
        let at = content.len() / 2;
        content[at] ^= 0x80;
        let output = cx.run_with_input(["load"], &tarball(&other));
        refused(cx, &output, 1, &["load"]);
    }
    for manifest in [
        "",
        "[]",
        "{}",
        "null",
        "[{}]",
        "[{\"Config\":\"../../x\",\"Layers\":[]}]",
    ] {
        let tar = Layer::new()
            .file("manifest.json", 0o644, manifest.as_bytes())
            .tar();
        refused(cx, &cx.run_with_input(["load"], &tar), 1, &["load"]);
    }
    // One good image and one bad: neither of them.
    let mut both = members(&piped("gzip", &["-dc"], &fs::read(saved()).unwrap()));
    let last_config = both.iter().rposition(|(header, content)| {
        header.path().unwrap().starts_with("blobs")
            && content.windows(8).any(|w| w == b"\"rootfs\"")
    });
    both.remove(last_config.unwrap());
    refused(
        cx,
        &cx.run_with_input(["load"], &tarball(&both)),
        1,
        &["load"],
    );
}

/// A member with a name, kind and target that `tar` itself would refuse to write.
fn raw_member(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    name: &str,
    link: &str,
    content: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o666);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn layers_that_reach_outside(cx: &Context) {
    use tar::EntryType::{Link, Regular, Symlink};
    let target = cx.work();
    let secret = cx.write("secret", "secret");
    let target = target.to_str().unwrap().trim_start_matches('/');
    let up = "../../../../../../../../../..";
    assert!(
        target.len() + up.len() < 90,
        "{target} is too long for a member's name"
    );
    type Member<'m> = (tar::EntryType, &'m str, &'m str, &'m [u8]);
    let paths = [
        format!("{up}/{target}/made"),
        format!("/{target}/made"),
        format!("{up}/{target}"),
    ];
    let cases: [(&str, Vec<Member<'_>>); 6] = [
        ("dots", vec![(Regular, &paths[0], "", b"made")]),
        ("absolute", vec![(Regular, &paths[1], "", b"made")]),
        (
            "through a link",
            vec![
                (Symlink, "out", &paths[2], b""),
                (Regular, "out/made", "", b"made"),
            ],
        ),
        (
            "onto a link",
            vec![
                (Symlink, "out", &paths[0], b""),
                (Regular, "out", "", b"made"),
            ],
        ),
        (
            "a hard link",
            vec![
                (Link, "in", secret.to_str().unwrap(), b""),
                (Regular, "in", "", b"made"),
            ],
        ),
        (
            "a whiteout",
            vec![
                (Symlink, "out", &paths[2], b""),
                (Regular, "out/.wh.secret", "", b""),
            ],
        ),
    ];
    for (what, entries) in cases {
        let mut layer = tar::Builder::new(Vec::new());
        for (kind, name, link, content) in entries {
            raw_member(&mut layer, kind, name, link, content);
        }
        let image = ImageTar::new("outside:1", layer.into_inner().unwrap(), json!({}));
        let output = cx.run_with_input(["load"], &image.tar());
        // Refusing it and keeping it inside are both right.
        assert!(matches!(output.code, Some(0 | 1)), "{what}: {output}");
        assert!(
            !cx.work().join("made").exists(),
            "{what} made a file outside: {output}"
        );
        assert_eq!(fs::read(&secret).unwrap(), b"secret", "{what}: {output}");
        if output.code == Some(0) {
            cx.run(["rmi", "outside:1"]).ok();
        }
        cx.assert_store_empty();
    }
}

fn commands_that_cannot_be_executed(cx: &Context) {
    cx.load_busybox();
    for (command, code, why) in [
        ("no-such-command", 127, "not found"),
        ("/no/such/command", 127, "no such file"),
        ("./no-such-command", 127, "no such file"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "directory"),
        ("/etc/passwd/x", 127, "not a directory"),
    ] {
        let output = cx.run(["run", "--rm", "busybox", command]);
        let message = output.error(code);
        assert!(message.contains(command), "{output}");
        assert!(message.to_lowercase().contains(why), "{why:?}: {output}");
    }
    let containers = cx.run(["ps", "-a", "-q"]);
    assert_eq!(containers.silent_ok(), "", "--rm takes away what never ran");

    // A file of no kind that the kernel knows, and one for another kind of machine.
    let mut elf = fs::read("/bin/busybox").unwrap();
    elf[18..20].copy_from_slice(&[0x16, 0x00]); // e_machine: S/390
    let layer = Layer::new()
        .file("bin/data", 0o755, b"\x00\x01\x02\x03 is no program")
        .file("bin/foreign", 0o755, &elf)
        .file("bin/lost", 0o755, b"#!/no/such/interpreter\n");
    let image = ImageTar::new("odd:1", layer.tar(), json!({ "Env": ["PATH=/bin"] }));
    cx.run_with_input(["load"], &image.tar()).ok();
    for (command, code) in [
        ("data", 126),
        ("foreign", 126),
        ("lost", 127),
        ("/bin/lost", 127),
    ] {
        let output = cx.run(["run", "--rm", "odd:1", command]);
        assert!(output.error(code).contains(command), "{output}");
    }
    let nothing = cx.run(["run", "--rm", "odd:1"]);
    assert!(nothing.error(125).contains("odd:1"), "{nothing}");
}

fn usage_that_is_wrong(cx: &Context) {
    for args in [
        &["nosuch"][..],
        &["image", "nosuch"],
        &["container", "rm"],
        &["run"],
        &["run", "--nosuch", "busybox"],
        &["run", "--name"],
        &["pull"],
        &["pull", "--nosuch", "busybox"],
        &["load", "extra"],
        &["images", "--nosuch"],
        &["rmi"],
    ] {
        let output = cx.run(args);
        assert_eq!(output.code, Some(125), "{output}");
        assert_eq!(output.stdout, "", "{output}");
        assert_ne!(output.stderr, "", "{output}");
    }
    for (mistyped, meant) in [("imags", "'images'"), ("rni", "'rmi'")] {
        let output = cx.run([mistyped]);
        assert!(output.fails(125).contains(meant), "{output}");
    }
    let several = cx.run(["rmi", "one", "two"]);
    assert_eq!(
        several.fails(1),
        "minidock: no such image: one\nminidock: no such image: two\n"
    );
}

fn a_store_that_cannot_be_used(cx: &Context) {
    let file = cx.write("a-file", "");
    for root in [
        file.as_path(),
        Path::new("/proc/minidock"),
        Path::new("/dev/null/x"),
    ] {
        let mut command = cx.command(["images"]);
        command.env("MINIDOCK_ROOT", root);
        let output = cx.finish(command);
        assert!(output.error(1).contains(root.to_str().unwrap()), "{output}");
    }
    // A later format than this one knows.
    cx.run(["images"]).ok();
    let version = cx.root().join("version.json");
    let text = fs::read_to_string(&version).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = json
        .as_object_mut()
        .unwrap()
        .values_mut()
        .find(|value| value.is_u64())
        .unwrap();
    *number = json!(999_999);
    fs::write(&version, json.to_string()).unwrap();
    let output = cx.run(["images"]);
    assert!(output.error(1).contains("999999"), "{output}");
    fs::write(&version, text).unwrap();
    cx.run(["images"]).silent_ok();
}
