//! Trouble: what passes is sat out, what stays is told.

use std::time::Duration;

use minidock_oci::{Digest, Reference};
use minidock_pull::{Error, TransportKind};
use minidock_test_registry::{Fault, Registry};

use crate::world::{World, chain, image, noise};

#[test]
fn a_broken_blob_goes_on_where_it_stopped() {
    for fault in [Fault::Truncate(100_000), Fault::Stall(100_000)] {
        let mut world = World::new(Registry::start());
        let base = Digest::sha256(&image().layers[0]);
        world.registry.put("app", "1", &image());
        if matches!(fault, Fault::Stall(_)) {
            world.options.stall_timeout = Duration::from_millis(500);
        }
        world.registry.plan(&format!("blobs/{base}"), 2, fault);
        let pulled = world.pull("app:1").unwrap();
        assert_eq!(world.read(&pulled, "base"), noise(300_000));
        let ranges: Vec<_> = world
            .registry
            .log()
            .into_iter()
            .filter(|r| r.path.contains(&base.to_string()))
            .map(|r| r.range)
            .collect();
        assert_eq!(
            ranges,
            [
                None,
                Some("bytes=100000-".to_owned()),
                Some("bytes=200000-".to_owned())
            ]
        );
    }
}

#[test]
fn a_broken_blob_of_a_server_without_ranges_is_read_again_from_the_start() {
    let world = World::new(Registry::start());
    world.registry.without_ranges();
    world.registry.put("app", "1", &image());
    world.registry.plan(
        &format!("blobs/{}", Digest::sha256(&image().layers[0])),
        1,
        Fault::Truncate(100_000),
    );
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
}

#[test]
fn passing_trouble_is_sat_out() {
    for (status, headers) in [
        (500, vec![]),
        (503, vec![]),
        (408, vec![]),
        (429, vec![("Retry-After".to_owned(), "0".to_owned())]),
    ] {
        let world = World::new(Registry::start());
        world.registry.put("app", "1", &image());
        world.registry.plan(
            "/manifests/",
            2,
            Fault::Status(status, headers.clone(), String::new()),
        );
        world
            .registry
            .plan("/blobs/", 2, Fault::Status(status, headers, String::new()));
        world
            .pull("app:1")
            .unwrap_or_else(|e| panic!("{status}: {}", chain(&e)));
        assert_eq!(world.retries().len(), 4, "{status}");
    }
}

#[test]
fn lasting_trouble_is_told_and_leaves_nothing() {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#;
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let later = [
        ("Retry-After", "10800"),
        ("RateLimit-Limit", "100;w=21600"),
        ("RateLimit-Remaining", "0;w=21600"),
        ("Docker-RateLimit-Source", "192.0.2.7"),
    ];
    let later = later.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.registry.plan(
        "/manifests/",
        1,
        Fault::Status(429, later.to_vec(), body.into()),
    );
    let error = world.pull("app:1").unwrap_err();
    let host = world.registry.host();
    assert_eq!(
        chain(&error),
        format!(
            "the registry {host} refuses more requests for now (429 Too Many Requests): the 100 pulls in 6 hours for your address 192.0.2.7 are used up: You have reached your pull rate limit"
        )
    );
    assert_eq!(
        error.hint(),
        Some(format!(
            "try again in 3 hours, log in, which may allow more: minidock login {host}, or use a mirror"
        ))
    );
    assert_eq!(
        world.registry.log().len(),
        1,
        "asked again although told to wait for an hour"
    );

    world.registry.plan(
        "/blobs/",
        1000,
        Fault::Status(502, vec![], "<html>bad gateway</html>".into()),
    );
    let error = world.pull("app:1").unwrap_err();
    assert!(chain(&error).contains("502"), "{}", chain(&error));
    world.assert_nothing_there();
}

#[test]
fn what_cannot_get_better_is_not_tried_again() {
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("app", "1", &image());
    assert!(matches!(world.pull("app:2"), Err(Error::NotFound(_))));
    assert!(matches!(world.pull("other:1"), Err(Error::NotFound(_))));
    world.registry.clear_log();
    world
        .registry
        .plan("/manifests/", 10, Fault::Status(401, vec![], String::new()));
    assert!(matches!(world.pull("app:1"), Err(Error::Denied { .. })));
    assert_eq!(world.registry.log().len(), 1);
    world
        .registry
        .plan("/manifests/", 10, Fault::Status(403, vec![], String::new()));
    world.assert_nothing_there();
}

#[test]
fn nobody_there_is_told_without_a_wait_for_long() {
    let world = World::new(Registry::start());
    let gone = Registry::start();
    let host = gone.host();
    drop(gone);
    // The port is closed once the accepting threads have seen that the registry is gone.
    while std::net::TcpStream::connect(&host).is_ok() {}
    let reference: Reference = format!("{host}/app:1").parse().unwrap();
    let error = minidock_pull::pull(&world.store, &reference, &world.options, &|_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Connect,
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    assert!(error.hint().is_some_and(|h| h.contains(&host)));
    world.assert_nothing_there();
}

#[test]
fn resets_are_sat_out_before_and_in_the_middle_of_a_body() {
    let world = World::new(Registry::start());
    let base = Digest::sha256(&image().layers[0]);
    world.registry.put("app", "1", &image());
    world.registry.plan("/manifests/", 1, Fault::Reset(10));
    world
        .registry
        .plan(&format!("blobs/{base}"), 1, Fault::Reset(0));
    world
        .registry
        .plan(&format!("blobs/{base}"), 1, Fault::Reset(100_000));
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert_eq!(world.retries().len(), 3, "{:?}", world.retries());
}

#[test]
fn a_drip_is_as_good_as_a_stall() {
    let mut world = World::new(Registry::start());
    let base = Digest::sha256(&image().layers[0]);
    world.registry.put("app", "1", &image());
    world.options.stall_timeout = Duration::from_millis(500);
    world.registry.plan("/manifests/", 1, Fault::Drip);
    world
        .registry
        .plan(&format!("blobs/{base}"), 1, Fault::Drip);
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    let retries = world.retries();
    assert_eq!(retries.len(), 2, "{retries:?}");
    assert!(
        retries
            .iter()
            .all(|(why, _)| why.contains("next to nothing")),
        "{retries:?}"
    );
}

#[test]
fn a_connection_that_brings_too_little_each_time_is_given_up() {
    let world = World::new(Registry::start());
    let base = Digest::sha256(&image().layers[0]);
    world.registry.put("app", "1", &image());
    world
        .registry
        .plan(&format!("blobs/{base}"), 1000, Fault::Truncate(1000));
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
    assert_eq!(world.requests(&base.to_string()), 4);
    world.assert_nothing_there();
}

#[test]
fn the_server_says_when_to_come_back() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let later = vec![("Retry-After".to_owned(), "1".to_owned())];
    world.registry.plan(
        "/manifests/",
        1,
        Fault::Status(429, later.clone(), String::new()),
    );
    world
        .registry
        .plan("/blobs/", 1, Fault::Status(503, later, String::new()));
    world.pull("app:1").unwrap();
    let delays: Vec<_> = world
        .retries()
        .into_iter()
        .map(|(_, delay)| delay)
        .collect();
    assert_eq!(delays, [Duration::from_secs(1); 2]);
}

#[test]
fn whoever_refused_is_named() {
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("app", "1", &image());
    world
        .registry
        .plan("/data/", 1, Fault::Status(403, vec![], "<html>".into()));
    let error = world.pull("app:1").unwrap_err();
    let expected = format!(
        "the registry {} answered 403 Forbidden",
        world.registry.blob_host()
    );
    assert!(chain(&error).contains(&expected), "{}", chain(&error));
    assert_eq!(world.requests("/data/"), 1);
    world.assert_nothing_there();
}
