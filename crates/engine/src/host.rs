//! What the caller may do here, read once.

use std::path::Path;

use minidock_store::{IdExtent, IdMap};

/// Facts about the calling process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Effective capabilities as a bit set (capabilities(7)).
    pub capabilities: u64,
    /// The map of our user namespace.
    pub uids: Vec<IdExtent>,
    /// The same for groups.
    pub gids: Vec<IdExtent>,
}

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_SETGID`, `CAP_SETUID`, `CAP_SETFCAP`: needed to
/// make files of other owners, and to map ids other than one's own (the last one for id 0, since
/// Linux 5.12).
const GIVING_AWAY: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 31;

/// Images use ids below 2^16; whoever has fewer is as good as having one.
const ENOUGH_IDS: u64 = 1 << 16;

impl Caller {
    /// Reads the facts from `/proc/self`. What cannot be read counts as "no".
    pub fn read() -> Self {
        let text = |name: &str| {
            std::fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default()
        };
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            capabilities: effective_capabilities(&text("status")),
            uids: extents(&text("uid_map")),
            gids: extents(&text("gid_map")),
        }
    }

    /// Which ids files made by this caller can have.
    pub fn id_map(&self) -> IdMap {
        let may = self.uid == 0
            && self.capabilities & GIVING_AWAY == GIVING_AWAY
            && enough(&self.uids)
            && enough(&self.gids);
        if may { IdMap::Host } else { IdMap::Single }
    }

    /// The container's user and group maps in a store with a map: every id that we have as it is, or the one that the
    /// process is to have, mapped to the caller.
    pub fn maps(&self, map: IdMap, uid: u32, gid: u32) -> (Vec<IdExtent>, Vec<IdExtent>) {
        match map {
            IdMap::Host | IdMap::Ranges => (identity(&self.uids), identity(&self.gids)),
            IdMap::Single => {
                let one = |container, host| {
                    vec![IdExtent {
                        container,
                        host,
                        size: 1,
                    }]
                };
                (one(uid, self.uid), one(gid, self.gid))
            }
        }
    }
}

/// Whether a map has as many ids as images use.
pub fn enough(map: &[IdExtent]) -> bool {
    map.iter().map(|e| u64::from(e.size)).sum::<u64>() >= ENOUGH_IDS
}

fn identity(map: &[IdExtent]) -> Vec<IdExtent> {
    map.iter()
        .map(|extent| IdExtent {
            host: extent.container,
            ..*extent
        })
        .collect()
}

fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn extents(map: &str) -> Vec<IdExtent> {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(str::parse);
            let mut next = || fields.next()?.ok();
            Some(IdExtent {
                container: next()?,
                host: next()?,
                size: next()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32, capabilities: u64, map: &str) -> Caller {
        Caller {
            uid,
            gid: uid,
            capabilities,
            uids: extents(map),
            gids: extents(map),
        }
    }

    const ALL: &str = "         0          0 4294967295\n";

    #[test]
    fn only_a_root_that_can_give_files_away_has_the_host_map() {
        assert_eq!(caller(0, u64::MAX, ALL).id_map(), IdMap::Host);
        assert_eq!(caller(1000, 0, ALL).id_map(), IdMap::Single);
        assert_eq!(caller(0, 0, ALL).id_map(), IdMap::Single);
        assert_eq!(caller(0, !(1 << 7), ALL).id_map(), IdMap::Single);
        // Root of a user namespace with a single id.
        assert_eq!(caller(0, u64::MAX, "0 1000 1\n").id_map(), IdMap::Single);
        assert_eq!(
            caller(0, u64::MAX, "0 1000 1\n1 100000 65536\n").id_map(),
            IdMap::Host
        );
    }

    #[test]
    fn a_single_id_is_mapped_to_the_wanted_one() {
        let (uids, gids) = caller(1234, 0, ALL).maps(IdMap::Single, 1000, 7);
        let one = |container| {
            vec![IdExtent {
                container,
                host: 1234,
                size: 1,
            }]
        };
        assert_eq!((uids, gids), (one(1000), one(7)));
    }

    #[test]
    fn reads_capabilities_from_status() {
        assert_eq!(
            effective_capabilities("Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n"),
            0x1ff_ffff_ffff
        );
        assert_eq!(effective_capabilities(""), 0);
    }
}
