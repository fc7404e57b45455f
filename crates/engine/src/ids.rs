//! Which id map a store gets, and entering it.
//!
//! A new store is made with the best map that the host gives: true owners for root, subordinate ranges for a user who has them
//! and whose newuidmap works (which is tried), one id otherwise. From then on the store keeps its map: what the host can
//! give later does not matter, what it can no longer give is an error.
//!
//! A process enters the ranges of a store when it is about to work with files ([`Ids::enter`]), and not before: verbs that
//! only read small state do without, and a container can be ended only from outside.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use minidock_run::{MapWriters, RangeMaps};
use minidock_store::{IdExtent, IdMap, IdMapping, Store, StoreError};

use crate::{Caller, Error, host, subids};

/// Which map a new store is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdMapChoice {
    /// The best that the host gives.
    #[default]
    Auto,
    /// One id.
    Single,
    /// Subordinate ranges, or an error.
    Ranges,
}

/// What the caller's environment says about him and his programs.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where programs are looked for (`PATH`).
    pub search: OsString,
    /// The name under which the caller logged in.
    pub login: Option<String>,
}

/// The caller, outside and, once entered, inside a store's map.
#[derive(Debug)]
pub struct Ids {
    outside: Caller,
    inside: OnceLock<Caller>,
    surroundings: Surroundings,
}

impl Ids {
    /// Reads who the caller is.
    pub fn new(surroundings: Surroundings) -> Self {
        Self {
            outside: Caller::read(),
            inside: OnceLock::new(),
            surroundings,
        }
    }

    /// Where programs are looked for.
    pub fn search(&self) -> &std::ffi::OsStr {
        &self.surroundings.search
    }

    /// The caller as he is now.
    pub fn caller(&self) -> &Caller {
        self.inside.get().unwrap_or(&self.outside)
    }

    /// Opens the store in `root`, making it with the wanted map when nothing is there.
    ///
    /// # Errors
    /// When it cannot be opened, its map is not one that this caller can have, or not the one that is wanted.
    pub fn open(&self, root: &Path, choice: IdMapChoice) -> Result<Store, Error> {
        let Some(store) = Store::find(root)? else {
            let store = Store::open(root, self.choose(choice)?)?;
            return Ok(store);
        };
        let found = store.id_map();
        let wanted = match choice {
            // What a process can be that already is inside, as after an implicit pull.
            _ if found == IdMap::Ranges && self.is_inside(store.id_mapping()) => {
                let _ = self.inside.set(self.outside.clone());
                found
            }
            IdMapChoice::Ranges => IdMap::Ranges,
            IdMapChoice::Single => IdMap::Single,
            IdMapChoice::Auto => match self.outside.id_map() {
                IdMap::Single if found == IdMap::Ranges => IdMap::Ranges,
                map => map,
            },
        };
        if found != wanted || (wanted == IdMap::Single && self.outside.id_map() != wanted) {
            return Err(Error::Store(StoreError::IdMap {
                path: root.to_owned(),
                found,
                wanted: if found == wanted { IdMap::Host } else { wanted },
            }));
        }
        Ok(store)
    }

    /// The map of a store that does not say it any more: what is wanted, or else what its files show.
    ///
    /// # Errors
    /// When the caller cannot have that map.
    pub fn guess(&self, root: &Path, choice: IdMapChoice) -> Result<IdMapping, Error> {
        self.choose(match choice {
            IdMapChoice::Auto if self.outside.id_map() == IdMap::Single => {
                match Store::has_files_of_others(root) {
                    true => IdMapChoice::Ranges,
                    false => IdMapChoice::Single,
                }
            }
            choice => choice,
        })
    }

    /// The map of a new store.
    fn choose(&self, choice: IdMapChoice) -> Result<IdMapping, Error> {
        let plain = self.outside.id_map();
        match choice {
            IdMapChoice::Single if plain == IdMap::Host => Err(Error::NoRanges {
                map: "single",
                why: "this process can give files to any owner, so it needs no map".into(),
            }),
            IdMapChoice::Ranges if plain == IdMap::Host => Err(Error::NoRanges {
                map: "ranges",
                why: "this process can give files to any owner, so it needs no map".into(),
            }),
            IdMapChoice::Single => Ok(plain.into()),
            IdMapChoice::Ranges => self
                .ranges()
                .map_err(|why| Error::NoRanges { map: "ranges", why }),
            IdMapChoice::Auto if plain == IdMap::Host => Ok(plain.into()),
            IdMapChoice::Auto => Ok(self
                .ranges()
                .ok()
                .filter(|m| host::enough(&m.uids) && host::enough(&m.gids))
                .unwrap_or_else(|| plain.into())),
        }
    }

    /// The ranges that the host grants, if they can really be had; else why not.
    pub(crate) fn ranges(&self) -> Result<IdMapping, String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let Caller { uid, gid, .. } = self.outside;
        let names = subids::names(
            uid,
            &read("/etc/passwd"),
            self.surroundings.login.as_deref(),
        );
        let granted = |path: &str, flags: &[&str]| {
            let mut grants = subids::grants(&read(path), &names);
            if grants.is_empty() {
                grants = self.listed(flags, &names);
            }
            if grants.is_empty() {
                return Err(format!("{path} grants nothing to {}", names.join(" or ")));
            }
            Ok(grants)
        };
        let mapping = IdMapping {
            map: IdMap::Ranges,
            uids: subids::extents(uid, &granted("/etc/subuid", &[])?),
            gids: subids::extents(gid, &granted("/etc/subgid", &["-g"])?),
        };
        minidock_run::try_ranges(&maps(&mapping), &self.writers()?).map_err(|e| e.to_string())?;
        Ok(mapping)
    }

    /// The ranges that a directory service grants (`subid` in nsswitch.conf(5)), as getsubids(1) lists them where it is
    /// installed. What it cannot tell is not granted.
    fn listed(&self, flags: &[&str], names: &[String]) -> Vec<subids::Grant> {
        let Some(program) = minidock_run::find_program("getsubids", &self.surroundings.search)
        else {
            return Vec::new();
        };
        let list = |name: &String| {
            let output = Command::new(&program)
                .args(flags)
                .arg(name)
                .env_clear()
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
                .ok()?;
            let grants = subids::listed(&String::from_utf8_lossy(&output.stdout));
            (output.status.success() && !grants.is_empty()).then_some(grants)
        };
        // It wants names; the number is the last resort.
        names.iter().rev().find_map(list).unwrap_or_default()
    }

    fn writers(&self) -> Result<MapWriters, String> {
        MapWriters::find(&self.surroundings.search)
            .ok_or_else(|| "newuidmap and newgidmap are not installed".to_owned())
    }

    /// Whether this process's own user namespace has the map.
    fn is_inside(&self, mapping: &IdMapping) -> bool {
        let same = |ours: &[IdExtent], theirs: &[IdExtent]| {
            let sorted = |map: &[IdExtent]| {
                let mut map = map.to_vec();
                map.sort_unstable();
                map
            };
            sorted(ours) == sorted(theirs)
        };
        self.outside.uid == 0
            && same(&self.outside.uids, &mapping.uids)
            && same(&self.outside.gids, &mapping.gids)
    }

    /// Moves this process to where the store's files have their owners. Nothing happens in a store without ranges, and
    /// the second time. The process has to have one thread.
    ///
    /// # Errors
    /// When the host does not give the store's ranges any more.
    pub fn enter(&self, store: &Store) -> Result<(), Error> {
        if store.id_map() != IdMap::Ranges || self.inside.get().is_some() {
            return Ok(());
        }
        let gone = |why: String| Error::RangesGone {
            root: store.root().to_owned(),
            why,
        };
        let writers = self.writers().map_err(gone)?;
        match minidock_run::enter(&maps(store.id_mapping()), &writers) {
            Err(minidock_run::Error::Ranges(said)) => Err(gone(said)),
            Err(other) => Err(other.into()),
            Ok(()) => {
                let _ = self.inside.set(Caller::read());
                Ok(())
            }
        }
    }

    /// [`enter`](Self::enter), and where the store has one id, to where that is root's: files whose mode forbids their owner to
    /// read them can be read then. From there, containers that run are out of reach.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn enter_as_root(&self, store: &Store) -> Result<(), Error> {
        self.enter(store)?;
        if store.id_map() == IdMap::Single
            && self.inside.get().is_none()
            && minidock_run::become_own_root()?
        {
            let _ = self.inside.set(Caller::read());
        }
        Ok(())
    }
}

fn maps(mapping: &IdMapping) -> RangeMaps {
    let triples = |map: &[IdExtent]| map.iter().map(|e| [e.container, e.host, e.size]).collect();
    RangeMaps {
        uids: triples(&mapping.uids),
        gids: triples(&mapping.gids),
    }
}
