//! Image archives: `manifest.json`, `index.json` and what they name.

use std::io::{Seek, Write};

use minidock_oci::{Digest, Platform};
use minidock_store::{IdMap, Store};

use crate::tar::entry;

/// Loads an archive into a store of its own. Bytes that start with `{` are an `index.json`, with `[` a `manifest.json`, in an
/// archive that has what they may name; others are an archive as they are.
pub fn load(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), IdMap::Single).unwrap();
    let archive = match bytes.first() {
        Some(b'[') => image(&[("manifest.json", bytes)]),
        Some(b'{') => image(&[
            ("index.json", bytes),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ]),
        _ => bytes.to_vec(),
    };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&archive).unwrap();
    file.rewind().unwrap();
    if let Ok(loaded) = minidock_pull::archive::load(
        &store,
        file,
        &Platform::host(),
        minidock_store::Bounds::default(),
    ) {
        assert!(loaded.len() <= bytes.len());
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["store"], "something beside the store");
}

/// An archive with a layer, a config and a manifest under the names that both formats give them.
pub fn image(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (layer, config, manifest) = content();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::sha256(bytes).hex());
    let mut archive = Vec::new();
    let content = [
        ("layer.tar".to_owned(), &layer),
        ("config.json".to_owned(), &config),
        (blob(&layer), &layer),
        (blob(&config), &config),
        (blob(&manifest), &manifest),
    ];
    for (name, bytes) in content {
        archive.extend(entry(b'0', name.as_bytes(), b"", 0o644, bytes));
    }
    archive.extend(entry(b'2', b"link/layer.tar", b"../layer.tar", 0o777, b""));
    for (name, bytes) in members {
        archive.extend(entry(b'0', name.as_bytes(), b"", 0o644, bytes));
    }
    archive.extend([0; 1024]);
    archive
}

/// A layer, its config and its manifest.
pub fn content() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut layer = entry(b'0', b"hello", b"", 0o644, b"hello");
    layer.extend([0; 1024]);
    let diff_id = Digest::sha256(&layer);
    let platform = Platform::host();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["/hello"],"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"history":[{{"created_by":"x"}}]}}"#,
        platform.to_string().split('/').nth(1).unwrap_or("amd64"),
    )
    .into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{}","size":{}}}"#,
            Digest::sha256(bytes),
            bytes.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor("config.v1+json", &config),
        descriptor("layer.v1.tar", &layer)
    )
    .into_bytes();
    (layer, config, manifest)
}
