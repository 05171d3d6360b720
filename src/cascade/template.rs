//! A template of a tag, key or prefix: text with placeholders that an event fills in.
//!
//! `{id}` and `{subject}` are attributes of the event. Every other name is a field of `data`, dotted for a nested one, and
//! `data.` before it says so explicitly.

use std::fmt;

use crate::event::{Decimal, EventType, Json, SchemaField};
use crate::suggest::{self, Known};

/// The longest text that a template may become, in characters: that of a tag.
pub const MAX_TEXT: usize = 256;

/// A template, checked against the schema of its event type.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Id,
    Subject,
    /// The path to a field of `data`.
    Field(Vec<Box<str>>),
}

/// Why a template makes nothing of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omission {
    /// The event lacks the value of this placeholder, or the value is empty.
    Absent(String),
    /// The text would be longer than [`MAX_TEXT`].
    TooLong,
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(name) => write!(f, "{name} is absent or empty"),
            Self::TooLong => write!(f, "it would have more than {MAX_TEXT} characters"),
        }
    }
}

impl Template {
    /// Reads a template for events of a type.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(source: &str, event_type: &EventType) -> Result<Self, String> {
        let (mut parts, mut rest, mut length) = (Vec::new(), source, 0);
        while !rest.is_empty() {
            let (text, placeholder) = match rest.split_once('{') {
                Some((text, after)) => (text, Some(after)),
                None => (rest, None),
            };
            if text.contains('}') {
                return Err(format!("{}: this `}}` has no `{{` before it", suggest::quoted(source)));
            }
            if !text.is_empty() {
                length += text.chars().count();
                parts.push(Part::Text(text.to_owned()));
            }
            let Some(after) = placeholder else { break };
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("{}: this `{{` has no `}}` after it", suggest::quoted(source)));
            };
            parts.push(Part::parse(name, event_type)?);
            rest = after;
        }
        match length {
            _ if parts.is_empty() => Err("this is empty".into()),
            length if length > MAX_TEXT => Err(format!("this has more than {MAX_TEXT} characters")),
            _ => Ok(Self { source: source.to_owned(), parts }),
        }
    }

    /// The text that it is for an event.
    ///
    /// # Errors
    /// [`Omission`].
    pub fn fill(&self, event: &Json<'_>) -> Result<String, Omission> {
        let mut filled = String::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                Part::Id => event.get("id"),
                Part::Subject => event.get("subject"),
                Part::Field(path) => path.iter().try_fold(event.get("data"), |at, name| Some(at?.get(name))).flatten(),
            };
            match value {
                Some(Json::String(text)) if !text.is_empty() => filled.push_str(text),
                Some(Json::Number(text)) => match Decimal::parse(text).plain(MAX_TEXT) {
                    Some(number) => filled.push_str(&number),
                    None => return Err(Omission::TooLong),
                },
                Some(Json::Bool(value)) => filled.push_str(if *value { "true" } else { "false" }),
                _ => return Err(Omission::Absent(part.to_string())),
            }
        }
        if filled.chars().count() > MAX_TEXT { Err(Omission::TooLong) } else { Ok(filled) }
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The parts: a text, or `None` for a placeholder.
    pub fn pattern(&self) -> Vec<Option<String>> {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.parts.iter().map(text).collect()
    }

    /// Whether it names the event's id where its type has a field of that name, which may be meant.
    pub fn may_mean_a_field(&self, event_type: &EventType) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Id)) && event_type.fields().contains(&"id")
    }
}

impl Part {
    fn parse(name: &str, event_type: &EventType) -> Result<Self, String> {
        let field = match name {
            "id" => return Ok(Self::Id),
            "subject" => return Ok(Self::Subject),
            name => name.strip_prefix("data.").unwrap_or(name),
        };
        if field.is_empty() {
            return Err("`{}` names no field: write `{id}`, `{subject}` or a field of `data`".into());
        }
        let Some(found) = SchemaField::find(&event_type.schema, field) else {
            let listed = format!("GET /v1/schemas/{}", event_type.name);
            let known = Known { listed: &listed, ..Known::new("fields", event_type.fields()) };
            let refusal = format!("{} has no field {}", event_type.name, suggest::quoted(field));
            return Err(known.refuse(&refusal, field));
        };
        match ["array", "object"].into_iter().find(|kind| found.types.contains(kind)) {
            Some(kind) => Err(format!(
                "{} may be an {kind} by its schema: a template takes a string, a number or a boolean",
                suggest::quoted(field)
            )),
            None => Ok(Self::Field(found.path)),
        }
    }
}

/// The placeholder's name.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Id => f.write_str("id"),
            Self::Subject => f.write_str("subject"),
            Self::Field(path) => write!(f, "data.{}", path.join(".")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Catalog;

    fn types() -> Catalog {
        let mut catalog = Catalog::builtin();
        let schema = r#"{"type":"object","properties":{"id":{"type":"string"},"list":{"type":"array"},"any":{},
            "price":{"type":"number"},"new":{"type":"boolean"},"a":{"type":"object","properties":{"b":{"type":"string"}}}}}"#;
        catalog.add("own", schema).unwrap();
        catalog
    }

    fn parse(source: &str) -> Result<Template, String> {
        let types = types();
        Template::parse(source, types.get(types.channel("own").unwrap()))
    }

    #[test]
    fn placeholders_are_attributes_and_fields() {
        let event = r#"{"id":"e1","subject":"s","data":{"id":"d1","price":15e-1,"new":true,"a":{"b":"ü"}}}"#;
        let event = Json::parse(event).unwrap();
        for (source, filled) in [
            ("plain", "plain"),
            ("{id}", "e1"),
            ("{data.id}:{subject}", "d1:s"),
            ("p:{price}/{new}", "p:1.5/true"),
            ("{a.b}{data.a.b}", "üü"),
        ] {
            assert_eq!(parse(source).unwrap().fill(&event).unwrap(), filled, "{source}");
        }
        assert_eq!(parse("a:{a.b}!").unwrap().pattern(), [Some("a:".into()), None, Some("!".into())]);
    }

    #[test]
    fn what_is_absent_empty_or_too_long_is_left_out() {
        let fill = |source: &str, event: &str| parse(source).unwrap().fill(&Json::parse(event).unwrap());
        assert_eq!(fill("x:{a.b}", r#"{"data":{}}"#), Err(Omission::Absent("data.a.b".into())));
        assert_eq!(fill("x:{a.b}", r#"{"data":{"a":{"b":""}}}"#), Err(Omission::Absent("data.a.b".into())));
        assert_eq!(fill("{subject}", r#"{"data":{}}"#), Err(Omission::Absent("subject".into())));
        let long = |length| format!(r#"{{"data":{{"a":{{"b":"{}"}}}}}}"#, "é".repeat(length));
        assert!(fill("{a.b}", &long(256)).is_ok());
        assert_eq!(fill("x{a.b}", &long(256)), Err(Omission::TooLong));
        assert_eq!(fill("{price}", r#"{"data":{"price":1e300}}"#), Err(Omission::TooLong));
    }

    #[test]
    fn each_mistake_is_a_sentence() {
        for (source, words) in [
            ("", "empty"),
            ("a{", "has no `}`"),
            ("a}", "has no `{`"),
            ("{}", "names no field"),
            ("{prize}", "did you mean `price`"),
            ("{data.nothing}", "has no field \"nothing\""),
            ("{list}", "may be an array"),
            ("{a}", "may be an object"),
            ("{any}", "may be an array"),
            (&"x".repeat(257), "more than 256"),
        ] {
            let mistake = parse(source).unwrap_err();
            assert!(mistake.contains(words), "{source}: {mistake}");
        }
    }
}
