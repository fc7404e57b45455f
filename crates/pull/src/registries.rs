//! Where an image is looked for: `registries.conf` (containers-registries.conf(5), version 2), as far as it concerns
//! fetching: mirrors, rewriting by prefix, plain HTTP, blocked registries, and which registries a name without one means.
//!
//! Pure but for [`Registries::read`]. A push goes to where the reference says, rewritten, never to a mirror.

use std::path::{Path, PathBuf};

use minidock_oci::Reference;
use serde::Deserialize;

use crate::Error;

/// Largest file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// What the files say, later ones over earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    search: Vec<String>,
    rules: Vec<Rule>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    prefix: String,
    /// `None`: as the prefix, nothing is rewritten.
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    by_digest: bool,
    by_tag: bool,
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Plain HTTP and certificates of anybody will do.
    pub insecure: bool,
    /// Others are asked after it.
    pub mirror: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    registry: Vec<Table>,
    registries: Option<Version1>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// What version 1 of the format had.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Version1 {
    search: List,
    insecure: List,
    block: List,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct List {
    registries: Vec<String>,
}

impl Registries {
    /// Reads the files that are there, in order.
    ///
    /// # Errors
    /// When one cannot be read or is malformed: guessing where images come from would not be safe.
    pub fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut all = Self::default();
        for path in files {
            let failed = |problem: String| Error::RegistriesConf {
                path: path.clone(),
                problem,
            };
            match std::fs::metadata(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(e.to_string())),
                Ok(meta) if !meta.is_file() || meta.len() > MAX_SIZE => {
                    return Err(failed("it is no small file".into()));
                }
                Ok(_) => {}
            }
            let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
            all.add(path, &text)?;
        }
        Ok(all)
    }

    /// Puts one file's text over what is known.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let failed = |problem: String| Error::RegistriesConf {
            path: path.to_owned(),
            problem,
        };
        let file: File = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..at]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            failed(format!("line {line}: {}", e.message()))
        })?;
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        let mut rules = Vec::new();
        for table in file.registry {
            rules.push(rule(table).map_err(failed)?);
        }
        if let Some(old) = file.registries {
            if !old.search.registries.is_empty() {
                self.search = old.search.registries;
            }
            let old_rule = |prefix: String, insecure, blocked| Rule {
                prefix,
                location: None,
                insecure,
                blocked,
                mirrors: Vec::new(),
            };
            let insecure = old.insecure.registries.into_iter();
            rules.extend(insecure.map(|prefix| old_rule(prefix, true, false)));
            let blocked = old.block.registries.into_iter();
            rules.extend(blocked.map(|prefix| old_rule(prefix, false, true)));
        }
        for rule in rules {
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }

    /// The references that a text may mean: one, unless it names no registry and the files name several to search.
    ///
    /// # Errors
    /// When it is no reference.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>, minidock_oci::ReferenceError> {
        let plain: Reference = text.parse()?;
        if Reference::names_registry(text) || self.search.is_empty() {
            return Ok(vec![plain]);
        }
        self.search
            .iter()
            .map(|registry| format!("{registry}/{text}").parse())
            .collect()
    }

    /// Where to fetch an image from, in order.
    ///
    /// # Errors
    /// When its registry is blocked, or a rule leads to no registry.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
        let Some(rule) = self.rule(reference) else {
            return Ok(vec![Endpoint {
                host: reference.registry().to_owned(),
                repository: reference.repository().to_owned(),
                insecure: false,
                mirror: false,
            }]);
        };
        if rule.blocked {
            return Err(Error::Blocked {
                image: reference.familiar(),
                prefix: rule.prefix.clone(),
            });
        }
        let by_digest = reference.digest().is_some();
        let mirrors = rule
            .mirrors
            .iter()
            .filter(|m| if by_digest { m.by_digest } else { m.by_tag })
            .map(|m| rule.endpoint(reference, Some(&m.location), m.insecure, true));
        let own = rule.endpoint(reference, rule.location.as_deref(), rule.insecure, false);
        mirrors.chain([own]).collect()
    }

    /// A registry itself, as far as a rule for all of it says something.
    pub fn registry(&self, host: &str) -> Endpoint {
        let whole = self.rules.iter().find(|rule| rule.prefix == host);
        Endpoint {
            host: host.to_owned(),
            repository: String::new(),
            insecure: whole.is_some_and(|rule| rule.insecure),
            mirror: false,
        }
    }

    /// Refuses a registry that is blocked as a whole.
    ///
    /// # Errors
    /// When it is.
    pub fn check_not_blocked(&self, host: &str) -> Result<(), Error> {
        let blocked = |rule: &&Rule| {
            let wildcard = rule.prefix.strip_prefix('*');
            rule.blocked && (rule.prefix == host || wildcard.is_some_and(|d| host.ends_with(d)))
        };
        match self.rules.iter().find(blocked) {
            Some(rule) => Err(Error::Blocked {
                image: host.to_owned(),
                prefix: rule.prefix.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The rule with the longest prefix of an image's name.
    fn rule(&self, reference: &Reference) -> Option<&Rule> {
        let fitting = self.rules.iter().filter(|rule| rule.fits(reference));
        fitting.max_by_key(|rule| rule.prefix.len())
    }
}

impl Rule {
    fn fits(&self, reference: &Reference) -> bool {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let host = reference.registry().split(':').next().unwrap_or_default();
            return host.ends_with(domain) && host.len() > domain.len();
        }
        let full = reference.to_string();
        full.strip_prefix(&self.prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
    }

    fn endpoint(
        &self,
        reference: &Reference,
        location: Option<&str>,
        insecure: bool,
        mirror: bool,
    ) -> Result<Endpoint, Error> {
        let name = reference.name();
        let place = match location {
            None => name,
            // Of a wildcard, the whole host gives way.
            Some(location) if self.prefix.starts_with('*') => {
                format!("{location}/{}", reference.repository())
            }
            Some(location) => {
                let rest = name.get(self.prefix.len()..).unwrap_or_default();
                format!("{location}{rest}")
            }
        };
        let bad = || Error::BadLocation {
            prefix: self.prefix.clone(),
            place: place.clone(),
        };
        let (host, repository) = place.split_once('/').ok_or_else(bad)?;
        if !Reference::check_registry(host)
            || format!("{host}/{repository}").parse::<Reference>().is_err()
        {
            return Err(bad());
        }
        Ok(Endpoint {
            host: host.to_owned(),
            repository: repository.to_owned(),
            insecure,
            mirror,
        })
    }
}

fn rule(table: Table) -> Result<Rule, String> {
    let trimmed = |text: String| text.trim_end_matches('/').to_owned();
    let location = table.location.map(trimmed).filter(|l| !l.is_empty());
    let prefix = table.prefix.map(trimmed).filter(|p| !p.is_empty());
    let prefix = prefix
        .or_else(|| location.clone())
        .ok_or("a [[registry]] has neither prefix nor location")?;
    if prefix.starts_with('*') && !prefix.starts_with("*.") {
        return Err(format!(
            "the prefix {prefix:?} is neither a name nor *.DOMAIN"
        ));
    }
    let mirrors = table
        .mirror
        .into_iter()
        .map(|mirror| {
            let (by_digest, by_tag) = match mirror.pull_from_mirror.as_deref() {
                None | Some("all") => (true, !table.mirror_by_digest_only),
                Some("digest-only") => (true, false),
                Some("tag-only") => (false, true),
                Some(other) => {
                    return Err(format!("pull-from-mirror {other:?} is unknown"));
                }
            };
            Ok(Mirror {
                location: trimmed(mirror.location),
                insecure: mirror.insecure,
                by_digest,
                by_tag,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Rule {
        location: location.filter(|l| *l != prefix),
        prefix,
        insecure: table.insecure,
        blocked: table.blocked,
        mirrors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["quay.io", "docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.local:5000"
        insecure = true
        [[registry.mirror]]
        location = "harbor.local/hub"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "harbor.local/official"
        [[registry]]
        location = "bad.example.com"
        blocked = true
        [[registry]]
        prefix = "*.corp.example.com"
        location = "gate.example.com/corp"
        [[registry]]
        location = "plain.example.com:8080/team"
        insecure = true
    "#;

    fn conf(text: &str) -> Result<Registries, Error> {
        let mut all = Registries::default();
        all.add(Path::new("registries.conf"), text).map(|()| all)
    }

    fn places(image: &str) -> Vec<String> {
        let endpoints = conf(CONF)
            .unwrap()
            .endpoints(&image.parse().unwrap())
            .unwrap();
        let show = |e: &Endpoint| {
            let marks = [(e.insecure, " insecure"), (e.mirror, " mirror")];
            let marks: String = marks.iter().filter(|m| m.0).map(|m| m.1).collect();
            format!("{}/{}{marks}", e.host, e.repository)
        };
        endpoints.iter().map(show).collect()
    }

    #[test]
    fn the_longest_prefix_says_where_to_go() {
        let digest = format!("owner/app@sha256:{}", "0".repeat(64));
        for (image, expected) in [
            ("other.io/a/b", &["other.io/a/b"][..]),
            (
                "owner/app",
                &[
                    "mirror.local:5000/owner/app insecure mirror",
                    "docker.io/owner/app",
                ],
            ),
            (
                &digest,
                &[
                    "mirror.local:5000/owner/app insecure mirror",
                    "harbor.local/hub/owner/app mirror",
                    "docker.io/owner/app",
                ],
            ),
            ("busybox:1", &["harbor.local/official/busybox"]),
            (
                "docker.io/librarys/x",
                &[
                    "mirror.local:5000/librarys/x insecure mirror",
                    "docker.io/librarys/x",
                ],
            ),
            ("a.b.corp.example.com/x/y", &["gate.example.com/corp/x/y"]),
            ("corp.example.com/x/y", &["corp.example.com/x/y"]),
            (
                "plain.example.com:8080/team/x",
                &["plain.example.com:8080/team/x insecure"],
            ),
            (
                "plain.example.com:8080/teams/x",
                &["plain.example.com:8080/teams/x"],
            ),
        ] {
            assert_eq!(places(image), expected, "{image}");
        }
    }

    #[test]
    fn blocked_is_blocked() {
        let all = conf(CONF).unwrap();
        let refused = all.endpoints(&"bad.example.com/x".parse().unwrap());
        assert!(matches!(refused, Err(Error::Blocked { .. })));
        assert!(
            all.endpoints(&"bad.example.community/x".parse().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn names_without_registry_are_searched_in_order() {
        let all = conf(CONF).unwrap();
        let found = |text: &str| -> Vec<String> {
            all.candidates(text)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            found("busybox"),
            ["quay.io/busybox:latest", "docker.io/library/busybox:latest"]
        );
        assert_eq!(
            found("docker.io/busybox"),
            ["docker.io/library/busybox:latest"]
        );
        assert_eq!(found("localhost/x"), ["localhost/x:latest"]);
        let none = Registries::default().candidates("busybox").unwrap();
        assert_eq!(none.len(), 1);
    }

    #[test]
    fn later_files_replace_rules_of_the_same_prefix_and_version_1_is_understood() {
        let mut all = conf(CONF).unwrap();
        let later = "[[registry]]\nlocation = \"bad.example.com\"\n[registries.insecure]\nregistries = ['old.local']\n";
        all.add(Path::new("later.conf"), later).unwrap();
        assert!(all.endpoints(&"bad.example.com/x".parse().unwrap()).is_ok());
        let old = all.endpoints(&"old.local/x".parse().unwrap()).unwrap();
        assert!(old[0].insecure);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_file() {
        for bad in [
            "registry = 1",
            "[[registry]]\ninsecure = true",
            "[[registry]]\nprefix = '*x'\nlocation = 'y'",
            "[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation = 'm'\npull-from-mirror = 'never'",
            "[[registry",
        ] {
            let error = conf(bad).unwrap_err().to_string();
            assert!(error.contains("registries.conf"), "{error}");
        }
        let nowhere = conf("[[registry]]\nprefix = 'a.io/b'\nlocation = 'NO WHERE'").unwrap();
        assert!(matches!(
            nowhere.endpoints(&"a.io/b/c".parse().unwrap()),
            Err(Error::BadLocation { .. })
        ));
    }
}
