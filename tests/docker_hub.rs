//! Docker Hub with its names, `registry-1.docker.io`, `auth.docker.io` and the host that blobs are redirected to: imitated in
//! a network and mount namespace of the test's own, on port 443, so that minidock runs with its defaults.

use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect;
use minidock_test_registry::{Authority, Fault, Login, Registry, Request, Setup};

use crate::support::{Context, Output, fixtures, layout_manifest, scenarios};

scenarios!(docker_hub_works_with_defaults);

const REGISTRY: &str = "127.0.0.2:443";
const AUTH: &str = "127.0.0.3:443";
const CDN: &str = "127.0.0.4:443";

fn docker_hub_works_with_defaults(cx: &Context) {
    let hosts = cx.write(
        "hosts",
        "127.0.0.1 localhost\n127.0.0.2 registry-1.docker.io\n127.0.0.3 auth.docker.io\n\
         127.0.0.4 production.cloudflare.docker.com\n",
    );
    // Names come from that file only.
    let switch = cx.write("nsswitch.conf", "hosts: files\n");
    let mut files = vec![("/etc/hosts", hosts.as_path())];
    if Path::new("/etc/nsswitch.conf").exists() {
        files.push(("/etc/nsswitch.conf", &switch));
    }
    std::os::unix::fs::symlink(fixtures().join("busybox"), cx.work().join("layout")).unwrap();
    let output = cx.apart("docker_hub::as_seen_from_a_users_machine", &files);
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stdout.contains("1 passed"), "{output}");
}

/// `minidock ARGS` with what is to be trusted.
fn minidock(args: &[&str], input: &str) -> Output {
    let mut command = Command::new("minidock");
    command.args(args).env("SSL_CERT_FILE", "authority.pem");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = crate::support::Running::spawn(&mut command);
    running.feed(input.as_bytes());
    running.wait()
}

/// Method, host and path of each request.
fn asked(registry: &Registry) -> Vec<String> {
    let line = |r: Request| {
        let host = match r.host.as_str() {
            REGISTRY => "registry",
            AUTH => "auth",
            CDN => "cdn",
            other => panic!("{other}"),
        };
        format!("{} {host} {}", r.method, r.path)
    };
    let lines = registry.log().into_iter().map(line).collect();
    registry.clear_log();
    lines
}

#[test]
#[ignore = "runs in namespaces of its own, where docker_hub_works_with_defaults starts it"]
fn as_seen_from_a_users_machine() {
    let authority = Authority::default();
    std::fs::write("authority.pem", authority.pem()).unwrap();
    let names = [
        "registry-1.docker.io",
        "auth.docker.io",
        "production.cloudflare.docker.com",
    ];
    let hub = Registry::start_as(Setup {
        main: REGISTRY.into(),
        other: CDN.into(),
        also: vec![AUTH.into()],
        token: Some("https://auth.docker.io".into()),
        data: Some("https://production.cloudflare.docker.com".into()),
        tls: Some(authority.server(&names, None)),
    })
    .as_docker_hub();
    let layout = Path::new("layout");
    hub.put_layout("library/busybox", "latest", layout);
    hub.put_layout("me/private", "latest", layout);

    anybody_pulls(&hub, &layout_manifest(layout));
    limits_are_told(&hub);
    an_account_is_known_to_the_token_service_only(&hub);
}

fn anybody_pulls(hub: &Registry, digest: &str) {
    let output = minidock(&["pull", "busybox"], "");
    expect![[r#"
        exit 0
        stdout:
        Using default tag: latest
        latest: Pulling from library/busybox
        <id>: Pull complete
        Digest: sha256:<digest>
        Status: Downloaded newer image for busybox:latest
        docker.io/library/busybox:latest
    "#]]
    .assert_eq(&output.snapshot(&[]));
    assert!(output.stdout.contains(digest), "{output}");
    for request in hub.log() {
        let allowed = request.host == REGISTRY;
        assert!(request.authorization.is_none() || allowed, "{request:#?}");
    }
    let asked = asked(hub);
    let manifest = "GET registry /v2/library/busybox/manifests/latest";
    let token =
        "GET auth /token?service=registry.docker.io&scope=repository%3Alibrary%2Fbusybox%3Apull";
    assert_eq!(asked[..3], [manifest, token, manifest]);
    // Config and layer: each asked for at the registry, and fetched where that says.
    let count = |part: &str| asked.iter().filter(|line| line.starts_with(part)).count();
    assert_eq!(
        count("GET registry /v2/library/busybox/blobs/"),
        2,
        "{asked:#?}"
    );
    assert_eq!(count("GET cdn /data/sha256:"), 2, "{asked:#?}");
    assert_eq!(asked.len(), 7, "{asked:#?}");

    // Looking whether it is up to date is free of charge.
    let again = minidock(&["pull", "busybox:latest"], "");
    assert!(
        again
            .silent_ok()
            .contains("Image is up to date for busybox:latest")
    );
    let head = "HEAD registry /v2/library/busybox/manifests/latest";
    assert_eq!(self::asked(hub), [head, token, head]);
}

fn limits_are_told(hub: &Registry) {
    let headers = [
        ("ratelimit-limit", "100;w=21600"),
        ("ratelimit-remaining", "0;w=21600"),
        ("docker-ratelimit-source", "192.0.2.7"),
        ("retry-after", "7200"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"}]}"#;
    hub.plan(
        "/manifests/",
        1,
        Fault::Status(429, headers.to_vec(), body.into()),
    );
    let output = minidock(&["pull", "alpine"], "");
    expect![[r#"
        exit 1
        stdout:
        Using default tag: latest
        stderr:
        minidock: the registry docker.io refuses more requests for now (429 Too Many Requests): the 100 pulls in 6 hours for your address 192.0.2.7 are used up: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit
        hint: try again in 2 hours, log in, which may allow more: minidock login, or use a mirror
    "#]]
    .assert_eq(&output.snapshot(&[]));
    hub.clear_log();
}

fn an_account_is_known_to_the_token_service_only(hub: &Registry) {
    // `me:open sesame`
    let account = "Basic bWU6b3BlbiBzZXNhbWU=";
    hub.require(Login::Password(account.into()));
    let denied = minidock(&["pull", "me/private"], "");
    let message = denied.fails(1);
    assert!(
        message.contains("hint: check the spelling, or log in: minidock login\n"),
        "{message}"
    );
    let login = minidock(&["login", "-u", "me", "--password-stdin"], "open sesame\n");
    assert_eq!(login.ok(), "Login Succeeded\n");
    hub.clear_log();
    minidock(&["pull", "-q", "me/private"], "").silent_ok();
    for request in hub.log() {
        let given = request.authorization.as_deref();
        match request.host.as_str() {
            AUTH => assert_eq!(given, Some(account)),
            CDN => assert_eq!(given, None),
            _ => assert!(given.is_none_or(|given| given.starts_with("Bearer "))),
        }
    }
    let asked = asked(hub);
    assert!(asked[1].contains("account=me"), "{asked:#?}");
    hub.require(None);
}
