//! PAX extended headers: `LENGTH KEY=VALUE\n` records before an entry, which override its header (POSIX `pax`, "pax
//! Interchange Format").

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::header::Problem;

/// Most bytes of global records, which every later entry carries.
const MAX_GLOBAL: usize = 64 << 10;
/// Most extended attributes in them: each is set on each later entry, so that few bytes could ask for days of work.
const MAX_GLOBAL_XATTRS: usize = 16;

/// Extended attributes: name to value.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Records in the order of the archive.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Problem> {
        let mut rest = data;
        let mut records = Vec::new();
        while rest.first().is_some_and(|b| *b != 0) {
            let (length, key, value) =
                record(rest).ok_or_else(|| "a PAX header is malformed".to_owned())?;
            records.push((key.to_vec(), value.to_vec()));
            rest = &rest[length..];
        }
        Ok(Self { records })
    }

    /// The last record of a name: later ones override.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.records
            .iter()
            .rev()
            .find(|(k, _)| k == key.as_bytes())
            .map(|(_, v)| v.as_slice())
    }
}

fn record(data: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    Some((length, &record[..equals], &record[equals + 1..]))
}

/// Digits only: what `str::parse` accepts besides (`+5`) no writer writes.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Records of global headers: they hold for all later entries until another value comes; an empty one ends them.
#[derive(Debug, Default)]
pub(super) struct Global {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Global {
    pub(super) fn merge(&mut self, pax: Pax) -> Result<(), Problem> {
        for (key, value) in pax.records {
            if value.is_empty() {
                self.records.remove(&key);
            } else {
                self.records.insert(key, value);
            }
        }
        let size: usize = self.records.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > MAX_GLOBAL {
            return Err(format!(
                "global extension headers of {size} bytes are more than {MAX_GLOBAL}"
            ));
        }
        let xattrs = self.records.keys().filter(|k| is_xattr(k)).count();
        if xattrs > MAX_GLOBAL_XATTRS {
            return Err(format!(
                "global extension headers with {xattrs} extended attributes are more than {MAX_GLOBAL_XATTRS}"
            ));
        }
        Ok(())
    }
}

fn is_xattr(key: &[u8]) -> bool {
    key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.")
}

/// The records that hold for one entry.
pub(super) struct Records<'a> {
    pub(super) global: &'a Global,
    pub(super) own: &'a Pax,
}

impl Records<'_> {
    /// An entry's own record goes before a global one; an empty one means that the header's field holds.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.own
            .get(key)
            .or_else(|| self.global.records.get(key.as_bytes()).map(Vec::as_slice))
            .filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(text) if text.starts_with(b"-") => Err(format!("has a negative {key}")),
            Some(text) => decimal(text)
                .map(Some)
                .ok_or_else(|| format!("has a PAX {key} that is no number")),
        }
    }

    pub(super) fn mtime(&self) -> Result<Option<(i64, u32)>, Problem> {
        self.get("mtime")
            .map(|text| {
                parse_time(text).ok_or_else(|| "has a PAX mtime that is no number".to_owned())
            })
            .transpose()
    }

    /// Extended attributes in both spellings: `SCHILY.xattr.NAME` holds the bytes as they are (star, GNU tar, Docker),
    /// `LIBARCHIVE.xattr.NAME` a percent-encoded name and base64 (bsdtar writes both). An empty value is a value here.
    pub(super) fn xattrs(&self) -> Result<Xattrs, Problem> {
        let mut found = BTreeMap::new();
        let global = self.global.records.iter();
        let own = self.own.records.iter().map(|(k, v)| (k, v));
        for (key, value) in global.chain(own) {
            let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                (name.to_vec(), value.clone())
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let bad = || {
                    format!(
                        "has a malformed extended attribute {:?}",
                        String::from_utf8_lossy(name)
                    )
                };
                (
                    percent_decoded(name).ok_or_else(bad)?,
                    BASE64.decode(value).map_err(|_| bad())?,
                )
            } else {
                continue;
            };
            if name.is_empty() || name.contains(&0) {
                return Err("has an extended attribute without a usable name".into());
            }
            found.insert(name, value);
        }
        Ok(found.into_iter().collect())
    }
}

/// libarchive writes no padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            // Lenient as libarchive: a lone percent sign is one.
            if let Ok(byte) = u8::from_str_radix(digits, 16) {
                decoded.push(byte);
                rest = &after[2..];
                continue;
            }
        }
        decoded.push(first);
        rest = after;
    }
    Some(decoded)
}

/// Seconds since 1970 and nanoseconds of `[-]SECONDS[.FRACTION]`; finer fractions are cut.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (negative, digits) = match whole.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, whole),
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = i64::try_from(decimal(digits.as_bytes())?).ok()?;
    let nine: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    let nanos: u32 = nine.parse().ok()?;
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_decimal_with_a_fraction() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.5", Some((1_700_000_000, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("5.", Some((5, 0))),
            ("-1", Some((-1, 0))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("-9223372036854775807.9", Some((i64::MIN, 100_000_000))),
            ("9223372036854775808", None),
            ("", None),
            (".5", None),
            ("+1", None),
            ("1e5", None),
            ("1.2.3", None),
            ("1.-5", None),
        ] {
            assert_eq!(parse_time(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for bad in [
            "5 a=b\n",
            "7 a=b\n",
            "6 a=b ",
            "+6 a=b\n",
            "6a=b\n",
            "99999999999999999999 a=b\n",
            "3 \n",
            "5 ab\n",
            "0 a=b\n",
            " 6 a=b\n",
        ] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let good = Pax::parse(b"6 a=b\n6 a=c\n5 b=\n").unwrap();
        assert_eq!(good.get("a"), Some(&b"c"[..]));
        assert_eq!(good.get("b"), Some(&b""[..]));
    }

    #[test]
    fn own_records_go_before_global_ones_and_empty_ones_undo() {
        let mut global = Global::default();
        let first = Pax::parse(b"11 uid=100\n11 gid=100\n10 path=g\n").unwrap();
        global.merge(first).unwrap();
        global.merge(Pax::parse(b"7 gid=\n").unwrap()).unwrap();
        let own = Pax::parse(b"8 path=\n").unwrap();
        let records = Records {
            global: &global,
            own: &own,
        };
        assert_eq!(records.number("uid").unwrap(), Some(100));
        assert_eq!(records.get("gid"), None);
        assert_eq!(records.get("path"), None);
    }

    #[test]
    fn global_records_are_bounded() {
        let mut global = Global::default();
        let big = |key: char| Pax {
            records: vec![(key.to_string().into_bytes(), vec![b'x'; 40 << 10])],
        };
        global.merge(big('a')).unwrap();
        global.merge(big('a')).unwrap();
        assert!(global.merge(big('b')).unwrap_err().contains("more than"));
        let attributes = |n: usize| Pax {
            records: (0..n)
                .map(|i| (format!("SCHILY.xattr.user.{i}").into_bytes(), b"1".to_vec()))
                .collect(),
        };
        Global::default().merge(attributes(16)).unwrap();
        let refused = Global::default().merge(attributes(17)).unwrap_err();
        assert!(refused.contains("17 extended attributes"), "{refused}");
    }

    #[test]
    fn xattrs_come_in_two_spellings() {
        let own = Pax {
            records: [
                ("SCHILY.xattr.user.a", "1=\n\0"),
                ("SCHILY.xattr.user.empty", ""),
                ("LIBARCHIVE.xattr.user.a%20b", "AQID/w"),
                ("LIBARCHIVE.xattr.user.padded", "AQ=="),
                ("LIBARCHIVE.creationtime", "1"),
            ]
            .map(|(k, v)| (k.into(), v.into()))
            .to_vec(),
        };
        let global = Global::default();
        let records = Records {
            global: &global,
            own: &own,
        };
        let expected: Xattrs = vec![
            (b"user.a".into(), b"1=\n\0".into()),
            (b"user.a b".into(), vec![1, 2, 3, 255]),
            (b"user.empty".into(), Vec::new()),
            (b"user.padded".into(), vec![1]),
        ];
        assert_eq!(records.xattrs().unwrap(), expected);
        for (key, value) in [
            ("LIBARCHIVE.xattr.user.x", "!"),
            ("LIBARCHIVE.xattr.user.%00", "AQ"),
            ("SCHILY.xattr.", "1"),
        ] {
            let own = Pax {
                records: vec![(key.into(), value.into())],
            };
            let records = Records {
                global: &global,
                own: &own,
            };
            assert!(records.xattrs().is_err(), "{key}");
        }
    }
}
