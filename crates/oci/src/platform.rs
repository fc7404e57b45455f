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

    /// [`Platform::host`] with the best variant that this processor runs: on x86-64 the microarchitecture level (x86-64 psABI,
    /// section 3.1.1; Go's `GOAMD64`). For choosing from an index; new images are not to say that they need it.
    pub fn host_at_its_best() -> Self {
        let level = amd64_level().filter(|level| *level > 1);
        let best = level.map(|level| format!("v{level}"));
        let host = Self::host();
        Self {
            variant: best.or(host.variant),
            ..host
        }
    }

    /// Chooses the manifest for this platform from an index: the position of the best match.
    ///
    /// Entries of other platforms, attestations (`unknown/unknown`) and entries without a platform
    /// are passed over; an index whose only entry names no platform is taken to mean that entry.
    /// Among equal matches the first wins, as in Docker. For `arm` and `amd64`, a lower variant will do
    /// where the exact one is missing (v7 runs v6 and v5, v3 runs v2 and what names none), the nearest first;
    /// a higher one never, for it would need a processor that nobody spoke of.
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
        let number = |v: &str| v.strip_prefix('v')?.parse::<u32>().ok();
        match (self.architecture.as_str(), want, have) {
            // Where none is named, the common one is meant, as in containerd.
            ("arm", want, Some(have)) => number(want.unwrap_or("v7"))?.checked_sub(number(have)?),
            ("amd64", Some(want), have) => number(want)?.checked_sub(number(have.unwrap_or("v1"))?),
            // An entry without variant is the baseline that every machine of the architecture runs.
            (_, _, None) => Some(10),
            // No variant was asked for: a special one is better than none, after the baseline.
            ("arm64", None, Some(_)) => Some(20),
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

/// The microarchitecture level of this processor, as far as features tell it.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> Option<u8> {
    macro_rules! all {
        ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let levels = [
        all!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "cmpxchg16b"),
        all!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"),
        all!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"),
    ];
    let above = levels.iter().take_while(|has| **has).count();
    u8::try_from(1 + above).ok()
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> Option<u8> {
    None
}

fn normal_variant<'v>(arch: &str, variant: Option<&'v str>) -> Option<&'v str> {
    match (arch, variant) {
        (_, None | Some("")) => None,
        // The baselines have a name that some builders write and others leave out.
        ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
        ("amd64", Some("1")) => None,
        ("amd64", Some("2")) => Some("v2"),
        ("amd64", Some("3")) => Some("v3"),
        ("amd64", Some("4")) => Some("v4"),
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
        let arm = |variants: &[&'static str]| -> Vec<_> {
            let all = variants.iter();
            all.map(|v| ("linux", "arm", Some(*v).filter(|v| !v.is_empty())))
                .collect()
        };
        let amd: fn(&[&'static str]) -> Vec<_> = |variants| {
            let all = variants.iter();
            all.map(|v| ("linux", "amd64", Some(*v).filter(|v| !v.is_empty())))
                .collect()
        };
        for (want, entries, expected) in [
            // The nearest below, wherever it stands.
            ("linux/arm/v7", arm(&["v5", "v6"]), Some(1)),
            ("linux/arm/v7", arm(&["v6", "v5"]), Some(0)),
            ("linux/arm/v7", arm(&["v5"]), Some(0)),
            ("linux/arm/v7", arm(&["v5", "v7", "v6"]), Some(1)),
            ("linux/arm/v7", arm(&["v8"]), None),
            ("linux/arm/v6", arm(&["v7", "v5"]), Some(1)),
            ("linux/arm/v6", arm(&["v7"]), None),
            ("linux/arm/v5", arm(&["v5", "v6"]), Some(0)),
            ("linux/arm/v7", arm(&["7"]), Some(0)),
            ("linux/arm", arm(&["v8", "v5", "v7"]), Some(2)),
            ("linux/arm", arm(&["v6", "v5"]), Some(0)),
            ("linux/arm/v7", arm(&["", "v6"]), Some(1)),
            ("armel", arm(&["v7", "v6"]), Some(1)),
            ("armhf", arm(&["v6", "v7"]), Some(1)),
            // Of one with the features of v3, everything up to that.
            ("linux/amd64/v3", amd(&["", "v2", "v3", "v4"]), Some(2)),
            ("linux/amd64/v3", amd(&["", "v4", "v2"]), Some(2)),
            ("linux/amd64/v3", amd(&["v4", ""]), Some(1)),
            ("linux/amd64/v3", amd(&["v4", "v1"]), Some(1)),
            ("linux/amd64/v3", amd(&["v4"]), None),
            ("linux/amd64/v2", amd(&["v3", ""]), Some(1)),
            ("linux/amd64", amd(&["v3", "v2", ""]), Some(2)),
            ("linux/amd64", amd(&["v2"]), None),
            ("linux/amd64/v1", amd(&["v2", ""]), Some(1)),
        ] {
            assert_eq!(chosen(want, &entries), expected, "{want}: {entries:?}");
        }
        for (want, have) in [
            ("linux/arm64", "v8"),
            ("linux/arm64/v8", ""),
            ("linux/arm64/8", "v8"),
            ("arm64", ""),
        ] {
            let entries = [
                ("linux", "arm", Some("v8")),
                ("linux", "arm64", Some(have).filter(|v| !v.is_empty())),
            ];
            assert_eq!(chosen(want, &entries), Some(1), "{want}: {have}");
        }
    }

    #[test]
    fn this_machine_takes_the_best_that_it_runs() {
        let best = Platform::host_at_its_best();
        assert_eq!(best.architecture, Platform::host().architecture);
        let entries = ["v1", "v2", "v3", "v4"].map(|v| ("linux", "amd64", Some(v)));
        let index = index(&entries);
        if let Some(level) = amd64_level() {
            let found = best.choose(&index).unwrap();
            assert_eq!(found, &index.manifests()[usize::from(level) - 1]);
        }
        // Whoever asks for the architecture only gets what all of its machines run.
        let plain = "linux/amd64".parse::<Platform>().unwrap();
        assert_eq!(plain.choose(&index), Some(&index.manifests()[0]));
    }

    #[test]
    fn entries_that_are_no_image_are_passed_over() {
        let unknown = ("unknown", "unknown", None);
        assert_eq!(chosen("linux/amd64", &[unknown]), None);
        assert_eq!(chosen("linux/amd64", &[]), None);
        let others = [
            unknown,
            ("windows", "amd64", None),
            ("linux", "unknown", None),
            ("linux", "amd64", None),
        ];
        assert_eq!(chosen("linux/amd64", &others), Some(3));
        let index: ImageIndex = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2, "manifests": [{
                "mediaType": crate::OCI_MANIFEST, "size": 1, "digest": crate::Digest::sha256(b""),
            }],
        }))
        .unwrap();
        let any = "linux/s390x".parse::<Platform>().unwrap();
        assert_eq!(any.choose(&index), Some(&index.manifests()[0]));
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "../x"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
