//! Reads one condition of a filter: finds the field in the schema, and checks that the field can have the value.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{AT, Condition, FilterError, MAX_STRING, MAX_VALUES, Test};
use crate::event::Scalar;
use crate::event::field_check::{Compared, FieldCheck};
use crate::event::json::Json;
use crate::event::mistake::{MAX_MISTAKES, Mistake, escape};
use crate::event::schema_field::{names_near, path_of};
use crate::event::sentence::described;
use crate::suggest::{self, Known};

/// How many characters of a field's name a pointer repeats.
const MAX_SHOWN: usize = 100;

/// Reads the condition `test` on the field `name`.
pub(super) fn read(name: &str, test: &Json<'_>, event_type: &str, schema: &Value) -> Result<Condition, FilterError> {
    let shown_name = suggest::cut(name, MAX_SHOWN);
    let at = format!("{AT}/{}", escape(&shown_name));
    let Some(path) = path_of(schema, name) else {
        let fields = names_near(schema, name);
        let listed = format!("GET /v1/schemas/{event_type}");
        let known = Known { listed: &listed, ..Known::new("fields", fields.iter().map(String::as_str)) };
        let refusal = format!("{event_type} has no field {}", suggest::quoted(name));
        return Err(FilterError::UnknownField(vec![Mistake::new(at, known.refuse(&refusal, name))]));
    };
    match (Field { name: &shown_name, check: FieldCheck::new(schema, &path) }).test(test, &at) {
        Ok(test) => Ok(Condition { path, test }),
        Err(mistakes) => Err(FilterError::Invalid(mistakes)),
    }
}

/// A field with which values are compared.
struct Field<'a> {
    name: &'a str,
    check: FieldCheck<'a>,
}

impl Field<'_> {
    fn test(&mut self, test: &Json<'_>, at: &str) -> Result<Test, Vec<Mistake>> {
        let invalid = |message: String| Err(vec![Mistake::new(at, message)]);
        match test {
            Json::Array(values) if values.is_empty() => {
                invalid("an empty list of values matches no event; leave the field out to match all".into())
            }
            Json::Array(values) if values.len() > MAX_VALUES => {
                invalid(format!("a filter can have at most {MAX_VALUES} values for one field, not {}", values.len()))
            }
            Json::Array(values) => {
                let (mut scalars, mut mistakes) = (BTreeSet::new(), Vec::new());
                for (index, value) in values.iter().enumerate() {
                    match self.scalar(value, &format!("{at}/{index}")) {
                        Ok(scalar) => drop(scalars.insert(scalar)),
                        Err(mistake) => mistakes.push(mistake),
                    }
                    if mistakes.len() == MAX_MISTAKES {
                        break;
                    }
                }
                if !mistakes.is_empty() {
                    return Err(mistakes);
                }
                Ok(match (scalars.len(), scalars.pop_first()) {
                    (1, Some(only)) => Test::Is(only),
                    (_, first) => Test::AnyOf(first.into_iter().chain(scalars).collect()),
                })
            }
            Json::Object(operator) => match (operator.len(), test.get("prefix")) {
                (1, Some(Json::String(prefix))) => {
                    let at = format!("{at}/prefix");
                    check_length(prefix).map_err(|message| vec![Mistake::new(&*at, message)])?;
                    self.check
                        .check(Compared::Prefix(prefix))
                        .map_err(|never| vec![Mistake::new(at, format!("{} {never}", self.name))])?;
                    Ok(Test::Prefix(prefix.as_ref().into()))
                }
                (1, Some(_)) => invalid("the prefix must be a string".into()),
                _ => {
                    let names: Vec<_> =
                        operator.iter().map(|(name, _)| name.as_ref()).filter(|name| *name != "prefix").collect();
                    let refusal = match names.first() {
                        Some(name) => format!("there is no operator {}", suggest::quoted(name)),
                        None => "an operator is missing".into(),
                    };
                    let given = names.first().copied().unwrap_or_default();
                    let known = Known::new("operators", ["prefix"]).refuse(&refusal, given);
                    invalid(format!("{known}: write a value, a list of values, or {{\"prefix\": \"…\"}}"))
                }
            },
            single => self.scalar(single, at).map(Test::Is).map_err(|mistake| vec![mistake]),
        }
    }

    /// Reads one value, which the field must be able to have.
    fn scalar(&mut self, value: &Json<'_>, at: &str) -> Result<Scalar, Mistake> {
        let invalid = |message: String| Mistake::new(at, message);
        value.as_str().map_or(Ok(()), check_length).map_err(invalid)?;
        let scalar = Scalar::of(value).ok_or_else(|| {
            invalid(format!(
                "the value must be a string, a number, true, false or null, not {}",
                described(&value.to_value())
            ))
        })?;
        self.check
            .check(Compared::With(&value.to_value()))
            .map_err(|never| invalid(format!("{} {never}", self.name)))?;
        Ok(scalar.map(Box::from))
    }
}

fn check_length(text: &str) -> Result<(), String> {
    match text.len() > MAX_STRING && text.chars().count() > MAX_STRING {
        false => Ok(()),
        true => {
            let count = text.chars().count();
            Err(format!("a string in a filter can have at most {MAX_STRING} characters, not {count}"))
        }
    }
}
