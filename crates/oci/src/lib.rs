//! The nouns of minidock: digests, references, platforms, image configs. No I/O.
//!
//! Thin over [`oci_spec`]: descriptors, manifests and indexes are its types, re-exported here.
//! What stands here of our own is what foreign bytes make necessary:
//!
//! - [`Digest`] names stored bytes, [`DiffId`] the uncompressed tar of a layer, [`ChainId`] a layer
//!   together with all below it. They are different types because swapping them is the classic bug.
//! - [`Reference`] normalises a name as Docker does (`busybox` is `docker.io/library/busybox:latest`).
//! - [`Platform`] parses `os/arch[/variant]` and chooses from an image index.
//! - [`ImageConfig`] accepts what builders really write (`null` where a list belongs, unknown keys).

mod config;
mod digest;
mod platform;
mod reference;

pub use config::{ConfigError, ContainerConfig, History, ImageConfig, RootFs};
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, Hasher};
pub use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};

/// Media type of an image index as Docker names it ("manifest list", Docker Registry v2, schema 2).
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of an image manifest as Docker names it (Docker Registry v2, schema 2).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed OCI layer.
pub const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Largest manifest, index or config that is read, in bytes (the distribution specification asks
/// registries to accept manifests up to this size, and no real one comes near it).
pub const MAX_MANIFEST_SIZE: u64 = 4 * 1024 * 1024;
