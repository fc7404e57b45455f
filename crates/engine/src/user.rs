//! Who a container runs as: the image's or the caller's `user[:group]`, looked up in the image's own
//! `/etc/passwd` and `/etc/group` before the clone. Pure: texts in, ids out.
//!
//! As in Docker, a name must exist in the image's files and a number need not; a number that is there
//! brings its group and home along.

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
pub(crate) const MAX_FILE: usize = 4 << 20;

/// Ids and home of a container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups, sorted.
    pub additional_gids: Vec<u32>,
    /// Home folder; `/` where the files know none.
    pub home: String,
}

/// Why a user cannot be resolved.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// The name is not in the image.
    #[error("unable to find user {0}: no matching entries in the image's /etc/passwd")]
    NoUser(String),
    /// The group is not in the image.
    #[error("unable to find group {0}: no matching entries in the image's /etc/group")]
    NoGroup(String),
    /// A number is no id.
    #[error("{0:?} is no valid id: ids are 0 to 4294967294")]
    BadId(String),
}

struct Passwd<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else {
            return None;
        };
        Some(Passwd {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: rest.get(1).copied().unwrap_or(""),
        })
    })
}

struct Group<'t> {
    name: &'t str,
    gid: u32,
    members: Vec<&'t str>,
}

fn group_entries(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, gid, rest @ ..] = fields.as_slice() else {
            return None;
        };
        Some(Group {
            name,
            gid: gid.parse().ok()?,
            members: rest.first().map_or(Vec::new(), |m| m.split(',').collect()),
        })
    })
}

/// A number, if the text is meant as one. 2^32-1 means "unchanged" to the kernel and is no id.
fn numeric(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(UserError::BadId(text.to_owned())),
    }
}

/// Resolves `user[:group]`; an empty text is root.
///
/// # Errors
/// When a name is unknown or a number is out of range.
pub fn resolve(wanted: &str, passwd: &str, group: &str) -> Result<ResolvedUser, UserError> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let id = numeric(user)?;
    let found = passwd_entries(passwd).find(|p| p.name == user || id == Some(p.uid));
    let uid = match (&found, id) {
        (_, Some(id)) => id,
        (Some(p), None) => p.uid,
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    let mut additional_gids = Vec::new();
    let gid = match wanted_group {
        Some(wanted) => {
            let id = numeric(wanted)?;
            match group_entries(group).find(|g| g.name == wanted) {
                Some(g) => g.gid,
                None => id.ok_or_else(|| UserError::NoGroup(wanted.to_owned()))?,
            }
        }
        None => {
            if let Some(p) = &found {
                additional_gids = group_entries(group)
                    .filter(|g| g.members.contains(&p.name))
                    .map(|g| g.gid)
                    .collect();
            }
            found.as_ref().map_or(0, |p| p.gid)
        }
    };
    additional_gids.sort_unstable();
    additional_gids.dedup();
    let home = found.map_or("/", |p| if p.home.is_empty() { "/" } else { p.home });
    Ok(ResolvedUser {
        uid,
        gid,
        additional_gids,
        home: home.to_owned(),
    })
}

/// Groups by name or number. A name must be in the image's file, a number need not.
///
/// # Errors
/// When a name is unknown or a number is out of range.
pub fn groups(wanted: &[String], group: &str) -> Result<Vec<u32>, UserError> {
    let find = |wanted: &String| {
        let id = numeric(wanted)?;
        match group_entries(group).find(|g| g.name == wanted) {
            Some(found) => Ok(found.gid),
            None => id.ok_or_else(|| UserError::NoGroup(wanted.clone())),
        }
    };
    wanted.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a remark\nbroken\n\
        app:x:1000:1001:App:/home/app:/bin/sh\n42:x:7:8::/seven:\nnohome:x:5:6\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\naudio:x:3:app\n";

    #[test]
    fn resolves_as_docker_does() {
        let user = |uid, gid, extra: &[u32], home: &str| ResolvedUser {
            uid,
            gid,
            additional_gids: extra.to_vec(),
            home: home.to_owned(),
        };
        let cases = [
            ("", user(0, 0, &[10], "/root")),
            ("root", user(0, 0, &[10], "/root")),
            ("app", user(1000, 1001, &[3, 10], "/home/app")),
            ("1000", user(1000, 1001, &[3, 10], "/home/app")),
            ("app:wheel", user(1000, 10, &[], "/home/app")),
            ("app:77", user(1000, 77, &[], "/home/app")),
            ("app:", user(1000, 1001, &[3, 10], "/home/app")),
            (":wheel", user(0, 10, &[], "/root")),
            ("4242", user(4242, 0, &[], "/")),
            ("4242:4343", user(4242, 4343, &[], "/")),
            ("nohome", user(5, 6, &[], "/")),
        ];
        for (wanted, expected) in cases {
            assert_eq!(
                resolve(wanted, PASSWD, GROUP).unwrap(),
                expected,
                "{wanted}"
            );
        }
    }

    #[test]
    fn further_groups_are_found_by_name_and_number() {
        let found = |wanted: &str| groups(&[wanted.to_owned()], GROUP);
        assert_eq!(found("wheel"), Ok(vec![10]));
        assert_eq!(found("4321"), Ok(vec![4321]));
        assert_eq!(found("none"), Err(UserError::NoGroup("none".into())));
        assert_eq!(found(""), Err(UserError::NoGroup(String::new())));
        assert!(found("4294967295").is_err());
    }

    #[test]
    fn refuses_what_cannot_be() {
        for (wanted, expected) in [
            ("nobody", UserError::NoUser("nobody".into())),
            ("app:none", UserError::NoGroup("none".into())),
            ("4294967295", UserError::BadId("4294967295".into())),
            ("0:99999999999", UserError::BadId("99999999999".into())),
            ("-1", UserError::NoUser("-1".into())),
        ] {
            assert_eq!(resolve(wanted, PASSWD, GROUP).unwrap_err(), expected);
        }
        assert_eq!(resolve("0", "", "").unwrap().home, "/");
    }
}
