//! `minidock pull` from the registry that everybody runs, Debian's `docker-registry`.

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::{
    Context, DockerRegistry, Terminal, fixtures, layout_manifest, scenarios, shared,
};

scenarios!(
    the_words_are_dockers,
    run_pulls_what_is_missing,
    a_layer_in_the_store_is_not_fetched_again,
    an_index_is_resolved_to_a_platform,
    a_digest_pins_the_image,
    a_moved_tag_is_followed,
    all_tags_of_a_repository_are_pulled,
    a_terminal_gets_progress,
    programs_get_json,
    lines_can_be_had_on_a_terminal,
    a_digest_that_is_none_is_told_with_its_reason,
    the_official_images_can_be_pulled,
);

fn the_words_are_dockers(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("app");
    let reference = registry.push(&layout, "app");
    let names = [(registry.host.as_str(), "REGISTRY")];
    let first = cx.run(["pull", &reference]);
    expect![[r#"
        exit 0
        stdout:
        Using default tag: latest
        latest: Pulling from app
        <id>: Pull complete
        <id>: Pull complete
        Digest: sha256:<digest>
        Status: Downloaded newer image for REGISTRY/app:latest
        REGISTRY/app:latest
    "#]]
    .assert_eq(&first.snapshot(&names));
    assert!(
        first
            .stdout
            .contains(&format!("Digest: {}\n", layout_manifest(&layout))),
        "{first}"
    );
    let again = cx.run(["pull", &format!("{reference}:latest")]);
    expect![[r#"
        exit 0
        stdout:
        latest: Pulling from app
        Digest: sha256:<digest>
        Status: Image is up to date for REGISTRY/app:latest
        REGISTRY/app:latest
    "#]]
    .assert_eq(&again.snapshot(&names));
    let quiet = cx.run(["pull", "-q", &reference]);
    assert_eq!(quiet.silent_ok(), format!("{reference}:latest\n"));
    let images = cx.run(["images", &reference]);
    assert_eq!(images.silent_ok().lines().count(), 2, "{images}");
}

fn run_pulls_what_is_missing(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    let names = [(registry.host.as_str(), "REGISTRY")];
    let output = cx.run(["run", "--rm", &reference]);
    expect![[r#"
        exit 0
        stdout:
        hello world from app in /srv/app
        stderr:
        Unable to find image 'REGISTRY/app:1' locally
        1: Pulling from app
        <id>: Pull complete
        <id>: Pull complete
        Digest: sha256:<digest>
        Status: Downloaded newer image for REGISTRY/app:1
    "#]]
    .assert_eq(&output.snapshot(&names));
    assert_eq!(
        cx.run(["run", "--rm", &reference]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    // Standard input and exit code are the container's, also after a pull.
    cx.run(["rmi", &reference]).ok();
    let args = [
        "run",
        "--rm",
        "-i",
        "--entrypoint",
        "sh",
        &reference,
        "-c",
        "cat; exit 7",
    ];
    let piped = cx.run_with_input(args, b"data\n");
    assert_eq!(
        (piped.code, piped.stdout.as_str()),
        (Some(7), "data\n"),
        "{piped}"
    );
}

fn a_layer_in_the_store_is_not_fetched_again(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let busybox = registry.push(&fixtures().join("busybox"), "busybox");
    let app = registry.push(&fixtures().join("app"), "app:1");
    cx.run(["pull", &busybox]).silent_ok();
    let output = cx.run(["pull", &app]);
    let mut layers: Vec<&str> = output
        .silent_ok()
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(id, _)| id.len() == 12)
        .map(|(_, what)| what)
        .collect();
    layers.sort_unstable();
    assert_eq!(layers, ["Already exists", "Pull complete"], "{output}");
}

fn an_index_is_resolved_to_a_platform(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("multi");
    let reference = registry.push(&layout, "multi");
    let output = cx.run(["pull", &reference]);
    // The digest is the index's, as in Docker.
    let digest = format!("Digest: {}\n", layout_manifest(&layout));
    assert!(output.silent_ok().contains(&digest), "{output}");
    assert_eq!(
        cx.run(["run", "--rm", &reference, "echo", "hello"])
            .silent_ok(),
        "hello\n"
    );

    let foreign = cx.run(["pull", "--platform", "linux/s390x", &reference]);
    assert!(
        foreign
            .silent_ok()
            .contains("Status: Downloaded newer image"),
        "{foreign}"
    );
    let mismatch = cx.run(["run", "--platform", "linux/riscv64", &reference, "true"]);
    assert!(mismatch.fails(125).contains("linux/riscv64"), "{mismatch}");
}

fn a_digest_pins_the_image(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("app");
    let tagged = registry.push(&layout, "app:1");
    let pinned = format!("{}/app@{}", registry.host, layout_manifest(&layout));
    let output = cx.run(["pull", &pinned]);
    let names = [(registry.host.as_str(), "REGISTRY")];
    expect![[r#"
        exit 0
        stdout:
        REGISTRY/app@sha256:<digest>: Pulling from app
        <id>: Pull complete
        <id>: Pull complete
        Digest: sha256:<digest>
        Status: Downloaded newer image for REGISTRY/app@sha256:<digest>
        REGISTRY/app@sha256:<digest>
    "#]]
    .assert_eq(&output.snapshot(&names));
    assert_eq!(
        cx.run(["run", "--rm", &pinned]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    let missing = cx.run(["rmi", &tagged]);
    assert_eq!(
        missing.error(1),
        format!("minidock: no such image: {tagged}\n")
    );
    cx.run(["rmi", &pinned]).silent_ok();
    cx.assert_store_empty();
}

fn a_moved_tag_is_followed(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("busybox"), "moving:1");
    cx.run(["pull", &reference]).silent_ok();
    registry.push(&fixtures().join("app"), "moving:1");
    let output = cx.run(["pull", &reference]);
    let old = layout_manifest(&fixtures().join("busybox"));
    let new = layout_manifest(&fixtures().join("app"));
    assert!(
        output
            .ok()
            .contains(&format!("\n1: moved from {old} to {new}\n")),
        "{output}"
    );
    assert!(
        output
            .silent_ok()
            .contains("Status: Downloaded newer image"),
        "{output}"
    );
    assert_eq!(
        cx.run(["run", "--rm", &reference]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
}

fn a_terminal_gets_progress(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    let output = Terminal::start(cx, ["pull", &reference]).wait();
    assert_eq!(output.code, Some(0), "{output}");
    let shown = &output.stdout;
    assert!(shown.contains("1: Pulling from app\r\n"), "{shown:?}");
    assert_eq!(shown.matches(": Pull complete").count(), 2, "{shown:?}");
    assert!(shown.ends_with(&format!("{reference}\r\n")), "{shown:?}");
    // The last words are plain lines below the bars, and the cursor is left visible.
    assert!(
        shown.contains("\r\nStatus: Downloaded newer image for "),
        "{shown:?}"
    );
    let hidden = shown.rfind("\x1b[?25l").unwrap_or(0);
    assert!(
        shown.rfind("\x1b[?25h").unwrap_or(hidden) >= hidden,
        "{shown:?}"
    );
}

fn the_official_images_can_be_pulled(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let Some(shared) = shared() else { return }; // It has said so; the fixtures were pulled above.
    let (layouts, foreign) = match cfg!(target_arch = "x86_64") {
        true => (["glibc-amd64", "musl-amd64"], "musl-arm64v8"),
        false => (["musl-arm64v8", "musl-arm64v8"], "musl-amd64"),
    };
    for layout in layouts {
        let name = format!("library/busybox:{layout}");
        let reference = registry.push(&shared.join("busybox").join(layout), &name);
        cx.run(["pull", &reference]).silent_ok();
        let hello = cx.run(["run", "--rm", &reference, "echo", "hello"]);
        assert_eq!(hello.silent_ok(), "hello\n");
    }
    // A single manifest for another kind of machine: Docker says so, and so does minidock.
    let reference = registry.push(&shared.join("busybox").join(foreign), "busybox:foreign");
    let output = cx.run(["run", "--rm", &reference, "true"]);
    assert_ne!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("platform"), "{output}");
}

fn all_tags_of_a_repository_are_pulled(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let one = registry.push(&fixtures().join("busybox"), "many:1");
    registry.push(&fixtures().join("app"), "many:2");
    let repository = one.trim_end_matches(":1");
    let both = cx.run(["pull", "-a", "--max-concurrent-downloads", "1", repository]);
    let lines: Vec<&str> = both.silent_ok().lines().collect();
    assert_eq!(*lines.last().unwrap(), format!("{repository}:2"));
    assert!(lines.contains(&one.as_str()), "{both}");
    let images = cx.run(["images", "-q", repository]);
    assert_eq!(images.silent_ok().lines().count(), 2, "{images}");
    let tagged = cx.run(["pull", "-a", &one]);
    assert!(tagged.error(125).contains("--all-tags"), "{tagged}");
}

fn programs_get_json(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("app");
    let reference = registry.push(&layout, "app:1");
    let json = |output: &str| -> Vec<Value> {
        let lines = output.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let first = cx.run(["pull", "--progress", "json", &reference]);
    let messages = json(first.silent_ok());
    assert_eq!(
        messages[0],
        json!({"id": "1", "status": "Pulling from app"})
    );
    let of = |status: &str| messages.iter().filter(|m| m["status"] == status).count();
    assert_eq!(of("Pulling fs layer"), 2, "{first}");
    assert_eq!(of("Extracting"), 2, "{first}");
    assert_eq!(of("Pull complete"), 2, "{first}");
    // All bytes of each layer are told.
    let told = messages.iter().filter(|m| {
        m["status"] == "Downloading"
            && m["progressDetail"]["current"] == m["progressDetail"]["total"]
    });
    assert_eq!(told.count(), 2, "{first}");
    let digest = layout_manifest(&layout);
    let id = cx.run(["images", "-q", "--no-trunc", &reference]);
    let aux = json!({
        "Reference": reference, "Digest": digest, "ID": id.silent_ok().trim(), "New": true, "Previous": null,
    });
    assert_eq!(messages.last().unwrap()["aux"], aux, "{first}");

    let quiet = cx.run(["pull", "-q", "--progress=json", &reference]);
    let messages = json(quiet.silent_ok());
    assert_eq!(messages.len(), 1, "{quiet}");
    assert_eq!(messages[0]["aux"]["New"], false, "{quiet}");
    assert_eq!(messages[0]["aux"]["Digest"], digest.as_str(), "{quiet}");

    let copy = format!("{}/copy:2", registry.host);
    cx.run(["tag", &reference, &copy]).silent_ok();
    let pushed = cx.run(["push", "--progress", "json", &copy]);
    let messages = json(pushed.silent_ok());
    assert_eq!(
        messages[0],
        json!({"status": format!("The push refers to repository [{}/copy]", registry.host)})
    );
    let aux = &messages.last().unwrap()["aux"];
    assert_eq!(aux["Tag"], "2", "{pushed}");
    assert_eq!(aux["Digest"], digest.as_str(), "{pushed}");
    assert!(aux["Size"].as_u64().unwrap() > 100, "{pushed}");

    let missing = format!("{}/app:none", registry.host);
    let failed = cx.run(["pull", "--progress", "json", &missing, &reference]);
    let messages = json(&failed.stdout);
    let why =
        format!("manifest for {missing} not found: the registry does not know this tag or digest");
    assert_eq!(
        messages[0],
        json!({"error": why, "errorDetail": {"message": why}}),
        "{failed}"
    );
    assert_eq!(messages.last().unwrap()["aux"]["New"], false, "{failed}");
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.stderr.contains(&why), "{failed}");
}

fn lines_can_be_had_on_a_terminal(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    let output = Terminal::start(cx, ["pull", "--progress", "plain", &reference]).wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(!output.stdout.contains('\x1b'), "{output}");
    assert_eq!(
        output.stdout.matches(": Pull complete").count(),
        2,
        "{output}"
    );
    let wrong = cx.run(["pull", "--progress", "fancy", &reference]);
    let told = wrong.fails(125);
    assert!(
        told.contains("'fancy'") && told.contains("hint: choose one of auto, plain, json\n"),
        "{wrong}"
    );
}

fn a_digest_that_is_none_is_told_with_its_reason(cx: &Context) {
    for verb in [
        &["pull"][..],
        &["push"],
        &["tag", "x"],
        &["manifest", "inspect"],
    ] {
        let output = cx.run([verb, &["app@sha256:12"]].concat());
        let told = output.fails(1);
        assert!(
            told.contains("app@sha256:12") && told.contains("64"),
            "{output}"
        );
    }
}
