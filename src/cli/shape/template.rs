//! Templates of `--format`: text with names in braces, such as `{time} {subject} {data.newStatus}`.
//!
//! A name is an attribute of the event or a path into its data. `{{` and `}}` are braces; `\t`, `\n` and `\\` are the usual
//! characters, since a shell's quotes keep a backslash. A name that an event lacks prints nothing. A name that no event can have
//! is refused; [`Template::unusual`] are those that only a publisher of one's own may add.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::shown::{human_time, replace_controls};
use crate::event::{Json, Position};
use crate::suggest::misspelt;

/// The names that an event has by itself, and its position.
const NAMES: [&str; 11] = [
    "position",
    "time",
    "type",
    "subject",
    "id",
    "source",
    "data",
    "causationid",
    "specversion",
    "dataschema",
    "datacontenttype",
];

/// A template that was read.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    /// The names from the event inwards.
    Path(Vec<String>),
}

/// Checks a template, for the command line.
pub fn checked(text: &str) -> Result<String, String> {
    Template::new(text).map(|_| text.to_owned())
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.next_if_eq(&letter).is_some() => plain.push(letter),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match letters.next() {
                            Some('}') => break,
                            Some(letter) if letter != '{' => name.push(letter),
                            _ => {
                                return Err(format!(
                                    "the name after \"{{{name}\" has no end: close it with }}, or write {{{{ for a brace"
                                ));
                            }
                        }
                    }
                    let path: Vec<_> = name.split('.').map(|part| part.trim().to_owned()).collect();
                    if path.iter().any(String::is_empty) {
                        return Err(format!(
                            "{{{name}}} is no name: write an attribute such as {{subject}}, or a path such as {{data.newStatus}}"
                        ));
                    }
                    possible(&path)?;
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Path(path));
                }
                '}' => return Err("a } stands alone: write }} for a brace".into()),
                '\\' => plain.push(match letters.next() {
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some('\\') => '\\',
                    Some(other) => return Err(format!("\\{other} is not known: \\t, \\n and \\\\ are")),
                    None => return Err("a \\ stands at the end: write \\\\ for one".into()),
                }),
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The paths into `data`, without what follows the number of an element: dotted names of fields.
    pub fn fields(&self) -> Vec<String> {
        let of_data = |path: &Vec<String>| {
            let (_, fields) = path.split_first().filter(|(first, _)| *first == "data")?;
            let named: Vec<_> = fields.iter().take_while(|name| name.parse::<usize>().is_err()).cloned().collect();
            (!named.is_empty()).then(|| named.join("."))
        };
        self.paths().filter_map(of_data).collect()
    }

    /// The names that only a publisher's extension attributes can have.
    pub fn unusual(&self) -> Vec<String> {
        self.paths().filter_map(|path| path.first()).filter(|name| !NAMES.contains(&&***name)).cloned().collect()
    }

    fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Path(path) => Some(path),
            Piece::Text(_) => None,
        })
    }

    /// The line of an event. Control characters of the event are replaced.
    pub fn line(&self, position: &Position, event: &Json<'_>, zone: &TimeZone, now: Timestamp) -> String {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Path(path) => match &**path {
                    [name] if name == "position" => line.push_str(&position.to_string()),
                    [name] if name == "time" => line.push_str(&shown_time(event, zone, now)),
                    path => line.push_str(&shown(path, event)),
                },
            }
        }
        line
    }
}

/// Refuses a path that no event can have: extension attributes have lower-case letters and digits (CloudEvents 1.0), and only
/// `data` has something inside.
fn possible(path: &[String]) -> Result<(), String> {
    let (name, inner) = path.split_first().map(|(name, inner)| (name.as_str(), inner)).unwrap_or_default();
    let is_attribute = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if name == "data" || is_attribute && inner.is_empty() {
        return Ok(());
    }
    let path = path.join(".");
    Err(match misspelt(name, NAMES) {
        Some(near) => format!("no event can have {{{path}}}: did you mean {{{near}}}?"),
        None => format!("no event can have {{{path}}}: write {{data.{path}}} for a field of its data"),
    })
}

/// What to say of a name that the first event does not have.
pub fn absent(name: &str) -> String {
    let near = misspelt(name, NAMES).map(|near| format!("; did you mean {{{near}}}?")).unwrap_or_default();
    format!(
        "--format: the first event has no {{{name}}}, which prints nothing{near} (an event has {}, and the attributes that its \
         publisher adds)",
        NAMES.join(", ")
    )
}

/// The time of an event in the zone, or as it was written if it is no time.
fn shown_time(event: &Json<'_>, zone: &TimeZone, now: Timestamp) -> String {
    let text = event.get("time").and_then(Json::as_str).unwrap_or_default();
    text.parse().map_or_else(|_| replace_controls(text), |time| human_time(time, zone, now))
}

/// The value at a path: a string without quotes, anything else as JSON, nothing for `null`.
fn shown(path: &[String], event: &Json<'_>) -> String {
    match found(path, event) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => replace_controls(text),
        Some(other) => replace_controls(&other.to_string()),
    }
}

fn found<'a, 'e>(path: &[String], event: &'a Json<'e>) -> Option<&'a Json<'e>> {
    path.iter().try_fold(event, |value, name| match value {
        Json::Array(elements) => elements.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(template: &str, event: &str) -> String {
        let now = "2026-11-21T23:00:00Z".parse().unwrap();
        let event = Json::parse_logged(event).unwrap();
        Template::new(template).unwrap().line(&"k3:42".parse().unwrap(), &event, &TimeZone::UTC, now)
    }

    #[test]
    fn names_are_attributes_and_paths_into_the_data() {
        let event = r#"{"id":"1","subject":"a\u001b[2J","time":"2026-11-21T06:30:00.5Z","data":{"n":9007199254740993,"tags":["x",{"y":null}],"note":"two words"}}"#;
        for (template, expected) in [
            ("{time} {subject} {data.note}", "06:30:00.500Z a\u{fffd}[2J two words"),
            ("{position}\\t{data.n}", "k3:42\t9007199254740993"),
            ("{{{data.tags.0}}} {data.tags.1}", "{x} {\"y\":null}"),
            ("<{data.tags.1.y}{data.none.at.all}{data.tags.7}{nothing}>", "<>"),
            ("{data.tags}", "[\"x\",{\"y\":null}]"),
            ("plain", "plain"),
        ] {
            assert_eq!(line(template, event), expected, "{template}");
        }
    }

    #[test]
    fn a_mistake_in_a_template_says_what_to_write() {
        for (template, fragment) in [
            ("{time", "close it with }"),
            ("{a{b}", "close it with }"),
            ("{}", "is no name"),
            ("{data.}", "is no name"),
            ("a } b", "write }}"),
            ("a\\x", "\\x is not known"),
            ("a\\", "write \\\\"),
            ("{newStatus}", "write {data.newStatus}"),
            ("{Subject}", "did you mean {subject}?"),
            ("{subject.id}", "no event can have {subject.id}"),
        ] {
            let error = Template::new(template).unwrap_err();
            assert!(error.contains(fragment), "{template}: {error}");
        }
    }
}
