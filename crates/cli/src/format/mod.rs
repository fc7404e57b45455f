//! `--format`: tables, templates and JSON, as Docker documents them.
//!
//! A list has [`Column`]s: what a field of its template is called, its header, and how to get it from a row. The
//! default table names some of them and takes no template, so that long lists are quick.

mod blocks;
mod functions;
pub mod json;
pub mod template;

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::output::{cell, tabulate};
use json::{Json, Object};
use template::{Fault, Template};

/// A field of a list's rows.
pub struct Column<T> {
    /// As in `{{.Name}}`.
    pub name: &'static str,
    /// As in the line above a table.
    pub header: &'static str,
    /// Its text.
    pub value: fn(&T) -> String,
}

/// A field that takes an argument, such as `.Label "key"`: its name, and the map that it looks into.
pub type Method<T> = (&'static str, fn(&T) -> BTreeMap<String, String>);

/// How a list is shown.
pub struct List<'a, T> {
    /// All fields.
    pub columns: &'a [Column<T>],
    /// Those of the table that is shown when no format is asked for.
    pub default: &'a [&'a str],
    /// What that table shows where these are empty.
    pub instead: &'a [(&'a str, &'a str)],
    /// Fields that take an argument: a key of this map.
    pub methods: &'a [Method<T>],
}

impl<T> List<'_, T> {
    /// The rows in a format; without one, in the default table.
    pub fn render(&self, format: Option<&str>, rows: &[T]) -> Result<String, Failure> {
        match format.unwrap_or("table") {
            "table" => Ok(self.plain_table(rows)),
            "json" => Ok(rows
                .iter()
                .map(|r| self.object(r).compact() + "\n")
                .collect()),
            format => match format.strip_prefix("table") {
                Some(template) => self.table(template, rows),
                None => self.lines(format, rows),
            },
        }
    }

    fn plain_table(&self, rows: &[T]) -> String {
        let shown: Vec<&Column<T>> = self
            .default
            .iter()
            .filter_map(|name| self.columns.iter().find(|c| c.name == *name))
            .collect();
        let mut text = shown
            .iter()
            .map(|c| c.header)
            .collect::<Vec<_>>()
            .join("\t");
        text.push('\n');
        for row in rows {
            for (i, column) in shown.iter().enumerate() {
                if i > 0 {
                    text.push('\t');
                }
                let value = (column.value)(row);
                let instead = self.instead.iter().find(|(name, _)| *name == column.name);
                match instead {
                    Some((_, instead)) if value.is_empty() => text.push_str(instead),
                    _ => text.push_str(&cell(&value)),
                }
            }
            text.push('\n');
        }
        tabulate(&text)
    }

    fn table(&self, template: &str, rows: &[T]) -> Result<String, Failure> {
        let template = self.parse(template)?;
        let columns = self.columns.iter().map(|c| (c.name, c.header));
        let headers = columns.chain(self.methods.iter().map(|(name, _)| (*name, *name)));
        let mut text = template
            .render_headers(headers)
            .map_err(|fault| self.refused(&fault))?;
        text.push('\n');
        for row in rows {
            let safe = self.row(row, cell);
            text += &self.line(&template, &safe)?;
        }
        Ok(tabulate(&text))
    }

    fn lines(&self, template: &str, rows: &[T]) -> Result<String, Failure> {
        let template = self.parse(template)?;
        rows.iter()
            .map(|row| self.line(&template, &self.object(row)))
            .collect()
    }

    fn line(&self, template: &Template, row: &Json) -> Result<String, Failure> {
        template
            .render(row)
            .map(|line| line + "\n")
            .map_err(|fault| self.refused(&fault))
    }

    fn parse(&self, template: &str) -> Result<Template, Failure> {
        let methods: Vec<&str> = self.methods.iter().map(|(name, _)| *name).collect();
        Template::parse(&unescaped(template), &methods).map_err(|fault| parsing(&fault))
    }

    /// All fields in the order of their names, as Docker gives them.
    fn object(&self, row: &T) -> Json {
        self.row(row, str::to_owned)
    }

    fn row(&self, row: &T, clean: impl Fn(&str) -> String) -> Json {
        let mut columns: Vec<&Column<T>> = self.columns.iter().collect();
        columns.sort_by_key(|c| c.name);
        let fields = columns
            .into_iter()
            .fold(Object::row(), |o, c| o.with(c.name, clean(&(c.value)(row))));
        let methods = self.methods.iter().fold(fields, |o, (name, map)| {
            let map = map(row)
                .into_iter()
                .fold(Object::new(), |o, (key, value)| o.with(key, clean(&value)));
            o.hidden(*name, map)
        });
        methods.into()
    }

    fn refused(&self, fault: &Fault) -> Failure {
        let Some(field) = &fault.field else {
            return parsing(fault);
        };
        let text = fault.text.replace(
            &format!("map has no entry for key {field:?}"),
            &format!("can't evaluate field {field}"),
        );
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|c| format!(".{}", c.name))
            .collect();
        parsing(&Fault { text, field: None }).hint(format!("the fields are {}", names.join(", ")))
    }
}

/// `\t` and `\n` as typed in a shell's quotes; spaces around a template do not count.
fn unescaped(template: &str) -> String {
    template
        .trim_matches(' ')
        .replace("\\t", "\t")
        .replace("\\n", "\n")
}

/// Docker's message for a template that cannot be used.
pub fn parsing(fault: &Fault) -> Failure {
    Failure::new(format!("template parsing error: {}", fault.text))
}
