//! Which rules are accepted, and what they make of an event.

use serde_json::{Value, json};

use super::*;

fn compiled(text: &str) -> Result<(Cascades, Vec<String>), Vec<String>> {
    let tables = CascadeTables::parse("tidings.toml".as_ref(), text).unwrap();
    Cascades::compile(Some(&tables), &Catalog::builtin())
}

/// What an event causes by these rules.
fn effect_of(rules: &str, event: Value) -> Effect {
    let catalog = Catalog::builtin();
    let defaults = Defaults { source: "shop", time: "2026-01-31T12:00:00Z" };
    let cause = catalog.validate(event.into(), "", 1, defaults).unwrap();
    compiled(rules).unwrap().0.effect(&cause, &catalog, "2026-01-31T12:00:01Z").unwrap_or_default()
}

fn sale(reason: &str) -> Value {
    json!({"type": "inventory-change", "id": "c1", "traceparent": "00-1-2-01",
        "data": {"productId": "7", "oldQuantity": 2, "newQuantity": 1, "reason": reason}})
}

const RULE: &str = r#"
[[cascade]]
on = "inventory-change"
where = { reason = ["sale", "return"] }
tags = ["products:{productId}", "variants:{variantId}", "dashboard:overview", "products:{data.productId}"]
"#;

#[test]
fn a_cause_makes_one_invalidation_of_all_matching_rules() {
    let rules = format!(
        "{RULE}staleForMs = 500\n[[cascade]]\non = \"inventory-change\"\nkeys = [\"product/{{subject}}\"]\nprefixes = [\"list:\"]\nstaleForMs = 900\n"
    );
    let effect = effect_of(&rules, sale("sale"));
    let made = effect.event.unwrap();
    assert_eq!(made.id, "cascade:inventory-change:c1");
    let json: Value = serde_json::from_str(&made.json).unwrap();
    assert_eq!((&json["causationid"], &json["source"]), (&json!("c1"), &json!("shop")));
    assert_eq!((&json["time"], &json["traceparent"]), (&json!("2026-01-31T12:00:01Z"), &json!("00-1-2-01")));
    assert_eq!(
        json["data"],
        json!({"tags": ["products:7", "dashboard:overview"], "keys": ["product/7"], "prefixes": ["list:"], "staleForMs": 500})
    );
    assert_eq!(effect.matched.iter().map(|rule| rule.number).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(effect.left_out, [(0, "variants:{variantId}".into(), Omission::Absent("data.variantId".into()))]);
}

#[test]
fn a_rule_without_stale_for_ms_is_the_hardest() {
    let rules = format!("{RULE}staleForMs = 500\n[[cascade]]\non = \"inventory-change\"\nkeys = [\"k\"]\n");
    let made: Value = serde_json::from_str(&effect_of(&rules, sale("sale")).event.unwrap().json).unwrap();
    assert_eq!(made["data"].get("staleForMs"), None);
}

#[test]
fn what_does_not_match_or_names_nothing_makes_no_event() {
    assert_eq!(effect_of(RULE, sale("count")).event, None);
    let order = json!({"type": "order-status", "data": {"orderId": "1", "newStatus": "pending"}});
    assert!(effect_of(RULE, order.clone()).matched.is_empty());
    let effect = effect_of("[[cascade]]\non = \"order-status\"\ntags = [\"customer:{customerId}\"]", order);
    assert_eq!((effect.event, effect.left_out.len(), effect.matched.len()), (None, 1, 1));
}

#[test]
fn a_long_id_is_hashed_and_ids_of_two_types_differ() {
    assert_eq!(id_of("order-status", "x"), "cascade:order-status:x");
    assert_ne!(id_of("order-status", "x"), id_of("data-update", "x"));
    let long = id_of("order-status", &"é".repeat(256));
    assert!(long.starts_with("cascade:") && long.len() == 8 + 64, "{long}");
    assert_ne!(long, id_of("data-update", &"é".repeat(256)));
}

#[test]
fn every_mistake_names_its_line_and_its_rule() {
    let mistakes = compiled(
        r#"
[[cascade]]
on = "inventory-chnage"
tags = ["a"]

[[cascade]]
on = "cache-invalidate"
tags = ["a"]

[[cascade]]
on = "inventory-change"
where = { reasn = "sale", newQuantity = "many" }
tags = ["p:{productid}", 7, "{"]
stale_for_ms = 1
staleForMs = -1

[[cascade]]
on = "order-status"
tags = []
keys = "k"
"#,
    )
    .unwrap_err();
    for (mistake, part) in mistakes.iter().zip([
        "tidings.toml:3: cascade[0].on: there is no event type \"inventory-chnage\"; did you mean `inventory-change`?",
        "tidings.toml:7: cascade[1].on: cache-invalidate is what cascades make",
        "tidings.toml:14: cascade[2]: unknown key \"stale_for_ms\"; did you mean `staleForMs`?",
        "tidings.toml:12: cascade[2].where.reasn: inventory-change has no field \"reasn\"; did you mean `reason`?",
        "tidings.toml:12: cascade[2].where.newQuantity: newQuantity is never \"many\"",
        "tidings.toml:13: cascade[2].tags[0]: inventory-change has no field \"productid\"; did you mean `productId`?",
        "tidings.toml:13: cascade[2].tags[1]: this is a string",
        "tidings.toml:13: cascade[2].tags[2]: \"{\": this `{` has no `}` after it",
        "tidings.toml:15: cascade[2].staleForMs: this is a whole number of milliseconds",
        "tidings.toml:20: cascade[3].keys: this is a list of strings",
    ]) {
        assert!(mistake.starts_with(part), "{mistake}\nbegins not with\n{part}");
    }
    assert_eq!(mistakes.len(), 10, "{mistakes:#?}");
    let nothing = compiled("[[cascade]]\non = \"order-status\"\ntags = []\n").unwrap_err();
    assert!(nothing[0].contains("cascade[0]: this rule names nothing"), "{nothing:?}");
    let no_type = compiled("[[cascade]]\ntags = [\"a\"]\n").unwrap_err();
    assert!(no_type[0].contains("cascade[0]: `on` is missing"), "{no_type:?}");
}

#[test]
fn templates_of_a_type_are_bounded_and_an_ambiguous_id_is_a_warning() {
    let tags: Vec<_> = (0..51).map(|number| format!("\"t{number}\"")).collect();
    let rule = format!("[[cascade]]\non = \"data-update\"\ntags = [{}]\n", tags.join(","));
    assert!(compiled(&rule).is_ok());
    let mistakes = compiled(&rule.repeat(2)).unwrap_err();
    assert!(mistakes[0].contains("cascade[1]: the rules for data-update have more than 100 templates"), "{mistakes:?}");
    let (_, warnings) = compiled("[[cascade]]\non = \"data-update\"\ntags = [\"users:{id}\"]\n").unwrap();
    assert!(warnings[0].contains("cascade[0].tags[0]: `{id}` is the id of the event"), "{warnings:?}");
}
