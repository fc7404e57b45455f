//! What is done with foreign bytes, whatever they are: nothing panics, nothing hangs, and nothing outside changes.
//!
//! Each target is a plain function of bytes. `cargo test -p minidock-fuzzed` calls it with every file of its corpus
//! (`tests/fuzz/corpus/TARGET`) and with a fixed number of mutations of each; `make fuzz` lets libFuzzer look further.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests that cannot go on has failed"
)]

mod archive;
mod gzip;
mod layers;
mod seeds;
mod tar;

use minidock_oci::{ChainId, Digest, ImageConfig, ImageIndex, ImageManifest, Platform, Reference};

pub use seeds::seeds;

/// Does something with bytes, and panics if it goes wrong.
pub type Target = fn(&[u8]);

/// Name and function of each target.
pub const TARGETS: [(&str, Target); 7] = [
    ("gzip", gzip::decode),
    ("tar", tar::read),
    ("layers", layers::apply),
    ("archive", archive::load),
    ("manifest", manifest),
    ("config", config),
    ("names", names),
];

/// Manifests and indexes, as registries and archives bring them.
fn manifest(bytes: &[u8]) {
    if let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes) {
        for platform in ["linux/amd64", "linux/arm/v7", "linux"] {
            if let Ok(platform) = platform.parse::<Platform>()
                && let Some(chosen) = platform.choose(&index)
            {
                let _ = chosen.digest().to_string().parse::<Digest>();
            }
        }
        let _ = Platform::offered(&index);
    }
    if let Ok(manifest) = serde_json::from_slice::<ImageManifest>(bytes) {
        for layer in manifest.layers() {
            let _ = layer.digest().to_string().parse::<Digest>();
        }
    }
}

fn config(bytes: &[u8]) {
    if let Ok(config) = ImageConfig::parse(bytes) {
        let _ = config.check_layer_count(config.rootfs.diff_ids.len());
        let _ = config.platform();
        let chain = ChainId::of_stack(&config.rootfs.diff_ids);
        assert_eq!(chain.len(), config.rootfs.diff_ids.len());
    }
}

/// References, digests and platforms. What is accepted says the same when it is written and read again, and is safe as a
/// file name where it becomes one.
fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        assert_eq!(written.parse::<Reference>().unwrap(), reference, "{text:?}");
        let familiar = reference.familiar();
        assert_eq!(
            familiar.parse::<Reference>().unwrap(),
            reference,
            "{text:?}"
        );
        for part in reference.repository().split('/') {
            assert!(!matches!(part, "" | "." | ".."), "{text:?}");
        }
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|b| b.is_ascii_hexdigit()));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let written = platform.to_string();
        assert_eq!(written.parse::<Platform>().unwrap(), platform, "{text:?}");
    }
}
