//! Who wants an event: a channel's subscriptions, grouped by filter.
//!
//! Subscriptions under equal filters are one group, whose filter is evaluated at most once an event. Each group is found
//! by one of its filter's conditions: by a value or a start of a string, which the event's own are looked up for. So the
//! groups that watch something else cost nothing, however many they are. One index belongs to one channel of one shard and
//! knows nothing of connections but their numbers.

mod compiled_filter;
mod field_values;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use crate::event::{Filter, Scalar, Test};
use compiled_filter::{ByKey, CompiledFilter, Keys};
use field_values::{FieldValue, FieldValues, Fields};

/// One subscription: the connection's number in the shard, and the subscription's on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub peer: u32,
    pub sub: u32,
}

/// Where a subscription stands in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    group: u32,
    slot: u32,
}

/// The subscriptions of one channel.
#[derive(Debug, Default)]
pub struct Index {
    /// Those without a filter: the group [`ALL`].
    all: Members,
    groups: Slab<Group>,
    /// The group of a filter that is known already.
    by_filter: ByKey<u32>,
    /// The groups that a value or a prefix of a field leads to.
    by_pivot: ByKey<Postings>,
    keys: Keys,
    fields: Fields,
    /// By the number of a field: what of it leads to groups.
    pivots: Vec<Pivots>,
    /// Counts the events that were matched, so that a group which several values lead to is taken once.
    round: u64,
}

const ALL: u32 = u32::MAX;

/// Few groups have more than one member, and none of these takes memory beside the group's own.
type Members = SmallVec<[Member; 2]>;

#[derive(Debug)]
struct Group {
    filter: CompiledFilter,
    members: Members,
    round: u64,
}

/// The groups that one key leads to. Where they are many, one of them still leaves in no time.
#[derive(Debug)]
enum Postings {
    One(u32),
    #[expect(clippy::box_collection, reason = "most are one: a set would make each of them twice as large")]
    Many(Box<BTreeSet<u32>>),
}

#[derive(Debug, Default)]
struct Pivots {
    /// How many groups are found by values of the field.
    values: usize,
    /// How many by a prefix, for each length of one.
    prefixes: BTreeMap<usize, usize>,
}

impl Index {
    /// Adds a subscription.
    pub fn insert(&mut self, filter: &Arc<Filter>, member: Member) -> Slot {
        let group = if filter.is_empty() { ALL } else { self.known(filter).unwrap_or_else(|| self.found(filter)) };
        let members = self.members(group);
        members.push(member);
        Slot { group, slot: members.len() as u32 - 1 }
    }

    /// Removes the subscription at `slot`. Where that moves another one into its slot, it is returned: whoever keeps
    /// the places must note it.
    pub fn remove(&mut self, slot: Slot) -> Option<Member> {
        let members = self.members(slot.group);
        members.swap_remove(slot.slot as usize);
        let moved = members.get(slot.slot as usize).copied();
        if members.spilled() && members.len() <= members.capacity() / 4 {
            members.shrink_to_fit();
        }
        if members.is_empty() && slot.group != ALL {
            self.forget(slot.group);
        }
        moved
    }

    /// Whether any subscription has a filter, so that an event's data is needed to match it.
    pub fn has_filters(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Every subscription.
    pub fn everyone(&self) -> impl Iterator<Item = Member> + '_ {
        self.all.iter().chain(self.groups.iter().flat_map(|(_, group)| &group.members)).copied()
    }

    /// The subscriptions that an event is for whose `data` is the JSON that this begins with. Without `data`, those without
    /// a filter.
    pub fn matching(&mut self, data: Option<&str>, mut each: impl FnMut(Member)) {
        self.all.iter().copied().for_each(&mut each);
        let Some(data) = data else { return };
        let values = match self.fields.read(data) {
            Ok(values) => values,
            Err(error) => {
                tracing::error!(%error, "an event cannot be matched with filters");
                return;
            }
        };
        self.round += 1;
        for value in &values {
            // A field beyond them is named only by those who are found by another.
            let Some(pivots) = self.pivots.get(value.field as usize) else { continue };
            for key in pivots.keys(value, &self.keys) {
                let mut attempt =
                    |number: u32| self.groups[number as usize].attempt(self.round, value, &values, &mut each);
                match self.by_pivot.get(&key) {
                    None => {}
                    Some(Postings::One(number)) => attempt(*number),
                    Some(Postings::Many(numbers)) => numbers.iter().copied().for_each(attempt),
                }
            }
        }
    }

    fn members(&mut self, group: u32) -> &mut Members {
        match group {
            ALL => &mut self.all,
            number => &mut self.groups[number as usize].members,
        }
    }

    /// The group of a filter, where there is one.
    fn known(&self, filter: &Filter) -> Option<u32> {
        let number = *self.by_filter.get(&self.keys.filter(filter, &self.fields)?)?;
        self.groups[number as usize].filter.is(filter, &self.fields).then_some(number)
    }

    /// Makes a group.
    fn found(&mut self, filter: &Filter) -> u32 {
        let mut compiled = CompiledFilter::new(filter, &mut self.fields);
        // By what the fewest others are found by: where all say `newStatus: shipped`, by the order that each of them names.
        compiled.pivot_on_least(|predicate| {
            self.keys.predicate(predicate).map(|key| 1 + self.by_pivot.get(&key).map_or(0, Postings::len)).sum()
        });
        let key = self.keys.compiled(&compiled);
        let entry = self.groups.vacant_entry();
        let number = entry.key() as u32;
        let pivot = compiled.pivot();
        for key in self.keys.predicate(pivot) {
            self.by_pivot.entry(key).and_modify(|postings| postings.add(number)).or_insert(Postings::One(number));
        }
        if self.pivots.len() <= pivot.field as usize {
            self.pivots.resize_with(pivot.field as usize + 1, Pivots::default);
        }
        self.pivots[pivot.field as usize].add(&pivot.test);
        entry.insert(Group { filter: compiled, members: Members::new(), round: 0 });
        self.by_filter.insert(key, number);
        number
    }

    fn forget(&mut self, number: u32) {
        let Group { filter: compiled, .. } = self.groups.remove(number as usize);
        let key = self.keys.compiled(&compiled);
        if self.by_filter.get(&key) == Some(&number) {
            self.by_filter.remove(&key);
        }
        let pivot = compiled.pivot();
        for key in self.keys.predicate(pivot) {
            if self.by_pivot.get_mut(&key).is_some_and(|postings| postings.remove(number)) {
                self.by_pivot.remove(&key);
            }
        }
        self.pivots[pivot.field as usize].remove(&pivot.test);
        compiled.predicates().iter().for_each(|predicate| self.fields.forget(predicate.field));
        if self.groups.is_empty() {
            // What many subscribers needed is given back.
            *self = Self { all: take(&mut self.all), ..Self::default() };
        }
    }
}

impl Group {
    /// Gives the members to `each` where the event is for them and this is the first of its field values that leads here.
    fn attempt(&mut self, round: u64, value: &FieldValue<'_>, values: &FieldValues<'_>, each: &mut impl FnMut(Member)) {
        let [pivot, others @ ..] = self.filter.predicates() else { return };
        if self.round != round && pivot.holds(value) {
            self.round = round;
            if others.iter().all(|predicate| values.iter().any(|value| predicate.holds(value))) {
                self.members.iter().copied().for_each(each);
            }
        }
    }
}

impl Postings {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(numbers) => numbers.len(),
        }
    }

    fn add(&mut self, number: u32) {
        match self {
            Self::One(one) => *self = Self::Many(Box::new([*one, number].into())),
            Self::Many(numbers) => {
                numbers.insert(number);
            }
        }
    }

    /// Whether none is left.
    fn remove(&mut self, number: u32) -> bool {
        match self {
            Self::One(one) => *one == number,
            Self::Many(numbers) => {
                numbers.remove(&number);
                numbers.is_empty()
            }
        }
    }
}

impl Pivots {
    /// The keys of the groups that a field value of this field may lead to.
    fn keys<'a>(&'a self, value: &'a FieldValue<'_>, keys: &'a Keys) -> impl Iterator<Item = u64> {
        let exact = (self.values > 0).then(|| keys.value(value.field, value.value.lent()));
        let text = match &value.value {
            Scalar::String(text) if !self.prefixes.is_empty() => Some(text.as_bytes()),
            _ => None,
        };
        let starts = text.into_iter().flat_map(|text| {
            self.prefixes.range(..=text.len()).map(|(length, _)| keys.prefix(value.field, &text[..*length]))
        });
        exact.into_iter().chain(starts)
    }

    fn add(&mut self, test: &Test) {
        match test {
            Test::Prefix(start) => *self.prefixes.entry(start.len()).or_default() += 1,
            _ => self.values += 1,
        }
    }

    fn remove(&mut self, test: &Test) {
        match test {
            Test::Prefix(start) => {
                if let Entry::Occupied(mut groups) = self.prefixes.entry(start.len()) {
                    *groups.get_mut() -= 1;
                    if *groups.get() == 0 {
                        groups.remove();
                    }
                }
            }
            _ => self.values -= 1,
        }
    }
}

#[cfg(test)]
mod tests;
