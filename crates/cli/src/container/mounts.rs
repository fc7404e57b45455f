//! `-v`, `--mount`, `--tmpfs` and `--volumes-from`: Docker's syntax.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minidock_engine::spec::{Access, MountWish, MountWishKind, Propagation, VolumesFrom};
use minidock_engine::{clean_path, is_volume_name};

use super::wrong::{Wrong, wrong, wrong_with};

const SHARED: &str =
    "what a container mounts cannot reach the host: it has a user namespace of its own";
const USE_SLAVE: &str = "rslave shows the container what the host mounts; leave it out otherwise";

/// Where relative paths begin.
pub type Here<'a> = &'a Path;

/// `[SOURCE:]TARGET[:OPTIONS]`.
pub fn volume(text: &str, here: Here<'_>) -> Result<MountWish, Wrong> {
    if text.contains('\0') {
        return wrong("it holds a NUL byte");
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return wrong("empty section between colons");
    }
    match parts.as_slice() {
        [target] => Ok(MountWish {
            target: inside(target)?,
            access: Access::ReadWrite,
            kind: MountWishKind::Volume {
                name: None,
                copy: true,
                labels: BTreeMap::new(),
            },
        }),
        [source, target] => source_and_target(source, target, "", here),
        [source, target, options] => source_and_target(source, target, options, here),
        _ => wrong("it has more than three parts"),
    }
}

fn source_and_target(
    source: &str,
    target: &str,
    options: &str,
    here: Here<'_>,
) -> Result<MountWish, Wrong> {
    let target = inside(target)?;
    let parsed = VolumeOptions::parse(options)?;
    let is_path = source.starts_with(['/', '.']);
    let kind = if is_path {
        if !parsed.copy {
            return wrong("nocopy is for volumes, not for folders of the host's");
        }
        MountWishKind::Bind {
            source: on_host(source, here),
            create: true,
            recursive: true,
            propagation: parsed.propagation,
        }
    } else {
        check_name(source)?;
        if parsed.propagation != Propagation::Private {
            return wrong("propagation is for folders of the host's, not for volumes");
        }
        MountWishKind::Volume {
            name: Some(source.to_owned()),
            copy: parsed.copy,
            labels: BTreeMap::new(),
        }
    };
    Ok(MountWish {
        target,
        access: parsed.access,
        kind,
    })
}

fn check_name(name: &str) -> Result<(), Wrong> {
    if is_volume_name(name) {
        return Ok(());
    }
    wrong_with(
        format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
        ),
        "if you intended to pass a host folder, use an absolute path, or one that begins with `./`",
    )
}

/// An absolute path inside, made plain.
fn inside(target: &str) -> Result<String, Wrong> {
    if !target.starts_with('/') {
        return wrong(format!(
            "invalid mount path: {target:?}: the path inside must be absolute"
        ));
    }
    match clean_path(target).as_str() {
        "/" => wrong("invalid specification: destination can't be '/'"),
        plain => Ok(plain.to_owned()),
    }
}

fn on_host(source: &str, here: Here<'_>) -> PathBuf {
    PathBuf::from(clean_path(&here.join(source).to_string_lossy()))
}

struct VolumeOptions {
    access: Access,
    propagation: Propagation,
    copy: bool,
}

impl VolumeOptions {
    /// Each kind of option at most once, as Docker has it.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut parsed = Self {
            access: Access::ReadWrite,
            propagation: Propagation::Private,
            copy: true,
        };
        let mut seen = Vec::new();
        for option in text.split(',').filter(|o| !o.is_empty()) {
            let kind = match option {
                "rw" => "mode",
                "ro" | "readonly" => {
                    parsed.access = Access::ReadOnly;
                    "mode"
                }
                // SELinux labels: without SELinux there is nothing to label, and an ordinary user may not.
                "z" | "Z" => "label",
                "private" | "rprivate" => "propagation",
                "slave" | "rslave" => {
                    parsed.propagation = Propagation::Slave;
                    "propagation"
                }
                "shared" | "rshared" => {
                    return wrong_with(format!("{option}: {SHARED}"), USE_SLAVE);
                }
                "nocopy" => {
                    parsed.copy = false;
                    "copy"
                }
                "consistent" | "cached" | "delegated" | "default" => "consistency",
                "U" | "O" | "idmap" | "noexec" | "exec" | "nodev" | "dev" | "nosuid" | "suid" => {
                    return wrong_with(
                        format!("the option {option:?} is Podman's and not Docker's"),
                        "leave it out",
                    );
                }
                _ => return wrong(format!("invalid mode: {option}")),
            };
            if seen.contains(&kind) {
                return wrong(format!("invalid mode: {text}"));
            }
            seen.push(kind);
        }
        Ok(parsed)
    }
}

/// `TARGET[:OPTIONS]`.
pub fn tmpfs(text: &str) -> Result<MountWish, Wrong> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut access = Access::ReadWrite;
    let mut kept = Vec::new();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let name = option.split('=').next().unwrap_or(option);
        match name {
            "ro" => access = Access::ReadOnlyTop,
            "rw" => access = Access::ReadWrite,
            _ if TMPFS_FLAGS.contains(&option) || TMPFS_VALUES.contains(&name) => {
                kept.push(option.to_owned());
            }
            _ => return wrong(format!("invalid tmpfs option {option:?}")),
        }
    }
    Ok(MountWish {
        target: inside(target)?,
        access,
        kind: MountWishKind::Tmpfs { options: kept },
    })
}

const TMPFS_FLAGS: [&str; 14] = [
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "noatime",
    "atime",
    "relatime",
    "strictatime",
    "nodiratime",
];
const TMPFS_VALUES: [&str; 6] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks"];

/// `CONTAINER[:ro|rw]`.
pub fn volumes_from(text: &str) -> Result<VolumesFrom, Wrong> {
    let (container, mode) = match text.split_once(':') {
        Some((container, mode)) => (container, Some(mode)),
        None => (text, None),
    };
    if container.is_empty() {
        return wrong("it names no container");
    }
    let mut read_only = None;
    for option in mode.into_iter().flat_map(|mode| mode.split(',')) {
        match option {
            "ro" => read_only = Some(true),
            "rw" => read_only = Some(false),
            "z" | "Z" => {}
            other => return wrong(format!("invalid mode: {other}")),
        }
    }
    Ok(VolumesFrom {
        container: container.to_owned(),
        read_only,
    })
}

/// `KEY=VALUE,…`, one line of CSV.
pub fn mount(text: &str, here: Here<'_>) -> Result<MountWish, Wrong> {
    let mut fields = Fields::default();
    for field in csv(text)? {
        fields.set(&field)?;
    }
    fields.wish(here)
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    recursive: Option<String>,
    propagation: Option<String>,
    copy: Option<bool>,
    labels: BTreeMap<String, String>,
    tmpfs: Vec<String>,
    /// The kinds that the given options are for.
    kinds: Vec<&'static str>,
}

impl Fields {
    fn set(&mut self, field: &str) -> Result<(), Wrong> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let key = key.to_ascii_lowercase();
        let is_prefixed = ["bind-", "volume-", "tmpfs-"]
            .iter()
            .find(|p| key.starts_with(**p));
        self.kinds.extend(is_prefixed);
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => self.read_only = boolean(&key, value)?,
            ("bind-nonrecursive", value) => {
                if boolean(&key, value)? {
                    self.recursive = Some("disabled".to_owned());
                }
            }
            ("volume-nocopy", value) => self.copy = Some(!boolean(&key, value)?),
            (_, None) => return wrong(format!("invalid field '{field}' must be a key=value pair")),
            ("type", Some(value)) => self.kind = Some(value.to_ascii_lowercase()),
            ("source" | "src", Some(value)) => self.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", Some(value)) => self.target = Some(value.to_owned()),
            ("consistency", Some(value)) => match value {
                "consistent" | "cached" | "delegated" | "default" => {}
                _ => return wrong(format!("invalid value for consistency: {value}")),
            },
            ("bind-propagation", Some(value)) => {
                self.propagation = Some(value.to_ascii_lowercase())
            }
            ("bind-recursive", Some(value)) => {
                if !["enabled", "disabled", "writable", "readonly"].contains(&value) {
                    return wrong(format!(
                        "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
                self.recursive = Some(value.to_owned());
            }
            ("volume-label", Some(value)) => {
                let (name, label) = value.split_once('=').unwrap_or((value, ""));
                self.labels.insert(name.to_owned(), label.to_owned());
            }
            ("volume-driver", Some("local" | "")) => {}
            ("tmpfs-size", Some(value)) => match super::wishes::bytes(value) {
                Some(bytes) => self.tmpfs.push(format!("size={bytes}")),
                None => return wrong(format!("invalid value for tmpfs-size: {value}")),
            },
            ("tmpfs-mode", Some(value)) => match u32::from_str_radix(value, 8) {
                Ok(mode) if mode <= 0o7777 => self.tmpfs.push(format!("mode={mode:o}")),
                _ => return wrong(format!("invalid value for tmpfs-mode: {value}")),
            },
            ("volume-subpath" | "volume-opt" | "volume-driver" | "image-subpath", Some(_)) => {
                return wrong_with(
                    format!("{key} is not supported"),
                    "use the whole volume, or a folder of the host's with type=bind",
                );
            }
            (
                "bind-create-src" | "relabel" | "u" | "chown" | "idmap" | "notmpcopyup"
                | "tmpcopyup",
                _,
            ) => {
                return wrong_with(
                    format!("{key} is Podman's and not Docker's"),
                    "leave it out",
                );
            }
            _ => return wrong(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn wish(self, here: Here<'_>) -> Result<MountWish, Wrong> {
        let kind = self.kind.as_deref().unwrap_or("volume");
        let Some(target) = self.target.as_deref().filter(|t| !t.is_empty()) else {
            return wrong("target is required");
        };
        let target = inside(target)?;
        if let Some(other) = self.kinds.iter().find(|k| k.trim_end_matches('-') != kind) {
            return wrong(format!(
                "cannot mix '{other}*' options with mount type '{kind}'"
            ));
        }
        let mut access = if self.read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let kind = match kind {
            "bind" => {
                let propagation = propagation(self.propagation.as_deref())?;
                match self.recursive.as_deref() {
                    Some("readonly") if !self.read_only => {
                        return wrong(
                            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
                        );
                    }
                    Some("readonly") if self.propagation.as_deref() != Some("rprivate") => {
                        return wrong(
                            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
                        );
                    }
                    Some("readonly") => access = Access::ReadOnlyRecursive,
                    Some("writable") if self.read_only => access = Access::ReadOnlyTop,
                    Some("writable") => {
                        return wrong(
                            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
                        );
                    }
                    _ => {}
                }
                let Some(source) = self.source.as_deref().filter(|s| !s.is_empty()) else {
                    return wrong("a bind mount needs a source");
                };
                if !source.starts_with(['/', '.']) {
                    return wrong_with(
                        format!("invalid mount path: '{source}' mount path must be absolute"),
                        "give an absolute path, or one that begins with `./`",
                    );
                }
                MountWishKind::Bind {
                    source: on_host(source, here),
                    create: false,
                    recursive: self.recursive.as_deref() != Some("disabled"),
                    propagation,
                }
            }
            "volume" => {
                let name = self.source.filter(|name| !name.is_empty());
                if let Some(name) = &name {
                    check_name(name)?;
                }
                MountWishKind::Volume {
                    name,
                    copy: self.copy.unwrap_or(true),
                    labels: self.labels,
                }
            }
            "tmpfs" => {
                if self.source.is_some_and(|source| !source.is_empty()) {
                    return wrong("a tmpfs has no source");
                }
                if self.read_only {
                    access = Access::ReadOnlyTop;
                }
                MountWishKind::Tmpfs {
                    options: self.tmpfs,
                }
            }
            "image" | "cluster" | "npipe" | "devpts" | "glob" | "ramfs" => {
                return wrong_with(
                    format!("mount type {kind} is not supported"),
                    "bind, volume and tmpfs are",
                );
            }
            other => return wrong(format!("mount type unknown: {other:?}")),
        };
        Ok(MountWish {
            target,
            access,
            kind,
        })
    }
}

fn propagation(text: Option<&str>) -> Result<Propagation, Wrong> {
    match text.unwrap_or("rprivate") {
        "private" | "rprivate" => Ok(Propagation::Private),
        "slave" | "rslave" => Ok(Propagation::Slave),
        shared @ ("shared" | "rshared") => wrong_with(format!("{shared}: {SHARED}"), USE_SLAVE),
        other => wrong(format!("invalid propagation mode: {other}")),
    }
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, Wrong> {
    match value.unwrap_or("true") {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => wrong(format!("invalid value for {key}: {other}")),
    }
}

/// The fields of one line of CSV (RFC 4180): a field in quotes may hold commas, and quotes as two.
fn csv(text: &str) -> Result<Vec<String>, Wrong> {
    if text.contains(['\0', '\n', '\r']) {
        return wrong("it is not one line of text");
    }
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next() {
                    Some('"') if chars.peek() == Some(&'"') => {
                        chars.next();
                        field.push('"');
                    }
                    Some('"') => break,
                    Some(c) => field.push(c),
                    None => return wrong("a quote is not closed"),
                }
            }
        } else {
            while let Some(&c) = chars.peek().filter(|c| **c != ',') {
                if c == '"' {
                    return wrong("a quote stands inside a field; put the whole field in quotes");
                }
                field.push(c);
                chars.next();
            }
        }
        fields.push(field);
        match chars.next() {
            Some(',') => {}
            None => return Ok(fields),
            Some(_) => return wrong("something follows a closing quote"),
        }
    }
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
