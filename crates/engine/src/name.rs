//! Names for containers: checked where given, made up where not.

use crate::Error;

const ADJECTIVES: [&str; 32] = [
    "able", "amber", "bold", "brisk", "calm", "clever", "cosmic", "crisp", "daring", "deft",
    "eager", "fair", "fleet", "gentle", "glad", "hardy", "keen", "kind", "lively", "lucid",
    "mellow", "merry", "nimble", "noble", "plucky", "proud", "quiet", "rapid", "sharp", "steady",
    "sunny", "vivid",
];
const ANIMALS: [&str; 32] = [
    "badger", "beaver", "bison", "crane", "dolphin", "falcon", "ferret", "finch", "gecko", "heron",
    "ibex", "jackdaw", "kestrel", "lemur", "lynx", "marten", "newt", "orca", "osprey", "otter",
    "owl", "panda", "puffin", "raven", "robin", "seal", "stoat", "swift", "tapir", "vole",
    "walrus", "wren",
];

/// A name derived from a container's random id: `keen_otter_3f9c`.
pub fn made_up(id: &str) -> String {
    let number = |range: std::ops::Range<usize>| {
        id.get(range)
            .and_then(|hex| usize::from_str_radix(hex, 16).ok())
            .unwrap_or(0)
    };
    format!(
        "{}_{}_{}",
        ADJECTIVES[number(12..16) % ADJECTIVES.len()],
        ANIMALS[number(16..20) % ANIMALS.len()],
        id.get(20..24).unwrap_or("0")
    )
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn check(name: &str) -> Result<(), Error> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let good = name.len() >= 2
        && name.len() <= 128
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(rest);
    if good {
        Ok(())
    } else {
        Err(Error::Argument {
            what: "container name",
            value: name.to_owned(),
            why: "it needs 2 to 128 letters, digits, `_`, `.` or `-`, and starts with a letter or digit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_valid() {
        let id = "0123456789abcdef".repeat(4);
        assert!(check(&made_up(&id)).is_ok(), "{}", made_up(&id));
    }

    #[test]
    fn names_that_are_paths_or_options_are_refused() {
        for bad in ["", "a", "-x", ".x", "a/b", "../x", "a b", "ä1", "a\0b"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check("web-1.x_y").is_ok());
    }
}
