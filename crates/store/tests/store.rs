//! The store's promises, tested on a real file system with small layers made here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use minidock_oci::{
    ChainId, Digest, ImageConfig, ImageIndex, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST,
};
use minidock_store::{
    ContainerState, Found, IdMap, ImageRecord, LayerRequest, LayerSlot, NewContainer, Status,
    Store, StoreError, Writer,
};

/// Root makes stores with the host's ids, anybody else with their own.
fn id_map() -> IdMap {
    if rustix::process::geteuid().is_root() {
        IdMap::Host
    } else {
        IdMap::Single
    }
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("store"), id_map()).unwrap()
}

/// A tar of regular files and, for names that end with `/`, folders.
fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mtime(1_600_000_000);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        if name.ends_with('/') {
            header.set_mode(0o750);
            header.set_entry_type(tar::EntryType::Directory);
        } else {
            header.set_mode(0o644);
        }
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

struct Image {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new(layers: &[Vec<u8>]) -> Self {
        let digests: Vec<Digest> = layers.iter().map(|l| Digest::sha256(l)).collect();
        Self::claiming(layers, &digests)
    }

    /// An image whose config claims these diff_ids.
    fn claiming(layers: &[Vec<u8>], diff_ids: &[Digest]) -> Self {
        let config = serde_json::json!({
            "created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let blobs: Vec<_> = layers
            .iter()
            .map(|l| {
                serde_json::json!({"mediaType": OCI_LAYER_TAR, "digest": Digest::sha256(l), "size": l.len()})
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": blobs,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest::sha256(&config), "size": config.len()},
        })
        .to_string()
        .into_bytes();
        Self {
            layers: layers.to_vec(),
            config,
            manifest,
        }
    }

    fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    fn add(&self, store: &Store, name: Option<&str>) -> Result<bool, StoreError> {
        let writer = store.writer()?;
        self.add_layers(&writer)?;
        self.publish(&writer, name)
    }

    fn add_layers(&self, writer: &Writer) -> Result<(), StoreError> {
        let diff_ids = ImageConfig::parse(&self.config).unwrap().rootfs.diff_ids;
        let chain = ChainId::of_stack(&diff_ids);
        for ((bytes, diff_id), chain_id) in self.layers.iter().zip(&diff_ids).zip(&chain) {
            let request = LayerRequest {
                blob: &Digest::sha256(bytes),
                blob_size: Some(bytes.len() as u64),
                diff_id,
                chain_id,
            };
            if let LayerSlot::Vacant(txn) = writer.layer(&request)? {
                txn.unpack(Box::new(Cursor::new(bytes.clone())))?;
            }
        }
        Ok(())
    }

    fn publish(&self, writer: &Writer, name: Option<&str>) -> Result<bool, StoreError> {
        let manifest = Digest::sha256(&self.manifest);
        writer.put_blob(&self.config, &self.id())?;
        writer.put_blob(&self.manifest, &manifest)?;
        let record = ImageRecord {
            repository: None,
            tag: None,
            digest: None,
            manifest,
            manifest_size: self.manifest.len() as u64,
            media_type: OCI_MANIFEST.into(),
            image_id: self.id(),
            created: String::new(),
            size: 0,
        };
        let record = match name {
            Some(name) => record.named(&name.parse().unwrap()),
            None => record,
        };
        writer.publish(record, &ImageConfig::parse(&self.config).unwrap())
    }
}

/// Every regular file and symlink below a folder, relative, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), into);
            } else {
                into.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found
}

fn content(store: &Store) -> Vec<PathBuf> {
    ["blobs", "layers", "diffs", "images", "tmp"]
        .iter()
        .flat_map(|f| files(&store.root().join(f)))
        .collect()
}

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
    store.forget(&[found.record().unwrap().clone()]).unwrap();
    let gone = store.collect().unwrap();
    assert_eq!((gone.images.len(), gone.layers.len()), (1, 1));
    assert_eq!(content(&store), one);

    let found = store.find_image("one").unwrap();
    store.forget(&[found.record().unwrap().clone()]).unwrap();
    store.collect().unwrap();
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
fn twenty_processes_may_make_the_store_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| Store::open(&root, id_map()).unwrap()))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().images().unwrap(), []);
        }
    });
}

#[test]
fn a_dead_session_is_swept_and_a_live_one_postpones_collection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    // What a killed process leaves: a folder in tmp, with a folder nobody may enter.
    let left = store.root().join("tmp/0123456789abcdef/0/fs/closed");
    std::fs::create_dir_all(left.join("x")).unwrap();
    std::fs::set_permissions(&left, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();

    let image = Image::new(&[layer(&[("a", "1")])]);
    let writer = store.writer().unwrap();
    image.add_layers(&writer).unwrap();
    assert!(store.collect().unwrap().postponed, "a writer is at work");
    image.publish(&writer, Some("app")).unwrap();
    drop(writer);
    assert!(
        store.find_image("app").is_ok(),
        "nothing was collected under the writer's feet"
    );
    let tmp: Vec<_> = std::fs::read_dir(store.root().join("tmp"))
        .unwrap()
        .collect();
    assert!(tmp.is_empty(), "the last one out collected: {tmp:?}");
}

#[test]
fn what_a_killed_session_left_is_gone_when_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let left = store.root().join("tmp/0123456789abcdef/0");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("half"), "a layer").unwrap();
    let first = store.writer().unwrap();
    assert!(!left.exists());
    // A live one is left alone.
    let mine = first.temporary();
    std::fs::write(&mine, "mine").unwrap();
    let _second = store.writer().unwrap();
    assert!(mine.exists());
}

#[test]
fn twenty_writers_bring_the_same_image_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")]), layer(&[("b", "2")])]);
    let news = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| image.add(&store, Some("app")).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|new| *new)
            .count()
    });
    assert_eq!(news, 1);
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(files(&store.root().join("tmp")), Vec::<PathBuf>::new());
}

#[test]
fn a_store_of_another_format_map_or_kind_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    store(&folder);
    let other = match id_map() {
        IdMap::Host => IdMap::Single,
        IdMap::Single => IdMap::Host,
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
        Err(StoreError::Damaged { .. })
    ));
    assert_eq!(files(&home), [home.join("letter.txt")]);
}

fn state(store: &Store, name: &str, image: &Image, layers: Vec<String>) -> ContainerState {
    ContainerState {
        id: store.new_container_id().unwrap(),
        name: name.into(),
        image: "app".into(),
        image_id: image.id().to_string(),
        layers,
        command: vec!["true".into()],
        created: 0,
        status: Status::Created,
        pid: None,
        start_time: None,
        exit_code: None,
        finished: None,
        auto_remove: false,
    }
}

#[test]
fn a_container_keeps_its_name_and_its_layers_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    let new = NewContainer {
        name: "web",
        root: layers.root,
    };
    let first = state(&store, "web", &image, layers.folders.clone());
    let container = store.create_container(&new, &first).unwrap();
    let second = state(&store, "web", &image, layers.folders.clone());
    let error = store.create_container(&new, &second).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    assert_eq!(store.containers().unwrap().len(), 1);

    let record = store.find_image("app").unwrap().record().unwrap().clone();
    store.forget(&[record]).unwrap();
    store.collect().unwrap();
    let tree = layers.trees(&store).remove(0);
    assert!(tree.join("a").exists(), "a container's layer was collected");

    assert_eq!(store.find_container("web").unwrap().id(), first.id);
    assert_eq!(store.find_container(&first.id[..6]).unwrap().id(), first.id);
    container.remove().unwrap();
    assert!(matches!(
        store.find_container("web"),
        Err(StoreError::NoSuchContainer(_))
    ));
    store.create_container(&new, &second).unwrap();
    store.find_container("web").unwrap().remove().unwrap();
    store.collect().unwrap();
    assert!(!tree.exists());
}

#[test]
fn a_container_that_a_killed_process_left_goes_only_if_it_was_to_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    let create = |name: &str, auto_remove: bool| {
        let mut state = state(&store, name, &image, layers.folders.clone());
        state.auto_remove = auto_remove;
        let root = layers.root;
        store.create_container(&NewContainer { name, root }, &state)
    };
    let running = create("running", true).unwrap();
    // Dropping the value is what the kernel does to a killed process's lock.
    drop(create("left", true).unwrap());
    drop(create("kept", false).unwrap());
    store.remove_left_containers().unwrap();
    assert!(store.find_container("running").is_ok());
    assert!(store.find_container("left").is_err());
    assert!(store.find_container("kept").is_ok());
    assert!(create("running", true).is_err());
    assert!(create("kept", true).is_err());
    drop(running);
    create("running", true).unwrap();
}

#[test]
fn a_name_left_by_a_killed_process_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    std::os::unix::fs::symlink("f".repeat(64), store.root().join("names/web")).unwrap();
    let new = NewContainer {
        name: "web",
        root: layers.root,
    };
    let wanted = state(&store, "web", &image, layers.folders);
    store.create_container(&new, &wanted).unwrap();
    assert_eq!(store.find_container("web").unwrap().id(), wanted.id);
}
