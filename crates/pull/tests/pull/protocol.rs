//! What a registry is asked, and what becomes of the answers.

use minidock_oci::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Digest, OCI_INDEX, Platform};
use minidock_pull::{Error, Event};
use minidock_test_registry::{Fault, Image, Registry, tar};

use crate::world::{World, chain, image, noise};

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
fn a_token_that_expires_in_mid_pull_is_renewed_once_for_all() {
    let world = World::new(Registry::like_docker_hub());
    let tars: Vec<_> = (0..6u8)
        .map(|n| tar(&[(&format!("file-{n}"), &[n])]))
        .collect();
    world.registry.put("app", "1", &Image::of(&tars));
    // The layers are about to be asked for, several at once, with the token that fetched the config.
    let first_layer = std::sync::Once::new();
    let expire = |event: &Event| {
        if matches!(event, Event::Waiting { .. }) {
            first_layer.call_once(|| world.registry.expire_tokens());
        }
    };
    let pulled = world.pull_and(&world.reference("app:1"), &expire).unwrap();
    for n in 0..6u8 {
        assert_eq!(world.read(&pulled, &format!("file-{n}")), [n]);
    }
    assert_eq!(world.requests("/token"), 2);
    assert_eq!(world.retries(), []);
}

#[test]
fn a_token_is_taken_for_the_scope_that_the_registry_names() {
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("team/app", "1", &image());
    world.pull("team/app:1").unwrap();
    let log = world.registry.log();
    let token = log.iter().find(|r| r.path.starts_with("/token")).unwrap();
    assert!(
        token.path.contains("service=registry.docker.io")
            && token.path.contains("repository%3Ateam%2Fapp%3Apull"),
        "{token:?}"
    );
}

#[test]
fn what_is_private_or_does_not_exist_is_denied_without_asking_again() {
    let world = World::new(Registry::like_docker_hub());
    world.registry.put("secret", "1", &image());
    world.registry.deny("secret");
    let error = world.pull("secret:1").unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{}", chain(&error));
    assert!(chain(&error).contains(&format!("denied for {}/secret:", world.registry.host())));
    assert!(error.hint().is_some());
    // The manifest without and with a token, which was got in between.
    assert_eq!(world.registry.log().len(), 3);

    // Some registries refuse when a token is asked for, some know that there is no such repository.
    let body = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"as it says"}}]}}"#);
    for (path, status, code) in [
        ("/token", 403, "DENIED"),
        ("/token", 401, "UNAUTHORIZED"),
        ("/manifests/", 404, "NAME_UNKNOWN"),
        ("/manifests/", 403, "DENIED"),
    ] {
        let fault = Fault::Status(status, vec![], body(code));
        world.registry.plan(path, 1, fault);
        let error = world.pull("app:1").unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{}", chain(&error));
        assert!(chain(&error).contains("as it says"), "{}", chain(&error));
    }
    world.assert_nothing_there();
}

#[test]
fn dockers_own_media_types_are_understood() {
    let world = World::new(Registry::start());
    let to_docker = |document: &[u8]| {
        String::from_utf8_lossy(document)
            .replace(
                "vnd.oci.image.manifest.v1+json",
                "vnd.docker.distribution.manifest.v2+json",
            )
            .replace(
                "vnd.oci.image.config.v1+json",
                "vnd.docker.container.image.v1+json",
            )
            .replace(
                "vnd.oci.image.layer.v1.tar+gzip",
                "vnd.docker.image.rootfs.diff.tar.gzip",
            )
            .into_bytes()
    };
    let mut image = image();
    image.manifest = to_docker(&image.manifest);
    world.registry.put("app", "oci", &image);
    let digest = Digest::sha256(&image.manifest);
    world
        .registry
        .put_manifest("app", &digest.to_string(), DOCKER_MANIFEST, &image.manifest);
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST_LIST}","manifests":[{{"mediaType":"{DOCKER_MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
        image.manifest.len()
    );
    world
        .registry
        .put_manifest("app", "1", DOCKER_MANIFEST_LIST, list.as_bytes());
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(pulled.manifest, digest);
    assert_eq!(pulled.digest, Digest::sha256(list.as_bytes()));
    assert_eq!(world.read(&pulled, "top"), b"top");
}

#[test]
fn an_index_may_hold_an_index_but_not_for_ever() {
    let world = World::new(Registry::start());
    let (media_type, entry) = (
        OCI_INDEX,
        r#""platform":{"os":"linux","architecture":"amd64"}"#,
    );
    let mut inner = image().manifest;
    world.registry.put("app", "0", &image());
    for depth in 1..=4 {
        let digest = Digest::sha256(&inner);
        let size = inner.len();
        inner = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{{"mediaType":"{media_type}","digest":"{digest}","size":{size},{entry}}}]}}"#).into_bytes();
        for name in [depth.to_string(), Digest::sha256(&inner).to_string()] {
            world
                .registry
                .put_manifest("app", &name, media_type, &inner);
        }
    }
    let pulled = world.pull("app:2").unwrap();
    assert_eq!(world.read(&pulled, "top"), b"top");
    let error = chain(&world.pull("app:3").unwrap_err());
    assert!(error.contains("nested too deeply"), "{error}");
}

#[test]
fn layers_may_be_plain_or_zstd() {
    let world = World::new(Registry::start());
    let tars = [tar(&[("base", &noise(300_000))]), tar(&[("top", b"top")])];
    let gzipped = Image::of(&tars);
    let layers = vec![zstd::encode_all(&tars[0][..], 3).unwrap(), tars[1].clone()];
    world
        .registry
        .put("app", "1", &Image::with_config(layers, gzipped.config));
    let pulled = world.pull("app:1").unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert_eq!(world.read(&pulled, "top"), b"top");
}

#[test]
fn two_pulls_at_once_fetch_every_layer_once() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    let both = std::thread::scope(|scope| {
        [(); 2]
            .map(|()| scope.spawn(|| world.pull("app:1").unwrap()))
            .map(|thread| thread.join().unwrap())
    });
    assert_eq!(both[0].image_id, both[1].image_id);
    assert_eq!(world.read(&both[0], "base"), noise(300_000));
    for layer in image().layers {
        assert_eq!(world.requests(&Digest::sha256(&layer).to_string()), 1);
    }
}

#[test]
fn what_a_digest_names_is_asked_for_only_once() {
    let world = World::new(Registry::start());
    let digest = world.registry.put("app", "1", &image());
    let name = format!("app@{digest}");
    assert!(world.pull(&name).unwrap().new);
    world.registry.clear_log();
    let again = world.pull(&name).unwrap();
    assert_eq!((again.new, again.digest), (false, digest));
    assert_eq!(world.registry.log(), []);
}

#[test]
fn every_layer_is_announced_before_the_first_is_fetched() {
    let world = World::new(Registry::start());
    world.registry.put("app", "1", &image());
    world.pull("app:1").unwrap();
    let events = world.events.lock().unwrap();
    let waiting = |e: &Event| matches!(e, Event::Waiting { .. });
    let begun = events
        .iter()
        .position(|e| matches!(e, Event::Downloading { .. }))
        .unwrap();
    assert_eq!(events.iter().filter(|e| waiting(e)).count(), 2);
    assert!(
        events.iter().rposition(waiting).unwrap() < begun,
        "{events:#?}"
    );
    for layer in image().layers {
        let size = layer.len() as u64;
        let layer = Digest::sha256(&layer);
        let of_layer: Vec<_> = events
            .iter()
            .filter(|e| {
                **e == Event::Downloading {
                    layer: layer.clone(),
                    done: size,
                    total: size,
                } || **e
                    == Event::Extracting {
                        layer: layer.clone(),
                    }
                    || **e
                        == Event::Complete {
                            layer: layer.clone(),
                        }
            })
            .collect();
        assert_eq!(of_layer.len(), 3, "{of_layer:#?}");
    }
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
