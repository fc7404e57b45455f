//! PAX extended headers (pax(1), "pax Extended Header").

use super::{Header, MAX_ID, MAX_SIZE};
use crate::merged::NodeKind;

/// Bytes of a name in a ustar header.
const NAME: usize = 100;

/// The records that an entry needs beside its ustar header.
pub fn records(
    header: &Header<'_>,
    path: &[u8],
    more: &[(&str, Vec<u8>)],
    renamed: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| record(&mut out, key, value);
    let long_path = path.len() > NAME && !renamed;
    let long_link = header.link.len() > NAME;
    let foreign = |bytes: &[u8]| std::str::from_utf8(bytes).is_err();
    if (long_path && foreign(path)) || (long_link && foreign(header.link)) {
        put(b"hdrcharset", b"BINARY");
    }
    if long_path {
        put(b"path", path);
    }
    if long_link {
        put(b"linkpath", header.link);
    }
    for (key, id) in [("uid", header.uid), ("gid", header.gid)] {
        if u64::from(id) > MAX_ID {
            put(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if header.size > MAX_SIZE {
        put(b"size", header.size.to_string().as_bytes());
    }
    let (seconds, nanos) = header.mtime;
    if nanos != 0 || u64::try_from(seconds).is_ok_and(|s| s > MAX_SIZE) || seconds < 0 {
        put(b"mtime", time(seconds, nanos).as_bytes());
    }
    if let Some(NodeKind::Device(_, major, minor)) = header.kind
        && u64::from(major.max(minor)) > MAX_ID
    {
        put(b"SCHILY.devmajor", major.to_string().as_bytes());
        put(b"SCHILY.devminor", minor.to_string().as_bytes());
    }
    for (name, value) in header.xattrs {
        // A name with `=` in it would be read as another one.
        if !name.contains(&b'=') {
            put(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
    }
    for (key, value) in more {
        put(key.as_bytes(), value);
    }
    out
}

/// `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(length.to_string().as_bytes());
    out.push(b' ');
    out.extend(key);
    out.push(b'=');
    out.extend(value);
    out.push(b'\n');
}

/// Seconds with a fraction. Nanoseconds count forwards, also before 1970.
fn time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    let (whole, fraction) = (total / 1_000_000_000, total % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// A name for an extension header itself, which no reader looks at.
pub fn shortened(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let room = NAME - prefix.len();
    [prefix, &name[..name.len().min(room)]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        let write = |value: &[u8]| {
            let mut out = Vec::new();
            record(&mut out, b"path", value);
            out
        };
        assert_eq!(write(b"a"), b"9 path=a\n");
        assert_eq!(write(b"ab"), b"11 path=ab\n");
        let long = write(&[b'x'; 1000]);
        assert_eq!(long.len(), 1011);
        assert!(long.starts_with(b"1011 path="));
    }

    #[test]
    fn times_before_1970_have_their_fraction_towards_the_past() {
        assert_eq!(time(5, 0), "5");
        assert_eq!(time(5, 250_000_000), "5.25");
        assert_eq!(time(-1, 500_000_000), "-0.5");
        assert_eq!(time(-2, 1), "-1.999999999");
        assert_eq!(time(1 << 40, 0), "1099511627776");
    }
}
