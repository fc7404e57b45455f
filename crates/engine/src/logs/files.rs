//! The files of a log, and what becomes of them.

use std::path::{Path, PathBuf};

/// What is being written.
pub(super) const NAME: &str = "container-json.log";
/// What is about to take its place.
pub(super) const NEW: &str = "container-json.log.new";
/// How a compressed one ends.
pub(super) const COMPRESSED: &str = ".gz";

/// How many bytes of rotated files are kept beyond the bounds of a log for a reader that has not come so far.
pub const SURPLUS_BYTES: u64 = 1 << 30;

/// A rotated file.
pub(super) fn rotated(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{NAME}.{number}"))
}

/// The same, compressed.
pub(super) fn compressed(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{NAME}.{number}{COMPRESSED}"))
}

/// The number of a rotated file.
pub(super) fn number(name: &str) -> Option<u64> {
    let rest = name.strip_prefix(NAME)?.strip_prefix('.')?;
    let digits = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Numbers of all rotated files, oldest first.
pub(super) fn numbers(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rotated_files_have_numbers() {
        for (name, expected) in [
            ("container-json.log", None),
            ("container-json.log.", None),
            ("container-json.log.new", None),
            ("container-json.log.7", Some(7)),
            ("container-json.log.12.gz", Some(12)),
            ("container-json.log.+7", None),
            ("container-json.log.gz", None),
            ("container-json.log.7.gz.tmp", None),
            ("state.json", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
