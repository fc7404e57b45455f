//! Which ids the files of a store can have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which ids the store's files can have; files made under different maps do not mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdMap {
    /// The caller has one id: every file is the caller's, true owners are kept aside.
    Single,
    /// The caller may give files away (root with `CAP_CHOWN`): files have their true owners.
    Host,
    /// The caller has subordinate ids (subuid(5)): files have their true owners as seen from a user namespace that maps
    /// these, and all work with files is done inside it.
    Ranges,
}

impl IdMap {
    /// Whether files have their true owners. If not, all are the caller's.
    pub fn has_owners(self) -> bool {
        match self {
            Self::Single => false,
            Self::Host | Self::Ranges => true,
        }
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "single",
            Self::Host => "host",
            Self::Ranges => "ranges",
        })
    }
}

/// One line of a user namespace's map (user_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdExtent {
    /// First id inside the container.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The map that made a store's files (part of `version.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// Which kind.
    #[serde(rename = "id_map")]
    pub map: IdMap,
    /// The users of [`IdMap::Ranges`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<IdExtent>,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gids: Vec<IdExtent>,
}

impl From<IdMap> for IdMapping {
    fn from(map: IdMap) -> Self {
        Self {
            map,
            uids: Vec::new(),
            gids: Vec::new(),
        }
    }
}
