//! Converts `FIELD=VALUE` arguments to JSON: to the data of an event, or to a filter.
//!
//! The schema of the event type decides whether `5` becomes a number or a string. There is no validation here: a value that
//! does not fit the schema is sent as a string, and the daemon's answer names every mistake.

use std::str::FromStr;

use serde_json::Value;

use crate::event::json::Member;
use crate::event::{Json, SchemaField};

/// One `FIELD=VALUE` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name of the field; dots separate the names of nested fields.
    pub name: String,
    /// The value as it was typed.
    pub text: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, text)) if !name.is_empty() => Ok(Self { name: name.into(), text: text.into() }),
            _ => Err("expected field=value, such as productId=123".into()),
        }
    }
}

/// Builds the data of an event from its fields. Dots make nested objects. A field that is an array in the schema may be
/// given several times.
///
/// # Errors
/// If a field that is not an array is given twice.
pub fn data<'a>(schema: &Value, fields: &'a [Field]) -> Result<Json<'a>, String> {
    let mut root = Vec::new();
    for field in fields {
        let (path, types) = match SchemaField::find(schema, &field.name) {
            Some(found) => (found.path, found.types.into_iter().collect()),
            None => (field.name.split('.').map(Box::from).collect(), Vec::new()),
        };
        let value = to_json(&types, &field.text);
        let value = match (types.contains(&"array"), &value) {
            (true, Json::Array(_)) => value,
            (true, _) => Json::Array(vec![value]),
            _ => value,
        };
        insert(&mut root, &path, value).map_err(|_| {
            format!("{} contradicts an earlier field: give each field once, unless it is a list", field.name)
        })?;
    }
    Ok(Json::Object(root))
}

/// Builds a filter from its conditions. If a field is given several times, any of its values matches.
pub fn filter<'a>(schema: &Value, fields: &'a [Field]) -> Json<'a> {
    let mut root: Vec<Member<'a>> = Vec::new();
    for field in fields {
        let types: Vec<&str> =
            SchemaField::find(schema, &field.name).map_or_else(Vec::new, |found| found.types.into_iter().collect());
        // In a filter, an array is a list of alternatives and an object is an operator, whatever the type of the field.
        let value = match Json::parse(&field.text) {
            Ok(value @ (Json::Array(_) | Json::Object(_))) => value,
            _ => to_json(&types, &field.text),
        };
        match (member(&mut root, &field.name), value) {
            (None, value) => root.push((field.name.as_str().into(), value)),
            (Some(Json::Array(values)), Json::Array(more)) => values.extend(more),
            (Some(Json::Array(values)), value) => values.push(value),
            (Some(existing), value) => *existing = Json::Array(vec![std::mem::take(existing), value]),
        }
    }
    Json::Object(root)
}

/// Reads `text` as JSON if one of the schema's types allows that; otherwise it is a string.
fn to_json<'a>(types: &[&str], text: &'a str) -> Json<'a> {
    let json = Json::parse(text).ok();
    match json {
        Some(value @ Json::Array(_)) if types.is_empty() || types.contains(&"array") => value,
        Some(value @ Json::Object(_)) if types.is_empty() || types.contains(&"object") => value,
        Some(value) if types.is_empty() || !types.contains(&"string") => value,
        _ => text.into(),
    }
}

/// Inserts a value at a path of nested fields, or appends an array to an existing one.
///
/// # Errors
/// The name of the field on the path that already has another value.
fn insert<'n, 'a>(object: &mut Vec<Member<'a>>, path: &'n [Box<str>], value: Json<'a>) -> Result<(), &'n str> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        match (member(object, name), value) {
            (None, value) => object.push((name.to_string().into(), value)),
            (Some(Json::Array(values)), Json::Array(more)) => values.extend(more),
            (Some(_), _) => return Err(name),
        }
        return Ok(());
    }
    if member(object, name).is_none() {
        object.push((name.to_string().into(), Json::Object(Vec::new())));
    }
    match member(object, name) {
        Some(Json::Object(inner)) => insert(inner, rest, value),
        _ => Err(name),
    }
}

/// The value of the member `name`.
fn member<'m, 'a>(object: &'m mut [Member<'a>], name: &str) -> Option<&'m mut Json<'a>> {
    object.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type":"object","properties":{
            "id":{"type":"string"},"count":{"type":"integer"},"ok":{"type":"boolean"},
            "tags":{"type":"array","items":{"type":"string"}},"sizes":{"type":"array","items":{"type":"integer"}},
            "at":{"$ref":"#/$defs/at"},"note":{"type":["string","null"]}},
            "$defs":{"at":{"type":"object","properties":{"x":{"type":"number"},"name":{"type":"string"}}}}})
    }

    fn data(schema: &Value, fields: &[Field]) -> Result<Value, String> {
        super::data(schema, fields).map(|data| data.to_value())
    }

    fn filter(schema: &Value, fields: &[Field]) -> Value {
        super::filter(schema, fields).to_value()
    }

    fn fields(texts: &[&str]) -> Vec<Field> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_string_field_keeps_text_that_looks_like_json() {
        let schema = json!({"properties": {"id": {"type": "string"}, "count": {"type": "integer"}}});
        let fields = ["id=[1]", "count=7"].map(|text| text.parse().unwrap());
        assert_eq!(data(&schema, &fields).unwrap(), json!({"id": "[1]", "count": 7}));
    }

    #[test]
    fn the_schema_decides_the_json_type() {
        let given = fields(&["id=5", "count=-5", "ok=true", "note=null", "at.x=1.5", "at.name=7", "free=1"]);
        assert_eq!(
            data(&schema(), &given),
            Ok(json!({"id":"5","count":-5,"ok":true,"note":"null","at":{"x":1.5,"name":"7"},"free":1}))
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_sent_as_a_string() {
        assert_eq!(data(&schema(), &fields(&["count=many", "ok=="])), Ok(json!({"count":"many","ok":"="})));
    }

    #[test]
    fn an_array_is_given_as_repeated_fields_or_as_json() {
        let expected = json!({"tags":["1","b"],"sizes":[1,2]});
        assert_eq!(data(&schema(), &fields(&["tags=1", "tags=b", "sizes=1", "sizes=2"])), Ok(expected.clone()));
        assert_eq!(data(&schema(), &fields(&[r#"tags=["1","b"]"#, "sizes=[1,2]"])), Ok(expected));
        assert_eq!(data(&schema(), &fields(&[r#"at={"x":1}"#])), Ok(json!({"at":{"x":1}})));
        assert!(data(&schema(), &fields(&["id=1", "id=2"])).is_err());
        assert!(data(&schema(), &fields(&["id=1", "id.x=2"])).is_err());
    }

    #[test]
    fn a_filter_keeps_dotted_names_and_collects_repeated_values() {
        let given = fields(&["at.x=1", "id=1", "id=2", "tags=a", r#"note={"prefix":"x"}"#]);
        assert_eq!(filter(&schema(), &given), json!({"at.x":1,"id":["1","2"],"tags":"a","note":{"prefix":"x"}}));
    }

    #[test]
    fn numbers_keep_their_text() {
        let given = fields(&["count=18446744073709551616", "at.x=1.10", "sizes=1E5", "sizes=-0"]);
        let expected = r#"{"count":18446744073709551616,"at":{"x":1.10},"sizes":[1E5,-0]}"#;
        assert_eq!(super::data(&schema(), &given).unwrap().to_string(), expected);
        let given = fields(&["at.x=1.10", "count=1e400", "count=2"]);
        assert_eq!(super::filter(&schema(), &given).to_string(), r#"{"at.x":1.10,"count":[1e400,2]}"#);
    }

    #[test]
    fn an_argument_needs_a_field_name() {
        assert!("=1".parse::<Field>().is_err() && "name".parse::<Field>().is_err());
        assert_eq!("a=b=c".parse(), Ok(Field { name: "a".into(), text: "b=c".into() }));
    }
}
