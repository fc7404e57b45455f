//! Image references: `[registry/]repository[:tag][@digest]`, normalised as Docker does.
//!
//! The grammar is that of the distribution project's reference package, which is what `docker`
//! accepts: lower-case repository, tag of at most 128 word characters, 255 characters of name in all.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

const HUB: &str = "docker.io";

/// Why a text is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("an image reference is needed, for example busybox or ghcr.io/owner/app:1.2")]
    Empty,
    /// Docker reads 64 hexadecimal digits as an image id, never as a name.
    #[error("{0:?} is an image id, not a repository name")]
    LooksLikeId(String),
    /// Repository names are lower case.
    #[error("repository name {0:?} must be lower case")]
    Upper(String),
    /// A part does not match the grammar.
    #[error("invalid reference {text:?}: {part}")]
    Malformed {
        /// The whole text.
        text: String,
        /// Which part is wrong.
        part: &'static str,
    },
    /// The name is longer than registries allow.
    #[error("repository name of {0} characters is longer than the 255 that registries accept")]
    TooLong(usize),
    /// The digest after `@` is malformed.
    #[error("invalid reference {text:?}")]
    Digest {
        /// The whole text.
        text: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

/// A normalised image reference.
///
/// A tag and a digest may both be present (`busybox:1.36@sha256:…`); the digest then decides what is
/// fetched, and the tag is only a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Whether a reference, as typed, names its registry.
    pub fn names_registry(text: &str) -> bool {
        let name = text.split('@').next().unwrap_or(text);
        name.split_once('/').is_some_and(|(first, _)| {
            let (registry, rest) = split_registry(name);
            registry == first && rest.len() < name.len()
        })
    }

    /// Whether a text can be the registry of a reference: a host name or address, with or without a port.
    pub fn check_registry(text: &str) -> bool {
        !text.is_empty() && is_registry(text)
    }

    /// Host and port as in the reference: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given or implied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag or digest: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as Docker shows it: without `docker.io/` and `library/`.
    pub fn familiar_name(&self) -> String {
        if self.registry == HUB {
            self.repository
                .strip_prefix("library/")
                .filter(|rest| !rest.contains('/'))
                .unwrap_or(&self.repository)
                .to_owned()
        } else {
            self.name()
        }
    }

    /// The whole reference as Docker shows it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(d), _) => d.to_string(),
            (None, Some(t)) => t.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository at this digest, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: &Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }

    /// Whether the text, as typed, had no tag and no digest, so that `latest` is implied.
    pub fn tag_is_implied(text: &str) -> bool {
        let last = text.rsplit('/').next().unwrap_or(text);
        !text.contains('@') && !last.contains(':')
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let malformed = |part| ReferenceError::Malformed {
            text: text.to_owned(),
            part,
        };
        let (name_tag, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    text: text.to_owned(),
                    source,
                })?;
                (rest, Some(digest))
            }
        };
        // A colon after the last slash starts a tag; one before it is a port.
        let slash = name_tag.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match name_tag[slash..].find(':') {
            Some(i) => (&name_tag[..slash + i], Some(&name_tag[slash + i + 1..])),
            None => (name_tag, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(malformed(
                "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, and starts with none of the last two",
            ));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(malformed("the registry's host name or port is malformed"));
        }
        check_repository(repository, &malformed)?;
        let (registry, repository) = match registry {
            HUB | "index.docker.io" | "registry-1.docker.io" if !repository.contains('/') => {
                (HUB, format!("library/{repository}"))
            }
            "index.docker.io" | "registry-1.docker.io" => (HUB, repository.to_owned()),
            other => (other, repository.to_owned()),
        };
        // With all that is left out in writing: what is kept is to be read again.
        let length = registry.len() + 1 + repository.len();
        if length > 255 {
            return Err(ReferenceError::TooLong(length));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

/// The first component is a registry when it has a dot or a colon, is `localhost`, or has upper-case
/// letters (which no repository may have): Docker's rule.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (HUB, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return false;
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        (
            "",
            after
                .strip_prefix(':')
                .or((!after.is_empty()).then_some("x")),
        )
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let host_ok = text.starts_with('[') || host.split('.').all(label);
    host_ok
        && port.is_none_or(|p| p.parse::<u16>().is_ok() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn check_repository(
    repository: &str,
    malformed: &dyn Fn(&'static str) -> ReferenceError,
) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Upper(repository.to_owned()));
    }
    if !repository.split('/').all(is_component) {
        return Err(malformed(
            "each part of a repository name is lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
        ));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && text.bytes().next().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        let hex = "0".repeat(64);
        let cases = [
            (
                "busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            (
                "busybox:1.36",
                "docker.io/library/busybox:1.36",
                "busybox:1.36",
            ),
            (
                "owner/app",
                "docker.io/owner/app:latest",
                "owner/app:latest",
            ),
            (
                "docker.io/busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            (
                "index.docker.io/library/busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app:latest",
            ),
            (
                "127.0.0.1:5000/app:1",
                "127.0.0.1:5000/app:1",
                "127.0.0.1:5000/app:1",
            ),
            (
                "[::1]:5000/app",
                "[::1]:5000/app:latest",
                "[::1]:5000/app:latest",
            ),
            (
                "ghcr.io/a/b/c__d-e.f:T",
                "ghcr.io/a/b/c__d-e.f:T",
                "ghcr.io/a/b/c__d-e.f:T",
            ),
        ];
        for (text, canonical, familiar) in cases {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
        }
        let digested: Reference = format!("busybox:1@sha256:{hex}").parse().unwrap();
        assert_eq!(digested.wanted(), format!("sha256:{hex}"));
        assert_eq!(digested.tag(), Some("1"));
        let only: Reference = format!("busybox@sha256:{hex}").parse().unwrap();
        assert_eq!(only.tag(), None);
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long = format!("a/{}", "b".repeat(254));
        let id = "a".repeat(64);
        let tag = format!("x:{}", "t".repeat(129));
        for bad in [
            "",
            ":",
            "busybox:",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "../etc",
            "a/../b",
            "busybox:a/b",
            "busybox:-x",
            "a b",
            "a__ _b",
            "a..b",
            "-a",
            "a@sha256:zz",
            "x@",
            "host:99999/a",
            "ho_st.x/a",
            "[::1/a",
            "[zz]:1/a",
            "a\n",
            "a:b\0",
            "bücher",
            long.as_str(),
            id.as_str(),
            tag.as_str(),
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_length_counts_what_is_left_out_in_writing() {
        // `docker.io/library/` and 237 more make 255.
        let longest: Reference = "a".repeat(237).parse().unwrap();
        assert_eq!(longest.to_string().parse::<Reference>().unwrap(), longest);
        let longer = "a".repeat(238).parse::<Reference>();
        assert!(matches!(longer, Err(ReferenceError::TooLong(256))));
    }

    #[test]
    fn knows_when_latest_is_implied() {
        assert!(Reference::tag_is_implied("127.0.0.1:5000/app"));
        assert!(!Reference::tag_is_implied("127.0.0.1:5000/app:1"));
        assert!(!Reference::tag_is_implied("app@sha256:00"));
    }
}
