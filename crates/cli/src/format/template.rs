//! Go's `text/template` with the functions that Docker documents for `--format`.
//!
//! The language is the crate [`gotmpl`]'s. What is added here: Docker's functions; `json` in the order in which the
//! object was built; function names checked while parsing, as Go does; methods with an argument (`.Label "x"`); and
//! errors that say where in the template they happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, Parser, PipeNode, SmolStr};
use gotmpl::{MissingKey, TemplateError, Value};

use super::json::{Json, Object};
use super::{blocks, functions};

/// Objects by the address of the map that a template sees in their stead.
pub(super) type Objects = Arc<Mutex<HashMap<usize, Arc<Object>>>>;

/// Fields that hold maps whose keys are anybody's: a missing one is no error in Go.
const MAPS: [&str; 7] = [
    "Labels",
    "Annotations",
    "Data",
    "ExposedPorts",
    "Volumes",
    "Ports",
    "Networks",
];

/// Name of the text outside every `{{define}}`.
const MAIN: &str = "";

/// A parsed template.
pub struct Template {
    /// A missing field is an error.
    strict: gotmpl::Template,
    /// A missing key is `<no value>`.
    lenient: gotmpl::Template,
    /// Functions leave a header as it is.
    headers: gotmpl::Template,
    source: String,
    trees: Vec<ListNode>,
    objects: Objects,
}

/// Why a template cannot be used, in Go's words.
#[derive(Debug)]
pub struct Fault {
    /// What Go says.
    pub text: String,
    /// The field that the data does not have.
    pub field: Option<String>,
}

impl Template {
    /// Parses a template. `methods` are the fields that take an argument.
    pub fn parse(source: &str, methods: &[&str]) -> Result<Self, Fault> {
        let (main, defines) = Parser::new(source, "{{", "}}")
            .and_then(Parser::parse)
            .map_err(|e| syntax(&e))?;
        let mut trees = vec![(MAIN.to_owned(), main)];
        trees.extend(defines.into_iter().map(|d| (d.name.to_string(), d.body)));
        blocks::check(source).map_err(|text| Fault { text, field: None })?;
        for (_, tree) in &mut trees {
            check(tree, methods)?;
        }
        let with_trees = |template: gotmpl::Template| {
            trees.iter().fold(template, |template, (name, tree)| {
                template.add_parse_tree(name, tree.clone())
            })
        };
        let objects = Objects::default();
        let lenient = functions::add(gotmpl::Template::new(MAIN), &objects);
        Ok(Self {
            strict: with_trees(lenient.clone().missing_key(MissingKey::Error)),
            lenient: with_trees(lenient),
            headers: with_trees(functions::add_for_headers(gotmpl::Template::new(MAIN))),
            source: source.to_owned(),
            trees: trees.into_iter().map(|(_, tree)| tree).collect(),
            objects,
        })
    }

    /// The text for one value.
    pub fn render(&self, data: &Json) -> Result<String, Fault> {
        let value = self.value(data);
        let result = match self.strict.execute_template_to_string(MAIN, &value) {
            Err(TemplateError::MissingKey { key }) if self.is_map_key(&key) => {
                self.lenient.execute_template_to_string(MAIN, &value)
            }
            result => result,
        };
        self.objects().clear();
        result.map_err(|e| self.failed(e))
    }

    /// The line of headers.
    pub fn render_headers<'a>(
        &self,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, Fault> {
        let map = headers
            .into_iter()
            .map(|(name, header)| (Arc::from(name), Value::String(Arc::from(header))));
        self.headers
            .execute_template_to_string(MAIN, &Value::Map(Arc::new(map.collect())))
            .map_err(|e| self.failed(e))
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<Object>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, json: &Json) -> Value {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(b) => Value::Bool(*b),
            Json::Int(i) => Value::Int(*i),
            Json::Float(f) => Value::Float(*f),
            Json::Text(text) => Value::String(Arc::from(text.as_str())),
            Json::List(items) => Value::List(items.iter().map(|i| self.value(i)).collect()),
            Json::Object(object) => {
                let map: BTreeMap<Arc<str>, Value> = object
                    .fields()
                    .map(|(name, value)| (Arc::from(name), self.value(value)))
                    .collect();
                let map = Arc::new(map);
                self.objects()
                    .insert(Arc::as_ptr(&map).addr(), Arc::clone(object));
                Value::Map(map)
            }
        }
    }

    /// Whether a key is asked of a map rather than of a struct.
    fn is_map_key(&self, key: &str) -> bool {
        self.fields().iter().any(|(_, chain)| {
            chain
                .windows(2)
                .any(|w| MAPS.contains(&w[0]) && w[1] == key)
        })
    }

    /// Every chain of fields with its place in the source.
    fn fields(&self) -> Vec<(usize, Vec<&str>)> {
        let mut fields = Vec::new();
        for tree in &self.trees {
            each_pipe(tree, &mut |pipe| {
                each_expression(pipe, &mut |expression| {
                    let (Expr::Field(pos, chain) | Expr::Variable(pos, _, chain)) = expression
                    else {
                        return;
                    };
                    fields.push((pos.offset, chain.iter().map(SmolStr::as_str).collect()));
                });
            });
        }
        fields
    }

    fn failed(&self, error: TemplateError) -> Fault {
        let (key, why) = match error {
            TemplateError::MissingKey { key } => {
                let why = format!("map has no entry for key {key:?}");
                (Some(key), why)
            }
            TemplateError::Exec(why) => (None, why),
            other => (None, other.to_string()),
        };
        let place = key.as_deref().and_then(|key| self.place(key));
        let text = match place {
            Some((line, column, chain)) => {
                format!("template: :{line}:{column}: executing \"\" at <{chain}>: {why}")
            }
            None => format!("template: :1: executing \"\": {why}"),
        };
        Fault { text, field: key }
    }

    /// Line, column and text of the first expression that asks for a field.
    fn place(&self, key: &str) -> Option<(usize, usize, String)> {
        let (offset, chain) = self.fields().into_iter().find(|(_, c)| c.contains(&key))?;
        let at = chain.iter().position(|name| *name == key)?;
        let before: usize = chain[..at].iter().map(|name| name.len() + 1).sum();
        let offset = (offset + before).min(self.source.len());
        let start = self.source.get(..offset)?;
        let column = offset - start.rfind('\n').map_or(0, |i| i + 1);
        let line = start.matches('\n').count() + 1;
        Some((line, column, format!(".{}", chain.join("."))))
    }
}

fn syntax(error: &TemplateError) -> Fault {
    let text = match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            format!("template: :{line}: {message}")
        }
        other => format!("template: :1: {other}"),
    };
    Fault { text, field: None }
}

/// Refuses functions that there are not, and turns the method `.Label "x"` into a look-up in the map `.Label`.
fn check(tree: &mut ListNode, methods: &[&str]) -> Result<(), Fault> {
    let mut unknown = None;
    each_pipe(tree, &mut |pipe| {
        each_expression(pipe, &mut |expression| {
            if let Expr::Identifier(pos, name) = expression
                && !functions::is_known(name)
            {
                let line = pos.line;
                unknown.get_or_insert_with(|| {
                    format!(
                        "template: :{line}: function {:?} not defined",
                        name.as_str()
                    )
                });
            }
        });
    });
    if let Some(text) = unknown {
        return Err(Fault { text, field: None });
    }
    if !methods.is_empty() {
        each_pipe_mut(tree, &mut |pipe| call_methods(pipe, methods));
    }
    Ok(())
}

fn call_methods(pipe: &mut PipeNode, methods: &[&str]) {
    for CommandNode { args, .. } in &mut pipe.commands {
        for arg in args.iter_mut() {
            if let Expr::Pipe(_, inner) = arg {
                call_methods(inner, methods);
            }
        }
        if let [
            Expr::Field(pos, chain) | Expr::Variable(pos, _, chain),
            _,
            ..,
        ] = args.as_slice()
            && chain.last().is_some_and(|n| methods.contains(&n.as_str()))
        {
            let pos = *pos;
            args.insert(
                0,
                Expr::Identifier(pos, SmolStr::new_static(functions::METHOD)),
            );
        }
    }
}

/// Every pipeline that is not inside another.
fn each_pipe<'a>(list: &'a ListNode, see: &mut impl FnMut(&'a PipeNode)) {
    for node in &list.nodes {
        match node {
            Node::List(inner) => each_pipe(inner, see),
            Node::Action(action) => see(&action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                see(&branch.pipe);
                each_pipe(&branch.body, see);
                if let Some(body) = &branch.else_body {
                    each_pipe(body, see);
                }
            }
            Node::Template(call) => call.pipe.iter().for_each(&mut *see),
            Node::Define(define) => each_pipe(&define.body, see),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
}

fn each_pipe_mut(list: &mut ListNode, see: &mut impl FnMut(&mut PipeNode)) {
    for node in &mut list.nodes {
        match node {
            Node::List(inner) => each_pipe_mut(inner, see),
            Node::Action(action) => see(&mut action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                see(&mut branch.pipe);
                each_pipe_mut(&mut branch.body, see);
                if let Some(body) = &mut branch.else_body {
                    each_pipe_mut(body, see);
                }
            }
            Node::Template(call) => call.pipe.iter_mut().for_each(&mut *see),
            Node::Define(define) => each_pipe_mut(&mut define.body, see),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
}

/// Every expression of a pipeline, also those in parentheses.
fn each_expression<'a>(pipe: &'a PipeNode, see: &mut impl FnMut(&'a Expr)) {
    for argument in pipe.commands.iter().flat_map(|c| &c.args) {
        inside(argument, see);
    }
}

fn inside<'a>(expression: &'a Expr, see: &mut impl FnMut(&'a Expr)) {
    see(expression);
    match expression {
        Expr::Pipe(_, pipe) => each_expression(pipe, see),
        Expr::Chain(_, inner, _) => inside(inner, see),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
