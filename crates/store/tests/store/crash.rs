//! Killed processes, power cuts, and many at work at once.

use std::path::PathBuf;

use minidock_oci::{ChainId, Digest, ImageConfig};
use minidock_store::{LayerRequest, LayerSlot, Store};

use crate::support::{Image, content, entries, files, id_map, layer, store};

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
fn what_somebody_at_work_needs_is_not_collected_and_the_rest_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let (shared, gone) = (layer(&[("a", "1")]), layer(&[("b", "2")]));
    let old = Image::new(&[shared.clone(), gone]);
    old.add(&store, Some("old")).unwrap();
    let image = Image::new(&[shared, layer(&[("c", "3")])]);
    let writer = store.writer().unwrap();
    image.add_layers(&writer).unwrap();
    let record = store.find_image("old").unwrap().record().unwrap().clone();
    let removed = store.remove_images(&[record]).unwrap();
    // At once, although a writer is at work; the layer that it found stays.
    assert_eq!((removed.images.len(), removed.layers.len()), (1, 1));
    image.publish(&writer, Some("app")).unwrap();
    drop(writer);
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    for (tree, file) in layers.trees(&store).iter().zip(["c", "a"]) {
        assert!(tree.join(file).exists());
    }
    assert_eq!(entries(&store, "tmp"), Vec::<String>::new());
}

#[test]
fn a_writer_takes_along_what_it_did_not_publish() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let empty = content(&store);
    let kept = Image::new(&[layer(&[("a", "1")])]);
    kept.add(&store, Some("kept")).unwrap();
    let before = content(&store);
    let writer = store.writer().unwrap();
    Image::new(&[layer(&[("a", "1")]), layer(&[("b", "2")])])
        .add_layers(&writer)
        .unwrap();
    assert_ne!(content(&store), before);
    drop(writer);
    assert_eq!(content(&store), before);
    // Another manifest of the same image takes its name; the former one goes.
    let mut other = Image::new(&[layer(&[("a", "1")])]);
    other.manifest.push(b'\n');
    other.add(&store, Some("kept")).unwrap();
    assert_eq!(content(&store).len(), before.len());
    let record = store.find_image("kept").unwrap().record().unwrap().clone();
    assert_eq!(record.manifest, Digest::sha256(&other.manifest));
    store.remove_images(&[record]).unwrap();
    assert_eq!(content(&store), empty);
}

/// What a process that was killed leaves: its session's folder, which nobody has locked, and what it had published by then.
fn killed(store: &Store, image: &Image) {
    let writer = store.writer().unwrap();
    image.add_layers(&writer).unwrap();
    let half = writer.temporary();
    std::fs::create_dir_all(half.join("fs/closed/x")).unwrap();
    let session = half.parent().unwrap().to_owned();
    let aside = store.root().join("aside");
    for folder in ["blobs", "diffs", "layers", "tmp"] {
        let to = aside.join(folder);
        std::fs::create_dir_all(&aside).unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([store.root().join(folder), to])
            .status();
        assert!(copied.unwrap().success());
    }
    drop(writer);
    assert!(!session.exists());
    for folder in ["blobs", "diffs", "layers", "tmp"] {
        let place = store.root().join(folder);
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::rename(aside.join(folder), place).unwrap();
    }
    std::fs::remove_dir(aside).unwrap();
    assert!(session.join("pins").exists());
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(half.join("fs/closed"), closed).unwrap();
}

#[test]
fn what_a_killed_session_left_goes_however_many_are_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let empty = content(&store);
    let image = Image::new(&[layer(&[("a", "1")])]);
    killed(&store, &image);
    let first = store.writer().unwrap();
    let mine = first.temporary();
    std::fs::write(&mine, "mine").unwrap();
    assert_eq!(entries(&store, "tmp").len(), 1, "only the living one's");
    drop(first);
    assert_eq!(
        content(&store),
        empty,
        "and what the dead one had published"
    );

    let first = store.writer().unwrap();
    killed(&store, &image);
    // The dead one's layer is of use to whoever comes next.
    let second = store.writer().unwrap();
    let diff_id = ImageConfig::parse(&image.config).unwrap().rootfs.diff_ids[0].clone();
    let request = LayerRequest {
        blob: &Digest::sha256(&image.layers[0]),
        blob_size: None,
        diff_id: &diff_id,
        chain_id: &ChainId(diff_id.0.clone()),
    };
    assert!(matches!(
        second.layer(&request).unwrap(),
        LayerSlot::Present
    ));
    image.publish(&second, Some("app")).unwrap();
    drop(second);
    drop(first);
    assert!(store.find_image("app").is_ok());
    assert_eq!(entries(&store, "tmp"), Vec::<String>::new());
}

#[test]
fn a_blob_that_lost_its_content_in_a_power_cut_is_brought_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    for bytes in [&image.config, &image.manifest] {
        let blob = Digest::sha256(bytes);
        std::fs::write(store.root().join("blobs/sha256").join(blob.hex()), "").unwrap();
    }
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    assert_eq!(config, ImageConfig::parse(&image.config).unwrap());
}

#[test]
fn collectors_are_not_kept_waiting_by_one_reader_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Their times overlap, so that there is always one.
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let hold = store.hold().unwrap();
                    std::thread::yield_now();
                    drop(hold);
                }
            });
        }
        for _ in 0..100 {
            store.collect().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn damage_is_no_reason_to_delete() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    image.add(&store, Some("app")).unwrap();
    let other = Image::new(&[layer(&[("b", "2")])]);
    other.add(&store, Some("other")).unwrap();
    let id = image.id();
    let manifest = Digest::sha256(&image.manifest);
    std::fs::remove_file(store.root().join(format!("images/{}.json", id.hex()))).unwrap();
    for blob in [&id, &manifest] {
        std::fs::write(store.root().join("blobs/sha256").join(blob.hex()), "x").unwrap();
    }
    let other = store.find_image("other").unwrap().record().unwrap().clone();
    store.remove_images(&[other]).unwrap();
    let layer = Digest::sha256(&image.layers[0]);
    assert!(
        store
            .root()
            .join("layers/sha256")
            .join(layer.hex())
            .exists()
    );
    assert!(store.root().join("blobs/sha256").join(layer.hex()).exists());
    let damaged = store.find_image("app").unwrap().record().unwrap().clone();
    store.remove_images(&[damaged]).unwrap();
    for folder in ["blobs", "layers", "diffs", "images"] {
        assert_eq!(files(&store.root().join(folder)), Vec::<PathBuf>::new());
    }
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
fn what_is_discarded_while_another_deletes_is_deleted_by_that_one_or_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let names: Vec<String> = (0..1_000).map(|i| format!("file{i}")).collect();
    let entries: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "1")).collect();
    Image::new(&[layer(&entries)])
        .add(&store, Some("app"))
        .unwrap();
    let trash = store.root().join("trash");
    // What a killed deleter left.
    std::fs::create_dir(trash.join("left")).unwrap();
    std::fs::write(trash.join("left/over"), "").unwrap();

    let lock = std::fs::File::create(store.root().join("locks/trash")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let gone = store.remove_images(&store.images().unwrap()).unwrap();
    assert_eq!(gone.layers.len(), 1);
    assert_eq!(content(&store), Vec::<PathBuf>::new());
    store.empty_trash().unwrap();
    assert!(files(&trash).len() > 1_000, "somebody else is deleting");
    drop(lock);

    assert!(Store::has_trash(store.root()));
    store.empty_trash().unwrap();
    assert!(!Store::has_trash(store.root()));
}
