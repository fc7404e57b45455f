//! `--env-file`: Docker's format, one `NAME=value` a line.

/// Parses a file's text. `look_up` gives the caller's variable for a line that is only a name.
///
/// # Errors
/// With the number of the line that is wrong, and why.
pub fn parse(
    text: &str,
    look_up: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, (usize, &'static str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |why| Err((number + 1, why));
        // Only white space before the name is dropped: values are taken to the letter.
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains('\0') {
            return fail("it holds a NUL byte");
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return fail("it has no variable name before the `=`");
        }
        if name.contains(char::is_whitespace) {
            return fail("the variable name contains white space");
        }
        match value {
            Some(_) => entries.push(line.to_owned()),
            None => entries.extend(look_up(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_format() {
        let text = "\u{feff}# a remark\n\nA=1\n  B= two words \nC\nD=x=y#z\nGONE\nE=\n";
        let look_up = |name: &str| (name == "C").then(|| "caller's".to_owned());
        assert_eq!(
            parse(text, look_up).unwrap(),
            ["A=1", "B= two words ", "C=caller's", "D=x=y#z", "E="]
        );
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let none = |_: &str| None;
        assert_eq!(parse("A=1\n=x\n", none).unwrap_err().0, 2);
        assert_eq!(parse("A B=x\n", none).unwrap_err().0, 1);
    }
}
