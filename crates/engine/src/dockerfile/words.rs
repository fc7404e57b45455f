//! Words, quotes and variables, as Docker's builder reads them.

/// Splits at blanks outside quotes. Quotes and backslashes stay, for [`expand`].
pub fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\\', q) if q != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if let Some(quote) = quote {
        let name = if quote == '"' { "double" } else { "single" };
        return Err(format!(
            "unexpected end of statement while looking for matching {name}-quote"
        ));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Takes quotes away and puts the values of variables in: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+instead}`.
pub fn expand(text: &str, env: &[String]) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !double => {
                for c in chars.by_ref() {
                    if c == '\'' {
                        break;
                    }
                    out.push(c);
                }
            }
            '"' => double = !double,
            '\\' => match chars.next() {
                Some(c) if double && !matches!(c, '"' | '$' | '\\') => out.extend(['\\', c]),
                Some(c) => out.push(c),
                None => out.push('\\'),
            },
            '$' if chars.peek() == Some(&'{') => {
                chars.next();
                let mut inside = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) => inside.push(c),
                        None => return Err(format!("syntax error: missing }} after ${{{inside}")),
                    }
                }
                out.push_str(&braced(&inside, env)?);
            }
            '$' => {
                let mut name = String::new();
                while let Some(c) = chars
                    .peek()
                    .filter(|c| c.is_ascii_alphanumeric() || **c == '_')
                {
                    name.push(*c);
                    chars.next();
                }
                if name.is_empty() {
                    out.push('$');
                } else {
                    out.push_str(value(&name, env).unwrap_or(""));
                }
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn value<'e>(name: &str, env: &'e [String]) -> Option<&'e str> {
    env.iter()
        .rev()
        .find_map(|e| e.strip_prefix(name)?.strip_prefix('='))
}

fn braced(inside: &str, env: &[String]) -> Result<String, String> {
    let end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(end);
    let found = value(name, env);
    let filled = found.filter(|v| !v.is_empty());
    if name.is_empty() {
        return Err(format!("bad substitution: ${{{inside}}}"));
    }
    let text = |t: &str| expand(t, env);
    if let Some(default) = modifier.strip_prefix(":-") {
        return filled.map_or_else(|| text(default), |v| Ok(v.to_owned()));
    }
    if let Some(instead) = modifier.strip_prefix(":+") {
        return filled.map_or_else(|| Ok(String::new()), |_| text(instead));
    }
    if modifier.is_empty() {
        return Ok(found.unwrap_or("").to_owned());
    }
    Err(format!(
        "unsupported modifier in substitution: ${{{inside}}}"
    ))
}
