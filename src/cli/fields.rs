//! `field=value` on the command line: as JSON, of the type that the channel's schema says.
//!
//! The schema only decides how a word is written as JSON. What does not fit is sent as it stands: the daemon is the judge,
//! and names every mistake with its place.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::event::SchemaField;

/// A field, dotted for a nested one, and what was given for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub text: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, text)) if !name.is_empty() => Ok(Self { name: name.into(), text: text.into() }),
            _ => Err("expected field=value".into()),
        }
    }
}

/// The object that the fields make: nested by dots, an array where the schema has one or a field is repeated.
pub fn data(schema: &Value, fields: &[Field]) -> Result<Value, String> {
    let mut root = Map::new();
    for field in fields {
        let (path, types) = match SchemaField::find(schema, &field.name) {
            Some(known) => (known.path, known.types.into_iter().collect()),
            None => (field.name.split('.').map(Into::into).collect(), Vec::new()),
        };
        let value = typed(&types, &field.text);
        let value = match (types.contains(&"array"), &value) {
            (true, Value::Array(_)) => value,
            (true, _) => Value::Array(vec![value]),
            _ => value,
        };
        put(&mut root, &path, value).map_err(|taken| format!("{}: {taken} is given twice", field.name))?;
    }
    Ok(Value::Object(root))
}

/// The filter that the fields make: a repeated one may be any of its values.
pub fn filter(schema: &Value, fields: &[Field]) -> Value {
    let mut root = Map::new();
    for field in fields {
        let types: Vec<&str> =
            SchemaField::find(schema, &field.name).map_or_else(Vec::new, |known| known.types.into_iter().collect());
        // An array is any of its values, an object an operator, whatever the field's types.
        let value = match serde_json::from_str(&field.text) {
            Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
            _ => typed(&types, &field.text),
        };
        match (root.get_mut(&field.name), value) {
            (None, value) => {
                root.insert(field.name.clone(), value);
            }
            (Some(Value::Array(values)), Value::Array(more)) => values.extend(more),
            (Some(Value::Array(values)), value) => values.push(value),
            (Some(before), value) => *before = Value::Array(vec![before.take(), value]),
        }
    }
    Value::Object(root)
}

/// Whether the schema has all of these fields.
pub fn has_all(schema: &Value, fields: &[Field]) -> bool {
    fields.iter().all(|field| SchemaField::find(schema, &field.name).is_some())
}

/// A word as JSON, where the types allow what it looks like; otherwise it is a string.
fn typed(types: &[&str], text: &str) -> Value {
    let json = serde_json::from_str::<Value>(text).ok();
    match json {
        Some(value @ Value::Array(_)) if types.is_empty() || types.contains(&"array") => value,
        Some(value @ Value::Object(_)) if types.is_empty() || types.contains(&"object") => value,
        Some(value) if types.is_empty() || !types.contains(&"string") => value,
        _ => text.into(),
    }
}

/// Puts a value into its place; a place that has one already becomes an array. Errs with the place that is in the way.
fn put<'a>(object: &mut Map<String, Value>, path: &'a [Box<str>], value: Value) -> Result<(), &'a str> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        match (object.get_mut(&**name), value) {
            (None, value) => {
                object.insert(name.to_string(), value);
            }
            (Some(Value::Array(values)), Value::Array(more)) => values.extend(more),
            (Some(_), _) => return Err(name),
        }
        return Ok(());
    }
    match object.entry(&**name).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => put(inner, rest, value),
        _ => Err(name),
    }
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

    fn fields(texts: &[&str]) -> Vec<Field> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_string_may_look_like_json() {
        let schema = json!({"properties": {"id": {"type": "string"}, "count": {"type": "integer"}}});
        let fields = ["id=[1]", "count=7"].map(|text| text.parse().unwrap());
        assert_eq!(data(&schema, &fields).unwrap(), json!({"id": "[1]", "count": 7}));
    }

    #[test]
    fn a_word_becomes_what_the_schema_says() {
        let given = fields(&["id=5", "count=-5", "ok=true", "note=null", "at.x=1.5", "at.name=7", "free=1"]);
        assert_eq!(
            data(&schema(), &given),
            Ok(json!({"id":"5","count":-5,"ok":true,"note":"null","at":{"x":1.5,"name":"7"},"free":1}))
        );
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_daemon() {
        assert_eq!(data(&schema(), &fields(&["count=many", "ok=="])), Ok(json!({"count":"many","ok":"="})));
    }

    #[test]
    fn arrays_are_repeated_or_json() {
        let expected = json!({"tags":["1","b"],"sizes":[1,2]});
        assert_eq!(data(&schema(), &fields(&["tags=1", "tags=b", "sizes=1", "sizes=2"])), Ok(expected.clone()));
        assert_eq!(data(&schema(), &fields(&[r#"tags=["1","b"]"#, "sizes=[1,2]"])), Ok(expected));
        assert_eq!(data(&schema(), &fields(&[r#"at={"x":1}"#])), Ok(json!({"at":{"x":1}})));
        assert!(data(&schema(), &fields(&["id=1", "id=2"])).is_err());
        assert!(data(&schema(), &fields(&["id=1", "id.x=2"])).is_err());
    }

    #[test]
    fn a_filter_keeps_the_dots_and_any_of_repeated_values() {
        let given = fields(&["at.x=1", "id=1", "id=2", "tags=a", r#"note={"prefix":"x"}"#]);
        assert_eq!(filter(&schema(), &given), json!({"at.x":1,"id":["1","2"],"tags":"a","note":{"prefix":"x"}}));
        assert!(has_all(&schema(), &given) && !has_all(&schema(), &fields(&["none=1"])));
    }

    #[test]
    fn a_field_has_a_name() {
        assert!("=1".parse::<Field>().is_err() && "name".parse::<Field>().is_err());
        assert_eq!("a=b=c".parse(), Ok(Field { name: "a".into(), text: "b=c".into() }));
    }
}
