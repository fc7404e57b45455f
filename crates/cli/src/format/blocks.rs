//! `{{if}}`, `{{else}}`, `{{end}}` and their kind: whether they belong together.
//!
//! The parser of [`gotmpl`] 0.6 takes a missing `{{end}}` for one at the end of the text, and ends the text at one that
//! closes nothing. Go refuses both, and so does this.

/// Checks a text that parses otherwise.
///
/// # Errors
/// With Go's words.
pub fn check(source: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let at = source.len() - rest.len() + start;
        let line = source[..at].matches('\n').count() + 1;
        let unexpected = |what: &str| Err(format!("template: :{line}: unexpected {{{{{what}}}}}"));
        rest = &rest[start + 2..];
        let inside = rest.strip_prefix('-').unwrap_or(rest).trim_start();
        if inside.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
            rest = after_action(rest);
            continue;
        }
        match inside.split(|c: char| !c.is_alphanumeric()).next() {
            Some(word @ ("if" | "range" | "with" | "block" | "define")) => open.push(word),
            Some("else") if !matches!(open.last(), Some(&("if" | "range" | "with"))) => {
                return unexpected("else");
            }
            Some("end") if open.is_empty() => return unexpected("end"),
            Some("end") => drop(open.pop()),
            Some(word @ ("break" | "continue")) if !open.contains(&"range") => {
                return Err(format!(
                    "template: :{line}: {{{{{word}}}}} outside {{{{range}}}}"
                ));
            }
            _ => {}
        }
        rest = after_action(rest);
    }
    if open.is_empty() {
        Ok(())
    } else {
        let line = source.matches('\n').count() + 1;
        Err(format!("template: :{line}: unexpected EOF"))
    }
}

/// What follows the next `}}` that is not in quotes.
fn after_action(text: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if text[at..].starts_with("}}") => return &text[at + 2..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_belong_together_or_are_refused() {
        for (source, fault) in [
            (
                "{{if .A}}{{range .B}}{{else}}{{end}}{{else if .C}}{{end}}",
                None,
            ),
            ("{{- if .A -}}{{- /* {{end}} */ -}}{{- end -}}", None),
            ("{{\"{{end}}\"}}{{`{{if}}`}}{{'}'}} }} end", None),
            ("{{.end}}{{.if}}{{endless}}", None),
            ("{{range .A}}{{if .}}{{break}}{{end}}{{end}}", None),
            ("{{define \"x\"}}{{end}}{{block \"y\" .}}{{end}}", None),
            ("{{if .A}}x", Some("1: unexpected EOF")),
            ("\n{{range .A}}{{\"{{end}}\"}}", Some("2: unexpected EOF")),
            (
                "{{with .A}}{{/* {{end}} */}}{{`\\`}}",
                Some("1: unexpected EOF"),
            ),
            ("a\nb{{end}}c", Some("2: unexpected {{end}}")),
            ("{{else}}", Some("1: unexpected {{else}}")),
            (
                "{{define \"x\"}}{{else}}{{end}}",
                Some("1: unexpected {{else}}"),
            ),
            ("{{break}}", Some("1: {{break}} outside {{range}}")),
        ] {
            let expected = fault.map_or(Ok(()), |f| Err(format!("template: :{f}")));
            assert_eq!(check(source), expected, "{source}");
        }
    }
}
