//! A TOML file as a tree with the place of every value, and a reader that collects every mistake with its line.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::event::{EventType, Filter, Json};
use crate::suggest::{self, Known};

/// A value, and the byte of the file at which it begins.
#[derive(Debug, Clone)]
pub struct Node {
    pub at: usize,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub enum Value {
    String(String),
    /// A number that JSON has, as JSON writes it.
    Number(String),
    Bool(bool),
    Array(Vec<Node>),
    Table(Vec<Member>),
    /// What JSON does not have: a date, a number that is not decimal, an infinity. The word says what.
    Other(&'static str),
}

/// A member of a table.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    /// The byte at which the name begins.
    pub at: usize,
    pub node: Node,
}

impl Node {
    /// The tree of a file.
    ///
    /// # Errors
    /// The byte of the mistake, and what it is.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { at: 0, value: table_of(table.into_inner()) }),
            Err(error) => Err((error.span().map_or(0, |span| span.start), error.message().to_owned())),
        }
    }

    /// The tree of a value that begins at this byte.
    pub fn of(at: usize, value: DeValue<'_>) -> Self {
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) if number.radix() == 10 => Value::Number(plain(number.as_str())),
            DeValue::Integer(_) => Value::Other("number that is not decimal"),
            DeValue::Float(number) => match plain(number.as_str()) {
                text if text.contains(['i', 'n']) => Value::Other("number that is not finite"),
                text => Value::Number(text),
            },
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Other("date"),
            DeValue::Array(elements) => Value::Array(
                elements.into_iter().map(|element| Self::of(element.span().start, element.into_inner())).collect(),
            ),
            DeValue::Table(table) => table_of(table),
        };
        Self { at, value }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if this is a table.
    pub fn as_table(&self) -> Option<&[Member]> {
        match &self.value {
            Value::Table(members) => Some(members),
            _ => None,
        }
    }

    /// The member of this name, if this is a table that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_table()?.iter().find(|member| member.name == name).map(|member| &member.node)
    }

    /// The value as JSON. What JSON does not have becomes a text that nothing accepts as a value of its kind.
    pub fn to_json(&self) -> Json<'static> {
        match &self.value {
            Value::String(text) => text.clone().into(),
            Value::Number(text) => Json::Number(text.clone().into()),
            Value::Bool(value) => Json::Bool(*value),
            Value::Array(elements) => Json::Array(elements.iter().map(Self::to_json).collect()),
            Value::Table(members) => {
                Json::Object(members.iter().map(|member| (member.name.clone().into(), member.node.to_json())).collect())
            }
            Value::Other(_) => Json::Null,
        }
    }

    /// The place of the value at a JSON Pointer, or of the last part of the way to it.
    pub fn place(&self, pointer: &str) -> usize {
        let mut node = self;
        let mut at = self.at;
        for step in pointer.split('/').skip(1) {
            let next = match &node.value {
                Value::Array(elements) => step.parse::<usize>().ok().and_then(|index| elements.get(index)),
                Value::Table(members) => members.iter().find(|member| member.name == step).map(|member| {
                    at = member.at;
                    &member.node
                }),
                _ => None,
            };
            match (next, &node.value) {
                (Some(next), Value::Array(_)) => at = next.at,
                (Some(_), _) => {}
                (None, _) => break,
            }
            if let Some(next) = next {
                node = next;
            }
        }
        at
    }
}

fn table_of(table: DeTable<'_>) -> Value {
    let member = |(name, value): (toml::Spanned<std::borrow::Cow<'_, str>>, toml::Spanned<DeValue<'_>>)| {
        let (at, value_at) = (name.span().start, value.span().start);
        Member { name: name.into_inner().into_owned(), at, node: Node::of(value_at, value.into_inner()) }
    };
    Value::Table(table.into_iter().map(member).collect())
}

/// A number as JSON writes it.
fn plain(number: &str) -> String {
    number.trim_start_matches('+').replace('_', "")
}

/// Reads a tree, and collects what is wrong with it.
pub struct Reader<'a> {
    /// The file's name in messages.
    pub file: &'a Path,
    pub text: &'a str,
    pub mistakes: Vec<String>,
    pub warnings: Vec<String>,
    /// The other files that were read, or should have been, each with the SHA-256 of its content.
    pub files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

/// A table of the file, whose members are known.
#[derive(Clone, Copy)]
pub struct Table<'n> {
    pub node: &'n Node,
    /// Its place in messages, such as `issuer[0]`.
    pub path: &'n str,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, mistakes: Vec::new(), warnings: Vec::new(), files: Vec::new() }
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// The file and the line of a byte.
    pub fn location(&self, at: usize) -> String {
        suggest::one_line(&format!("{}:{}", self.file.display(), self.line(at))).into_owned()
    }

    /// A text with its place. It is one line for a terminal or a log: the names in a file may have control characters.
    fn placed(&self, at: usize, path: &str, text: impl fmt::Display) -> String {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        suggest::one_line(&format!("{}: {path}{text}", self.location(at))).into_owned()
    }

    pub fn mistake(&mut self, at: usize, path: &str, text: impl fmt::Display) {
        let mistake = self.placed(at, path, text);
        self.mistakes.push(mistake);
    }

    pub fn warning(&mut self, at: usize, path: &str, text: impl fmt::Display) {
        let warning = self.placed(at, path, text);
        self.warnings.push(warning);
    }

    /// A table with these members. Others are mistakes.
    pub fn table<'n>(&mut self, node: &'n Node, path: &'n str, known: &[&str]) -> Option<Table<'n>> {
        let Some(members) = node.as_table() else {
            self.mistake(node.at, path, "this is a table");
            return None;
        };
        for member in members.iter().filter(|member| !known.contains(&member.name.as_str())) {
            let names = Known::new("keys", known.iter().copied());
            let refusal = format!("unknown key {}", suggest::quoted(&member.name));
            self.mistake(member.at, path, names.refuse(&refusal, &member.name));
        }
        Some(Table { node, path })
    }

    /// The string of a member, if the table has it.
    pub fn string<'n>(&mut self, table: Table<'n>, name: &str) -> Option<&'n str> {
        let node = table.node.get(name)?;
        if node.as_str().is_none() {
            self.mistake(node.at, &table.at(name), "this is a string");
        }
        node.as_str()
    }

    /// The string of a member that must be there and not be empty.
    pub fn required_string<'n>(&mut self, table: Table<'n>, name: &str) -> Option<&'n str> {
        match table.node.get(name) {
            None => {
                self.mistake(table.node.at, table.path, format!("`{name}` is missing"));
                None
            }
            Some(node) => {
                let text = self.string(table, name)?;
                if text.is_empty() {
                    self.mistake(node.at, &table.at(name), "this is empty");
                }
                Some(text).filter(|text| !text.is_empty())
            }
        }
    }

    /// The strings of a member, each with its place, if the table has it.
    pub fn strings<'n>(&mut self, table: Table<'n>, name: &str) -> Option<Vec<(usize, &'n str)>> {
        let node = table.node.get(name)?;
        let Value::Array(elements) = &node.value else {
            self.mistake(node.at, &table.at(name), "this is a list of strings");
            return None;
        };
        let mut strings = Vec::new();
        for element in elements {
            match element.as_str() {
                Some(text) if !text.is_empty() => strings.push((element.at, text)),
                _ => self.mistake(element.at, &table.at(name), "this is a list of strings that are not empty"),
            }
        }
        if elements.is_empty() {
            self.mistake(node.at, &table.at(name), "this list is empty");
        }
        Some(strings)
    }

    /// The filter of a member, for events of this type, if the table has it. A filter with a mistake is an empty one.
    pub fn filter(&mut self, table: Table<'_>, name: &str, event_type: &EventType) -> Option<Filter> {
        let node = table.node.get(name)?;
        let mistakes = match Filter::parse(&node.to_json(), event_type) {
            Ok(filter) => return Some(filter),
            Err(error) => error.into_mistakes(),
        };
        for mistake in mistakes {
            let within = mistake.pointer.strip_prefix("/where").unwrap_or_default();
            let path = format!("{}{}", table.at(name), within.replace('/', "."));
            self.mistake(node.place(within), &path, mistake.message);
        }
        Some(Filter::default())
    }

    /// The value of a member as text, if the table has it: a string, a number, `true` or `false`. `read` makes something of it,
    /// or says what was expected.
    pub fn value<T>(&mut self, table: Table<'_>, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let node = table.node.get(name)?;
        let text = match &node.value {
            Value::String(text) | Value::Number(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            _ => {
                self.mistake(node.at, &table.at(name), "this is a string, a number, true or false");
                return None;
            }
        };
        match read(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.mistake(node.at, &table.at(name), format!("expected {expected}, not {}", suggest::quoted(&text)));
                None
            }
        }
    }

    /// The tables of a member that is an array of tables.
    pub fn tables<'n>(&mut self, table: Table<'n>, name: &str) -> &'n [Node] {
        match table.node.get(name) {
            None => &[],
            Some(Node { value: Value::Array(elements), .. }) => elements,
            Some(node) => {
                self.mistake(node.at, &table.at(name), format!("this is a list of tables: write [[{name}]]"));
                &[]
            }
        }
    }
}

impl Table<'_> {
    /// The path of a member.
    pub fn at(&self, name: &str) -> String {
        match self.path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }
}
