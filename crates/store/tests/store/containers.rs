//! Containers, their names, and what keeps them.

use minidock_store::{ContainerState, NewContainer, Status, Store, StoreError};

use crate::support::{Image, layer, store};

pub fn state(store: &Store, name: &str, image: &Image, layers: Vec<String>) -> ContainerState {
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
        ..ContainerState::default()
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
        created: b"{}",
    };
    let first = state(&store, "web", &image, layers.folders.clone());
    let container = store
        .create_container(&store.hold().unwrap(), &new, &first)
        .unwrap();
    let second = state(&store, "web", &image, layers.folders.clone());
    let error = store
        .create_container(&store.hold().unwrap(), &new, &second)
        .unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");
    assert_eq!(store.containers().unwrap().len(), 1);

    let record = store.find_image("app").unwrap().record().unwrap().clone();
    store.remove_images(&[record]).unwrap();
    let tree = layers.trees(&store).remove(0);
    assert!(tree.join("a").exists(), "a container's layer was collected");

    assert_eq!(store.find_container("web").unwrap().id(), first.id);
    assert_eq!(store.find_container(&first.id[..6]).unwrap().id(), first.id);
    container.remove().unwrap();
    assert!(matches!(
        store.find_container("web"),
        Err(StoreError::NoSuchContainer(_))
    ));
    store
        .create_container(&store.hold().unwrap(), &new, &second)
        .unwrap();
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
        store.create_container(
            &store.hold().unwrap(),
            &NewContainer {
                name,
                root,
                created: b"{}",
            },
            &state,
        )
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
        created: b"{}",
    };
    let wanted = state(&store, "web", &image, layers.folders);
    store
        .create_container(&store.hold().unwrap(), &new, &wanted)
        .unwrap();
    assert_eq!(store.find_container("web").unwrap().id(), wanted.id);
}

#[test]
fn a_container_that_another_process_removes_is_gone_for_who_still_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let image = Image::new(&[layer(&[("a", "1")])]);
    image.add(&store, Some("app")).unwrap();
    let config = store.image_config(&image.id()).unwrap();
    let layers = store.image_layers(&image.id(), &config).unwrap();
    let new = NewContainer {
        name: "web",
        root: layers.root,
        created: b"{}",
    };
    let wanted = state(&store, "web", &image, layers.folders);
    let hold = store.hold().unwrap();
    drop(store.create_container(&hold, &new, &wanted).unwrap());
    drop(hold);
    let known = store.find_container("web").unwrap();
    assert!(!known.is_supervised().unwrap());
    assert!(known.keep_stopped().unwrap().is_some());
    store.find_container("web").unwrap().remove().unwrap();
    assert!(!known.is_supervised().unwrap());
    assert!(matches!(
        known.keep_stopped(),
        Err(StoreError::NoSuchContainer(_))
    ));
    known.remove().unwrap();
}
