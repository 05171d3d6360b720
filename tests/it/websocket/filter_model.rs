//! A reference implementation of `where`, as simple as the contract states it. Tests compare the daemon's filter index with it.

use serde_json::Value;

/// Whether an event with this `data` passes the filter.
pub fn matches(filter: &Value, data: &Value) -> bool {
    filter.as_object().expect("a filter is an object").iter().all(|(path, condition)| {
        let field = path.split('.').try_fold(data, |value, name| value.get(name));
        match field {
            None => false,
            Some(Value::Array(elements)) => elements.iter().any(|element| passes(condition, element)),
            Some(value) => passes(condition, value),
        }
    })
}

/// Whether one scalar of `data` passes the condition on its field.
fn passes(condition: &Value, value: &Value) -> bool {
    match condition {
        Value::Array(options) => options.iter().any(|option| equal(option, value)),
        Value::Object(operator) => {
            let prefix = operator["prefix"].as_str().expect("a prefix is a string");
            value.as_str().is_some_and(|text| text.starts_with(prefix))
        }
        scalar => equal(scalar, value),
    }
}

/// Numbers are equal when their values are: `5` is `5.0`.
fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
