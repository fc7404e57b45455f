//! Layers that no sane tool writes, but which are layers: the whole way through the store.

use std::fs;

use serde_json::json;
use tar::EntryType;

use crate::support::{Context, ImageTar, scenarios};

scenarios!(
    a_root_folder_that_is_closed_closes_nothing,
    a_file_of_holes_takes_no_time,
    capabilities_of_files_go_where_the_files_go,
);

fn add(tar: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

fn load(cx: &Context, mut layer: tar::Builder<Vec<u8>>) {
    let busybox = fs::read("/bin/busybox").unwrap();
    add(&mut layer, EntryType::Regular, "busybox", 0o755, &busybox);
    let config = json!({"Entrypoint": ["/busybox"]});
    let image = ImageTar::new("odd:1", layer.into_inner().unwrap(), config);
    let file = cx.write("image.tar", image.tar());
    cx.run(["load", "-q", "-i", file.to_str().unwrap()])
        .silent_ok();
}

fn a_root_folder_that_is_closed_closes_nothing(cx: &Context) {
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, EntryType::Directory, "./", 0o000, b"");
    load(cx, layer);
    let seen = cx.run(["run", "--name", "c1", "odd:1", "ls", "/busybox"]);
    assert_eq!(seen.silent_ok(), "/busybox\n");
    assert_eq!(cx.run(["diff", "c1"]).silent_ok(), "");
    cx.run(["export", "-o", "out.tar", "c1"]).silent_ok();
    cx.run(["commit", "c1", "odd:2"]).silent_ok();
    cx.run(["run", "--rm", "odd:2", "true"]).silent_ok();
    cx.run(["system", "check"]).silent_ok();
    cx.run(["rm", "c1"]).silent_ok();
    cx.run(["rmi", "odd:1", "odd:2"]).silent_ok();
}

/// Half a terabyte of zeros: whoever reads them all never ends.
fn a_file_of_holes_takes_no_time(cx: &Context) {
    let size: u64 = 500 << 30;
    let mut layer = tar::Builder::new(Vec::new());
    layer
        .append_pax_extensions([
            ("GNU.sparse.major", &b"1"[..]),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"hole"),
            ("GNU.sparse.realsize", size.to_string().as_bytes()),
        ])
        .unwrap();
    // One byte, which begins no block.
    let mut content = b"1\n99999\n1\n".to_vec();
    content.resize(512, 0);
    content.push(b'x');
    add(&mut layer, EntryType::Regular, "hole", 0o644, &content);
    load(cx, layer);
    let script = ["run", "--name", "c1", "odd:1", "stat", "-c", "%s", "/hole"];
    assert_eq!(cx.run(script).silent_ok(), format!("{size}\n"));
    assert_eq!(cx.run(["diff", "c1"]).silent_ok(), "");
    cx.run(["export", "-o", "out.tar", "c1"]).silent_ok();
    let written = fs::metadata(cx.work().join("out.tar")).unwrap().len();
    assert!(written < 10 << 20, "{written} bytes are no sparse file");
    cx.run(["import", "out.tar", "odd:2"]).silent_ok();
    cx.run(["system", "check"]).silent_ok();
}

/// Whether the file system may hold it or not: what the image gave comes back.
fn capabilities_of_files_go_where_the_files_go(cx: &Context) {
    // cap_net_bind_service+ep, version 2 (capabilities(7)).
    let value = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let key = "SCHILY.xattr.security.capability";
    let mut layer = tar::Builder::new(Vec::new());
    for name in ["kept", "touched"] {
        layer.append_pax_extensions([(key, &value[..])]).unwrap();
        add(&mut layer, EntryType::Regular, name, 0o755, b"program");
    }
    load(cx, layer);
    let script = ["run", "--name", "c1", "odd:1", "chmod", "700", "/touched"];
    cx.run(script).silent_ok();
    cx.run(["commit", "c1", "odd:2"]).silent_ok();
    cx.run(["run", "--name", "c2", "odd:2", "true"]).silent_ok();
    for container in ["c1", "c2"] {
        cx.run(["export", "-o", "out.tar", container]).silent_ok();
        let mut archive = tar::Archive::new(fs::File::open(cx.work().join("out.tar")).unwrap());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let Some(extensions) = entry.pax_extensions().unwrap() else {
                continue;
            };
            let mut extensions = extensions.map(Result::unwrap);
            if extensions.any(|e| e.key() == Ok(key) && e.value_bytes() == value) {
                found.push(path);
            }
        }
        found.sort();
        assert_eq!(found, ["kept", "touched"], "{container}");
    }
}
