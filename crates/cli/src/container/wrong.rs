//! A flag's value that cannot be used.

use crate::failure::Failure;

/// What is wrong with a value, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub why: String,
    pub remedy: Option<String>,
}

pub fn wrong<T>(why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        why: why.into(),
        remedy: None,
    })
}

pub fn wrong_with<T>(why: impl Into<String>, remedy: &str) -> Result<T, Wrong> {
    Err(Wrong {
        why: why.into(),
        remedy: Some(remedy.to_owned()),
    })
}

/// Parses a flag's value, and names flag and value where that fails.
pub fn parse<T>(
    flag: &str,
    value: &str,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<T, Failure> {
    parse(value).map_err(|Wrong { why, remedy }| {
        let failure = Failure::usage(format!("invalid argument {value:?} for {flag}: {why}"));
        match remedy {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    })
}

/// [`parse`] for every value of a flag that may be repeated.
pub fn parse_each<T, C: FromIterator<T>>(
    flag: &str,
    values: &[String],
    each: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<C, Failure> {
    values
        .iter()
        .map(|value| parse(flag, value, &each))
        .collect()
}

/// [`parse`] for a flag that may be left out.
pub fn parse_one<T>(
    flag: &str,
    value: Option<&String>,
    one: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<Option<T>, Failure> {
    value.map(|value| parse(flag, value, one)).transpose()
}
