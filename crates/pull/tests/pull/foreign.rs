//! Layers that their registry may not hand out.

use minidock_oci::{Digest, OCI_CONFIG, OCI_MANIFEST};
use minidock_pull::Error;
use minidock_test_registry::{Fault, Registry};

use crate::world::{World, chain, image, noise};

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// Puts the image as `app:1`, its first layer foreign and only at `urls`; returns that layer's digest.
fn put(registry: &Registry, urls: &[String]) -> Digest {
    let image = image();
    let (base, top) = (&image.layers[0], &image.layers[1]);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": image.id(), "size": image.config.len()},
        "layers": [
            {"mediaType": FOREIGN, "digest": Digest::sha256(base), "size": base.len(), "urls": urls},
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::sha256(top), "size": top.len()},
        ],
    });
    registry.put_blob(&Digest::sha256(top), top);
    registry.put_blob(&image.id(), &image.config);
    registry.put_manifest("app", "1", OCI_MANIFEST, manifest.to_string().as_bytes());
    Digest::sha256(base)
}

fn address(registry: &Registry, digest: &Digest) -> String {
    format!("http://{}/v2/any/blobs/{digest}", registry.host())
}

#[test]
fn a_foreign_layer_comes_from_its_address_without_credentials_and_resumes_there() {
    let elsewhere = Registry::start();
    let base = Digest::sha256(&image().layers[0]);
    elsewhere.put_blob(&base, &image().layers[0]);
    elsewhere.plan("/blobs/", 1, Fault::Truncate(100_000));
    let world = World::new(Registry::like_docker_hub());
    let dead = "ftp://example.com/layer".to_owned();
    put(&world.registry, &[dead, address(&elsewhere, &base)]);
    let pulled = world
        .pull("app:1")
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    let asked: Vec<_> = elsewhere
        .log()
        .into_iter()
        .map(|r| (r.authorization, r.range))
        .collect();
    assert_eq!(
        asked,
        [(None, None), (None, Some("bytes=100000-".to_owned()))]
    );
    assert!(
        world
            .registry
            .log()
            .iter()
            .any(|r| r.authorization.is_some())
    );
}

#[test]
fn a_registry_that_has_a_foreign_layer_is_not_passed_by() {
    let world = World::new(Registry::start());
    let base = put(&world.registry, &["http://127.0.0.1:1/never".to_owned()]);
    world.registry.put_blob(&base, &image().layers[0]);
    let pulled = world
        .pull("app:1")
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
}

#[test]
fn a_foreign_layer_that_is_nowhere_or_another_is_refused() {
    let world = World::new(Registry::start());
    // Plain HTTP beyond this machine is not spoken.
    let base = put(&world.registry, &["http://192.0.2.1/layer".to_owned()]);
    let error = world.pull("app:1").unwrap_err();
    assert!(
        matches!(&error, Error::NotDistributable(digest) if *digest == base),
        "{}",
        chain(&error)
    );
    world.assert_nothing_there();

    let elsewhere = Registry::start();
    elsewhere.put_blob(&base, &image().layers[0]);
    elsewhere.plan("/blobs/", 1, Fault::Corrupt);
    put(&world.registry, &[address(&elsewhere, &base)]);
    let error = world.pull("app:1").unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{}", chain(&error));
    world.assert_nothing_there();
}
