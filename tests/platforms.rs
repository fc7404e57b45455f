//! Images for several platforms under one name: `--platform` and `--all-platforms`, to `docker-registry` and back.

use serde_json::Value;

use crate::support::{Context, DockerRegistry, fixtures, layout_manifest, scenarios};

scenarios!(
    an_index_goes_from_registry_to_registry_and_keeps_its_digest,
    one_platform_is_pushed_saved_inspected_and_removed,
    a_name_goes_with_all_its_platforms,
);

/// The multi-platform image of the fixtures, pulled as a whole.
fn pulled(cx: &Context) -> Option<(DockerRegistry, String)> {
    let registry = DockerRegistry::start(cx)?;
    let reference = registry.push(&fixtures().join("multi"), "multi:1");
    cx.run(["pull", "--all-platforms", &reference]).silent_ok();
    Some((registry, reference))
}

fn host_architecture() -> &'static str {
    match cfg!(target_arch = "x86_64") {
        true => "amd64",
        false => "arm64",
    }
}

fn an_index_goes_from_registry_to_registry_and_keeps_its_digest(cx: &Context) {
    let Some((registry, reference)) = pulled(cx) else {
        return;
    };
    let digest = layout_manifest(&fixtures().join("multi"));
    let run = cx.run(["run", "--rm", &reference, "echo", "hello"]);
    assert_eq!(run.silent_ok(), "hello\n");
    cx.run(["system", "check"]).silent_ok();

    let copy = format!("{}/copy:2", registry.host);
    cx.run(["tag", &reference, &copy]).silent_ok();
    let pushed = cx.run(["push", &copy]);
    let last = format!("2: digest: {digest} size: ");
    assert!(pushed.silent_ok().contains(&last), "{pushed}");
    let manifests = |name: &str| -> Vec<(String, String)> {
        let output = cx.run(["manifest", "inspect", name]);
        let index: Value = serde_json::from_str(output.silent_ok()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = index["manifests"].as_array().unwrap().iter();
        entries
            .map(|m| (text(&m["digest"]), text(&m["platform"]["architecture"])))
            .collect()
    };
    assert_eq!(manifests(&copy).len(), 3);
    assert_eq!(manifests(&copy), manifests(&reference));
    // Every platform and the attestation can be had from there.
    let repository = format!("{}/copy", registry.host);
    for (digest, architecture) in manifests(&copy) {
        let output = cx.run(["manifest", "inspect", &format!("{repository}@{digest}")]);
        output.silent_ok();
        if architecture != "unknown" {
            cx.run(["pull", "-q", &format!("{repository}@{digest}")])
                .silent_ok();
        }
    }
    let again = cx.run(["push", "--all-platforms", &copy]);
    assert!(again.silent_ok().contains(&last), "{again}");
    assert!(!again.stdout.contains("moved"), "{again}");
}

fn one_platform_is_pushed_saved_inspected_and_removed(cx: &Context) {
    let Some((registry, reference)) = pulled(cx) else {
        return;
    };
    let foreign = ["image", "inspect", "--format", "{{.Architecture}}"];
    let inspect =
        |platform: &str| cx.run([&foreign[..], &["--platform", platform, &reference]].concat());
    assert_eq!(inspect("linux/s390x").silent_ok(), "s390x\n");
    let none = inspect("linux/riscv64");
    assert!(
        none.fails(1)
            .contains("was found, but not for linux/riscv64"),
        "{none}"
    );

    // Pushed alone, it is no index.
    let copy = format!("{}/copy:s390x", registry.host);
    cx.run(["tag", &reference, &copy]).silent_ok();
    cx.run(["push", "--platform", "linux/s390x", &copy])
        .silent_ok();
    let remote = [&foreign[..], &["--remote", &copy]].concat();
    assert_eq!(cx.run(remote).silent_ok(), "s390x\n");
    let wrong = cx.run(["push", "--platform", "linux/riscv64", &copy]);
    assert!(wrong.fails(1).contains("linux/riscv64"), "{wrong}");
    let both = cx.run([
        "push",
        "--platform",
        "linux/s390x",
        "--all-platforms",
        &copy,
    ]);
    both.fails(125);

    // Saved, and loaded by somebody who has nothing.
    cx.run([
        "save",
        "--platform",
        "linux/s390x",
        "-o",
        "saved.tar",
        &reference,
    ])
    .silent_ok();
    cx.run(["rmi", &copy]).ok();

    // Of this machine's platform nothing is left, and the name goes to the other.
    let removed = cx.run([
        "rmi",
        "--platform",
        &format!("linux/{}", host_architecture()),
        &reference,
    ]);
    assert!(
        removed.silent_ok().contains("Deleted: sha256:"),
        "{removed}"
    );
    assert!(!removed.stdout.contains("Untagged"), "{removed}");
    let left = cx.run([&foreign[..], &[&reference]].concat());
    assert_eq!(left.silent_ok(), "s390x\n");
    let gone = cx.run(["rmi", "--platform", "linux/riscv64", &reference]);
    gone.fails(1);
    let last = cx.run(["rmi", "--platform", "linux/s390x", &reference]);
    assert!(
        last.silent_ok()
            .contains(&format!("Untagged: {reference}\n")),
        "{last}"
    );
    cx.assert_store_empty();

    cx.run(["load", "-i", "saved.tar", "--platform", "linux/s390x"])
        .silent_ok();
    let loaded = cx.run([&foreign[..], &[&reference]].concat());
    assert_eq!(loaded.silent_ok(), "s390x\n");
}

fn a_name_goes_with_all_its_platforms(cx: &Context) {
    let Some((_registry, reference)) = pulled(cx) else {
        return;
    };
    let ids = cx.run(["images", "-q", "--no-trunc"]);
    assert_eq!(ids.silent_ok().lines().count(), 2, "{ids}");
    // Another name of one of them does not keep the other.
    cx.run(["tag", &reference, "other:1"]).silent_ok();
    let removed = cx.run(["rmi", &reference]);
    assert_eq!(
        removed.silent_ok().matches("Deleted: ").count(),
        2,
        "{removed}"
    );
    let digests = removed.stdout.matches("Untagged: ").count();
    assert_eq!(digests, 2, "the tag and the digest, once each: {removed}");
    let ids = cx.run(["images", "-q", "--no-trunc"]);
    assert_eq!(ids.silent_ok().lines().count(), 1, "{ids}");
    cx.run(["rmi", "other:1"]).silent_ok();
    cx.assert_store_empty();
}
