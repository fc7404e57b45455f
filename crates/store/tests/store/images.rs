//! Images come in verified, share layers, and go.

use minidock_oci::{Digest, ImageIndex};
use minidock_store::{Found, IdMap, Store, StoreError};

use crate::support::{Image, content, files, id_map, layer, store};

#[test]
fn a_published_image_is_found_by_name_and_id_and_the_store_is_an_image_layout() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("etc/", ""), ("etc/motd", "hello")])]);
    assert!(image.add(&store, Some("app:1")).unwrap());
    assert!(
        !image.add(&store, Some("app:1")).unwrap(),
        "the second time nothing is new"
    );

    let id = image.id();
    for query in [
        "app:1",
        "docker.io/library/app:1",
        &id.to_string(),
        id.hex(),
        &id.hex()[..5],
    ] {
        let found = store.find_image(query).unwrap();
        assert_eq!(found.record().unwrap().image_id, id, "{query}");
    }
    assert!(matches!(store.find_image("app:1").unwrap(), Found::Name(_)));
    assert!(matches!(
        store.find_image("app:2"),
        Err(StoreError::NoSuchImage(_))
    ));

    let config = store.image_config(&id).unwrap();
    let layers = store.image_layers(&id, &config).unwrap();
    let motd = layers.trees(&store)[0].join("etc/motd");
    assert_eq!(std::fs::read_to_string(motd).unwrap(), "hello");
    let record = store.images().unwrap().remove(0);
    assert_eq!(
        (record.size, record.created.as_str()),
        (5, "2026-01-02T03:04:05Z")
    );

    // What another OCI tool would do: index, manifest, config and layers, each by digest.
    let index: ImageIndex =
        serde_json::from_slice(&std::fs::read(store.root().join("index.json")).unwrap()).unwrap();
    assert_eq!(
        index.manifests()[0].digest().to_string(),
        Digest::sha256(&image.manifest).to_string()
    );
    let layout = std::fs::read_to_string(store.root().join("oci-layout")).unwrap();
    assert!(layout.contains("1.0.0"));
    for bytes in [&image.manifest, &image.config, &image.layers[0]] {
        let digest = Digest::sha256(bytes);
        let blob = store.root().join("blobs/sha256").join(digest.hex());
        assert_eq!(&std::fs::read(blob).unwrap(), bytes);
    }
}

#[test]
fn a_wrong_diff_id_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let before = content(&store);
    let image = Image::claiming(
        &[layer(&[("a", "1")])],
        &[Digest::sha256(b"something else")],
    );
    let error = image.add(&store, Some("bad")).unwrap_err();
    assert!(matches!(error, StoreError::Layer { .. }), "{error}");
    store.collect().unwrap();
    assert_eq!(content(&store), before);
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn a_known_blob_cannot_be_passed_off_as_another_layer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let (a, b) = (layer(&[("a", "1")]), layer(&[("b", "2")]));
    Image::new(&[a.clone(), b.clone()])
        .add(&store, Some("good"))
        .unwrap();
    // Both blobs and both layers are known, but not in this combination.
    let bad = Image::claiming(&[a], &[Digest::sha256(&b)]);
    let error = bad.add(&store, Some("bad")).unwrap_err();
    assert!(matches!(error, StoreError::DiffId { .. }), "{error}");
}

#[test]
fn layers_are_shared_and_the_last_image_takes_them_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let empty = content(&store);
    let (base, top) = (layer(&[("base", "1")]), layer(&[("top", "2")]));
    Image::new(std::slice::from_ref(&base))
        .add(&store, Some("one"))
        .unwrap();
    let one = content(&store);
    Image::new(&[base, top]).add(&store, Some("two")).unwrap();

    let found = store.find_image("two").unwrap();
    let gone = store
        .remove_images(&[found.record().unwrap().clone()])
        .unwrap();
    assert_eq!((gone.images.len(), gone.layers.len()), (1, 1));
    assert_eq!(content(&store), one);

    let found = store.find_image("one").unwrap();
    store
        .remove_images(&[found.record().unwrap().clone()])
        .unwrap();
    assert_eq!(content(&store), empty);
}

#[test]
fn a_layer_without_its_parents_entries_takes_them_from_the_layers_below() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let base = layer(&[("srv/", ""), ("srv/a", "1")]);
    let top = layer(&[("srv/b", "2")]);
    let image = Image::new(&[base, top.clone()]);
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    let srv = std::fs::metadata(layers.trees(&store)[0].join("srv")).unwrap();
    assert_eq!((srv.mode() & 0o7777, srv.mtime()), (0o750, 1_600_000_000));
    // Alone, the same layer means something else, so the two do not share a folder.
    let alone = Image::new(&[top]);
    alone.add(&store, Some("alone")).unwrap();
    let config = store.image_config(&alone.id()).unwrap();
    let other = store.image_layers(&alone.id(), &config).unwrap();
    assert_ne!(layers.folders[1], other.folders[0]);
    let srv = std::fs::metadata(other.trees(&store)[0].join("srv")).unwrap();
    assert_eq!(srv.mode() & 0o7777, 0o755);
}

#[test]
fn a_store_of_another_format_map_or_kind_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    store(&folder);
    let other = match id_map() {
        IdMap::Host => IdMap::Single,
        IdMap::Single | IdMap::Ranges => IdMap::Host,
    };
    let error = Store::open(&root, other).unwrap_err();
    assert!(matches!(error, StoreError::IdMap { .. }) && error.hint().is_some());

    let version = root.join("version.json");
    let text = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, text.replace("\"format\":1", "\"format\":2")).unwrap();
    assert!(matches!(
        Store::open(&root, id_map()),
        Err(StoreError::Format { found: 2, .. })
    ));

    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("letter.txt"), "dear").unwrap();
    assert!(matches!(
        Store::open(&home, id_map()),
        Err(StoreError::NotAStore(_))
    ));
    assert_eq!(files(&home), [home.join("letter.txt")]);
}
