//! Why a text is not JSON: what is wrong, where, and what its author should do.

use std::fmt;

use jiter::{JsonErrorType, LinePosition};

use super::super::pointer;
use crate::suggest;

/// The most levels of nesting.
pub const MAX_DEPTH: usize = 128;
/// The maximum length of a name or a pointer in a message, in characters.
const MAX_SHOWN: usize = 100;

/// Why a text was refused as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong, as a sentence for people.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// JSON Pointer (RFC 6901) to the value that could not be read.
    pub pointer: String,
    /// The name of a member that occurs twice, if that is the mistake.
    pub repeated: Option<String>,
}

/// A step from a value to one of its parts.
#[derive(Debug)]
pub(super) enum Step {
    Member(String),
    Index(usize),
}

/// What stopped the reader.
#[derive(Debug)]
pub(super) enum Cause {
    Syntax(JsonErrorType),
    /// A member of this name occurs twice.
    Repeated(String),
    /// The text goes on after the last byte that may be read.
    TooLong,
}

/// A failure, whose steps each caller of the reader adds to while the reader returns.
#[derive(Debug)]
pub(super) struct Failure {
    pub cause: Cause,
    /// The byte at which the reader stopped.
    at: usize,
    /// From the inside out.
    steps: Vec<Step>,
}

impl Failure {
    pub fn boxed(cause: Cause, at: usize) -> Box<Self> {
        Box::new(Self { cause, at, steps: Vec::new() })
    }

    /// The same failure, within this part of a value.
    pub fn within(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    /// The same failure, within the element at this index.
    pub fn within_index(self: Box<Self>, index: usize) -> Box<Self> {
        self.within(Step::Index(index))
    }
}

impl JsonError {
    pub(super) fn new(text: &str, failure: Failure) -> Self {
        let Failure { cause, at, steps } = failure;
        let mut at = at.min(text.len());
        let pointer = steps.iter().rev().map(|step| match step {
            Step::Member(name) => format!("/{}", pointer::escape(name)),
            Step::Index(index) => format!("/{index}"),
        });
        let pointer = pointer.collect();
        let (message, repeated) = match cause {
            Cause::Repeated(name) => {
                let message = format!(
                    "the member {:?} occurs twice in one object: remove one of them (RFC 7493)",
                    suggest::cut(&name, MAX_SHOWN)
                );
                (message, Some(name))
            }
            Cause::TooLong => ("the text is too long".into(), None),
            Cause::Syntax(kind) => {
                at = begin_of_mistake(text, at, &kind);
                (explain(text, at, &kind), None)
            }
        };
        let (line, column) = place(text.as_bytes(), at);
        Self { message, line, column, pointer, repeated }
    }

    pub(super) fn not_utf8(bytes: &[u8], at: usize) -> Self {
        let message = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the text is UTF-16: send JSON in UTF-8".into(),
            [0x1f, 0x8b, ..] => "the text is compressed with gzip: name it in the header Content-Encoding".into(),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                "the text is compressed with zstd: name it in the header Content-Encoding".into()
            }
            _ => format!("byte {} is not UTF-8: send JSON in UTF-8", at + 1),
        };
        let (line, column) = place(bytes, at);
        Self { message, line, column, pointer: String::new(), repeated: None }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, line, column, pointer, .. } = self;
        write!(f, "{message} (line {line}, column {column}")?;
        match pointer.as_str() {
            "" => f.write_str(")"),
            pointer => write!(f, ", at {})", suggest::one_line(&suggest::cut(pointer, MAX_SHOWN))),
        }
    }
}

impl std::error::Error for JsonError {}

/// The line and the character in it, both from 1.
fn place(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line_begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = LinePosition::find(bytes, at).line.max(1);
    (line, String::from_utf8_lossy(&before[line_begin..]).chars().count() + 1)
}

/// Where the mistake begins that the tokenizer found at byte `at`: it stops within an escape, a word or a number.
fn begin_of_mistake(text: &str, at: usize, kind: &JsonErrorType) -> usize {
    let before = &text.as_bytes()[..at];
    let back = |is_part: fn(u8) -> bool| at - before.iter().rev().take_while(|byte| is_part(**byte)).count();
    match kind {
        JsonErrorType::LoneLeadingSurrogateInHexEscape
        | JsonErrorType::InvalidUnicodeCodePoint
        | JsonErrorType::UnexpectedEndOfHexEscape
        | JsonErrorType::InvalidEscape => {
            let window = at.saturating_sub(12);
            let escapes = before[window..].windows(2).enumerate();
            let begins: Vec<usize> =
                escapes.filter(|(_, pair)| *pair == b"\\u").map(|(index, _)| window + index).collect();
            match (surrogate(text, &begins), kind) {
                (Some(begin), _) => begin,
                (None, JsonErrorType::InvalidEscape) if before.last() == Some(&b'\\') => at - 1,
                (None, _) => begins.last().copied().unwrap_or(at),
            }
        }
        JsonErrorType::ExpectedSomeIdent => back(|byte| byte.is_ascii_alphabetic()),
        JsonErrorType::InvalidNumber | JsonErrorType::NumberOutOfRange => {
            back(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
        }
        _ => at,
    }
}

/// The escape of a lone surrogate among the escapes that begin at these bytes.
fn surrogate(text: &str, begins: &[usize]) -> Option<usize> {
    let half = |begin: usize| u16::from_str_radix(text.get(begin + 2..begin + 6)?, 16).ok();
    let is_lone = |begin: &usize| match half(*begin) {
        // A first half needs a second one right behind it.
        Some(0xd800..=0xdbff) => {
            text.get(begin + 6..begin + 8) != Some("\\u")
                || half(begin + 6).is_some_and(|second| !(0xdc00..=0xdfff).contains(&second))
        }
        Some(0xdc00..=0xdfff) => {
            !begins.iter().any(|other| other + 6 == *begin && matches!(half(*other), Some(0xd800..=0xdbff)))
        }
        _ => false,
    };
    begins.iter().find(|begin| is_lone(begin)).copied()
}

/// What is wrong with the text at byte `at`.
fn explain(text: &str, at: usize, kind: &JsonErrorType) -> String {
    let (before, rest) = (text[..at].trim_end(), text.get(at..).unwrap_or_default());
    if text.starts_with('\u{feff}') && before.is_empty() {
        return "the text begins with a byte order mark: send it without one".into();
    }
    if text.trim().is_empty() {
        return "the text is empty: send JSON".into();
    }
    if rest.starts_with('\0') || text.as_bytes().get(1) == Some(&0) {
        return "the text has zero bytes, as UTF-16 does: send JSON in UTF-8".into();
    }
    let begins = |starts: &[&str]| starts.iter().any(|start| rest.starts_with(start));
    let known = match kind {
        JsonErrorType::EofWhileParsingString => "the text ends within a string: is it complete?",
        JsonErrorType::EofWhileParsingList => "the text ends within an array: is it complete?",
        JsonErrorType::EofWhileParsingObject => "the text ends within an object: is it complete?",
        JsonErrorType::EofWhileParsingValue if rest.is_empty() => "the text ends before a value: is it complete?",
        JsonErrorType::TrailingComma => "there is a comma before the closing bracket: remove it",
        JsonErrorType::RecursionLimitExceeded => return format!("there are more than {MAX_DEPTH} levels of nesting"),
        JsonErrorType::NumberOutOfRange => "a number has more than 4,300 digits",
        JsonErrorType::ControlCharacterWhileParsingString => {
            "a string has a control character: write it as an escape, such as \\n"
        }
        JsonErrorType::TrailingCharacters if before.is_empty() => "JSON was expected",
        JsonErrorType::TrailingCharacters if begins(&["{", "["]) => {
            "another value follows the first: send several in one array"
        }
        JsonErrorType::TrailingCharacters if begins(&["/"]) => "JSON has no comments: remove it",
        JsonErrorType::TrailingCharacters => "there is text after the end of the value: remove it",
        JsonErrorType::LoneLeadingSurrogateInHexEscape
        | JsonErrorType::InvalidUnicodeCodePoint
        | JsonErrorType::UnexpectedEndOfHexEscape
        | JsonErrorType::InvalidEscape => {
            let escape: String = rest.chars().take(if rest.starts_with("\\u") { 6 } else { 2 }).collect();
            // What follows a backslash may be a control character.
            let escape = suggest::one_line(&escape);
            return match surrogate(text, &[at]) {
                Some(_) => format!("{escape} is half of a surrogate pair: write both halves, or the character itself"),
                None => format!("{escape} is not an escape of JSON: write \\\\ for a backslash"),
            };
        }
        _ if begins(&["'", "\u{2018}", "\u{2019}", "\u{201c}", "\u{201d}", "`"]) => {
            "a string or a name must be in double quotes (\")"
        }
        _ if begins(&["//", "/*", "#"]) => "JSON has no comments: remove it",
        _ if begins(&["NaN", "nan", "Inf", "inf", "-Inf", "-inf", "+Inf", "-NaN"]) => {
            "NaN and Infinity are not JSON: use null or a string"
        }
        _ if begins(&["True", "False", "None", "undefined"]) => "the words of JSON are true, false and null",
        _ if begins(&["<"]) && before.is_empty() => "this is HTML or XML: send JSON",
        JsonErrorType::InvalidNumber => "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign",
        _ if begins(&["+", "."]) => "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign",
        JsonErrorType::KeyMustBeAString => "the name of a member was expected, in double quotes (\")",
        JsonErrorType::ExpectedColon => "a colon was expected after the name of a member",
        JsonErrorType::ExpectedListCommaOrEnd => "a comma or ] was expected",
        JsonErrorType::ExpectedObjectCommaOrEnd => "a comma or } was expected",
        _ if before.is_empty() && is_form(text) => "this is form data (name=value): send JSON",
        _ => "a value was expected: an object, an array, a string, a number, true, false or null",
    };
    known.into()
}

/// Whether the text is an HTML form's: `a=b&c=d`.
fn is_form(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    name.len() < text.len() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.%[]+".contains(&byte))
}
