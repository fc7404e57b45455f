//! JSON as Docker prints it: keys in the order of its documentation, Go's escapes, four spaces.

use std::sync::Arc;

/// A value to be printed, or handed to a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Arc<Object>),
}

/// Named values in a chosen order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    fields: Vec<Field>,
    /// Whether `<`, `>` and `&` are escaped, as in the rows of Docker's lists.
    html: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    value: Json,
    /// Templates see it, JSON does not: what Go calls `omitempty`.
    omitted: bool,
}

impl Object {
    pub fn new() -> Self {
        Self::default()
    }

    /// A row of a list.
    pub fn row() -> Self {
        Self {
            html: true,
            ..Self::default()
        }
    }

    /// Adds a field that is always there.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.fields.push(Field {
            name: name.into(),
            value: value.into(),
            omitted: false,
        });
        self
    }

    /// Adds a field that JSON leaves out when it is empty.
    #[must_use]
    pub fn with_some(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        let value = value.into();
        self.fields.push(Field {
            name: name.into(),
            omitted: value.is_empty(),
            value,
        });
        self
    }

    /// Adds a field that only templates see.
    #[must_use]
    pub fn hidden(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.fields.push(Field {
            name: name.into(),
            value: value.into(),
            omitted: true,
        });
        self
    }

    /// All fields, also those that JSON leaves out.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.fields.iter().map(|f| (f.name.as_str(), &f.value))
    }
}

impl Json {
    fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(i) => *i == 0,
            Self::Float(f) => *f == 0.0,
            Self::Text(t) => t.is_empty(),
            Self::List(l) => l.is_empty(),
            Self::Object(o) => o.fields.is_empty(),
        }
    }

    /// On one line.
    pub fn compact(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, None, false);
        text
    }

    /// Over several lines, indented by four spaces, as `docker inspect` prints it.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, Some(0), false);
        text
    }

    fn write(&self, out: &mut String, depth: Option<usize>, html: bool) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Int(i) => out.push_str(&i.to_string()),
            Self::Float(f) => out.push_str(&f.to_string()),
            Self::Text(text) => quote(out, text, html),
            Self::List(items) => {
                let items = items.iter().map(|item| (None, item));
                sequence(out, ['[', ']'], items, depth, html);
            }
            Self::Object(object) => {
                let shown = object.fields.iter().filter(|f| !f.omitted);
                let items = shown.map(|f| (Some(f.name.as_str()), &f.value));
                sequence(out, ['{', '}'], items, depth, html || object.html);
            }
        }
    }
}

fn sequence<'a>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
    depth: Option<usize>,
    html: bool,
) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    out.push(open);
    let mut any = false;
    for (name, value) in items {
        if any {
            out.push(',');
        }
        any = true;
        if let Some(depth) = depth {
            line(out, depth + 1);
        }
        if let Some(name) = name {
            quote(out, name, html);
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        value.write(out, depth.map(|d| d + 1), html);
    }
    if let (Some(depth), true) = (depth, any) {
        line(out, depth);
    }
    out.push(close);
}

/// A string as Go's `encoding/json` writes it, and DEL and the C1 controls escaped as well: some terminals obey those.
fn quote(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if !html => out.push(c),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(Arc::new(object))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<Option<&serde_json::Value>> for Json {
    fn from(value: Option<&serde_json::Value>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => n
                .as_i64()
                .map_or_else(|| Self::Float(n.as_f64().unwrap_or(0.0)), Self::Int),
            Value::String(s) => Self::Text(s.clone()),
            Value::Array(items) => Self::List(items.iter().map(Into::into).collect()),
            Value::Object(map) => map
                .iter()
                .fold(Object::new(), |o, (name, value)| {
                    o.with(name.as_str(), value)
                })
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_docker_inspect_does() {
        let json = Json::List(vec![
            Object::new()
                .with("Id", "sha256:1")
                .with("Empty", Vec::<String>::new())
                .with("Nothing", Json::Null)
                .with_some("Left", "")
                .with("Map", Object::new())
                .with("Labels", Object::new().with("a", "<1>&").with("b", 2_u64))
                .with("List", vec!["x", "y"])
                .into(),
        ]);
        assert_eq!(
            json.pretty(),
            r#"[
    {
        "Id": "sha256:1",
        "Empty": [],
        "Nothing": null,
        "Map": {},
        "Labels": {
            "a": "<1>&",
            "b": 2
        },
        "List": [
            "x",
            "y"
        ]
    }
]"#
        );
        assert_eq!(
            json.compact(),
            r#"[{"Id":"sha256:1","Empty":[],"Nothing":null,"Map":{},"Labels":{"a":"<1>&","b":2},"List":["x","y"]}]"#
        );
    }

    #[test]
    fn escapes_what_steers_terminals() {
        let json = Json::from("\u{1b}[31m\u{7f}\u{9b}\u{8}\u{c}\n\t\"\\\u{2028}é");
        assert_eq!(
            json.compact(),
            r#""\u001b[31m\u007f\u009b\b\f\n\t\"\\\u2028é""#
        );
        let row = Json::from(Object::row().with("Tag", "<none>"));
        assert_eq!(row.compact(), r#"{"Tag":"\u003cnone\u003e"}"#);
    }
}
