//! Several transfers at once: as many as were asked for, and nothing twice.

use std::time::{Duration, Instant};

use minidock_oci::Digest;
use minidock_test_registry::{Image, Registry, tar};

use crate::world::{World, image};

const PATIENCE: Duration = Duration::from_secs(60);

fn layers(number: u8) -> Image {
    let tars: Vec<_> = (0..number)
        .map(|n| tar(&[(&format!("file-{n}"), &[n])]))
        .collect();
    Image::of(&tars)
}

/// Waits until so many answers are held back.
fn wait_for(registry: &Registry, number: usize) {
    let deadline = Instant::now() + PATIENCE;
    while registry.held() < number {
        assert!(Instant::now() < deadline, "{} are held", registry.held());
        std::thread::yield_now();
    }
}

#[test]
fn never_more_layers_are_on_their_way_than_asked_for() {
    for most in [1, 3] {
        let mut world = World::new(Registry::start());
        let image = layers(8);
        world.registry.put("app", "1", &image);
        let config = image.id().to_string();
        world.options.max_concurrent = most;
        world.options.retry.attempts = 1;
        world.registry.hold("/blobs/");
        std::thread::scope(|scope| {
            let pull = scope.spawn(|| world.pull("app:1").unwrap());
            wait_for(&world.registry, 1);
            world.registry.let_go(1);
            // One more comes for each that goes, and never one more than that: all are asked for in one moment, so that
            // what is too much would be there by the time that the others were let go one by one.
            for done in 0..8 {
                let expected = most.min(8 - done);
                wait_for(&world.registry, expected);
                let asked = world.requests("/blobs/") - world.requests(&config);
                assert_eq!(asked, done + expected, "{most} were asked for");
                world.registry.let_go(1);
            }
            pull.join().unwrap();
        });
        assert_eq!(world.requests("/blobs/"), 9);
    }
}

#[test]
fn an_image_of_many_layers_at_once_asks_for_one_token() {
    let mut world = World::new(Registry::like_docker_hub());
    world.options.max_concurrent = 16;
    world.registry.put("app", "1", &layers(16));
    // Nobody has a token yet when the layers are asked for: the one of the manifest has just run out.
    let expire = |event: &minidock_pull::Event| {
        if matches!(event, minidock_pull::Event::Waiting { .. }) {
            world.registry.expire_tokens();
        }
    };
    let pulled = world.pull_and(&world.reference("app:1"), &expire).unwrap();
    assert_eq!(world.read(&pulled, "file-15"), [15]);
    assert_eq!(world.requests("/token"), 2);
}

#[test]
fn configs_are_fetched_once_by_pulls_at_once() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.registry.hold("/blobs/");
    let config = image().id().to_string();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| world.pull("app:1").unwrap()))
            .collect();
        // All have the manifest, one asks for the config.
        let deadline = Instant::now() + PATIENCE;
        while world.requests("/manifests/") < 5 || world.registry.held() < 1 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        world.registry.let_go(100);
        for pull in pulls {
            pull.join().unwrap();
        }
    });
    assert_eq!(world.requests(&config), 1);
    for layer in image().layers {
        assert_eq!(world.requests(&Digest::sha256(&layer).to_string()), 1);
    }
}

#[test]
fn what_another_tag_brought_is_not_fetched_again() {
    let world = World::new(Registry::start());
    let index = |tag| {
        let images = [("linux/amd64", &image())];
        world.registry.put_index("app", tag, &images)
    };
    let first = index("1");
    world.pull("app:1").unwrap();
    world.registry.clear_log();
    assert_eq!(index("2"), first);
    assert!(world.pull("app:2").unwrap().new);
    // The index, by its tag: all else is known by its digest.
    let log = world.registry.log();
    assert_eq!(log.len(), 1, "{log:#?}");
}
