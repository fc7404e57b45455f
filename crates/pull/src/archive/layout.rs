//! An OCI image layout in an archive (image specification, "Image Layout").

use minidock_oci::{
    DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Descriptor, Digest, ImageIndex, ImageManifest,
    OCI_INDEX, OCI_MANIFEST, Platform, Reference,
};

use super::{Error, Found, Member, Members};

/// The full name, as containerd and Docker write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The tag or name, as the specification has it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes within an index; one is usual, for an image of several platforms.
const MAX_DEPTH: usize = 3;

/// The images that `index.json` lists.
///
/// Several manifests of one name are one image for several platforms, of which one is chosen; a
/// lone one is taken whatever it is for, as `docker load` does.
pub fn find<'m>(members: &'m Members, platform: &Platform) -> Result<Vec<Found<'m>>, Error> {
    let index: ImageIndex = members.get("index", "index.json")?.parse()?;
    let mut names: Vec<Option<String>> = Vec::new();
    for descriptor in index.manifests() {
        let name = name(descriptor);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut found = Vec::new();
    for wanted in names {
        let mut same = index.clone();
        same.set_manifests(
            index
                .manifests()
                .iter()
                .filter(|d| name(d) == wanted && !is_attestation(d))
                .cloned()
                .collect(),
        );
        let chosen = match same.manifests().as_slice() {
            [] => continue,
            [only] => only,
            _ => choose(&same, platform)?,
        };
        let mut image = resolve(members, chosen, platform, 0)?;
        image.references = reference(wanted.as_deref()).into_iter().collect();
        found.push(image);
    }
    if found.is_empty() {
        return Err(Error::NoImage);
    }
    Ok(found)
}

/// The manifests that `index.json` lists directly.
pub fn manifests(members: &Members) -> Vec<&Member> {
    let Ok(index) = members
        .get("index", "index.json")
        .and_then(Member::parse::<ImageIndex>)
    else {
        return Vec::new();
    };
    index
        .manifests()
        .iter()
        .filter_map(|d| digest(d).ok())
        .filter_map(|d| members.blob("manifest", &d).ok())
        .collect()
}

fn name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    annotations
        .get(IMAGE_NAME)
        .or_else(|| annotations.get(REF_NAME))
        .cloned()
}

/// A name with a repository in it. A bare tag (`latest`) names nothing.
fn reference(name: Option<&str>) -> Option<Reference> {
    name.filter(|n| n.contains([':', '/']))
        .and_then(|n| n.parse().ok())
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor
        .platform()
        .as_ref()
        .is_some_and(|p| p.os().to_string() == "unknown")
}

fn choose<'i>(index: &'i ImageIndex, platform: &Platform) -> Result<&'i Descriptor, Error> {
    platform.choose(index).ok_or_else(|| Error::Platform {
        wanted: platform.to_string(),
        offered: Platform::offered(index),
    })
}

fn digest(descriptor: &Descriptor) -> Result<Digest, Error> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| Error::Missing {
        what: "blob",
        name: text,
    })
}

fn resolve<'m>(
    members: &'m Members,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: usize,
) -> Result<Found<'m>, Error> {
    if depth >= MAX_DEPTH {
        return Err(Error::Nested);
    }
    let member = members.blob("manifest", &digest(descriptor)?)?;
    match descriptor.media_type().to_string().as_str() {
        OCI_INDEX | DOCKER_MANIFEST_LIST => {
            let index: ImageIndex = member.parse()?;
            resolve(members, choose(&index, platform)?, platform, depth + 1)
        }
        media_type => {
            let manifest: ImageManifest = member.parse()?;
            let config = members.blob("config", &digest(manifest.config())?)?;
            let layers = manifest
                .layers()
                .iter()
                .map(|l| members.blob("layer", &digest(l)?))
                .collect::<Result<Vec<_>, _>>()?;
            let manifest_type = match media_type {
                DOCKER_MANIFEST => DOCKER_MANIFEST,
                _ => OCI_MANIFEST,
            };
            Ok(Found {
                references: Vec::new(),
                config,
                layers,
                manifest: Some(member),
                manifest_type: manifest_type.to_owned(),
            })
        }
    }
}
