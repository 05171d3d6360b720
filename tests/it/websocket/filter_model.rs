//! `where` as the contract says it, in the plainest way: what the daemon's filters are compared with.

use serde_json::Value;

/// Whether an event with this `data` passes the filter.
pub fn matches(filter: &Value, data: &Value) -> bool {
    filter.as_object().expect("a filter is an object").iter().all(|(path, test)| {
        let field = path.split('.').try_fold(data, |value, name| value.get(name));
        match field {
            None => false,
            Some(Value::Array(elements)) => elements.iter().any(|element| passes(test, element)),
            Some(value) => passes(test, value),
        }
    })
}

fn passes(test: &Value, value: &Value) -> bool {
    match test {
        Value::Array(options) => options.iter().any(|option| equal(option, value)),
        Value::Object(operator) => {
            let prefix = operator["prefix"].as_str().expect("a prefix is a string");
            value.as_str().is_some_and(|text| text.starts_with(prefix))
        }
        scalar => equal(scalar, value),
    }
}

/// Numbers are equal when their values are.
fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
