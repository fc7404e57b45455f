//! The functions that Docker adds to Go's templates.

use gotmpl::{Result, Template, TemplateError, Value};

use super::json::Json;
use super::template::Objects;

/// Functions of Go itself and of Docker.
const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery", "join", "json", "lower", "pad", "split",
    "title", "truncate", "upper",
];

/// What a method becomes: a function that nobody can type.
pub const METHOD: &str = "(method)";

/// Whether a function of this name may be called.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Adds Docker's functions.
pub fn add(template: Template, objects: &Objects) -> Template {
    let objects = objects.clone();
    common(template)
        .func(METHOD, |args| {
            let [map, key] = arguments(METHOD, args)?;
            Ok(match (map, string(key)?) {
                (Value::Map(map), key) => map.get(key).cloned().unwrap_or_else(|| text("")),
                _ => text(""),
            })
        })
        .func("json", move |args| {
            let [value] = arguments("json", args)?;
            Ok(text(to_json(value, &objects).compact()))
        })
        .func("title", |args| one("title", args, title))
        .func("lower", |args| {
            one("lower", args, |s| {
                s.chars().map(|c| single(c.to_lowercase(), c)).collect()
            })
        })
        .func("upper", |args| {
            one("upper", args, |s| {
                s.chars().map(|c| single(c.to_uppercase(), c)).collect()
            })
        })
        .func("truncate", |args| {
            let [source, length] = arguments("truncate", args)?;
            let source = string(source)?;
            let mut end = usize::try_from(number(length)?).unwrap_or(0);
            if source.len() <= end {
                return Ok(text(source));
            }
            while !source.is_char_boundary(end) {
                end -= 1;
            }
            Ok(text(&source[..end]))
        })
}

/// Adds them as they are for headers: what changes values leaves these alone.
pub fn add_for_headers(template: Template) -> Template {
    let first = |args: &[Value]| Ok(args.first().cloned().unwrap_or(Value::Nil));
    // A method's header is the last part of what it is asked for.
    let methods = common(template).func(METHOD, |args| {
        let [_, key] = arguments(METHOD, args)?;
        let last = string(key)?.rsplit('.').next().unwrap_or_default();
        Ok(text(last.replace(['-', '_'], " ")))
    });
    ["json", "title", "lower", "upper", "truncate"]
        .into_iter()
        .fold(methods, |template, name| template.func(name, first))
}

fn common(template: Template) -> Template {
    template
        .func("split", |args| {
            let [source, separator] = arguments("split", args)?;
            let (source, separator) = (string(source)?, string(separator)?);
            let parts: Vec<Value> = if separator.is_empty() {
                source.chars().map(|c| text(c.to_string())).collect()
            } else {
                source.split(separator).map(text).collect()
            };
            Ok(Value::List(parts.into()))
        })
        .func("join", |args| {
            let [list, separator] = arguments("join", args)?;
            let items = match list {
                Value::List(items) => items.iter().map(string).collect::<Result<Vec<_>>>()?,
                Value::Nil => Vec::new(),
                other => return Err(wrong("[]string", other)),
            };
            Ok(text(items.join(string(separator)?)))
        })
        .func("pad", |args| {
            let [source, before, after] = arguments("pad", args)?;
            let source = string(source)?;
            if source.is_empty() {
                return Ok(text(source));
            }
            let spaces = |count: &Value| match number(count)? {
                count @ 0..=4096 => Ok(" ".repeat(usize::try_from(count).unwrap_or(0))),
                count => Err(exec(format!("pad: {count} is not between 0 and 4096"))),
            };
            Ok(text(spaces(before)? + source + &spaces(after)?))
        })
}

/// Go changes case by character: one that would become several stays.
fn single(mut changed: impl Iterator<Item = char>, c: char) -> char {
    match (changed.next(), changed.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Go's `strings.Title`: the first letter of each word in upper case.
fn title(source: &str) -> String {
    let mut start = true;
    let mut result = String::with_capacity(source.len());
    for c in source.chars() {
        if start {
            result.push(single(c.to_uppercase(), c));
        } else {
            result.push(c);
        }
        start = !c.is_alphanumeric() && c != '_' && (c.is_ascii() || c.is_whitespace());
    }
    result
}

fn to_json(value: &Value, objects: &Objects) -> Json {
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(i) => Json::Int(*i),
        Value::Uint(u) => Json::from(*u),
        Value::Float(f) => Json::Float(*f),
        Value::String(s) => Json::from(&**s),
        Value::List(items) => Json::List(items.iter().map(|i| to_json(i, objects)).collect()),
        Value::Map(map) => {
            let address = std::sync::Arc::as_ptr(map).addr();
            let objects = objects
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // Only the template itself could have made one that is not known, and it cannot.
            objects
                .get(&address)
                .map_or(Json::Null, |object| Json::Object(object.clone()))
        }
    }
}

fn text(value: impl AsRef<str>) -> Value {
    Value::String(value.as_ref().into())
}

fn exec(why: String) -> TemplateError {
    TemplateError::Exec(why)
}

fn wrong(wanted: &str, got: &Value) -> TemplateError {
    exec(format!(
        "wrong type for value; expected {wanted}; got {}",
        got.type_name()
    ))
}

fn string(value: &Value) -> Result<&str> {
    match value {
        Value::String(s) => Ok(s),
        other => Err(wrong("string", other)),
    }
}

fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(i) => Ok(*i),
        other => Err(wrong("int", other)),
    }
}

fn one(name: &str, args: &[Value], act: impl Fn(&str) -> String) -> Result<Value> {
    let [source] = arguments(name, args)?;
    Ok(text(act(string(source)?)))
}

fn arguments<'a, const N: usize>(name: &str, args: &'a [Value]) -> Result<[&'a Value; N]> {
    <&[Value; N]>::try_from(args)
        .map(|args| args.each_ref())
        .map_err(|_| {
            exec(format!(
                "wrong number of args for {name}: want {N} got {}",
                args.len()
            ))
        })
}
