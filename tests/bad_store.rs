//! Stores that cannot be used, or not for everything: one clear error, and nothing is lost.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Context, scenarios};

scenarios!(a_store_that_cannot_be_used);

fn a_store_that_cannot_be_used(cx: &Context) {
    let file = cx.write("a-file", "");
    for root in [
        file.as_path(),
        Path::new("/proc/minidock"),
        Path::new("/dev/null/x"),
    ] {
        let mut command = cx.command(["images"]);
        command.env("MINIDOCK_ROOT", root);
        let output = cx.finish(command);
        assert!(output.error(1).contains(root.to_str().unwrap()), "{output}");
    }
    // A later format than this one knows.
    cx.run(["images"]).ok();
    let version = cx.root().join("version.json");
    let text = fs::read_to_string(&version).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = json
        .as_object_mut()
        .unwrap()
        .values_mut()
        .find(|value| value.is_u64())
        .unwrap();
    *number = json!(999_999);
    fs::write(&version, json.to_string()).unwrap();
    let output = cx.run(["images"]);
    assert!(output.error(1).contains("999999"), "{output}");
    fs::write(&version, text).unwrap();
    cx.run(["images"]).silent_ok();
}
