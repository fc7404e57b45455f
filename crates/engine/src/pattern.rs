//! Patterns of shell globbing for names of images, as Go's `path.Match` has them.

/// Whether a whole name fits a pattern: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, `\` takes the next
/// character as it is. A malformed pattern fits nothing.
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where the last star stood, and how far it has reached: only that one has to be tried again.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() || p < pattern.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n < name.len()
            && let Some(length) = one(&pattern[p..], name[n])
        {
            p += length;
            n += 1;
            continue;
        }
        match star {
            Some((after, reached)) if name.get(reached).is_some_and(|c| *c != '/') => {
                star = Some((after, reached + 1));
                (p, n) = (after, reached + 1);
            }
            _ => return false,
        }
    }
    true
}

/// How much of the pattern stands for this one character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (c != '/').then_some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', class @ ..] => in_class(class, c).map(|length| length + 1),
        [literal, ..] => (*literal == c && !matches!(literal, '\\' | '[')).then_some(1),
        [] => None,
    }
}

/// The length of a class including its `]`, if it has the character.
fn in_class(class: &[char], c: char) -> Option<usize> {
    let negated = class.first() == Some(&'^');
    let mut at = usize::from(negated);
    let mut found = false;
    let start = at;
    let bound = |at: &mut usize| -> Option<char> {
        if class.get(*at) == Some(&'\\') {
            *at += 1;
        }
        let c = class.get(*at).copied();
        *at += 1;
        c
    };
    loop {
        if class.get(at) == Some(&']') && at > start {
            return (found != negated && c != '/').then_some(at + 1);
        }
        let low = bound(&mut at)?;
        let high = if class.get(at) == Some(&'-') {
            at += 1;
            bound(&mut at)?
        } else {
            low
        };
        found |= low <= c && c <= high;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_go() {
        for (pattern, name, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "busybox", true),
            ("*", "owner/app", false),
            ("*/*", "owner/app", true),
            ("*/*:*", "owner/app:1.2", true),
            ("b*x:*", "busybox:latest", true),
            ("bus?box", "busybox", true),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]", "]", true),
            ("[\\]]", "]", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*b*b", "abxbb", true),
            ("a*/b", "ax/y/b", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "", false),
            ("[a", "a", false),
            ("a\\", "a\\", false),
            ("[", "[", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern:?} {name:?}");
        }
        // Backtracking is bounded: this takes no time.
        let many = "*a".repeat(50) + "b";
        assert!(!fits(&many, &"a".repeat(5000)));
    }
}
