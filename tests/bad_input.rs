//! What cannot be done is said in one message: what failed, on what, why, and the remedy if there is
//! one. The exit code is right, and nothing half-made stays in the store.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{
    Context, DockerRegistry, ImageTar, Layer, Output, fixtures, layout_manifest, refused,
    scenarios, sha256,
};

scenarios!(
    references_that_do_not_parse,
    an_image_that_the_registry_does_not_have,
    a_registry_that_cannot_be_reached,
    a_registry_that_lies_about_a_blob,
    a_platform_that_the_index_does_not_have,
    commands_that_cannot_be_executed,
    usage_that_is_wrong,
);

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
            // What came of a layer before it was cut off is no damage, and waits for the next pull.
            let _ = fs::remove_dir_all(cx.root().join("partial"));
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
    // Docker's verbs that are not there are told from mistyped ones, and with what to do instead.
    let kill = cx.run(["kill", "one"]);
    assert!(kill.fails(125).contains("minidock stop"), "{kill}");
    let help = cx.run(["rmi", "--help"]);
    assert_eq!(cx.run(["help", "rmi"]).ok(), help.ok());
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
