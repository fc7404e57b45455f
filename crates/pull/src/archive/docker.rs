//! `manifest.json`: Docker's own index of an archive.

use std::collections::HashMap;

use minidock_oci::{Digest, ImageManifest, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST, Reference};
use serde::{Deserialize, Deserializer};

use super::{Error, Found, Member, Members, layout};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    layers: Vec<String>,
}

fn null_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}

/// The images that `manifest.json` lists.
pub fn find(members: &Members) -> Result<Vec<Found<'_>>, Error> {
    let entries: Vec<Entry> = members.get("manifest", "manifest.json")?.parse()?;
    if entries.is_empty() {
        return Err(Error::NoImage);
    }
    let manifests = manifests_by_config(members);
    entries
        .iter()
        .map(|entry| {
            let references = entry
                .repo_tags
                .iter()
                .map(|tag| {
                    tag.parse::<Reference>().map_err(|source| Error::Name {
                        name: tag.clone(),
                        source,
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let config = members.get("config", &entry.config)?;
            let layers = entry
                .layers
                .iter()
                .map(|layer| members.get("layer", layer))
                .collect::<Result<Vec<_>, _>>()?;
            let manifest = manifests.get(&config.digest()?).filter(|(_, digests)| {
                let known = layers.iter().map(|l| l.known_digest());
                digests.iter().cloned().map(Some).eq(known)
            });
            Ok(Found {
                references,
                config,
                layers,
                manifest: manifest.map(|(member, _)| *member),
                manifest_type: OCI_MANIFEST.to_owned(),
            })
        })
        .collect()
}

/// The OCI manifests that an archive of Docker 25 or later has as well, so that the image keeps its
/// digest. They are an extra: what is odd about them is passed over, `manifest.json` has it all.
fn manifests_by_config(members: &Members) -> HashMap<Digest, (&Member, Vec<Digest>)> {
    let mut found = HashMap::new();
    for member in layout::manifests(members) {
        let Ok(manifest) = member.parse::<ImageManifest>() else {
            continue;
        };
        let digests: Option<Vec<Digest>> = manifest
            .layers()
            .iter()
            .map(|l| l.digest().to_string().parse().ok())
            .collect();
        if let (Ok(config), Some(layers)) =
            (manifest.config().digest().to_string().parse(), digests)
        {
            found.insert(config, (member, layers));
        }
    }
    found
}

/// An OCI manifest for an image that came without one; the same bytes each time.
pub fn make_manifest(config: &Digest, config_size: u64, layers: &[(&Member, Digest)]) -> Vec<u8> {
    let layer = |(member, digest): &(&Member, Digest)| {
        serde_json::json!({
            "mediaType": layer_type(member.magic),
            "digest": digest,
            "size": member.size,
        })
    };
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config, "size": config_size},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}

fn layer_type(magic: [u8; minidock_layer::MAGIC]) -> String {
    match magic {
        [0x1f, 0x8b, ..] => format!("{OCI_LAYER_TAR}+gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => format!("{OCI_LAYER_TAR}+zstd"),
        _ => OCI_LAYER_TAR.to_owned(),
    }
}
