//! From the store to a registry: what is sent, what is not, and through what weather.

use minidock_oci::{DiffId, Digest, OCI_MANIFEST, Reference};
use minidock_pull::{Arrival, Error, Event, Pushed, TransportKind, Which, push};
use minidock_test_registry::{Fault, Image, Registry, tar};

use crate::world::{World, image, noise};

/// An image whose first layer has two megabytes.
fn large() -> Image {
    Image::of(&[tar(&[("base", &noise(2_000_000))]), tar(&[("top", b"top")])])
}

/// A world whose store has an image under `app:1`, and whose registry has nothing any more.
fn world(from: Registry, image: &Image) -> World {
    let mut world = World::new(Registry::start());
    // One after the other, so that faults meet the upload that they are planned for.
    world.options.max_concurrent = 1;
    world.registry.put("app", "1", image);
    let reference = world.reference("app:1");
    world.pull_and(&reference, &|_| {}).unwrap();
    let pulled = world.store.images().unwrap().remove(0);
    // The same under the name that the empty registry will know it by.
    world.registry = from;
    let config = world.store.image_config(&pulled.image_id).unwrap();
    let record = pulled.named(&world.reference("app:1"));
    world
        .store
        .writer()
        .unwrap()
        .publish(record, &config)
        .unwrap();
    world
}

fn send(world: &World) -> Result<Pushed, Error> {
    push(
        &world.store,
        &world.reference("app:1"),
        &Which::default(),
        &world.options,
        &|event| {
            world.events.lock().unwrap().push(event);
        },
    )
}

fn arrivals(world: &World) -> Vec<Arrival> {
    let events = world.events.lock().unwrap();
    let arrival = |event: &Event| match event {
        Event::Pushed { how, .. } => Some(how.clone()),
        _ => None,
    };
    events.iter().filter_map(arrival).collect()
}

#[track_caller]
fn assert_there(world: &World, image: &Image) {
    for (digest, bytes) in image.blobs() {
        assert_eq!(
            world.registry.blob(&digest).as_deref(),
            Some(bytes),
            "{digest}"
        );
    }
    let there = world.registry.manifest("app/1").unwrap();
    assert_eq!(there, (OCI_MANIFEST.to_owned(), image.manifest.clone()));
}

#[test]
fn what_was_pulled_is_pushed_byte_for_byte_and_a_second_time_nothing_is_sent() {
    let world = world(Registry::like_docker_hub(), &image());
    let pushed = send(&world).unwrap();
    assert_eq!(pushed.digest, Digest::sha256(&image().manifest));
    assert_eq!(pushed.size, image().manifest.len() as u64);
    assert_eq!(pushed.before, None);
    assert_there(&world, &image());
    assert_eq!(arrivals(&world), [Arrival::Sent, Arrival::Sent]);
    let last = world.registry.log().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str()),
        ("PUT", "/v2/app/manifests/1")
    );

    world.registry.clear_log();
    world.events.lock().unwrap().clear();
    send(&world).unwrap();
    assert_eq!(arrivals(&world), [Arrival::Existed, Arrival::Existed]);
    assert_eq!(world.requests("uploads"), 0);
}

#[test]
fn a_moved_tag_tells_what_it_named_before() {
    let world = world(Registry::start(), &image());
    let other = Image::of(&[tar(&[("other", b"1")])]);
    let before = world.registry.put("app", "1", &other);
    assert_eq!(send(&world).unwrap().before, Some(before));
    assert_there(&world, &image());
}

#[test]
fn a_blob_of_another_repository_is_mounted() {
    let mut world = World::new(Registry::start());
    world.registry.put("library/base", "1", &image());
    world.pull("library/base:1").unwrap();
    let record = world.store.images().unwrap().remove(0);
    let config = world.store.image_config(&record.image_id).unwrap();
    let mut record = record.named(&world.reference("app:1"));
    record.digest = None;
    world
        .store
        .writer()
        .unwrap()
        .publish(record, &config)
        .unwrap();
    // The repository does not have them yet, whatever else does.
    world.registry.plan(
        "/v2/app/blobs/sha256",
        3,
        Fault::Status(404, Vec::new(), String::new()),
    );
    world.options.max_concurrent = 1;
    send(&world).unwrap();
    let mounted = Arrival::Mounted {
        from: "library/base".into(),
    };
    assert_eq!(arrivals(&world), [mounted.clone(), mounted]);
    assert!(world.registry.manifest("app/1").is_some());
    let sent: usize = world
        .registry
        .log()
        .iter()
        .filter(|r| r.path.contains("uploads"))
        .map(|r| r.body.len())
        .sum();
    assert_eq!(sent, 0);
}

#[test]
fn a_broken_upload_goes_on_where_it_stopped() {
    let image = large();
    let world = world(Registry::start(), &image);
    world.registry.plan(
        "PUT /v2/app/blobs/uploads/upload-0",
        1,
        Fault::CutBody(1_000_000),
    );
    world.registry.plan(
        "PATCH /v2/app/blobs/uploads/upload-0",
        1,
        Fault::CutBody(500_000),
    );
    send(&world).unwrap();
    assert_there(&world, &image);
    let starts: Vec<_> = world
        .registry
        .log()
        .into_iter()
        .filter_map(|r| r.content_range)
        .map(|range| range.split('-').next().unwrap().to_owned())
        .collect();
    assert_eq!(starts, ["1000000", "1500000"]);
}

#[test]
fn an_upload_that_the_registry_forgot_is_begun_anew() {
    let image = large();
    let world = world(Registry::start(), &image);
    world.registry.plan(
        "PUT /v2/app/blobs/uploads/upload-0",
        1,
        Fault::CutBody(1_000_000),
    );
    let gone = Fault::Status(404, Vec::new(), String::new());
    world.registry.plan("/blobs/uploads/upload-0", 1, gone);
    send(&world).unwrap();
    assert_there(&world, &image);
}

#[test]
fn a_registry_with_small_bodies_gets_chunks() {
    let image = Image::of(&[tar(&[("base", &noise(20_000_000))])]);
    let world = world(Registry::start(), &image);
    world.registry.max_body(8 << 20);
    send(&world).unwrap();
    assert_there(&world, &image);
    let patches = world
        .registry
        .log()
        .into_iter()
        .filter(|r| r.method == "PATCH");
    assert_eq!(patches.count(), 3);
}

#[test]
fn errors_of_servers_are_weather_and_refusals_are_not() {
    let world = world(Registry::start(), &image());
    let unavailable = Fault::Status(503, Vec::new(), String::new());
    world
        .registry
        .plan("/blobs/uploads/", 2, unavailable.clone());
    world.registry.plan("/manifests/1", 1, unavailable);
    send(&world).unwrap();
    assert_there(&world, &image());

    let world = self::world(Registry::start(), &image());
    let denied = Fault::Status(
        403,
        Vec::new(),
        r#"{"errors":[{"code":"DENIED","message":"no push here"}]}"#.into(),
    );
    world.registry.plan("/blobs/uploads/", 1000, denied);
    let error = send(&world).unwrap_err();
    assert!(matches!(&error, Error::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("no push here"), "{error}");
    assert!(world.registry.manifest("app/1").is_none());
}

#[test]
fn lies_about_where_to_send_and_what_was_stored_are_found_out() {
    let world = world(Registry::start(), &image());
    let elsewhere = vec![("Location".into(), "http://192.0.2.1/upload".into())];
    world.registry.plan(
        "/blobs/uploads/",
        1,
        Fault::Status(202, elsewhere, String::new()),
    );
    let error = send(&world).unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");

    let world = self::world(Registry::start(), &image());
    world.registry.plan(
        "/blobs/uploads/",
        1,
        Fault::Status(202, Vec::new(), String::new()),
    );
    assert!(send(&world).unwrap_err().to_string().contains("Location"));

    let world = self::world(Registry::start(), &image());
    world.registry.plan(
        "/manifests/1",
        1,
        Fault::Status(404, Vec::new(), String::new()),
    );
    let other = vec![(
        "Docker-Content-Digest".into(),
        Digest::sha256(b"x").to_string(),
    )];
    world
        .registry
        .plan("/manifests/1", 1, Fault::Status(201, other, String::new()));
    assert!(matches!(send(&world), Err(Error::Digest { .. })));
}

#[test]
fn a_registry_that_cannot_be_reached_is_not_tried_for_each_blob() {
    let mut world = world(Registry::start(), &large());
    world.options.max_concurrent = 4;
    // Nobody listens on port 1.
    let dead: Reference = "127.0.0.1:1/app:1".parse().unwrap();
    let known = world.store.images().unwrap().remove(0);
    let config = world.store.image_config(&known.image_id).unwrap();
    let writer = world.store.writer().unwrap();
    writer.publish(known.named(&dead), &config).unwrap();
    world.events.lock().unwrap().clear();
    let error = push(
        &world.store,
        &dead,
        &Which::default(),
        &world.options,
        &|event| {
            world.events.lock().unwrap().push(event);
        },
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Connect,
                ..
            }
        ),
        "{error}"
    );
    // Two attempts in all, as the policy says.
    assert_eq!(world.retries().len(), 1);
}

#[test]
fn only_what_is_in_the_store_can_be_pushed() {
    let world = World::new(Registry::start());
    let error = send(&world).unwrap_err();
    assert!(
        matches!(&error, Error::NotInStore(name) if name.ends_with("app:1")),
        "{error:?}"
    );
    assert_eq!(world.registry.log().len(), 0);
}

#[test]
fn progress_is_told_by_diff_id() {
    let image = large();
    let world = world(Registry::start(), &image);
    send(&world).unwrap();
    let base = DiffId(Digest::sha256(&tar(&[("base", &noise(2_000_000))])));
    let events = world.events.lock().unwrap();
    assert!(events.contains(&Event::Preparing {
        layer: base.clone()
    }));
    assert!(events.contains(&Event::Pushed {
        layer: base,
        how: Arrival::Sent
    }));
}
