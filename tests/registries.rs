//! `registries.conf` as users have it: which registry a short name means, and where plain HTTP is allowed.

use std::fs;

use crate::support::{Context, DockerRegistry, Output, fixtures, layout_manifest, scenarios};

scenarios!(
    a_short_name_is_searched_for_in_order,
    plain_http_is_for_loopback_and_for_registries_that_are_called_insecure,
    a_damaged_file_is_named,
    a_repository_can_be_looked_at_without_pulling,
);

fn conf(cx: &Context, text: &str) {
    let folder = cx.dir.join("home/.config/containers");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("registries.conf"), text).unwrap();
}

fn a_short_name_is_searched_for_in_order(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let host = registry.host.as_str();
    registry.push(&fixtures().join("app"), "short:1");
    conf(
        cx,
        &format!("unqualified-search-registries = ['127.0.0.1:1', '{host}']\n"),
    );
    let run = cx.run(["run", "--rm", "short:1"]);
    assert_eq!(run.ok(), "hello world from app in /srv/app\n");
    assert!(
        run.stderr
            .contains("127.0.0.1:1/short:1: cannot reach the registry"),
        "{run}"
    );
    assert!(
        run.stderr.contains(&format!(
            "Status: Downloaded newer image for {host}/short:1\n"
        )),
        "{run}"
    );
    // It is known now, and no registry is asked.
    let again = cx.run(["run", "--rm", "short:1"]);
    assert_eq!(again.silent_ok(), "hello world from app in /srv/app\n");
    let pull = cx.run(["pull", "-q", "short:1"]);
    assert_eq!(pull.silent_ok(), format!("{host}/short:1\n"));
    // A name with its registry is searched for nowhere else.
    let full = cx.run(["pull", "127.0.0.1:1/short:1"]);
    assert!(
        full.fails(1)
            .contains("cannot reach the registry 127.0.0.1:1"),
        "{full}"
    );
}

/// Runs a script in a network of its own, in which 192.0.2.1 (a documentation address) is this machine.
fn alone(cx: &Context, script: &str) -> Output {
    let mut command = cx.program("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-euc"]);
    command.arg(format!(
        "ip link set lo up; ip address add 192.0.2.1/32 dev lo; {script}"
    ));
    cx.finish(command)
}

fn plain_http_is_for_loopback_and_for_registries_that_are_called_insecure(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    registry.push(&fixtures().join("app"), "app:1");
    let config = cx.write(
        "far.yml",
        format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '192.0.2.1:5000'}}\n",
            cx.dir.join("registry").display()
        ),
    );
    let pull = format!(
        "docker-registry serve {} >log 2>&1 & trap \"kill $!\" EXIT; \
         until curl -s http://192.0.2.1:5000/v2/ >answer; do kill -0 $!; done; \
         minidock pull 192.0.2.1:5000/app:1",
        config.display()
    );
    let refused = alone(cx, &pull);
    let message = refused.error(1);
    assert!(message.contains("it does not speak TLS"), "{message}");
    assert!(
        message.contains("hint: plain HTTP is spoken only with"),
        "{message}"
    );
    conf(
        cx,
        "[[registry]]\nlocation = '192.0.2.1:5000'\ninsecure = true\n",
    );
    let pulled = alone(cx, &pull);
    assert!(
        pulled.ok().ends_with("\n192.0.2.1:5000/app:1\n"),
        "{pulled}"
    );
}

fn a_damaged_file_is_named(cx: &Context) {
    conf(cx, "[[registry]\nlocation = 'x'\n");
    let pull = cx.run(["pull", "busybox"]);
    let message = pull.fails(1);
    assert!(
        message.contains("/.config/containers/registries.conf: line 1: "),
        "{message}"
    );
    // What needs no registry is not stopped by it.
    cx.load_busybox();
    cx.run(["run", "--rm", "busybox", "true"]).silent_ok();
}

fn a_repository_can_be_looked_at_without_pulling(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let app = registry.push(&fixtures().join("app"), "app:1");
    registry.push(&fixtures().join("busybox"), "app:2-old");
    let multi = registry.push(&fixtures().join("multi"), "multi:1");
    let repository = app.trim_end_matches(":1");
    assert_eq!(cx.run(["tags", repository]).silent_ok(), "1\n2-old\n");
    assert!(cx.run(["tags", &app]).error(125).contains("without tag"));
    let none = cx.run(["tags", &format!("{}/none", registry.host)]);
    assert!(
        none.error(1).contains("the repository does not exist"),
        "{none}"
    );

    let shown = cx.run(["manifest", "inspect", &multi]);
    let shown: serde_json::Value = serde_json::from_str(shown.silent_ok()).unwrap();
    assert_eq!(shown["manifests"].as_array().unwrap().len(), 3, "{shown}");
    let verbose = cx.run(["manifest", "inspect", "-v", &app]);
    let verbose: serde_json::Value = serde_json::from_str(verbose.silent_ok()).unwrap();
    assert_eq!(
        verbose["Digest"],
        layout_manifest(&fixtures().join("app")).as_str()
    );
    assert_eq!(verbose["Manifest"]["layers"].as_array().unwrap().len(), 2);
    assert!(!cx.root().exists(), "looking makes no store");
}
