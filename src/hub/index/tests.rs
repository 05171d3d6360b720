use super::*;
use crate::event::{Catalog, EventType};
use proptest::prelude::*;
use serde_json::{Value, json};

const OWN: &str = r#"{"type":"object","properties":{
    "name":{"type":["string","null"]},
    "amount":{"type":"number"},
    "open":{"type":"boolean"},
    "tags":{"type":"array","items":{"type":["string","integer"]}},
    "at":{"type":"object","properties":{"shop":{"type":"string"},"shelf":{"type":"integer"}}},
    "labels":{"type":"object","additionalProperties":{"type":"string"}}}}"#;

fn catalog() -> Catalog {
    let mut catalog = Catalog::builtin();
    catalog.add("own", OWN).unwrap();
    catalog
}

fn own(catalog: &Catalog) -> &EventType {
    catalog.get(catalog.channel("own").unwrap())
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "ab", "abc", "b", "é", "éa", "\"", "x\ny"])
}

/// A test of a field that can be a string.
fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        word().prop_map(|one| json!(one)),
        prop::collection::vec(word(), 1..4).prop_map(|many| json!(many)),
        word().prop_map(|start| json!({ "prefix": start })),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3).prop_map(|whole| json!(whole)),
        (0..3).prop_map(|whole| json!(f64::from(whole))),
        Just(json!([0, 2.0])),
        Just(json!([1, 1.5, 1e20])),
    ]
}

fn filters() -> impl Strategy<Value = Value> {
    let tests = (
        prop::option::of(prop_oneof![text(), Just(json!(null)), Just(json!([null, "a"]))]),
        prop::option::weighted(0.3, number()),
        prop::option::weighted(0.3, prop_oneof![Just(json!(true)), Just(json!([true, false]))]),
        prop::option::weighted(0.3, prop_oneof![text(), Just(json!(["a", 1])), Just(json!(1.0))]),
        prop::option::weighted(0.3, text()),
        prop::option::weighted(0.2, (word(), text())),
    );
    tests.prop_map(|(name, amount, open, tags, shop, label)| {
        let tests = [("name", name), ("amount", amount), ("open", open), ("tags", tags), ("at.shop", shop)];
        let mut filter: serde_json::Map<String, Value> =
            tests.into_iter().filter_map(|(field, test)| Some((field.to_owned(), test?))).collect();
        filter.extend(label.map(|(name, test)| (format!("labels.{name}"), test)));
        filter.into()
    })
}

fn data() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![word().prop_map(|text| json!(text)), Just(json!(null))];
    let element = prop_oneof![
        3 => word().prop_map(|text| json!(text)),
        1 => (0..3).prop_map(|number| json!(number)),
        1 => Just(json!([["a"], {"shop": "a"}])),
    ];
    let fields = (
        prop::option::of(scalar),
        prop::option::of(prop_oneof![(0..4).prop_map(|number| json!(number)), Just(json!(1.5)), Just(json!(1e20))]),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::collection::vec(element, 0..5)),
        prop::option::of(word().prop_map(|shop| json!({"shelf": 1, "shop": shop}))),
        prop::option::of(prop::collection::hash_map(word(), word(), 0..3)),
    );
    fields.prop_map(|(name, amount, open, tags, at, labels)| {
        let fields = [
            ("other", Some(json!({"name": "a", "tags": ["a"]}))),
            ("name", name),
            ("amount", amount),
            ("open", open.map(Value::from)),
            ("tags", tags.map(Value::from)),
            ("at", at),
            ("labels", labels.map(|labels| json!(labels))),
        ];
        fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect()
    })
}

/// An index, and the naive model that it is compared with: every filter is evaluated, one after the other.
#[derive(Default)]
struct IndexAndModel {
    index: Index,
    model: Vec<Option<(Filter, IndexSlot)>>,
}

impl IndexAndModel {
    fn subscribe(&mut self, filter: &Value, event_type: &EventType) {
        let filter = Filter::parse(&filter.clone().into(), event_type).unwrap();
        let slot = self.index.insert(&filter, Member { peer: self.model.len() as u32, sub: 0 });
        self.model.push(Some((filter, slot)));
    }

    fn unsubscribe(&mut self, number: usize) {
        if let Some((_, slot)) = self.model[number].take()
            && let Some(moved) = self.index.remove(slot)
        {
            let former = std::mem::replace(&mut self.model[moved.member.peer as usize].as_mut().unwrap().1, slot);
            assert_eq!(former, moved.from);
        }
    }

    fn assert_same_matches(&mut self, data: &Value) {
        let mut found = Vec::new();
        self.index.matching(Some(&data.to_string()), |member| found.push(member.peer));
        found.sort_unstable();
        let matches = |number: &u32| {
            self.model[*number as usize].as_ref().is_some_and(|(filter, _)| filter.matches(&data.clone().into()))
        };
        let expected: Vec<u32> = (0..self.model.len() as u32).filter(matches).collect();
        assert_eq!(found, expected, "{data}");
    }

    /// Asserts that the index keeps every filter once, and nothing of removed subscriptions.
    fn assert_no_leftovers(&self) {
        let left = || self.model.iter().flatten();
        assert_eq!(self.index.all_members().count(), left().count());
        let distinct: std::collections::HashSet<&Filter> =
            left().map(|(filter, _)| filter).filter(|filter| !filter.is_empty()).collect();
        assert_eq!(self.index.groups.len(), distinct.len());
        assert_eq!(self.index.by_filter.len(), distinct.len());
        assert_eq!(self.index.has_filters(), !distinct.is_empty());
        let paths = distinct.iter().flat_map(|filter| filter.conditions()).map(|condition| &condition.path);
        let paths: std::collections::HashSet<_> = paths.collect();
        assert_eq!(self.index.fields.len(), paths.len());
        let postings: usize = self.index.by_pivot.values().map(Postings::len).sum();
        let keys: usize =
            self.index.groups.iter().map(|(_, group)| self.index.keys.predicate(group.filter.pivot()).count()).sum();
        assert_eq!(postings, keys);
        let pivots = |pivots: &FieldPivots| pivots.values + pivots.prefixes.values().sum::<usize>();
        assert_eq!(self.index.pivots.iter().map(pivots).sum::<usize>(), distinct.len());
    }
}

proptest! {
    /// Compares the index with the naive model while subscriptions are added and removed.
    #[test]
    fn finds_exactly_the_subscriptions_whose_filter_matches(
        first in prop::collection::vec(filters(), 1..20),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        added in prop::collection::vec(filters(), 0..10),
        events in prop::collection::vec(data(), 1..8),
    ) {
        let catalog = catalog();
        let mut pair = IndexAndModel::default();
        first.iter().for_each(|filter| pair.subscribe(filter, own(&catalog)));
        pair.assert_no_leftovers();
        events.iter().for_each(|event| pair.assert_same_matches(event));
        for removed in removed {
            pair.unsubscribe(removed.index(pair.model.len()));
        }
        pair.assert_no_leftovers();
        events.iter().for_each(|event| pair.assert_same_matches(event));
        added.iter().for_each(|filter| pair.subscribe(filter, own(&catalog)));
        pair.assert_no_leftovers();
        events.iter().for_each(|event| pair.assert_same_matches(event));
        (0..pair.model.len()).for_each(|number| pair.unsubscribe(number));
        pair.assert_no_leftovers();
    }
}

/// The groups that are evaluated for an event must not grow with unrelated filters, even if all share a condition.
#[test]
fn a_condition_that_every_filter_has_is_not_selective() {
    let catalog = catalog();
    let mut pair = IndexAndModel::default();
    for number in 0..200 {
        let name = format!("{number:03}");
        pair.subscribe(&json!({ "amount": 1, "name": name }), own(&catalog));
        pair.subscribe(&json!({ "amount": 1, "at.shop": { "prefix": name } }), own(&catalog));
    }
    assert!(pair.index.by_pivot.values().all(|postings| postings.len() == 1));
    pair.assert_same_matches(&json!({ "amount": 1, "name": "007", "at": { "shop": "0071" } }));
}

#[test]
fn many_subscriptions_with_one_filter_are_one_group() {
    let catalog = catalog();
    let mut pair = IndexAndModel::default();
    for _ in 0..1_000 {
        pair.subscribe(&json!({ "name": "a" }), own(&catalog));
    }
    pair.assert_no_leftovers();
    for number in (0..1_000).filter(|number| number % 10 != 3) {
        pair.unsubscribe(number);
    }
    pair.assert_no_leftovers();
    pair.assert_same_matches(&json!({ "name": "a" }));
    let group = pair.index.groups.iter().next().unwrap().1;
    assert!(group.members.capacity() <= 400, "{}: unused memory is freed", group.members.capacity());
}

/// A hundred thousand subscriptions with different filters are as many groups.
#[test]
fn a_group_is_small() {
    assert!(size_of::<Group>() <= 64, "{}", size_of::<Group>());
    assert!(size_of::<Postings>() <= 16, "{}", size_of::<Postings>());
}
