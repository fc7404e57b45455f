//! Subordinate ids: which ones the host grants (subuid(5), subgid(5)), and the map made of them.

use minidock_store::IdExtent;

/// A range that is granted: first id and number.
pub type Grant = (u32, u32);

/// The grants of a user in the text of `/etc/subuid` or `/etc/subgid`: of all lines that name him, by name or number.
pub fn grants(text: &str, names: &[String]) -> Vec<Grant> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            names.iter().any(|n| n == owner).then_some((first, count))
        })
        .collect()
}

/// The grants in what `getsubids` prints: `INDEX: OWNER FIRST COUNT`, one a line.
pub fn listed(text: &str) -> Vec<Grant> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            fields.next()?.strip_suffix(':')?.parse::<u32>().ok()?;
            fields.next()?;
            let grant = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            fields.next().is_none().then_some(grant)
        })
        .collect()
}

/// The names that a user's lines may bear: his number, his name in the text of `/etc/passwd`, and the one he logged in as,
/// for a user whom only a directory service knows. (newuidmap(1) has the last word on whose a range is.)
pub fn names(uid: u32, passwd: &str, login: Option<&str>) -> Vec<String> {
    let number = uid.to_string();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    let name = known.or_else(|| login.map(str::to_owned));
    [Some(number), name].into_iter().flatten().collect()
}

/// The map: 0 is the caller, the grants follow from 1 on. Ids that would be mapped twice, which the kernel refuses, are left
/// out.
pub fn extents(own: u32, grants: &[Grant]) -> Vec<IdExtent> {
    let mut map = vec![IdExtent {
        container: 0,
        host: own,
        size: 1,
    }];
    let mut next: u32 = 1;
    for &(first, count) in grants {
        // The largest id is no id (-1).
        let count = count.min(u32::MAX - next).min(u32::MAX - first);
        let taken = map.iter().any(|e| {
            let (low, high) = (u64::from(e.host), u64::from(e.host) + u64::from(e.size));
            u64::from(first) < high && low < u64::from(first) + u64::from(count)
        });
        if count == 0 || taken {
            continue;
        }
        map.push(IdExtent {
            container: next,
            host: first,
            size: count,
        });
        next += count;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let text =
            "bob:200000:65536\nann:100000:65536\n1000:500000:10\n10001:1:1\nann:bad:1\nann\n";
        let ann = names(1000, passwd, Some("somebody"));
        assert_eq!(ann, ["1000", "ann"]);
        assert_eq!(grants(text, &ann), [(100_000, 65_536), (500_000, 10)]);
        assert_eq!(names(7, passwd, Some("carl")), ["7", "carl"]);
        assert_eq!(names(7, passwd, None), ["7"]);
    }

    #[test]
    fn what_getsubids_lists_are_grants() {
        let text =
            "0: ann 100000 65536\n1: ann 300000 10\nError\n2: ann x 1\n: a 1 2\n3: a 1 2 3\n";
        assert_eq!(listed(text), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(listed(""), []);
    }

    #[test]
    fn the_caller_is_root_and_the_ranges_follow() {
        let extent = |container, host, size| IdExtent {
            container,
            host,
            size,
        };
        assert_eq!(
            extents(1000, &[(100_000, 65_536), (500_000, 10)]),
            [
                extent(0, 1000, 1),
                extent(1, 100_000, 65_536),
                extent(65_537, 500_000, 10)
            ]
        );
        // Nothing twice, and no id beyond the last.
        let odd = [
            (990, 20),
            (100_000, 5),
            (100_004, 9),
            (u32::MAX - 3, 100),
            (7, 0),
        ];
        assert_eq!(
            extents(1000, &odd),
            [
                extent(0, 1000, 1),
                extent(1, 100_000, 5),
                extent(6, u32::MAX - 3, 3)
            ]
        );
    }
}
