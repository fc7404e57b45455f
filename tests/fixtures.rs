//! The project's own images: made the same each time, and as Docker would have made them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{repository, sha256};

fn digests(folder: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, sha256(&fs::read(path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn are_byte_for_byte_the_same_each_time() {
    let temp = tempfile::tempdir().unwrap();
    let make = |name: &str, shell: &str| {
        let folder = temp.path().join(name);
        let status = Command::new("sh")
            .args(["-c", &format!("{shell}; exec \"$0\" \"$1\"")])
            .arg(repository().join("fixtures/make-images.sh"))
            .arg(&folder)
            .status()
            .unwrap();
        assert!(status.success());
        digests(&folder)
    };
    let first = make("first", "umask 022");
    let second = make(
        "second",
        "umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8; cd /",
    );
    assert_eq!(first, second);
    assert!(first.contains_key("docker-20.tar.gz"), "{first:?}");
}

#[test]
fn name_their_blobs_by_digest() {
    for layout in ["busybox", "app", "multi"] {
        let blobs = digests(&crate::support::fixtures().join(layout).join("blobs/sha256"));
        assert!(blobs.len() >= 3, "{layout}: {blobs:?}");
        for (name, digest) in blobs {
            assert_eq!(format!("sha256:{name}"), digest, "{layout}");
        }
    }
}
