//! Registries that do not keep their word: refused, and nothing of it stays.

use minidock_oci::{Digest, OCI_MANIFEST};
use minidock_pull::{Error, TransportKind};
use minidock_test_registry::{Fault, Image, Registry, tar};

use crate::world::{World, chain, image, noise};

#[test]
fn a_layer_with_wrong_bytes_size_or_diff_id_is_refused() {
    let base = Digest::sha256(&image().layers[0]);
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world
        .registry
        .plan(&format!("blobs/{base}"), 9, Fault::Corrupt);
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(
        error.contains("digest") && error.contains(&base.to_string()),
        "{error}"
    );
    assert_eq!(
        world.requests(&base.to_string()),
        1,
        "a wrong digest was tried again"
    );
    world.assert_nothing_there();

    // Longer than its descriptor says: not one byte more is taken.
    let longer = [image().layers[0].as_slice(), &noise(1 << 20)].concat();
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.registry.put_blob(&base, &longer);
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(error.contains("bytes, expected"), "{error}");
    world.assert_nothing_there();

    let shorter = &image().layers[0][..100_000];
    world.registry.put_blob(&base, shorter);
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(error.contains("100000 bytes, expected"), "{error}");
    world.assert_nothing_there();

    let layer = tar(&[("a", b"1")]);
    let lying = Image::claiming(&[layer], &[Digest::sha256(b"something else")], "amd64");
    world.registry.put("lying", "1", &lying);
    let error = chain(&world.pull("lying:1").unwrap_err());
    assert!(error.contains("image config says"), "{error}");
    world.assert_nothing_there();
}

#[test]
fn a_manifest_or_config_that_is_not_what_it_should_be_is_refused() {
    let world = World::new(Registry::start());
    let image = image();
    world.registry.put("app", "1", &image);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("html", b"<html>login</html>".to_vec(), "not the JSON"),
        ("empty", b"{}".to_vec(), "invalid manifest"),
        ("schema1", br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec(), "schema 1"),
        ("both", br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(), "at once"),
        ("huge", vec![b' '; 5 << 20], "larger than"),
        ("deep", "[".repeat(100_000).into_bytes(), "invalid manifest"),
        (
            "chart",
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{}","size":2}},"layers":[]}}"#,
                Digest::sha256(b"{}")
            )
            .into_bytes(),
            "no container image",
        ),
        (
            "path",
            br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:../../etc/passwd","size":2},"layers":[]}"#.to_vec(),
            "invalid",
        ),
    ];
    for (name, bytes, expected) in cases {
        world.registry.put_manifest(name, "1", OCI_MANIFEST, &bytes);
        let error = chain(&world.pull(&format!("{name}:1")).unwrap_err());
        assert!(error.contains(expected), "{name}: {error}");
    }
    world.registry.plan("/manifests/1", 1, Fault::Corrupt);
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(
        error.contains("digest") || error.contains("JSON"),
        "{error}"
    );
    // By digest, a registry's own header does not count.
    let wanted = Digest::sha256(b"what was asked for");
    world
        .registry
        .put_manifest("app", &wanted.to_string(), OCI_MANIFEST, &image.manifest);
    let error = chain(&world.pull(&format!("app@{wanted}")).unwrap_err());
    assert!(error.contains(&wanted.to_string()), "{error}");
    world.assert_nothing_there();
}

#[test]
fn a_body_without_end_and_redirects_without_end_are_left() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.registry.plan("/manifests/", 1, Fault::Endless);
    assert!(matches!(world.pull("app:1"), Err(Error::TooLarge { .. })));
    world.registry.plan("/blobs/", 1, Fault::Endless);
    assert!(matches!(world.pull("app:1"), Err(Error::TooLarge { .. })));
    world.registry.plan(
        &format!("blobs/{}", Digest::sha256(&image().layers[0])),
        1,
        Fault::Endless,
    );
    assert!(chain(&world.pull("app:1").unwrap_err()).contains("bytes, expected"));

    let loops = format!("http://{}/v2/app/manifests/1", world.registry.host());
    world
        .registry
        .plan("/manifests/", 100, Fault::Redirect(loops));
    let error = world.pull("app:1").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Redirect,
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("too many redirects"),
        "{}",
        chain(&error)
    );
    world.assert_nothing_there();
}

#[test]
fn a_redirect_to_plain_http_elsewhere_is_not_followed() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.registry.plan(
        "/manifests/",
        1,
        Fault::Redirect("http://registry.invalid/v2/app/manifests/1".into()),
    );
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(error.contains("without TLS"), "{error}");
}

#[test]
fn headers_without_end_are_left() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world
        .registry
        .plan("/manifests/", 100, Fault::EndlessHeaders);
    let error = world.pull("app:1").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Broken,
                ..
            }
        ),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let world = World::new(Registry::start());
    let base = format!("blobs/{}", Digest::sha256(&image().layers[0]));
    world.registry.put("app", "1", &image());
    world.registry.plan(&base, 1, Fault::Truncate(100_000));
    let other = vec![("Content-Range".to_owned(), "bytes 5-9/300000".to_owned())];
    world
        .registry
        .plan(&base, 1, Fault::Status(206, other, "bytes".into()));
    let error = chain(&world.pull("app:1").unwrap_err());
    assert!(
        error.contains("bytes from 100000 on were asked for"),
        "{error}"
    );
    world.assert_nothing_there();
}
