//! The filter index of one channel in one shard: finds the subscriptions that match an event.
//!
//! Subscriptions with equal filters form a group, and the filter of a group is evaluated at most once for an event.
//! Each group is listed under one condition of its filter, its pivot: an exact value or a string prefix of a field. The
//! index looks up the values of an event's fields among the pivots. So groups whose pivot differs cost nothing,
//! whatever their number. The index knows connections only by their numbers, and it does not know how events are
//! encoded.

mod compiled_filter;
mod field_values;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use slab::Slab;
use smallvec::SmallVec;

use crate::event::{Filter, Scalar, Selector, Test};
use compiled_filter::{CompiledFilter, KeyHasher, KeyMap};
use field_values::{FieldValue, FieldValues, Fields};

/// One subscription: the connection's index in the shard, and the subscription's index in the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub peer: u32,
    pub sub: u32,
}

/// The slot of a filter of a subscription in an index; needed to remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSlot {
    group: u32,
    slot: u32,
}

/// The slots of a subscription: one for each alternative of its selector, each in another group.
pub type IndexSlots = SmallVec<[IndexSlot; 1]>;

/// A subscription that has moved to a slot that became free, and the slot where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub member: Member,
    pub from: IndexSlot,
}

/// The subscriptions of one channel.
#[derive(Debug, Default)]
pub struct Index {
    /// The subscriptions without a filter: the group [`UNFILTERED`].
    unfiltered: Members,
    groups: Slab<Group>,
    /// The group of each filter.
    by_filter: KeyMap<u32>,
    /// The groups that have this value or prefix of a field as their pivot.
    by_pivot: KeyMap<Postings>,
    keys: KeyHasher,
    fields: Fields,
    /// The kinds of pivots of each field, by the field's number.
    pivots: Vec<FieldPivots>,
    /// The number of the current event. Several values of an event may lead to a group; it is evaluated for the first
    /// one.
    event: u64,
}

const UNFILTERED: u32 = u32::MAX;

/// The members of a group. Most groups have one, which needs no allocation.
type Members = SmallVec<[Member; 2]>;

/// The subscriptions with one filter.
#[derive(Debug)]
struct Group {
    filter: CompiledFilter,
    members: Members,
    /// The last event whose value matched the pivot.
    last_event: u64,
}

/// The groups under one key. A set, where they are many, so that removing one stays cheap.
#[derive(Debug)]
enum Postings {
    One(u32),
    #[expect(clippy::box_collection, reason = "most hold one group: an unboxed set would double the size of each")]
    Many(Box<BTreeSet<u32>>),
}

/// How the groups whose pivot is on one field are looked up.
#[derive(Debug, Default)]
struct FieldPivots {
    /// The number of groups that have exact values as their pivot.
    values: usize,
    /// The number of groups that have a prefix as their pivot, by the length of the prefix in bytes.
    prefixes: BTreeMap<usize, usize>,
}

impl Index {
    /// Adds a subscription. A selector with several alternatives lists it several times: [`Index::matching`] may then call it
    /// more than once for an event.
    pub fn insert_all(&mut self, selector: &Selector, member: Member) -> IndexSlots {
        if selector.is_everything() {
            return [self.insert(&Filter::default(), member)].into();
        }
        selector.alternatives().iter().map(|filter| self.insert(filter, member)).collect()
    }

    /// Adds a subscription with one filter.
    pub fn insert(&mut self, filter: &Filter, member: Member) -> IndexSlot {
        let group = match filter.is_empty() {
            true => UNFILTERED,
            false => self.find_group(filter).unwrap_or_else(|| self.add_group(filter)),
        };
        let members = self.members(group);
        members.push(member);
        IndexSlot { group, slot: members.len() as u32 - 1 }
    }

    /// Removes the subscription at `slot`. Where another subscription moves into that slot, it is returned: the caller
    /// must update the slot that it keeps for it.
    pub fn remove(&mut self, slot: IndexSlot) -> Option<Moved> {
        let members = self.members(slot.group);
        members.swap_remove(slot.slot as usize);
        let from = IndexSlot { group: slot.group, slot: members.len() as u32 };
        let moved = members.get(slot.slot as usize).map(|member| Moved { member: *member, from });
        if members.spilled() && members.len() <= members.capacity() / 4 {
            members.shrink_to_fit();
        }
        if members.is_empty() && slot.group != UNFILTERED {
            self.remove_group(slot.group);
        }
        moved
    }

    /// Whether any subscription has a filter. Only then does [`Index::matching`] need an event's data.
    pub fn has_filters(&self) -> bool {
        !self.groups.is_empty()
    }

    /// All subscriptions.
    pub fn all_members(&self) -> impl Iterator<Item = Member> + '_ {
        self.unfiltered.iter().chain(self.groups.iter().flat_map(|(_, group)| &group.members)).copied()
    }

    /// Calls `each` with every subscription that an event matches. `data` is JSON text that begins with the event's
    /// `data`; the rest is not read. Without it, only the subscriptions without a filter match.
    pub fn matching(&mut self, data: Option<&str>, mut each: impl FnMut(Member)) {
        self.unfiltered.iter().copied().for_each(&mut each);
        let Some(data) = data else { return };
        let values = match self.fields.read(data) {
            Ok(values) => values,
            Err(error) => {
                tracing::error!(%error, "an event cannot be matched with filters");
                return;
            }
        };
        self.event += 1;
        for value in &values {
            // Filters name a field beyond the end, but none of them has its pivot there.
            let Some(pivots) = self.pivots.get(value.field as usize) else { continue };
            for key in pivots.keys(value, &self.keys) {
                let mut evaluate =
                    |number: u32| self.groups[number as usize].evaluate(self.event, value, &values, &mut each);
                match self.by_pivot.get(&key) {
                    None => {}
                    Some(Postings::One(number)) => evaluate(*number),
                    Some(Postings::Many(numbers)) => numbers.iter().copied().for_each(evaluate),
                }
            }
        }
    }

    fn members(&mut self, group: u32) -> &mut Members {
        match group {
            UNFILTERED => &mut self.unfiltered,
            number => &mut self.groups[number as usize].members,
        }
    }

    /// The group of a filter, if there is one.
    fn find_group(&self, filter: &Filter) -> Option<u32> {
        let number = *self.by_filter.get(&self.keys.filter(filter, &self.fields)?)?;
        self.groups[number as usize].filter.equals(filter, &self.fields).then_some(number)
    }

    /// Adds an empty group for a filter.
    fn add_group(&mut self, filter: &Filter) -> u32 {
        let mut compiled = CompiledFilter::new(filter, &mut self.fields);
        // The pivot is the condition that the fewest groups share. Where all filters have `newStatus: shipped`, that
        // condition is not selective, and the order id that each filter names becomes the pivot.
        compiled.choose_pivot(|predicate| {
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
            self.pivots.resize_with(pivot.field as usize + 1, FieldPivots::default);
        }
        self.pivots[pivot.field as usize].add(&pivot.test);
        entry.insert(Group { filter: compiled, members: Members::new(), last_event: 0 });
        self.by_filter.insert(key, number);
        number
    }

    fn remove_group(&mut self, number: u32) {
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
        compiled.predicates().iter().for_each(|predicate| self.fields.release(predicate.field));
        if self.groups.is_empty() {
            // This frees the memory that many filters needed.
            *self = Self { unfiltered: take(&mut self.unfiltered), ..Self::default() };
        }
    }
}

impl Group {
    /// Calls `each` with the members if the event matches the filter and `value` is its first that matches the pivot.
    fn evaluate(
        &mut self,
        event: u64,
        value: &FieldValue<'_>,
        values: &FieldValues<'_>,
        each: &mut impl FnMut(Member),
    ) {
        let [pivot, others @ ..] = self.filter.predicates() else { return };
        if self.last_event != event && pivot.holds(value) {
            self.last_event = event;
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

    /// Removes a group; returns whether none is left.
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

impl FieldPivots {
    /// The keys under which groups may be listed that this value of the field matches.
    fn keys<'a>(&'a self, value: &'a FieldValue<'_>, keys: &'a KeyHasher) -> impl Iterator<Item = u64> {
        let exact = (self.values > 0).then(|| keys.value(value.field, value.value.lent()));
        let text = match &value.value {
            Scalar::String(text) if !self.prefixes.is_empty() => Some(text.as_bytes()),
            _ => None,
        };
        let prefixes = text.into_iter().flat_map(|text| {
            self.prefixes.range(..=text.len()).map(|(length, _)| keys.prefix(value.field, &text[..*length]))
        });
        exact.into_iter().chain(prefixes)
    }

    fn add(&mut self, test: &Test) {
        match test {
            Test::Prefix(prefix) => *self.prefixes.entry(prefix.len()).or_default() += 1,
            _ => self.values += 1,
        }
    }

    fn remove(&mut self, test: &Test) {
        match test {
            Test::Prefix(prefix) => {
                if let Entry::Occupied(mut groups) = self.prefixes.entry(prefix.len()) {
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
