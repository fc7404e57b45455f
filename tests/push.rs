//! `minidock push`, to `docker-registry`.

use expect_test::expect;

use crate::support::{Context, DockerRegistry, fixtures, layout_manifest, scenarios};

scenarios!(
    the_words_are_dockers_and_the_bytes_are_the_same,
    a_private_registry_takes_what_the_account_may_push,
    what_cannot_be_pushed_is_told,
);

fn the_words_are_dockers_and_the_bytes_are_the_same(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let layout = fixtures().join("app");
    let reference = registry.push(&layout, "library/app:1");
    cx.run(["pull", "-q", &reference]).silent_ok();
    let copy = format!("{}/copy:2", registry.host);
    cx.run(["tag", &reference, &copy]).silent_ok();
    let names = [(registry.host.as_str(), "REGISTRY")];
    let first = cx.run(["push", &copy]);
    expect![[r#"
        exit 0
        stdout:
        The push refers to repository [REGISTRY/copy]
        <id>: Preparing
        <id>: Preparing
        <id>: Mounted from library/app
        <id>: Mounted from library/app
        2: digest: sha256:<digest> size: <size>
    "#]]
    .assert_eq(&sized(&first.snapshot(&names)));
    let digest = layout_manifest(&layout);
    assert!(
        first
            .stdout
            .contains(&format!("2: digest: {digest} size: ")),
        "{first}"
    );
    let again = cx.run(["push", "-a", &format!("{}/copy", registry.host)]);
    assert!(
        again.silent_ok().contains("Layer already exists"),
        "{again}"
    );
    assert!(!again.stdout.contains("moved"), "{again}");

    cx.run(["rmi", &copy]).ok();
    let back = cx.run(["pull", &copy]);
    assert!(back.ok().contains(&format!("Digest: {digest}\n")), "{back}");
    // Another image under the same tag.
    let other = registry.push(&fixtures().join("busybox"), "other:1");
    cx.run(["pull", "-q", &other]).silent_ok();
    cx.run(["tag", &other, &copy]).silent_ok();
    let moved = cx.run(["push", &copy]);
    let new = layout_manifest(&fixtures().join("busybox"));
    assert!(
        moved
            .ok()
            .ends_with(&format!("2: moved from {digest} to {new}\n")),
        "{moved}"
    );
}

fn sized(snapshot: &str) -> String {
    match snapshot.split_once(" size: ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before} size: <size>{rest}")
        }
        None => snapshot.to_owned(),
    }
}

fn a_private_registry_takes_what_the_account_may_push(cx: &Context) {
    let Some(registry) = DockerRegistry::start_private(cx) else {
        return;
    };
    cx.load_busybox();
    let name = format!("{}/mine:1", registry.host);
    cx.run(["tag", "app:1", &name]).silent_ok();
    let refused = cx.run(["push", &name]);
    assert!(
        refused
            .fails(1)
            .contains(&format!("minidock login {}", registry.host)),
        "{refused}"
    );
    let login = ["login", "-u", "me", "--password-stdin", &registry.host];
    cx.run_with_input(login, b"open sesame").ok();
    let pushed = cx.run(["push", &name]);
    assert_eq!(
        pushed.silent_ok().matches(": Pushed\n").count(),
        2,
        "{pushed}"
    );
    cx.run(["rmi", &name, "app:1", "busybox"]).ok();
    let run = cx.run(["run", "--rm", &name]);
    assert_eq!(run.ok(), "hello world from app in /srv/app\n");
}

fn what_cannot_be_pushed_is_told(cx: &Context) {
    let missing = cx.run(["push", "127.0.0.1:1/none"]);
    assert!(
        missing
            .fails(1)
            .contains("does not exist locally with the tag: 127.0.0.1:1/none:latest"),
        "{missing}"
    );
    let tagged = cx.run(["push", "-a", "127.0.0.1:1/none:1"]);
    assert!(tagged.error(125).contains("--all-tags"), "{tagged}");
    cx.load_busybox();
    cx.run(["tag", "app:1", "127.0.0.1:1/app"]).silent_ok();
    let unreachable = cx.run(["push", "127.0.0.1:1/app"]);
    assert!(
        unreachable
            .fails(1)
            .contains("cannot reach the registry 127.0.0.1:1"),
        "{unreachable}"
    );
}
