//! Where an image is looked for: mirrors, prefixes, certificates of one registry.

use std::path::Path;

use minidock_oci::Digest;
use minidock_pull::{Error, Event, Registries};
use minidock_test_registry::{Fault, Image, Registry, tar};

use crate::world::{World, image};

fn conf(folder: &Path, text: &str) -> Registries {
    let path = folder.join("registries.conf");
    std::fs::write(&path, text).unwrap();
    Registries::read(&[folder.join("none.conf"), path]).unwrap()
}

/// A world whose images of `images.example.com` have a mirror.
fn world(more: &str) -> World {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let mirror = world.registry.host();
    world.options.registries = conf(
        folder.path(),
        &format!(
            "[[registry]]\nlocation = 'images.example.com'\n{more}\n[[registry.mirror]]\nlocation = '{mirror}/cache'\n"
        ),
    );
    world
}

#[test]
fn a_mirror_carries_the_load_and_the_image_keeps_its_name() {
    let world = world("");
    world.registry.put("cache/team/app", "1", &image());
    let reference = "images.example.com/team/app:1".parse().unwrap();
    let pulled = world.pull_and(&reference, &|_| {}).unwrap();
    assert_eq!(pulled.image_id, image().id());
    let named = world.store.images().unwrap().remove(0);
    assert_eq!(named.reference().unwrap(), "images.example.com/team/app:1");
    assert!(!world.pull_and(&reference, &|_| {}).unwrap().new);
    assert_eq!(world.registry.log().last().unwrap().method, "HEAD");
}

#[test]
fn what_a_mirror_cannot_do_the_next_place_does() {
    let second = Registry::start();
    let digest = second.put("own/app", "1", &image());
    let layer = Digest::sha256(&image().layers[0]);
    let faults: [(&str, Fault); 3] = [
        ("/manifests/", Fault::Status(503, Vec::new(), String::new())),
        ("/manifests/", Fault::Status(404, Vec::new(), String::new())),
        ("/blobs/", Fault::Corrupt),
    ];
    for (path, fault) in faults {
        let mut world = World::new(Registry::start());
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[[registry]]\nprefix = 'images.example.com/own'\nlocation = '{}/own'\n\
             [[registry.mirror]]\nlocation = '{}/cache'\n",
            second.host(),
            world.registry.host()
        );
        world.options.registries = conf(folder.path(), &text);
        world.registry.put("cache/app", "1", &image());
        world.registry.plan(path, 1000, fault);
        let reference = "images.example.com/own/app:1".parse().unwrap();
        let pulled = world.pull_and(&reference, &|_| {}).unwrap();
        assert_eq!(pulled.digest, digest);
        let events = world.events.lock().unwrap();
        let failed = events.iter().any(|event| matches!(event, Event::MirrorFailed { mirror, .. } if *mirror == world.registry.host()));
        assert!(failed, "{events:?}");
        drop(events);
        assert!(world.store.has_blob(&layer));
    }
}

#[test]
fn an_image_that_is_wrong_in_itself_is_not_looked_for_elsewhere() {
    let world = world("");
    let arm = Image::claiming(
        &[tar(&[("a", b"1")])],
        &[Digest::sha256(&tar(&[("a", b"1")]))],
        "arm64",
    );
    world.registry.put("cache/app", "1", &arm);
    let reference = "images.example.com/app:1".parse().unwrap();
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::OtherPlatform { .. }), "{error:?}");
}

#[test]
fn a_blocked_registry_is_never_asked() {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let host = world.registry.host();
    world.options.registries = conf(
        folder.path(),
        &format!("[[registry]]\nlocation = '{host}/bad'\nblocked = true\n"),
    );
    world.registry.put("bad/app", "1", &image());
    world.registry.put("good/app", "1", &image());
    let error = world.pull("bad/app:1").unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
    assert_eq!(world.registry.log().len(), 0);
    world.pull("good/app:1").unwrap();
}
