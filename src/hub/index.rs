//! Who wants an event: a channel's subscriptions, grouped by filter.
//!
//! Subscriptions under equal filters are one group, whose filter is evaluated at most once an event. A group whose filter
//! compares a field with values is found by looking the event's value up, so that the groups that watch other values cost
//! nothing; only filters without any such comparison (prefixes) are tried one after the other. One index belongs to one
//! channel of one shard and knows nothing of connections but their numbers.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::event::{Filter, Scalar, Test, lookup};

/// One subscription: the connection's number in the shard, and the subscription's on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub peer: u32,
    pub sub: u32,
}

/// Where a subscription stands in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    group: u32,
    slot: u32,
}

/// The subscriptions of one channel.
#[derive(Debug, Default)]
pub struct Index {
    /// The group without a filter is number 0 and always there.
    groups: Vec<Group>,
    /// Numbers of groups that are empty and may be used again.
    free: Vec<u32>,
    by_filter: HashMap<Arc<Filter>, u32>,
    by_value: Vec<Pivot>,
    /// The groups that no value leads to.
    scanned: Vec<u32>,
    /// Counts the events that were matched, so that a group which several values lead to is taken once.
    round: u64,
}

#[derive(Debug, Default)]
struct Group {
    filter: Arc<Filter>,
    members: Vec<Member>,
    round: u64,
}

/// Groups by the value that one field must have.
#[derive(Debug)]
struct Pivot {
    path: Vec<Box<str>>,
    groups: HashMap<Scalar, Vec<u32>>,
}

impl Index {
    /// Adds a subscription.
    pub fn insert(&mut self, filter: &Arc<Filter>, member: Member) -> Place {
        let group = self.group(filter);
        let members = &mut self.groups[group as usize].members;
        members.push(member);
        Place { group, slot: members.len() as u32 - 1 }
    }

    /// Removes the subscription at `place`. Where that moves another one into its place, it is returned: whoever keeps
    /// the places must note it.
    pub fn remove(&mut self, place: Place) -> Option<Member> {
        let group = &mut self.groups[place.group as usize];
        group.members.swap_remove(place.slot as usize);
        let moved = group.members.get(place.slot as usize).copied();
        if group.members.is_empty() {
            group.members = Vec::new();
            if place.group != 0 {
                self.forget(place.group);
            }
        }
        moved
    }

    /// Whether any subscription has a filter, so that an event's data is needed to match it.
    pub fn has_filters(&self) -> bool {
        !self.by_filter.is_empty()
    }

    /// Every subscription.
    pub fn everyone(&self) -> impl Iterator<Item = Member> + '_ {
        self.groups.iter().flat_map(|group| group.members.iter().copied())
    }

    /// The subscriptions that an event with this `data` is for. Without `data`, those without a filter.
    pub fn matching(&mut self, data: Option<&Value>, mut each: impl FnMut(Member)) {
        let Some(unfiltered) = self.groups.first() else { return };
        unfiltered.members.iter().copied().for_each(&mut each);
        let Some(data) = data else { return };
        self.round += 1;
        let (groups, round) = (&mut self.groups, self.round);
        let mut try_group = |number: u32| {
            let group = &mut groups[number as usize];
            if group.round != round {
                group.round = round;
                if group.filter.matches(data) {
                    group.members.iter().copied().for_each(&mut each);
                }
            }
        };
        for pivot in &self.by_value {
            let values = match lookup(data, &pivot.path) {
                Some(Value::Array(elements)) => elements.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            for value in values {
                if let Some(groups) = Scalar::of(value).and_then(|scalar| pivot.groups.get(&scalar)) {
                    groups.iter().copied().for_each(&mut try_group);
                }
            }
        }
        self.scanned.iter().copied().for_each(&mut try_group);
    }

    fn group(&mut self, filter: &Arc<Filter>) -> u32 {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        if filter.is_empty() {
            return 0;
        }
        if let Some(known) = self.by_filter.get(filter) {
            return *known;
        }
        let fresh = Group { filter: filter.clone(), ..Group::default() };
        let number = match self.free.pop() {
            Some(number) => {
                // The round stays: the number may have been tried for this event already.
                self.groups[number as usize].filter = fresh.filter;
                number
            }
            None => {
                self.groups.push(fresh);
                self.groups.len() as u32 - 1
            }
        };
        self.by_filter.insert(filter.clone(), number);
        match pivot(filter) {
            None => self.scanned.push(number),
            Some((path, values)) => {
                let at = match self.by_value.iter().position(|pivot| pivot.path == path) {
                    Some(at) => at,
                    None => {
                        self.by_value.push(Pivot { path: path.to_vec(), groups: HashMap::new() });
                        self.by_value.len() - 1
                    }
                };
                for value in values {
                    self.by_value[at].groups.entry(value.clone()).or_default().push(number);
                }
            }
        }
        number
    }

    fn forget(&mut self, number: u32) {
        let filter = std::mem::take(&mut self.groups[number as usize].filter);
        self.by_filter.remove(&filter);
        self.free.push(number);
        match pivot(&filter) {
            None => self.scanned.retain(|other| *other != number),
            Some((path, values)) => {
                let Some(at) = self.by_value.iter().position(|pivot| pivot.path == path) else { return };
                for value in values {
                    if let Some(groups) = self.by_value[at].groups.get_mut(value) {
                        groups.retain(|other| *other != number);
                        if groups.is_empty() {
                            self.by_value[at].groups.remove(value);
                        }
                    }
                }
                if self.by_value[at].groups.is_empty() {
                    self.by_value.swap_remove(at);
                }
            }
        }
    }
}

/// The comparison of a filter that leads to it: the one with the fewest values.
fn pivot(filter: &Filter) -> Option<(&[Box<str>], &[Scalar])> {
    filter
        .conditions()
        .iter()
        .filter_map(|condition| match &condition.test {
            Test::AnyOf(values) => Some((condition.path.as_slice(), values.as_slice())),
            Test::Prefix(_) => None,
        })
        .min_by_key(|(_, values)| values.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Catalog, EventType};
    use proptest::prelude::*;
    use serde_json::json;

    fn filters() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec!["a", "b", "ab", "c"]);
        let text = prop_oneof![
            word.clone().prop_map(|one| json!(one)),
            prop::collection::vec(word.clone(), 1..3).prop_map(|many| json!(many)),
            word.prop_map(|start| json!({ "prefix": start })),
        ];
        let number = prop_oneof![(0..3).prop_map(|n| json!(n)), Just(json!([0, 2.0]))];
        (prop::option::of(text), prop::option::of(number)).prop_map(|(text, number)| {
            let mut filter = json!({});
            if let Some(text) = text {
                filter["productId"] = text;
            }
            if let Some(number) = number {
                filter["newQuantity"] = number;
            }
            filter
        })
    }

    fn data() -> impl Strategy<Value = Value> {
        (prop::sample::select(vec!["a", "b", "ab", "abc", "x"]), 0..4)
            .prop_map(|(product, quantity)| json!({"productId": product, "newQuantity": quantity}))
    }

    fn inventory(catalog: &Catalog) -> &EventType {
        catalog.get(catalog.channel("inventory-change").unwrap())
    }

    proptest! {
        /// Against the naive model: try every subscription's filter.
        #[test]
        fn finds_just_the_subscriptions_whose_filter_matches(
            filters in prop::collection::vec(filters(), 1..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            events in prop::collection::vec(data(), 1..8),
        ) {
            let catalog = Catalog::builtin();
            let mut index = Index::default();
            let mut model: Vec<Option<(Arc<Filter>, Place)>> = Vec::new();
            for (number, filter) in filters.iter().enumerate() {
                let filter = Arc::new(Filter::parse(filter, inventory(&catalog)).unwrap());
                let place = index.insert(&filter, Member { peer: number as u32, sub: 0 });
                model.push(Some((filter, place)));
            }
            for removed in removed {
                let number = removed.index(model.len());
                if let Some((_, place)) = model[number].take()
                    && let Some(moved) = index.remove(place)
                {
                    model[moved.peer as usize].as_mut().unwrap().1 = place;
                }
            }
            for event in &events {
                let mut found = Vec::new();
                index.matching(Some(event), |member| found.push(member.peer));
                found.sort_unstable();
                let expected: Vec<u32> = (0..model.len() as u32)
                    .filter(|number| model[*number as usize].as_ref().is_some_and(|(filter, _)| filter.matches(event)))
                    .collect();
                prop_assert_eq!(found, expected, "{}", event);
            }
            let left = model.iter().flatten().count();
            prop_assert_eq!(index.everyone().count(), left);
            if left == 0 {
                prop_assert!(index.by_filter.is_empty() && index.by_value.is_empty() && index.scanned.is_empty());
            }
        }
    }
}
