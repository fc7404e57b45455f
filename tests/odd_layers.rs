//! Layers that no sane tool writes, but which are layers: the whole way through the store.

use std::fs;

use serde_json::json;
use tar::EntryType;

use crate::support::{Context, ImageTar, scenarios};

scenarios!(
    a_root_folder_that_is_closed_closes_nothing,
    a_file_of_holes_takes_no_time,
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
