//! `Store::check` finds every kind of damage and repairs what can be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use minidock_oci::{Digest, ImageConfig};
use minidock_store::{CheckEvent, Checked, Finding, NewContainer, Store};

use crate::containers::state;
use crate::support::{Image, entries, files, id_map, layer, store};

/// What damages a store.
type How<'a> = &'a dyn Fn(&World);

fn check(store: &Store, repair: bool) -> (Checked, Vec<Finding>) {
    let mut found = Vec::new();
    let done = store
        .check(repair, &mut |event| {
            if let CheckEvent::Found(finding) = event {
                found.push(finding);
            }
        })
        .unwrap();
    (done, found)
}

/// A store with an image of three layers, the uppermost of which needs those below it, a second image that shares the
/// lowest, and a container of the first.
struct World {
    _folder: tempfile::TempDir,
    store: Store,
    app: Image,
    upper_layer: PathBuf,
    container: PathBuf,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let base = layer(&[("etc/", ""), ("etc/motd", "hello"), ("etc/x", "x")]);
    let middle = layer(&[("bin/", ""), ("bin/tool", "#!/bin/sh\n")]);
    let app = Image::new(&[base.clone(), middle, layer(&[("etc/more", "more")])]);
    app.add(&store, Some("app:1")).unwrap();
    Image::new(&[base]).add(&store, Some("base")).unwrap();
    let config = store.image_config(&app.id()).unwrap();
    let layers = store.image_layers(&app.id(), &config).unwrap();
    let upper_layer = store.root().join(&layers.folders[2]);
    assert!(!upper_layer.ends_with(Digest::sha256(&app.layers[2]).hex()));
    let new = NewContainer {
        name: "web",
        root: layers.root,
        created: b"{}",
    };
    let state = state(&store, "web", &app, layers.folders);
    let container = store
        .create_container(&store.hold().unwrap(), &new, &state)
        .unwrap();
    World {
        _folder: folder,
        container: container.folder().to_owned(),
        store,
        app,
        upper_layer,
    }
}

impl World {
    fn blob(&self, bytes: &[u8]) -> PathBuf {
        let digest = Digest::sha256(bytes);
        self.store.root().join("blobs/sha256").join(digest.hex())
    }

    fn layer(&self, index: usize) -> PathBuf {
        let digest = Digest::sha256(&self.app.layers[index]);
        self.store.root().join("layers/sha256").join(digest.hex())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.root().join(name)
    }
}

#[test]
fn a_healthy_store_has_no_problems_and_is_left_as_it_is() {
    let world = world();
    let before = files(world.store.root());
    for repair in [false, true] {
        let (done, found) = check(&world.store, repair);
        assert_eq!(found, []);
        let counts = (done.images, done.layers, done.blobs, done.containers);
        assert_eq!(counts, (2, 3, 7, 1));
        assert_eq!((done.problems, done.repaired, done.left_over), (0, 0, 0));
        assert_eq!(files(world.store.root()), before);
    }
}

/// Does the damage, and expects one problem with these words, repaired or not, and a store that is well afterwards or as
/// bad as before.
#[track_caller]
fn damage(how: impl Fn(&World), words: [&str; 2], affects: &[&str], repaired: bool) -> World {
    let world = world();
    how(&world);
    let (done, found) = check(&world.store, false);
    let texts: Vec<String> = found
        .iter()
        .map(|f| format!("{}: {}", f.subject, f.problem))
        .collect();
    assert!(
        found.len() == 1 && words.iter().all(|w| texts[0].contains(w)),
        "{words:?}: {texts:?}"
    );
    assert_eq!(found[0].repair, None);
    assert_eq!((done.problems, done.repaired), (1, 0));
    for name in affects {
        assert!(
            found[0].affects.iter().any(|a| a.contains(name)),
            "{found:?}"
        );
    }
    let (done, found) = check(&world.store, true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].repair.is_some(), repaired, "{found:?}");
    assert_eq!((done.problems, done.repaired), (1, u64::from(repaired)));
    let (done, found) = check(&world.store, false);
    assert_eq!(found.len(), usize::from(!repaired), "{found:?}");
    assert_eq!(done.left_over, 0);
    assert_eq!(entries(&world.store, "tmp"), Vec::<String>::new());
    world
}

fn whole(world: &World) {
    let config = ImageConfig::parse(&world.app.config).unwrap();
    let layers = world.store.image_layers(&world.app.id(), &config).unwrap();
    let read = |tree: &str| {
        let found = layers.trees(&world.store).into_iter().map(|t| t.join(tree));
        fs::read_to_string(found.clone().find(|p| p.exists()).unwrap()).unwrap()
    };
    assert_eq!(read("etc/motd"), "hello");
    assert_eq!(read("etc/more"), "more");
    assert_eq!(read("bin/tool"), "#!/bin/sh\n");
}

#[test]
fn damaged_layers_are_unpacked_anew_from_their_blobs() {
    let cases: [(How<'_>, &str); 8] = [
        (&|w| fs::remove_dir_all(w.layer(0)).unwrap(), "is missing"),
        (
            &|w| fs::remove_file(w.layer(0).join("fs/etc/motd")).unwrap(),
            "\"etc/motd\" is missing",
        ),
        (
            &|w| fs::write(w.layer(0).join("fs/etc/new"), "").unwrap(),
            "\"etc/new\" should not be there",
        ),
        (
            &|w| {
                fs::write(w.layer(0).join("fs/etc/motd"), "howdy!").unwrap();
            },
            "\"etc/motd\" has another",
        ),
        (
            &|w| {
                let closed = fs::Permissions::from_mode(0o777);
                fs::set_permissions(w.layer(0).join("fs/etc"), closed).unwrap();
            },
            "\"etc\" has another owner or mode",
        ),
        (
            &|w| fs::write(w.layer(0).join("layer.json"), "{").unwrap(),
            "layer.json is damaged",
        ),
        (
            &|w| fs::remove_file(w.layer(0).join("layer.json")).unwrap(),
            "layer.json is damaged: it is missing",
        ),
        (
            &|w| fs::write(w.layer(0).join("aside"), "changed").unwrap(),
            "kept aside",
        ),
    ];
    for (how, problem) in cases {
        let affects = ["app:1", "base:latest", "container web"];
        let found = damage(how, ["layers/sha256/", problem], &affects, true);
        whole(&found);
    }
    let how = |w: &World| fs::remove_file(w.upper_layer.join("fs/etc/more")).unwrap();
    let found = damage(how, ["layers/sha256/", "etc/more"], &["app:1"], true);
    whole(&found);
}

#[test]
fn what_is_derived_is_made_anew() {
    let image = |w: &World| w.path(&format!("images/{}.json", w.app.id().hex()));
    let note = |w: &World| {
        let digest = Digest::sha256(&w.app.layers[1]);
        w.path(&format!("diffs/sha256-{}", digest.hex()))
    };
    let app = ["app:1"];
    let (derived, noted) = (
        "not what config and layers say",
        "what the blob inflates to",
    );
    let cases: [(How<'_>, [&str; 2], &[&str]); 9] = [
        (
            &|w| fs::write(image(w), "").unwrap(),
            ["images/", derived],
            &app,
        ),
        (
            &|w| fs::remove_file(image(w)).unwrap(),
            ["images/", derived],
            &app,
        ),
        (
            &|w| {
                let text = fs::read_to_string(image(w)).unwrap();
                fs::write(image(w), text.replace("sha256/", "sha256/0")).unwrap();
            },
            ["images/", derived],
            &app,
        ),
        (
            &|w| fs::write(note(w), "?").unwrap(),
            ["diffs/", noted],
            &app,
        ),
        (
            &|w| fs::remove_file(note(w)).unwrap(),
            ["diffs/", noted],
            &app,
        ),
        (
            &|w| {
                let path = w.path("index.json");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace("2026-01-02T03", "2025-01-02T03")).unwrap();
            },
            ["index.json", "another size or time"],
            &[],
        ),
        (
            &|w| fs::remove_file(w.path("names/web")).unwrap(),
            ["names/web", "is missing"],
            &["container web"],
        ),
        (
            &|w| symlink(w.container.file_name().unwrap(), w.path("names/other")).unwrap(),
            ["names/other", "no container of that name"],
            &[],
        ),
        (
            &|w| fs::write(w.path("oci-layout"), "").unwrap(),
            ["oci-layout", "image layout"],
            &[],
        ),
    ];
    for (number, (how, words, affects)) in cases.into_iter().enumerate() {
        // Two images have that time.
        if number == 5 {
            let world = world();
            how(&world);
            assert_eq!(check(&world.store, false).1.len(), 2);
            assert_eq!(check(&world.store, true).0.repaired, 2);
            assert_eq!(check(&world.store, false).1, []);
            continue;
        }
        whole(&damage(how, words, affects, true));
    }
}

#[test]
fn an_image_whose_blobs_are_lost_is_removed_and_the_others_stay() {
    type Damage = fn(&World);
    let cases: [(Damage, &str); 7] = [
        (
            |w| fs::remove_file(w.blob(&w.app.config)).unwrap(),
            "is missing",
        ),
        (
            |w| fs::write(w.blob(&w.app.config), "").unwrap(),
            "has digest",
        ),
        (
            |w| fs::remove_file(w.blob(&w.app.manifest)).unwrap(),
            "is missing",
        ),
        (
            |w| fs::write(w.blob(&w.app.manifest), "[]").unwrap(),
            "has digest",
        ),
        (
            |w| fs::remove_file(w.blob(&w.app.layers[1])).unwrap(),
            "missing",
        ),
        (
            |w| fs::write(w.blob(&w.app.layers[2]), "short").unwrap(),
            "damaged",
        ),
        (
            |w| {
                let blob = w.blob(&w.app.layers[2]);
                let mut bytes = fs::read(&blob).unwrap();
                bytes[600] ^= 1;
                fs::write(blob, bytes).unwrap();
            },
            "damaged",
        ),
    ];
    for (how, problem) in cases {
        let world = damage(how, ["blobs/sha256/", problem], &["app:1"], true);
        let left: Vec<_> = world.store.images().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(
            left[0].reference().unwrap(),
            "docker.io/library/base:latest"
        );
        // The container still has its layers.
        assert!(world.layer(1).join("fs/bin/tool").exists());
        assert!(world.upper_layer.join("fs/etc/more").exists());
        world.app.add(&world.store, Some("app:1")).unwrap();
        assert_eq!(check(&world.store, false).1, []);
        whole(&world);
    }
}

#[test]
fn what_a_container_wrote_is_never_removed() {
    let upper = |w: &World| {
        fs::write(w.container.join("upper/data"), "precious").unwrap();
    };
    let kept = |w: &World| {
        let data = fs::read_to_string(w.container.join("upper/data")).unwrap();
        assert_eq!(data, "precious");
    };
    let world = damage(
        |w| {
            upper(w);
            fs::write(w.container.join("state.json"), "").unwrap();
            fs::remove_file(w.path("names/web")).unwrap();
        },
        ["state.json", "what it wrote is in"],
        &["container"],
        false,
    );
    kept(&world);
    let id = world.container.file_name().unwrap().to_str().unwrap();
    world.store.find_container(id).unwrap().remove().unwrap();
    assert_eq!(check(&world.store, false).1, []);

    let world = damage(
        |w| {
            upper(w);
            let images = w.store.images().unwrap();
            w.store.remove_images(&images).unwrap();
            fs::remove_dir_all(w.layer(1)).unwrap();
        },
        ["layers/sha256/", "cannot start"],
        &["container web"],
        false,
    );
    kept(&world);
}

#[test]
fn a_damaged_index_is_put_together_from_what_is_left() {
    for text in ["", "{", "{\"schemaVersion\":2,\"manifests\":[]"] {
        let world = world();
        fs::write(world.path("index.json"), text).unwrap();
        assert!(world.store.images().is_err());
        let (done, found) = check(&world.store, true);
        assert_eq!(
            (done.problems, found.len()),
            (done.repaired, 3),
            "{found:?}"
        );
        assert!(found[0].repair.as_ref().unwrap().contains("2 images"));
        let images = world.store.images().unwrap();
        assert!(images.iter().any(|r| r.image_id == world.app.id()));
        assert_eq!(images.len(), 2);
        assert_eq!(check(&world.store, false).1, []);
        whole(&world);
    }
    // One bad entry does not cost the others their names.
    let world = world();
    let path = world.path("index.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("io.minidock.image-id", "gone", 1)).unwrap();
    check(&world.store, true);
    let images = world.store.images().unwrap();
    let named: Vec<_> = images.iter().filter_map(|r| r.reference()).collect();
    assert_eq!((images.len(), named.len()), (2, 1), "{named:?}");
}

#[test]
fn files_that_are_none_of_the_stores_are_found() {
    for (name, words) in [
        ("blobs/sha256/letter", "no digest"),
        ("images/letter", "none of the store's"),
        ("diffs/letter", "none of the store's"),
    ] {
        let world = damage(
            |w| fs::write(w.path(name), "dear").unwrap(),
            [name, words],
            &[],
            true,
        );
        assert!(!world.path(name).exists());
    }
    let unknown = Digest::sha256(b"something");
    let name = format!("blobs/sha256/{}", unknown.hex());
    damage(
        |w| fs::write(w.path(&name), "something else").unwrap(),
        [&name, "other content"],
        &[],
        true,
    );
    // The right content that nothing refers to is no problem, only waste.
    let world = world();
    fs::write(world.path(&name), "something").unwrap();
    let (done, found) = check(&world.store, false);
    assert_eq!((done.left_over, found), (1, vec![]));
    check(&world.store, true);
    assert!(!world.path(&name).exists());
}

#[test]
fn a_store_that_lost_its_version_or_a_folder_is_mended() {
    let world = world();
    let root = world.store.root().to_owned();
    for text in [Some(""), Some("{\"format\":"), None] {
        match text {
            Some(text) => fs::write(root.join("version.json"), text).unwrap(),
            None => fs::remove_file(root.join("version.json")).unwrap(),
        }
        let error = Store::open(&root, id_map()).unwrap_err();
        assert!(error.hint().unwrap().contains("system check"), "{error}");
        assert!(!Store::has_files_of_others(&root));
        Store::repair_version(&root, &id_map().into()).unwrap();
        Store::open(&root, id_map()).unwrap();
    }
    fs::remove_dir_all(root.join("diffs")).unwrap();
    let (done, found) = check(&world.store, true);
    assert_eq!(found[0].subject, "diffs");
    assert_eq!(done.problems, done.repaired);
    assert_eq!(check(&world.store, false).1, []);
    whole(&world);
}
