//! Images for several platforms, there and back.

use minidock_oci::{Digest, OCI_INDEX, OCI_MANIFEST};
use minidock_pull::{Error, Pushed, Which, push};
use minidock_test_registry::{Image, Registry, tar};
use serde_json::{Value, json};

use crate::world::{World, noise};

fn image_for(architecture: &str) -> Image {
    let layer = tar(&[("name", architecture.as_bytes()), ("data", &noise(50_000))]);
    let diff_id = Digest::sha256(&layer);
    Image::claiming(&[layer], &[diff_id], architecture)
}

/// What BuildKit says about an image: a manifest whose layer is a statement.
fn attestation(registry: &Registry, of: &Digest) -> Value {
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
    let config =
        br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let part = |bytes: &[u8], media_type: &str| {
        registry.put_blob(&Digest::sha256(bytes), bytes);
        json!({"mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": part(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [part(statement, "application/vnd.in-toto+json")],
    })
    .to_string();
    let digest = Digest::sha256(manifest.as_bytes());
    registry.put_manifest(
        "multi",
        &digest.to_string(),
        OCI_MANIFEST,
        manifest.as_bytes(),
    );
    json!({
        "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len(),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of},
    })
}

/// Puts `multi:1` for three platforms, each with an attestation; returns the index.
fn put_multi(registry: &Registry) -> Vec<u8> {
    let mut entries = Vec::new();
    for architecture in ["arm64", "amd64", "s390x"] {
        let image = image_for(architecture);
        let digest = registry.put("multi", &format!("only-{architecture}"), &image);
        entries.push(json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        }));
        entries.push(attestation(registry, &digest));
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let index = index.to_string().into_bytes();
    let digest = Digest::sha256(&index).to_string();
    for name in ["1", &digest] {
        registry.put_manifest("multi", name, OCI_INDEX, &index);
    }
    index
}

/// A world that has pulled it, and the index; its registry has nothing any more.
fn world(all_platforms: bool) -> (World, Vec<u8>) {
    let mut world = World::new(Registry::start());
    let index = put_multi(&world.registry);
    world.options.all_platforms = all_platforms;
    world.pull("multi:1").unwrap();
    let pulled = world
        .store
        .find_image(&world.reference("multi:1").to_string());
    let pulled = pulled.unwrap().record().unwrap().clone();
    world.registry = Registry::start();
    world
        .store
        .tag(&pulled, &world.reference("copy:2"), 0)
        .unwrap();
    (world, index)
}

fn send(world: &World, which: &Which) -> Result<Pushed, Error> {
    push(
        &world.store,
        &world.reference("copy:2"),
        which,
        &world.options,
        &|_| {},
    )
}

#[test]
fn the_name_goes_to_the_platform_that_was_asked_for_and_the_others_have_the_digest() {
    for (platform, named) in [
        (Some("linux/s390x"), "s390x"),
        (Some("linux/amd64"), "amd64"),
    ] {
        let mut world = World::new(Registry::like_docker_hub());
        let index = Digest::sha256(&put_multi(&world.registry));
        world.options.all_platforms = true;
        world.options.platform = platform.map(|p| p.parse().unwrap());
        let pulled = world.pull("multi:1").unwrap();
        assert_eq!((pulled.digest, pulled.new), (index.clone(), true));
        assert_eq!(pulled.image_id, image_for(named).id());
        let records = world.store.images().unwrap();
        assert_eq!(records.len(), 3);
        for record in &records {
            assert_eq!(record.digest.as_ref(), Some(&index));
            let is_named = record.image_id == image_for(named).id();
            assert_eq!(record.tag.as_deref(), is_named.then_some("1"));
        }
        // Once more: nothing is new, and no layer is fetched.
        world.registry.clear_log();
        assert!(!world.pull("multi:1").unwrap().new);
        assert_eq!(world.store.images().unwrap(), records);
        for layer in image_layers() {
            assert_eq!(world.requests(&layer), 0);
        }
        world.store.collect().unwrap();
        assert_eq!(world.store.images().unwrap(), records);
    }
}

fn image_layers() -> Vec<String> {
    ["amd64", "arm64", "s390x"]
        .iter()
        .flat_map(|a| image_for(a).layers)
        .map(|layer| Digest::sha256(&layer).hex().to_owned())
        .collect()
}

#[test]
fn an_index_that_is_complete_is_pushed_and_keeps_its_digest() {
    for which in [Which::Available, Which::All] {
        let (world, index) = world(true);
        let pushed = send(&world, &which).unwrap();
        assert_eq!(pushed.digest, Digest::sha256(&index));
        assert_eq!((pushed.size, pushed.part_of), (index.len() as u64, None));
        let there = world.registry.manifest("copy/2").unwrap();
        assert_eq!(there, (OCI_INDEX.to_owned(), index.clone()));
        // The index comes last, after all that it names.
        let log = world.registry.log();
        assert_eq!(log.last().unwrap().path, "/v2/copy/manifests/2");
        let parsed: Value = serde_json::from_slice(&index).unwrap();
        for entry in parsed["manifests"].as_array().unwrap() {
            let digest = entry["digest"].as_str().unwrap();
            let (_, manifest) = world.registry.manifest(&format!("copy/{digest}")).unwrap();
            let manifest: Value = serde_json::from_slice(&manifest).unwrap();
            let layers = manifest["layers"].as_array().unwrap();
            for part in [&manifest["config"]].into_iter().chain(layers) {
                let digest = part["digest"].as_str().unwrap().parse().unwrap();
                assert!(world.registry.blob(&digest).is_some(), "{part}");
            }
        }
        // It can be pulled back, by whoever has nothing.
        let mut other = World::new(Registry::start());
        std::mem::swap(&mut other.registry, &mut { world }.registry);
        other.options.platform = Some("linux/arm64".parse().unwrap());
        let back = other.pull("copy:2").unwrap();
        assert_eq!(other.read(&back, "name"), b"arm64");
    }
}

#[test]
fn of_an_index_that_is_not_complete_the_named_image_is_pushed() {
    let (world, index) = world(false);
    let manifest = Digest::sha256(&image_for("amd64").manifest);
    let pushed = send(&world, &Which::Available).unwrap();
    assert_eq!(pushed.digest, manifest);
    assert_eq!(pushed.part_of, Some(Digest::sha256(&index)));
    assert_eq!(world.registry.manifest("copy/2").unwrap().0, OCI_MANIFEST);
    world.registry.clear_log();
    match send(&world, &Which::All).unwrap_err() {
        Error::Incomplete { missing, .. } => {
            assert_eq!(
                missing,
                [
                    "linux/arm64",
                    "an attestation",
                    "linux/s390x",
                    "an attestation"
                ]
            );
        }
        error => panic!("{error}"),
    }
    let other = Which::Platform("linux/arm64".parse().unwrap());
    let error = send(&world, &other).unwrap_err();
    assert!(matches!(error, Error::PlatformNotInStore { .. }), "{error}");
    assert_eq!(world.registry.log(), []);
}

#[test]
fn one_platform_of_several_can_be_pushed_alone() {
    let (world, _) = world(true);
    for (platform, architecture) in [("linux/arm64", "arm64"), ("linux/amd64", "amd64")] {
        let which = Which::Platform(platform.parse().unwrap());
        let pushed = send(&world, &which).unwrap();
        let manifest = image_for(architecture).manifest;
        assert_eq!(pushed.digest, Digest::sha256(&manifest));
        assert_eq!(pushed.part_of, None);
        let there = world.registry.manifest("copy/2").unwrap();
        assert_eq!(there, (OCI_MANIFEST.to_owned(), manifest));
    }
}

#[test]
fn what_is_said_about_images_goes_with_them() {
    let (world, _) = world(true);
    world.store.collect().unwrap();
    send(&world, &Which::All).unwrap();
    let records = world.store.images().unwrap();
    world.store.remove_images(&records).unwrap();
    world.assert_nothing_there();
}

#[test]
fn an_index_within_an_index_is_pulled_for_one_platform_only() {
    let mut world = World::new(Registry::start());
    let inner = put_multi(&world.registry);
    let entry = json!({"mediaType": OCI_INDEX, "digest": Digest::sha256(&inner), "size": inner.len(),
                       "platform": {"os": "linux", "architecture": "amd64"}});
    let outer =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string();
    world
        .registry
        .put_manifest("multi", "nested", OCI_INDEX, outer.as_bytes());
    world.options.all_platforms = true;
    let error = world.pull("multi:nested").unwrap_err().to_string();
    assert!(error.contains("one platform at a time"), "{error}");
    world.assert_nothing_there();
    world.options.all_platforms = false;
    let pulled = world.pull("multi:nested").unwrap();
    assert_eq!(pulled.image_id, image_for("amd64").id());
}

/// Puts `variants:1` for variants of an architecture.
fn put_variants(registry: &Registry, architecture: &str, variants: &[&str]) {
    let entries = variants.iter().map(|variant| {
        let layer = tar(&[("variant", variant.as_bytes())]);
        let diff_id = Digest::sha256(&layer);
        let image = Image::claiming(&[layer], &[diff_id], architecture);
        let digest = registry.put("variants", &format!("only-{variant}"), &image);
        let mut platform = json!({"os": "linux", "architecture": architecture});
        if !variant.is_empty() {
            platform["variant"] = json!(variant);
        }
        json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": image.manifest.len(), "platform": platform})
    });
    let entries: Vec<_> = entries.collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    registry.put_manifest("variants", "1", OCI_INDEX, index.to_string().as_bytes());
}

#[test]
fn a_processor_gets_the_best_variant_that_it_runs() {
    for (architecture, variants, wanted, expected) in [
        ("arm", &["v5", "v6", "v7"][..], "linux/arm/v7", "v7"),
        ("arm", &["v5", "v6"], "linux/arm/v7", "v6"),
        ("arm", &["v5"], "linux/arm/v7", "v5"),
        ("arm64", &["v8"], "linux/arm64", "v8"),
        ("arm64", &[""], "linux/arm64/v8", ""),
        ("amd64", &["", "v2", "v3"], "linux/amd64/v3", "v3"),
        ("amd64", &["", "v2", "v4"], "linux/amd64/v3", "v2"),
        ("amd64", &["v4", ""], "linux/amd64/v3", ""),
        ("amd64", &["v3", ""], "linux/amd64", ""),
    ] {
        let mut world = World::new(Registry::start());
        put_variants(&world.registry, architecture, variants);
        world.options.platform = Some(wanted.parse().unwrap());
        let pulled = world.pull("variants:1").unwrap();
        let got = world.read(&pulled, "variant");
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{wanted}");
        // It is known for what it is.
        world.registry.clear_log();
        assert!(!world.pull("variants:1").unwrap().new, "{wanted}");
        assert_eq!(world.registry.log().len(), 1, "{wanted}");
    }
    let mut world = World::new(Registry::start());
    put_variants(&world.registry, "arm", &["v7"]);
    world.options.platform = Some("linux/arm/v6".parse().unwrap());
    let error = world.pull("variants:1").unwrap_err();
    assert!(matches!(error, Error::Platform { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("linux/arm/v6") && told.contains("offers linux/arm/v7"),
        "{told}"
    );
    world.assert_nothing_there();
}

#[test]
fn another_variant_of_the_same_index_is_not_up_to_date() {
    let mut world = World::new(Registry::start());
    put_variants(&world.registry, "amd64", &["", "v3"]);
    for (wanted, expected) in [
        ("linux/amd64/v3", "v3"),
        ("linux/amd64", ""),
        ("linux/amd64/v4", "v3"),
    ] {
        world.options.platform = Some(wanted.parse().unwrap());
        let pulled = world.pull("variants:1").unwrap();
        assert_eq!(
            world.read(&pulled, "variant"),
            expected.as_bytes(),
            "{wanted}"
        );
        let named = world
            .store
            .find_image(&world.reference("variants:1").to_string());
        let named = named.unwrap().record().unwrap().clone();
        assert_eq!(named.image_id, pulled.image_id, "{wanted}");
    }
}

#[test]
fn indexes_that_lead_back_to_themselves_or_too_deep_are_refused() {
    let world = World::new(Registry::start());
    // Nobody can name his own digest, but a registry can lie about it.
    let own = Digest::sha256(b"the index itself");
    let entry = |digest: &Digest, size: usize| {
        json!({"mediaType": OCI_INDEX, "digest": digest, "size": size,
               "platform": {"os": "linux", "architecture": "amd64"}})
    };
    let index =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(&own, 300)]});
    let index = index.to_string();
    for name in ["loop", &own.to_string()] {
        world
            .registry
            .put_manifest("app", name, OCI_INDEX, index.as_bytes());
    }
    let error = world.pull("app:loop").unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(world.requests("/manifests/"), 2);

    let mut inner = put_multi(&world.registry);
    for depth in 0..4 {
        let digest = Digest::sha256(&inner);
        world
            .registry
            .put_manifest("multi", &digest.to_string(), OCI_INDEX, &inner);
        world
            .registry
            .put_manifest("multi", &format!("depth-{depth}"), OCI_INDEX, &inner);
        let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(&digest, inner.len())]});
        inner = outer.to_string().into_bytes();
    }
    for depth in [2, 3] {
        world.registry.clear_log();
        let error = world.pull(&format!("multi:depth-{depth}")).unwrap_err();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
        assert!(world.requests("/manifests/") <= 3);
    }
    world.assert_nothing_there();
    for depth in [0, 1] {
        world.pull(&format!("multi:depth-{depth}")).unwrap();
    }
}
