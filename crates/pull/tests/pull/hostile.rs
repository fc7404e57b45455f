//! Registries that mean harm: everything they send is bounded in memory and time, told clearly, and nothing of it is
//! published. `lies` has those that only break their word.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use minidock_oci::{Digest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use minidock_pull::{Error, TransportKind, remote_image};
use minidock_test_registry::{Fault, Registry};
use serde_json::{Value, json};

use crate::docker_registry::Authority;
use crate::world::{World, chain, image};

fn refused(world: &World, name: &str) -> String {
    let error = world.pull(name).unwrap_err();
    let told = chain(&error);
    assert!(told.len() < 2000, "{} characters", told.len());
    world.assert_nothing_there();
    told
}

/// Puts `app:TAG` with a manifest that was changed a little.
fn put_changed(world: &World, tag: &str, change: impl FnOnce(&mut Value)) {
    let image = image();
    world.registry.put("app", "whole", &image);
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    change(&mut manifest);
    let bytes = manifest.to_string();
    world
        .registry
        .put_manifest("app", tag, OCI_MANIFEST, bytes.as_bytes());
}

/// Whether the connection broke or stalled.
fn is_broken(error: &Error) -> bool {
    matches!(
        error,
        Error::Transport {
            kind: TransportKind::Broken,
            ..
        }
    )
}

#[test]
fn a_config_is_what_its_descriptor_says() {
    let world = World::new(Registry::start());
    let config = format!("blobs/{}", image().id());
    world.registry.put("app", "1", &image());
    world.registry.plan(&config, 1, Fault::Corrupt);
    let told = refused(&world, "app:1");
    assert!(
        told.contains("image config has digest") && told.contains(image().id().hex()),
        "{told}"
    );
    let html = Fault::Status(200, Vec::new(), "<html>Sign in</html>".into());
    world.registry.plan(&config, 1, html);
    let told = refused(&world, "app:1");
    assert!(told.contains("image config has digest"), "{told}");
    // Longer, with and without an end.
    let length = image().config.len();
    let longer = format!("{}{}", String::from_utf8(image().config).unwrap(), " ");
    world
        .registry
        .plan(&config, 1, Fault::Status(200, Vec::new(), longer));
    let told = refused(&world, "app:1");
    assert!(
        told.contains(&format!("larger than {length} bytes")),
        "{told}"
    );
    world.registry.plan(&config, 1, Fault::Endless);
    let told = refused(&world, "app:1");
    assert!(
        told.contains(&format!("larger than {length} bytes")),
        "{told}"
    );
    // Its bytes are right, its size is not.
    put_changed(&world, "size", |m| m["config"]["size"] = json!(length + 1));
    let told = refused(&world, "app:size");
    assert!(
        told.contains(&format!(
            "{length} bytes, its descriptor says {}",
            length + 1
        )),
        "{told}"
    );
    put_changed(&world, "huge", |m| {
        m["config"]["size"] = json!((4 << 20) + 1)
    });
    world.registry.clear_log();
    let told = refused(&world, "app:huge");
    assert!(told.contains("larger than 4194304 bytes"), "{told}");
    assert_eq!(
        world.requests("/blobs/"),
        0,
        "it was asked for all the same"
    );
}

#[test]
fn an_index_entry_is_what_it_says() {
    let world = World::new(Registry::start());
    let image = image();
    let digest = world.registry.put("app", "whole", &image);
    let put = |tag: &str, size: Value, digest: &str| {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": size,
             "platform": {"os": "linux", "architecture": "amd64"}}]});
        world
            .registry
            .put_manifest("app", tag, OCI_INDEX, index.to_string().as_bytes());
    };
    let size = image.manifest.len();
    put("size", json!(size + 1), &digest.to_string());
    let told = refused(&world, "app:size");
    assert!(
        told.contains(&format!("has {size} bytes, the index says {}", size + 1)),
        "{told}"
    );
    put("huge", json!((4 << 20) + 1), &digest.to_string());
    world.registry.clear_log();
    let told = refused(&world, "app:huge");
    assert!(told.contains("larger than 4194304 bytes"), "{told}");
    assert_eq!(world.requests("/manifests/"), 1);
    for (nonsense, digest) in [
        (json!(-1), digest.to_string()),
        (json!("many"), digest.to_string()),
        (json!(1.5), digest.to_string()),
        (json!(null), digest.to_string()),
        (json!(size), "sha256:12".into()),
        (json!(size), "md5:d41d8cd98f00b204e9800998ecf8427e".into()),
        (json!(size), "sha256:../../../../etc/passwd".into()),
    ] {
        put("nonsense", nonsense.clone(), &digest);
        let told = refused(&world, "app:nonsense");
        assert!(told.contains("invalid"), "{nonsense} {digest}: {told}");
    }
    // Forged: the right place, other bytes.
    put("forged", json!(size), &digest.to_string());
    let mut forged = image.manifest.clone();
    *forged.last_mut().unwrap() = b' ';
    world
        .registry
        .put_manifest("app", &digest.to_string(), OCI_MANIFEST, &forged);
    let told = refused(&world, "app:forged");
    assert!(told.contains(&digest.to_string()), "{told}");
}

#[test]
fn sizes_that_nothing_has_are_refused() {
    let world = World::new(Registry::start());
    put_changed(&world, "max", |m| m["layers"][0]["size"] = json!(u64::MAX));
    let told = refused(&world, "app:max");
    assert!(told.contains("expected 18446744073709551615"), "{told}");
    put_changed(&world, "all", |m| {
        for n in 0..2 {
            m["layers"][n]["size"] = json!(u64::MAX);
        }
    });
    // Adding them up is no harm either.
    let found = remote_image(&world.reference("app:all"), &world.options, &|_| {}).unwrap();
    assert_eq!(found.size, u64::MAX);
    for nonsense in [json!(-1), json!("x"), json!([]), json!(1e30)] {
        put_changed(&world, "bad", |m| m["layers"][0]["size"] = nonsense.clone());
        let told = refused(&world, "app:bad");
        assert!(told.contains("invalid manifest"), "{nonsense}: {told}");
    }
    put_changed(&world, "none", |m| m["layers"][0]["size"] = json!(0));
    let told = refused(&world, "app:none");
    assert!(told.contains("expected 0"), "{told}");
}

#[test]
fn more_layers_than_an_image_can_have_are_refused() {
    let world = World::new(Registry::start());
    let diff_ids = vec![Digest::sha256(b""); 30_000];
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string();
    let digest = Digest::sha256(config.as_bytes());
    world.registry.put_blob(&digest, config.as_bytes());
    put_changed(&world, "many", |m| {
        let layer = m["layers"][0].clone();
        m["layers"] = json!(vec![layer; 15_000]);
        m["config"] = json!({"mediaType": OCI_CONFIG, "digest": digest, "size": config.len()});
    });
    let told = refused(&world, "app:many");
    assert!(told.contains("at most 1000"), "{told}");
}

#[test]
fn a_header_without_end_is_left() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let long = vec![("X-Long".to_owned(), "x".repeat(4 << 20))];
    let fault = Fault::Status(200, long, "{}".into());
    world.registry.plan("/manifests/", 100, fault);
    let error = world.pull("app:1").unwrap_err();
    assert!(is_broken(&error), "{}", chain(&error));
    world.assert_nothing_there();
}

#[test]
fn redirects_that_lead_in_a_circle_are_left_wherever_they_are() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let host = world.registry.host();
    for (path, place) in [
        (format!("blobs/{}", image().id()), "the config"),
        (
            format!("blobs/{}", Digest::sha256(&image().layers[0])),
            "a layer",
        ),
    ] {
        // There and back.
        let there = format!(
            "http://localhost:{}/v2/app/{path}",
            host.split(':').nth(1).unwrap()
        );
        let back = format!("http://{host}/v2/app/{path}");
        world.registry.clear_log();
        for _ in 0..50 {
            world
                .registry
                .plan(&path, 1, Fault::Redirect(there.clone()));
            world.registry.plan(&path, 1, Fault::Redirect(back.clone()));
        }
        let told = refused(&world, "app:1");
        assert!(told.contains("too many redirects"), "{place}: {told}");
        assert!(world.requests(&path) <= 10, "{place}");
        world.registry.forget_plans();
    }
    world.pull("app:1").unwrap();
}

#[test]
fn a_redirect_from_https_to_http_is_not_followed() {
    let mut world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let to = format!("http://{}/v2/app/manifests/1", world.registry.host());
    let authority = Authority::new();
    world.options.extra_roots = vec![authority.certificate().der().to_vec()];
    let address = redirecting(&authority, to);
    let reference = format!("{address}/app:1").parse().unwrap();
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Transport {
                kind: TransportKind::Redirect,
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    assert!(chain(&error).contains("without TLS"), "{}", chain(&error));
    assert_eq!(world.registry.log(), []);
    assert_eq!(world.retries(), []);
}

/// A server with TLS that sends everybody on; returns its address.
fn redirecting(authority: &Authority, to: String) -> String {
    let (certificate, key) = authority.sign("127.0.0.1");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    use rustls::pki_types::pem::PemObject;
    let chain = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes());
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain.unwrap()], key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = BufReader::new(rustls::StreamOwned::new(connection, stream));
            let mut line = String::new();
            while tls.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            // Whoever spoke no TLS is gone by now.
            let answer = format!(
                "HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = tls.get_mut().write_all(answer.as_bytes());
            tls.get_mut().conn.send_close_notify();
            let _ = tls.get_mut().flush();
        }
    });
    address
}

#[test]
fn token_services_are_believed_no_more_than_registries() {
    let long = format!("{{\"token\":\"{}\"}}", "x".repeat(8 << 20));
    let page = |text: &str| Fault::Status(200, Vec::new(), text.into());
    for (fault, expected) in [
        (page("<html>Sign in</html>"), "cannot get a token"),
        (page("{}"), "cannot get a token"),
        (page("{\"token\":\"\"}"), "cannot get a token"),
        (page("{\"token\":\"a\\nX-Evil: b\"}"), ""),
        (page(&long), "larger than"),
        (Fault::Endless, "larger than"),
        (Fault::EndlessHeaders, "cannot reach"),
        (
            Fault::Redirect("http://registry.invalid/token".into()),
            "without TLS",
        ),
    ] {
        let world = World::new(Registry::like_docker_hub());
        world.registry.put("app", "1", &image());
        world.registry.plan("/token", 100, fault.clone());
        let told = refused(&world, "app:1");
        assert!(told.contains(expected), "{told}");
        assert!(
            world.requests("/token") <= 8,
            "{}",
            world.requests("/token")
        );
        assert_eq!(world.requests("/blobs/"), 0);
    }
    // It may be nowhere else than behind TLS or on loopback.
    for realm in ["http://192.0.2.1/token", "file:///etc/passwd", "nonsense"] {
        let world = World::new(Registry::start());
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
        let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
        world
            .registry
            .plan("/manifests/", 100, Fault::Status(401, headers, "{}".into()));
        let told = refused(&world, "app:1");
        assert!(told.contains("cannot get a token"), "{realm}: {told}");
        assert_eq!(world.requests("/manifests/"), 1);
    }
    // It gives tokens, and the registry never takes one.
    let world = World::new(Registry::like_docker_hub());
    let challenge = format!("Bearer realm=\"http://{}/token\"", world.registry.host());
    let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
    world.registry.plan(
        "/manifests/",
        1000,
        Fault::Status(401, headers, "{}".into()),
    );
    let told = refused(&world, "app:1");
    assert!(told.contains("denied"), "{told}");
    assert!(
        world.registry.log().len() <= 4,
        "{:#?}",
        world.registry.log()
    );
}

#[test]
fn a_drip_keeps_nobody_for_ever() {
    let mut world = World::new(Registry::like_docker_hub());
    world.options.stall_timeout = Duration::from_millis(300);
    world.registry.put("app", "1", &image());
    for path in ["/token", "/manifests/", "/data/"] {
        world.registry.plan(path, 100, Fault::Drip);
        let error = world.pull("app:1").unwrap_err();
        assert!(is_broken(&error), "{path}: {}", chain(&error));
        assert!(!world.retries().is_empty(), "{path}");
        world.assert_nothing_there();
        world.registry.forget_plans();
    }
    // So does an error that takes its time to say why.
    let body = "x".repeat(1 << 20);
    let slow = Fault::Status(403, Vec::new(), body);
    world.registry.plan("/manifests/", 100, slow);
    assert!(matches!(world.pull("app:1"), Err(Error::Denied { .. })));
}
