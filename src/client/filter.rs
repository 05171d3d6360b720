//! Evaluates a subscription's filter (`where`) in the client.
//!
//! The daemon sends an event once for all subscriptions of a connection, so the client finds out which of them it matches.
//! The client has no schema; on events that the daemon sent, the result is the same as that of the daemon's
//! [`Filter`](crate::event::Filter), which a test checks.

use crate::event::{Json, Scalar};

/// Whether an event with this `data` satisfies every condition of `filter`. A condition on a missing field is false.
pub(super) fn matches(filter: &Json<'_>, data: &Json<'_>) -> bool {
    let Some(fields) = filter.as_object() else { return false };
    fields.iter().all(|(name, condition)| match lookup(data, name) {
        None => false,
        // On an array field, a condition means "contains".
        Some(Json::Array(elements)) => elements.iter().any(|element| is_met(condition, element)),
        Some(value) => is_met(condition, value),
    })
}

/// Whether one value meets a condition: a scalar, an array of alternatives, or `{"prefix": "…"}`.
fn is_met(condition: &Json<'_>, value: &Json<'_>) -> bool {
    match condition {
        Json::Array(alternatives) => alternatives.iter().any(|alternative| is_met(alternative, value)),
        Json::Object(_) => {
            let prefix = condition.get("prefix").and_then(Json::as_str);
            prefix.zip(value.as_str()).is_some_and(|(prefix, text)| text.starts_with(prefix))
        }
        scalar => Scalar::of(value).is_some_and(|value| Scalar::of(scalar) == Some(value)),
    }
}

/// The value of a dotted field. A field whose own name contains the dot takes precedence over a nested one.
fn lookup<'a, 'b>(data: &'a Json<'b>, name: &str) -> Option<&'a Json<'b>> {
    data.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        lookup(data.get(first)?, rest)
    })
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Catalog, Filter};

    #[test]
    fn the_result_is_that_of_the_daemons_filter() {
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
        let mut matched = 0;
        for filter in &filters {
            for data in &documents {
                let (filter, data) = (filter.clone().into(), data.clone().into());
                let expected = Filter::parse(&filter, own).unwrap().matches(&data);
                assert_eq!(matches(&filter, &data), expected, "{filter} {data}");
                matched += usize::from(expected);
            }
        }
        assert!(matched > filters.len());
    }
}
