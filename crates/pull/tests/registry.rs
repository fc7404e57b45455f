//! Pulling from a registry that imitates Docker Hub, and from one that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use minidock_oci::{Digest, OCI_MANIFEST, Platform, Reference};
use minidock_pull::{Error, Event, PullOptions, Pulled, RetryPolicy, TransportKind};
use minidock_store::{IdMap, Store};
use minidock_test_registry::{Fault, Image, Registry, tar};

struct World {
    registry: Registry,
    store: Store,
    options: PullOptions,
    events: Mutex<Vec<Event>>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(registry: Registry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id_map = if rustix::process::geteuid().is_root() {
            IdMap::Host
        } else {
            IdMap::Single
        };
        let store = Store::open(&folder.path().join("store"), id_map).unwrap();
        let options = PullOptions {
            platform: Some("linux/amd64".parse().unwrap()),
            stall_timeout: Duration::from_millis(300),
            retry: RetryPolicy {
                attempts: 4,
                connects: 2,
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
                patience: Duration::from_secs(2),
            },
            ..PullOptions::default()
        };
        Self {
            registry,
            store,
            options,
            events: Mutex::default(),
            _folder: folder,
        }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.registry.host()).parse().unwrap()
    }

    fn pull(&self, name: &str) -> Result<Pulled, Error> {
        minidock_pull::pull(&self.store, &self.reference(name), &self.options, &|e| {
            self.events.lock().unwrap().push(e)
        })
    }

    /// A failed pull left nothing that anybody could find, and nothing at all once collected.
    fn assert_nothing_there(&self) {
        assert_eq!(self.store.images().unwrap(), []);
        self.store.collect().unwrap();
        for folder in ["blobs", "layers", "diffs", "images", "tmp"] {
            let left = files(&self.store.root().join(folder));
            assert!(left.is_empty(), "{left:?}");
        }
    }

    fn read(&self, pulled: &Pulled, path: &str) -> Vec<u8> {
        let config = self.store.image_config(&pulled.image_id).unwrap();
        let layers = self.store.image_layers(&pulled.image_id, &config).unwrap();
        let file = layers
            .trees(&self.store)
            .into_iter()
            .map(|t| t.join(path))
            .find(|p| p.exists());
        std::fs::read(file.unwrap()).unwrap()
    }

    fn requests(&self, part: &str) -> usize {
        self.registry
            .log()
            .iter()
            .filter(|r| r.path.contains(part))
            .count()
    }
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Bytes that do not compress, so that a layer has a middle to break off in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn image() -> Image {
    Image::of(&[tar(&[("base", &noise(300_000))]), tar(&[("top", b"top")])])
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn pulls_from_docker_hubs_protocol_without_showing_the_token_to_others() {
    let world = World::new(Registry::like_docker_hub());
    let arm = Image::claiming(
        &[tar(&[("arm", b"1")])],
        &[Digest::sha256(&tar(&[("arm", b"1")]))],
        "arm64",
    );
    let index = world.registry.put_index(
        "library/busybox",
        "latest",
        &[("linux/arm64", &arm), ("linux/amd64", &image())],
    );
    let pulled = world.pull("library/busybox").unwrap();
    assert!(pulled.new);
    assert_eq!(pulled.digest, index);
    assert_eq!(pulled.image_id, image().id());
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert_eq!(world.read(&pulled, "top"), b"top");

    let log = world.registry.log();
    assert_eq!(
        log.iter().filter(|r| r.path.starts_with("/token")).count(),
        1,
        "one token for all: {log:#?}"
    );
    for request in log.iter().filter(|r| r.host == world.registry.blob_host()) {
        assert_eq!(
            request.authorization, None,
            "the token went to another host"
        );
    }
    for (digest, _) in image().blobs() {
        assert_eq!(
            world.requests(&format!("/data/{digest}")),
            1,
            "{digest} was fetched more or less than once"
        );
    }
    assert_eq!(
        world.requests(&arm.id().to_string()),
        0,
        "something of another platform was fetched"
    );
}

#[test]
fn an_image_that_is_up_to_date_costs_one_head() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.pull("app:1").unwrap();
    world.registry.clear_log();
    assert!(!world.pull("app:1").unwrap().new);
    let log = world.registry.log();
    assert_eq!(log.len(), 1, "{log:#?}");
    assert_eq!(log[0].method, "HEAD");
}

#[test]
fn a_moved_tag_is_followed_and_known_layers_are_not_fetched_again() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.pull("app:1").unwrap();
    let newer = Image::of(&[tar(&[("base", &noise(300_000))]), tar(&[("top", b"newer")])]);
    world.registry.put("app", "1", &newer);
    world.registry.clear_log();
    let pulled = world.pull("app:1").unwrap();
    assert!(pulled.new);
    assert_eq!(world.read(&pulled, "top"), b"newer");
    let base = Digest::sha256(&newer.layers[0]);
    assert_eq!(world.requests(&base.to_string()), 0);
    assert!(
        world
            .events
            .lock()
            .unwrap()
            .contains(&Event::AlreadyExists { layer: base })
    );
    let names: Vec<_> = world
        .store
        .images()
        .unwrap()
        .into_iter()
        .map(|r| r.tag)
        .collect();
    assert_eq!(names, [None, Some("1".to_owned())]);
}

#[test]
fn the_same_layer_twice_in_an_image_is_fetched_once() {
    let world = World::new(Registry::start());
    let layer = tar(&[("a", b"1")]);
    let twice = Image::of(&[layer.clone(), tar(&[("b", b"2")]), layer]);
    world.registry.put("app", "1", &twice);
    world.pull("app:1").unwrap();
    assert_eq!(
        world.requests(&Digest::sha256(&twice.layers[0]).to_string()),
        1
    );
}

#[test]
fn a_token_that_expires_is_renewed() {
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("app", "1", &image());
    world.pull("app:1").unwrap();
    world.registry.expire_tokens();
    world
        .registry
        .put("app", "2", &Image::of(&[tar(&[("x", b"y")])]));
    world.pull("app:2").unwrap();
    // Refused in mid-pull: the blob of the config is asked for with a token that is worthless by then.
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("app", "1", &image());
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"x\",scope=\"repository:app:pull\"",
        world.registry.host()
    );
    world.registry.plan(
        "/v2/app/blobs/",
        1,
        Fault::Status(
            401,
            vec![("WWW-Authenticate".into(), challenge)],
            String::new(),
        ),
    );
    world.pull("app:1").unwrap();
    assert_eq!(world.requests("/token"), 2);
}

#[test]
fn a_broken_blob_goes_on_where_it_stopped() {
    for fault in [Fault::Truncate(100_000), Fault::Stall(100_000)] {
        let world = World::new(Registry::start());
        let base = Digest::sha256(&image().layers[0]);
        world.registry.put("app", "1", &image());
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
        let retries = world
            .events
            .lock()
            .unwrap()
            .iter()
            .filter(|e| matches!(e, Event::Retrying { .. }))
            .count();
        assert_eq!(retries, 4, "{status}");
    }
}

#[test]
fn lasting_trouble_is_told_and_leaves_nothing() {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#;
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let later = vec![("Retry-After".to_owned(), "3600".to_owned())];
    world
        .registry
        .plan("/manifests/", 1, Fault::Status(429, later, body.into()));
    let error = world.pull("app:1").unwrap_err();
    assert!(
        chain(&error).contains("pull rate limit"),
        "{}",
        chain(&error)
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
        ("html", b"<html>login</html>".to_vec(), "not JSON"),
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
fn a_platform_that_is_not_there_is_named_with_those_that_are() {
    let mut world = World::new(Registry::start());
    world
        .registry
        .put_index("app", "1", &[("linux/amd64", &image())]);
    world.registry.put("single", "1", &image());
    world.options.platform = Some("linux/s390x".parse::<Platform>().unwrap());
    let error = world.pull("app:1").unwrap_err();
    assert!(
        chain(&error).contains("linux/s390x") && chain(&error).contains("offers linux/amd64"),
        "{}",
        chain(&error)
    );
    let error = world.pull("single:1").unwrap_err();
    assert!(
        matches!(error, Error::OtherPlatform { .. }),
        "{}",
        chain(&error)
    );
    world.assert_nothing_there();
    // Nothing asked for: an image without an index is taken as it is.
    world.options.platform = None;
    world.pull("single:1").unwrap();
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
