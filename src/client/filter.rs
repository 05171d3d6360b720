//! `where` on the side of the client, which has no schema: it means the same as the daemon's
//! [`Filter`](crate::event::Filter) on an event that the daemon let through for one subscription or another.

use serde_json::Value;

use crate::event::Scalar;

/// Whether an event with this `data` passes. A field that is not there does not.
pub(super) fn matches(filter: &Value, data: &Value) -> bool {
    let Some(fields) = filter.as_object() else { return false };
    fields.iter().all(|(name, test)| match lookup(data, name) {
        None => false,
        Some(Value::Array(elements)) => elements.iter().any(|element| holds(test, element)),
        Some(value) => holds(test, value),
    })
}

fn holds(test: &Value, value: &Value) -> bool {
    match test {
        Value::Array(options) => options.iter().any(|option| holds(option, value)),
        Value::Object(operator) => {
            let prefix = operator.get("prefix").and_then(Value::as_str);
            prefix.zip(value.as_str()).is_some_and(|(prefix, text)| text.starts_with(prefix))
        }
        single => Scalar::of(value).is_some_and(|value| Scalar::of(single) == Some(value)),
    }
}

/// The value of a dotted field. A name that itself contains a dot comes before a nested one.
fn lookup<'a>(data: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = data.as_object()?;
    fields.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        lookup(fields.get(first)?, rest)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Catalog, Filter};

    #[test]
    fn it_means_what_the_daemons_means() {
        let mut catalog = Catalog::builtin();
        let own = json!({"type":"object","properties":{
            "a.b":{"type":"string"}, "a":{"type":"object","properties":{"b":{"type":"number"}}},
            "list":{"type":"array","items":{"type":["string","number"]}}, "maybe":{"type":["string","null"]}}});
        catalog.add("own", &own.to_string()).unwrap();
        let own = catalog.get(catalog.channel("own").unwrap());
        let filters = [
            json!({}),
            json!({"a.b":"x"}),
            json!({"maybe":null}),
            json!({"maybe":["x", null]}),
            json!({"maybe":{"prefix":"x"}}),
            json!({"list":"x"}),
            json!({"list":[1, "y"]}),
            json!({"list":{"prefix":"x"}, "maybe":"x"}),
        ];
        let documents = [
            json!({}),
            json!({"a.b":"x", "a":{"b":1}}),
            json!({"maybe":null, "list":[]}),
            json!({"maybe":"x", "list":["xy", 1.0]}),
            json!({"maybe":"y", "list":["x"]}),
            json!({"list":[2, "y", ["x"]]}),
        ];
        let mut passed = 0;
        for filter in &filters {
            for data in &documents {
                let expected = Filter::parse(filter, own).unwrap().matches(data);
                assert_eq!(matches(filter, data), expected, "{filter} {data}");
                passed += usize::from(expected);
            }
        }
        assert!(passed > filters.len());
    }
}
