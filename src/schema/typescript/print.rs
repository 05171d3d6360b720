//! Prints types as TypeScript source: short types on one line, long unions with one member per line.

use super::shape::{Object, Shape, Tuple};
use super::translate::Declared;

/// The maximum length of a line, in bytes. A longer union is broken into several lines.
const WIDTH: usize = 100;
/// A union with more members than this is printed as filled lines, and not one member per line.
const LONG_LIST: usize = 16;
/// A nested object longer than this, in bytes, is printed with one field per line.
const INLINE_OBJECT: usize = 72;

/// `export interface …` or `export type …`, with its comment.
pub(super) fn declaration(declared: &Declared) -> String {
    let Declared { name, doc, shape } = declared;
    let doc = doc_comment(doc.as_deref(), "");
    match shape {
        Shape::Object(object) => format!("{doc}export interface {name} {}\n", block(object, "")),
        shape => {
            let head = format!("export type {name} = ");
            let body = print(shape, "", head.len() + 1);
            let head = if body.starts_with('\n') { head.trim_end() } else { &head };
            format!("{doc}{head}{body};\n")
        }
    }
}

/// `text` as a JSDoc comment with a line end; empty if there is no text.
pub(super) fn doc_comment(text: Option<&str>, indent: &str) -> String {
    let text = text.map(|text| text.replace("*/", "*\\/")).unwrap_or_default();
    match text.trim().lines().collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let lines: String =
                lines.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n").collect();
            format!("{indent}/**\n{lines}{indent} */\n")
        }
    }
}

/// The name of a property: quoted if it is not an identifier.
pub(super) fn property_name(name: &str) -> String {
    let is_identifier = name.starts_with(|first: char| first.is_ascii_alphabetic() || "_$".contains(first))
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "_$".contains(char));
    if is_identifier { name.to_owned() } else { quoted(name) }
}

/// A string literal.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Prints a type that begins at column `at` of a line with this indentation.
fn print(shape: &Shape, indent: &str, at: usize) -> String {
    match shape {
        Shape::Unknown => "unknown".into(),
        Shape::Never => "never".into(),
        Shape::Keyword(keyword) => (*keyword).into(),
        Shape::Literal(value) => value.to_string(),
        Shape::Name(name) => name.clone(),
        Shape::Array(element) => operand(element, indent, at) + "[]",
        Shape::Tuple(tuple) => print_tuple(tuple, indent, at),
        Shape::Object(object) => inline(object).unwrap_or_else(|| block(object, indent)),
        Shape::Intersection(members) => {
            let members: Vec<_> = members.iter().map(|member| operand(member, indent, at)).collect();
            members.join(" & ")
        }
        Shape::Union(members) => {
            let line = members.iter().map(|member| print(member, indent, at)).collect::<Vec<_>>().join(" | ");
            if !line.contains('\n') && at + line.len() <= WIDTH {
                return line;
            }
            let deeper = format!("{indent}    ");
            let members = members.iter().map(|member| print(member, &deeper, deeper.len()));
            broken_union(&members.collect::<Vec<_>>(), indent)
        }
    }
}

/// Prints a union over several lines: one member per line, or filled lines for a long list such as currency codes.
fn broken_union(members: &[String], indent: &str) -> String {
    let room = if members.len() > LONG_LIST { WIDTH.saturating_sub(indent.len()) } else { 0 };
    let mut lines: Vec<String> = Vec::new();
    for member in members {
        match lines.last_mut() {
            Some(line) if line.len() + member.len() + 3 <= room && !member.contains('\n') => {
                line.push_str(" | ");
                line.push_str(member);
            }
            _ => lines.push(format!("  | {member}")),
        }
    }
    lines.iter().map(|line| format!("\n{indent}{line}")).collect()
}

/// Prints a type as the operand of an operator, in brackets if the operator binds more tightly.
fn operand(shape: &Shape, indent: &str, at: usize) -> String {
    let text = print(shape, indent, at + 1);
    match shape {
        Shape::Union(_) | Shape::Intersection(_) if text.starts_with('\n') => format!("({text}\n{indent})"),
        Shape::Union(_) | Shape::Intersection(_) => format!("({text})"),
        _ => text,
    }
}

fn print_tuple(tuple: &Tuple, indent: &str, at: usize) -> String {
    let members = tuple.members.iter().enumerate().map(|(index, member)| {
        if index < tuple.required { print(member, indent, at) } else { operand(member, indent, at) + "?" }
    });
    let rest = tuple.rest.iter().map(|rest| format!("...{}[]", operand(rest, indent, at)));
    format!("[{}]", members.chain(rest).collect::<Vec<_>>().join(", "))
}

/// The object on one line, if it is short and no field has a comment.
fn inline(object: &Object) -> Option<String> {
    if object.fields.iter().any(|field| field.doc.is_some()) {
        return None;
    }
    let line = format!("{{ {} }}", fields(object, "").join(" ").trim_end_matches(';'));
    (line.len() <= INLINE_OBJECT && !line.contains('\n')).then_some(line)
}

/// The object with one field per line.
fn block(object: &Object, indent: &str) -> String {
    let deeper = format!("{indent}  ");
    let lines: String = fields(object, &deeper)
        .into_iter()
        .zip(object.fields.iter().map(|field| field.doc.as_deref()).chain(std::iter::once(None)))
        .map(|(field, doc)| format!("{}{deeper}{field}\n", doc_comment(doc, &deeper)))
        .collect();
    format!("{{\n{lines}{indent}}}")
}

/// `name: type;` for each field, then the index signature. An object without any rules may have any field.
///
/// An optional field is `name?: type | undefined;`. So a program with `exactOptionalPropertyTypes` may pass a value that it
/// may not have, which JSON leaves out.
fn fields(object: &Object, indent: &str) -> Vec<String> {
    let line = |head: String, shape: &Shape| {
        let body = print(shape, indent, indent.len() + head.len() + 3);
        let space = if body.starts_with('\n') { "" } else { " " };
        format!("{head}:{space}{body};")
    };
    let mut lines: Vec<String> = object
        .fields
        .iter()
        .map(|field| match field.required {
            true => line(property_name(&field.name), &field.shape),
            false => line(
                property_name(&field.name) + "?",
                &Shape::union([field.shape.clone(), Shape::Keyword("undefined")]),
            ),
        })
        .collect();
    let index = object.index.as_deref().or(object.fields.is_empty().then_some(&Shape::Unknown));
    lines.extend(index.map(|shape| line("[key: string]".into(), shape)));
    lines
}
