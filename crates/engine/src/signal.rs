//! Signals by name and number, as Docker takes them.

const NAMES: [(&str, i32); 37] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
    ("RTMIN", FIRST_REAL_TIME),
    ("RTMAX", LAST),
];

/// What libc leaves to programs (signal(7)).
const FIRST_REAL_TIME: i32 = 34;
const LAST: i32 = 64;

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `sigterm`, `RTMIN+3`, `RTMAX-1`.
pub fn number(text: &str) -> Option<i32> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|number| (1..=LAST).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |digits: &str| digits.parse::<u8>().ok().map(i32::from);
    let number = if let Some(digits) = name.strip_prefix("RTMIN+") {
        FIRST_REAL_TIME + offset(digits)?
    } else {
        LAST - offset(name.strip_prefix("RTMAX-")?)?
    };
    (FIRST_REAL_TIME..=LAST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("15", Some(15)),
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigusr1", Some(10)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("64", Some(64)),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("", None),
            ("SIG", None),
            ("SIGFOO", None),
            ("RTMIN+99", None),
            ("RTMIN+-1", None),
            ("99999999999999", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }
}
