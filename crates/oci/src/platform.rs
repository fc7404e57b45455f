//! Platforms: `os/architecture[/variant]`, and which of an index's manifests fits one.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::ImageIndex;

use crate::Descriptor;

/// Why a text is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a platform: write os/architecture[/variant], for example linux/arm64")]
pub struct PlatformError(String);

/// An operating system and a processor, in Go's words as the OCI specification asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, …
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, `v8`, …; empty when it does not matter.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this binary was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Whether an image for `have` is what was asked for by this: a variant counts only where one is named.
    pub fn admits(&self, have: &Self) -> bool {
        self.os == have.os
            && self.architecture == have.architecture
            && (self.variant.is_none() || self.variant == have.variant)
    }

    /// Chooses the manifest for this platform from an index: the position of the best match.
    ///
    /// Entries of other platforms, attestations (`unknown/unknown`) and entries without a platform
    /// are passed over; an index whose only entry names no platform is taken to mean that entry.
    /// Among equal matches the first wins, as in Docker. For `arm`, a lower variant will do where
    /// the exact one is missing (v7 runs v6 and v5); for `amd64`, an entry without variant is
    /// preferred to v2 and v3, which this machine may lack.
    pub fn choose<'i>(&self, index: &'i ImageIndex) -> Option<&'i Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        for entry in index.manifests() {
            let Some(rank) = self.rank(entry) else {
                continue;
            };
            if best.is_none_or(|(b, _)| rank < b) {
                best = Some((rank, entry));
            }
        }
        if best.is_none()
            && let [only] = index.manifests().as_slice()
            && only.platform().is_none()
        {
            return Some(only);
        }
        best.map(|(_, entry)| entry)
    }

    /// How well an entry fits: 0 is exact, `None` not at all.
    fn rank(&self, entry: &Descriptor) -> Option<u32> {
        let platform = entry.platform().as_ref()?;
        let (os, arch) = canonical(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
        );
        if os != self.os || arch != self.architecture {
            return None;
        }
        let have = normal_variant(&arch, platform.variant().as_deref());
        let want = normal_variant(&self.architecture, self.variant.as_deref());
        if have == want {
            return Some(0);
        }
        match (self.architecture.as_str(), want, have) {
            ("arm", Some(want), Some(have)) => {
                let number = |v: &str| v.trim_start_matches('v').parse::<u32>().ok();
                let (want, have) = (number(want)?, number(have)?);
                (have < want).then(|| want - have)
            }
            // An entry without variant is the baseline that every machine of the architecture runs.
            (_, _, None) => Some(10),
            // No variant was asked for: a special one is better than none, after the baseline.
            ("arm" | "arm64", None, Some(_)) => Some(20),
            _ => None,
        }
    }

    /// The platforms an index offers, for an error message: `linux/amd64, linux/arm64/v8`.
    pub fn offered(index: &ImageIndex) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for entry in index.manifests() {
            if let Some(p) = entry.platform() {
                let mut text = format!("{}/{}", p.os(), p.architecture());
                if let Some(v) = p.variant() {
                    text = format!("{text}/{v}");
                }
                if text != "unknown/unknown" && !out.contains(&text) {
                    out.push(text);
                }
            }
        }
        out
    }
}

fn normal_variant<'v>(arch: &str, variant: Option<&'v str>) -> Option<&'v str> {
    match (arch, variant) {
        (_, None | Some("")) => None,
        // The baselines have a name that some builders write and others leave out.
        ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
        ("arm", Some("5")) => Some("v5"),
        ("arm", Some("6")) => Some("v6"),
        ("arm", Some("7")) => Some("v7"),
        (_, v) => v,
    }
}

fn canonical(os: &str, arch: &str) -> (String, String) {
    let arch = match arch {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        "armhf" => "arm",
        other => other,
    };
    (os.to_ascii_lowercase(), arch.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let bad = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |s: &str| {
            s.starts_with(|c: char| c.is_ascii_alphanumeric())
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(|p| word(p)) {
            return Err(bad());
        }
        let (os, arch, variant) = match parts.as_slice() {
            // One word is an architecture, unless it names the one operating system we run.
            ["linux"] => return Ok(Self::host()),
            [arch] => ("linux", *arch, None),
            [os, arch] => (*os, *arch, None),
            [os, arch, variant] => (*os, *arch, Some((*variant).to_owned())),
            _ => return Err(bad()),
        };
        let variant = match (arch, variant) {
            ("armhf", None) => Some("v7".to_owned()),
            ("armel", None) => Some("v6".to_owned()),
            (_, v) => v,
        };
        let (os, architecture) = canonical(os, if arch == "armel" { "arm" } else { arch });
        let variant = normal_variant(&architecture, variant.as_deref()).map(str::to_owned);
        Ok(Self {
            os,
            architecture,
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(v) => write!(f, "/{v}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, &str, Option<&str>)]) -> ImageIndex {
        let manifests: Vec<serde_json::Value> = entries
            .iter()
            .map(|(os, arch, variant)| {
                let mut platform = serde_json::json!({"os": os, "architecture": arch});
                if let Some(v) = variant {
                    platform["variant"] = (*v).into();
                }
                serde_json::json!({
                    "mediaType": crate::OCI_MANIFEST, "size": 1, "platform": platform,
                    "digest": crate::Digest::sha256(format!("{os}{arch}{variant:?}").as_bytes()),
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({"schemaVersion": 2, "manifests": manifests}))
            .unwrap()
    }

    fn chosen(want: &str, entries: &[(&str, &str, Option<&str>)]) -> Option<usize> {
        let index = index(entries);
        let want: Platform = want.parse().unwrap();
        let found = want.choose(&index)?;
        index.manifests().iter().position(|m| m == found)
    }

    #[test]
    fn passes_over_attestations_and_other_platforms() {
        let entries = [
            ("unknown", "unknown", None),
            ("linux", "arm64", Some("v8")),
            ("linux", "amd64", None),
        ];
        assert_eq!(chosen("linux/amd64", &entries), Some(2));
        assert_eq!(chosen("linux/arm64", &entries), Some(1));
        assert_eq!(chosen("aarch64", &entries), Some(1));
        assert_eq!(chosen("linux/s390x", &entries), None);
    }

    #[test]
    fn variants_fall_back_to_what_the_machine_runs() {
        let arm = [("linux", "arm", Some("v5")), ("linux", "arm", Some("v6"))];
        assert_eq!(chosen("linux/arm/v7", &arm), Some(1));
        assert_eq!(chosen("linux/arm/v5", &arm), Some(0));
        let newer = [("linux", "arm", Some("v7"))];
        assert_eq!(chosen("linux/arm/v6", &newer), None);
        let amd = [("linux", "amd64", Some("v3")), ("linux", "amd64", None)];
        assert_eq!(chosen("linux/amd64", &amd), Some(1));
        assert_eq!(chosen("linux/amd64/v3", &amd), Some(0));
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "../x"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
