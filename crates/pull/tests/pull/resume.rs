//! What one pull left, the next goes on from.

use std::path::PathBuf;

use minidock_oci::Digest;
use minidock_pull::Error;
use minidock_test_registry::{Fault, Registry};

use crate::world::{World, chain, files, image, noise};

/// A world whose pull was given up after 100,000 bytes of the base.
fn given_up(registry: Registry) -> World {
    let mut world = World::new(registry);
    world.registry.put("app", "1", &image());
    world.options.retry.attempts = 1;
    let base = Digest::sha256(&image().layers[0]);
    let fault = Fault::Truncate(100_000);
    world.registry.plan(&format!("blobs/{base}"), 1, fault);
    let error = world.pull("app:1").unwrap_err();
    assert!(
        matches!(error, Error::Transport { .. }),
        "{}",
        chain(&error)
    );
    world.assert_nothing_there();
    world
}

fn ranges(world: &World) -> Vec<Option<String>> {
    let base = Digest::sha256(&image().layers[0]).to_string();
    let log = world.registry.log().into_iter();
    log.filter(|r| r.path.contains(&base))
        .map(|r| r.range)
        .collect()
}

/// Where the beginning of the base is.
fn left(world: &World) -> PathBuf {
    let base = Digest::sha256(&image().layers[0]).to_string();
    let folder = world.store.root().join("partial");
    folder.join(base.replace(':', "-"))
}

#[test]
fn the_next_pull_asks_for_the_rest_only() {
    let world = given_up(Registry::start());
    assert_eq!(left(&world).metadata().unwrap().len(), 100_000);
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert_eq!(ranges(&world), [None, Some("bytes=100000-".to_owned())]);
    assert!(files(&world.store.root().join("partial")).is_empty());
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let registry = Registry::start();
    registry.without_ranges();
    let world = given_up(registry);
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
}

#[test]
fn what_was_damaged_meanwhile_is_brought_anew() {
    let world = given_up(Registry::start());
    // As after a power cut: the length is there, the content is not.
    std::fs::write(left(&world), vec![0; 100_000]).unwrap();
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    let rest = Some("bytes=100000-".to_owned());
    assert_eq!(ranges(&world), [None, rest, None]);
}

#[test]
fn a_blob_that_is_there_as_a_whole_is_not_asked_for() {
    let world = given_up(Registry::start());
    std::fs::write(left(&world), &image().layers[0]).unwrap();
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert_eq!(ranges(&world), [None]);
}

#[test]
fn wrong_bytes_are_not_kept() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let base = Digest::sha256(&image().layers[0]);
    world
        .registry
        .plan(&format!("blobs/{base}"), 1, Fault::Corrupt);
    world.pull("app:1").unwrap_err();
    assert!(!left(&world).exists());
}
