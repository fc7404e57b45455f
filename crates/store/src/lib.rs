//! Everything minidock keeps on disk.
//!
//! ```text
//! <root>/                      0700, owned by the caller
//!   version.json               format number and the id map that made the files
//!   oci-layout, index.json     with blobs/: a valid OCI image layout that other tools can read
//!   blobs/<alg>/<hex>          manifests, configs and layer blobs as they came
//!   diffs/<alg>-<hex>          the diff_id that this layer blob was seen to inflate to
//!   layers/<alg>/<hex>/        one extracted layer: fs/, layer.json, aside
//!   images/<hex>.json          what `run` needs of an image: its layers' folders, the root's mode
//!   flat/<hex>/fs              all files of an image, for containers without an overlay
//!   driver.json                which storage drivers work here
//!   containers/<id>/           config.json, state.json, upper/ and work/ or tree/, rootfs/, hosts, …
//!   names/<name>               symlink to the id of the container of that name
//!   volumes/<name>/            volume.json, _data/: what containers see
//!   partial/<alg>-<hex>        what came of a blob before its transfer broke off
//!   tmp/session-<hex>/         unfinished work of one process; pins: what it needs of the store
//!   reserve                    room for removing when the disk is full
//!   events/log, events/log.1   what happened, one JSON object a line
//!   trash/                     what was removed and is not deleted yet
//!   locks/                     files that are only ever locked, never read
//! ```
//!
//! # What is promised
//! - **Verified or invisible.** A blob gets its name only after its digest was checked, a layer only
//!   after blob digest, size and diff_id were; an image enters `index.json` only after all of that.
//!   Work happens below `tmp/` and is published by `rename`. A layer is made durable (`syncfs`)
//!   before it is renamed, so a folder under `layers/` is complete even after a power cut.
//! - **A layer is named by its diff_id** and shared by all images that have it, except one that can
//!   only be understood together with the layers below it (folders without an entry of their own,
//!   hard links to a lower layer's file): that one is named by its chain id. Both names are looked
//!   for, and since the two kinds of digest never collide they share a folder.
//! - **A blob is not trusted to be a layer** until it was inflated here: `diffs/` records the result,
//!   so that a config which claims another diff_id for a known blob is found out.
//! - **Locks** are `flock`s, so the kernel releases them when a process dies, however it dies. `locks/store` is held for
//!   moments only: shared by whoever looks something up and then refers to it, exclusively by whoever collects. What a long
//!   pull needs, its session has pinned. Order: one layer's or small blob's lock, `turn`, `store`, then `index` or `containers`.
//! - **What a killed process left is found by its released lock.** Every entry of `tmp/` is locked by the process that works
//!   on it; whoever adds or removes something deletes the others, and collects what they brought.
//! - **What came of a blob is not asked for again.** `partial/` keeps it for a day, also when the process that fetched it
//!   is killed; it is verified with the rest.
//! - **Nobody waits for a deletion.** It is a rename into `trash/`, where one process at a time, holding `locks/trash`,
//!   deletes what nothing refers to any more.
//! - `index.json` and every `state.json` are replaced by rename: readers take no lock.

mod check;
mod collect;
mod container;
mod driver;
mod error;
mod flat;
mod fs;
mod id_map;
mod index;
mod journal;
mod layers;
mod lock;
mod lookup;
mod partial;
mod platforms;
mod reserve;
mod root;
mod session;
mod space;
mod state;
mod tmp;
mod trash;
mod usage;
mod view;
mod volumes;

pub use check::{CheckEvent, Checked, Finding};
pub use collect::Collected;
pub use container::{CREATED, Container, NewContainer, Stopped};
pub use driver::{Driver, DriverError, DriverRecord, TriedDriver};
pub use error::StoreError;
pub use id_map::{IdExtent, IdMap, IdMapping};
pub use index::ImageRecord;
pub use journal::Journal;
pub use layers::{LayerInfo, LayerRequest, LayerSlot, LayerTxn};
pub use lock::Hold;
pub use lookup::{Found, ImageLayers, RootAttributes};
pub use platforms::{StoredIndex, is_attachment};
pub use root::Store;
pub use session::{Turn, Writer};
pub use space::Bounds;
pub use state::{ContainerState, Identity, MountKind, MountRecord, Status};
pub use usage::{Parts, Usage};
pub use volumes::{ANONYMOUS_LABEL, Filling, Volume, VolumeRecord, is_volume_name};
