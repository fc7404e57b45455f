//! The way to a registry, as the environment describes it: proxies, certificates to trust, IPv6.

use std::fs;
use std::process::Command;

use minidock_test_registry::{Authority, Image, Proxy, Registry, Setup, tar};

use crate::support::{Context, Output, scenarios, skip};

scenarios!(
    a_proxy_is_used_with_its_credentials_and_names_are_its_business,
    a_proxy_that_refuses_is_told_and_asked_once,
    what_no_proxy_names_is_reached_without,
    an_insecure_registry_is_reached_through_the_proxy_for_plain_http,
    a_variable_that_names_no_proxy_is_an_error,
    certificates_come_from_where_the_environment_says,
    registries_are_reached_by_ipv6,
);

/// A name that no resolver knows (RFC 6761).
const NAME: &str = "registry.invalid";

fn image() -> Image {
    Image::of(&[tar(&[("file", b"content")])])
}

/// A registry with TLS for [`NAME`] and loopback that holds `app:1`, and the file with its authority's certificate.
fn secure(cx: &Context) -> (Registry, std::path::PathBuf) {
    let authority = Authority::default();
    let registry = Registry::start_as(Setup {
        tls: Some(authority.server(&[NAME, "127.0.0.1"], None)),
        ..Setup::default()
    });
    registry.put("app", "1", &image());
    (registry, cx.write("authority.pem", authority.pem()))
}

fn pull(cx: &Context, image: &str, variables: &[(&str, &str)]) -> Output {
    let mut command: Command = cx.command(["pull", "-q", image]);
    command.envs(variables.iter().copied());
    cx.finish(command)
}

fn a_proxy_is_used_with_its_credentials_and_names_are_its_business(cx: &Context) {
    let (registry, authority) = secure(cx);
    // `me:open sesame`
    let proxy = Proxy::start(registry.host(), Some("Basic bWU6b3BlbiBzZXNhbWU="));
    let trust = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let address = format!("http://me:open%20sesame@{}", proxy.host());
    let name = format!("{NAME}/app:1");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        registry.clear_log();
        let output = pull(cx, &name, &[trust, (variable, &address)]);
        assert_eq!(output.silent_ok(), format!("{name}\n"), "{variable}");
        assert!(!registry.log().is_empty(), "{variable}");
        cx.run(["rmi", &name]).ok();
    }
    let asked = proxy.log();
    assert!(asked.len() >= 4, "{asked:?}");
    let tunnel = format!("CONNECT {NAME}:443");
    assert!(asked.iter().all(|line| *line == tunnel), "{asked:?}");
    // The more particular variable counts, and the one in capitals.
    let gone = "http://127.0.0.1:1";
    for variables in [
        [("HTTPS_PROXY", address.as_str()), ("ALL_PROXY", gone)],
        [("HTTPS_PROXY", address.as_str()), ("https_proxy", gone)],
        [("https_proxy", address.as_str()), ("HTTP_PROXY", gone)],
    ] {
        pull(cx, &name, &[[trust].as_slice(), &variables].concat()).silent_ok();
    }
    // This machine needs no proxy.
    let local = format!("{}/app:1", registry.host());
    pull(cx, &local, &[trust, ("ALL_PROXY", gone)]).silent_ok();
}

fn a_proxy_that_refuses_is_told_and_asked_once(cx: &Context) {
    let (registry, authority) = secure(cx);
    let proxy = Proxy::start(registry.host(), Some("Basic bWU6b3BlbiBzZXNhbWU="));
    let trust = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let address = format!("http://me:secret@{}", proxy.host());
    let output = pull(
        cx,
        &format!("{NAME}/app:1"),
        &[trust, ("HTTPS_PROXY", &address)],
    );
    let message = output.error(1);
    assert_eq!(
        message,
        format!(
            "minidock: cannot reach the registry {NAME}: the request for the manifest 1 failed\n\
             caused by: through the proxy http://{}: it wants a name and a password\n\
             hint: name them in the proxy's address: http://NAME:PASSWORD@HOST:PORT\n",
            proxy.host()
        )
    );
    assert_eq!(proxy.log().len(), 1);
    // One that is not there is not passed by.
    let output = pull(
        cx,
        &format!("{NAME}/app:1"),
        &[trust, ("HTTPS_PROXY", "127.0.0.1:1")],
    );
    let message = output.fails(1);
    assert!(
        message.contains("caused by: through the proxy http://127.0.0.1:1: Connection refused")
            && message.contains("hint: check the proxy (HTTPS_PROXY, "),
        "{message}"
    );
    assert_eq!(registry.log(), []);
}

fn what_no_proxy_names_is_reached_without(cx: &Context) {
    let (registry, authority) = secure(cx);
    let proxy = Proxy::start(registry.host(), None);
    let trust = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let address = proxy.host();
    for (except, through) in [
        ("invalid", false),
        (".invalid", false),
        ("registry.invalid:443", false),
        ("*", false),
        ("registry.invalid:80, .registry.invalid,10.0.0.0/8", true),
    ] {
        let before = proxy.log().len();
        // In a network of its own no name is found, and nobody is asked for it.
        let mut command = cx.program("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--net",
            "minidock",
            "pull",
            "-q",
        ]);
        command.arg(format!("{NAME}/app:1"));
        command.envs([trust, ("HTTPS_PROXY", &address), ("NO_PROXY", except)]);
        let output = cx.finish(command);
        // The proxy is not to be had there either: who is asked is in the message.
        let message = output.fails(1);
        assert_eq!(
            message.contains("through the proxy"),
            through,
            "{except}: {message}"
        );
        assert_eq!(proxy.log().len(), before, "{except}");
    }
}

fn an_insecure_registry_is_reached_through_the_proxy_for_plain_http(cx: &Context) {
    let registry = Registry::start();
    registry.put("app", "1", &image());
    let proxy = Proxy::start(registry.host(), None);
    let folder = cx.dir.join("home/.config/containers");
    fs::create_dir_all(&folder).unwrap();
    let conf = format!("[[registry]]\nlocation = '{NAME}'\ninsecure = true\n");
    fs::write(folder.join("registries.conf"), conf).unwrap();
    let name = format!("{NAME}/app:1");
    let output = pull(cx, &name, &[("ALL_PROXY", &proxy.host())]);
    assert_eq!(output.silent_ok(), format!("{name}\n"));
    let asked = proxy.log();
    assert_eq!(asked[0], format!("CONNECT {NAME}:443"), "TLS comes first");
    let manifest = format!("GET http://{NAME}/v2/app/manifests/1");
    assert!(asked.contains(&manifest), "{asked:?}");
}

fn a_variable_that_names_no_proxy_is_an_error(cx: &Context) {
    let output = pull(
        cx,
        &format!("{NAME}/app:1"),
        &[("HTTPS_PROXY", "http://me:secret@host:port")],
    );
    let message = output.error(1);
    assert!(
        message.starts_with("minidock: HTTPS_PROXY names no proxy: invalid port number\n"),
        "{message}"
    );
    assert!(message.contains("hint: "), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

fn certificates_come_from_where_the_environment_says(cx: &Context) {
    let (registry, authority) = secure(cx);
    let name = format!("{}/app:1", registry.host());
    let refused = pull(cx, &name, &[]);
    let message = refused.error(1);
    assert!(
        message.contains("hint: if the registry's certificate is signed by a private authority"),
        "{message}"
    );

    let file = authority.to_str().unwrap();
    pull(cx, &name, &[("SSL_CERT_FILE", file)]).silent_ok();
    // Folders, of which the first is not there.
    let folder = cx.dir.join("certificates");
    fs::create_dir(&folder).unwrap();
    fs::copy(&authority, folder.join("mine.pem")).unwrap();
    fs::write(folder.join("README"), "Nothing to see here.\n").unwrap();
    let folders = format!("/does/not/exist:{}", folder.display());
    cx.run(["rmi", &name]).ok();
    pull(cx, &name, &[("SSL_CERT_DIR", &folders)]).silent_ok();
    // One that cannot be read: nobody else is trusted instead.
    let missing = pull(
        cx,
        &format!("{NAME}/app:1"),
        &[("SSL_CERT_FILE", "/does/not/exist.pem")],
    );
    let message = missing.error(1);
    assert!(
        message.contains("cannot read the root certificates")
            && message.contains("/does/not/exist.pem")
            && message.contains("hint: check SSL_CERT_FILE"),
        "{message}"
    );
}

fn registries_are_reached_by_ipv6(cx: &Context) {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        skip("this machine has no IPv6, not even on loopback");
        return;
    }
    let registry = Registry::start_as(Setup {
        main: "[::1]:0".into(),
        other: "[::1]:0".into(),
        ..Setup::default()
    });
    registry.put("app", "1", &image());
    let registry = registry.as_docker_hub();
    let name = format!("{}/app:1", registry.host());
    assert!(name.starts_with("[::1]:"), "{name}");
    assert_eq!(pull(cx, &name, &[]).silent_ok(), format!("{name}\n"));
    let repository = name.trim_end_matches(":1");
    let images = cx.run(["images", "--format", "{{.Repository}} {{.Tag}}"]);
    assert_eq!(images.silent_ok(), format!("{repository} 1\n"));
    let copy = format!("{repository}:2");
    cx.run(["tag", &name, &copy]).silent_ok();
    cx.run(["push", &copy]).silent_ok();
    assert!(registry.manifest("app/2").is_some());
    cx.run(["rmi", &name, &copy]).ok();
}
