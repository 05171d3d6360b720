//! A filter in the form that the index keeps, and the hash keys under which the index lists it.
//!
//! A compiled filter names fields by number and is small: a shard may hold a hundred thousand of them. This module does
//! not know which subscriptions have a filter; that is the index's part.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use super::field_values::{FieldValue, Fields};
use crate::event::{Condition, Filter, Scalar, Test};

/// A test of one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Predicate {
    pub field: u32,
    pub test: Test,
}

/// The predicates of a filter, all of which must hold. Nearly every filter has one, which needs no allocation.
#[derive(Debug)]
pub enum CompiledFilter {
    One(Predicate),
    /// The first is the pivot.
    All(Box<[Predicate]>),
}

/// Makes the hash keys of filters and pivots. They are seeded at random: clients choose the values that are hashed, and
/// must not be able to make them collide.
#[derive(Debug, Default)]
pub struct KeyHasher(RandomState);

/// A map by such keys, which are not hashed again. Two different things may have the same key, though rarely. So a
/// caller compares what it finds with what it looked up.
pub type KeyMap<Value> = HashMap<u64, Value, BuildHasherDefault<IdentityHasher>>;

impl Predicate {
    /// Whether this is a value of the predicate's field and passes the test.
    pub fn holds(&self, value: &FieldValue<'_>) -> bool {
        self.field == value.field && self.test.holds(value.value.lent())
    }
}

impl CompiledFilter {
    /// Compiles a filter, and adds a reference to each field that it names.
    pub fn new(filter: &Filter, fields: &mut Fields) -> Self {
        let mut predicate = |condition: &Condition| Predicate {
            field: fields.reference(&condition.path),
            test: condition.test.clone(),
        };
        match filter.conditions() {
            [only] => Self::One(predicate(only)),
            many => Self::All(many.iter().map(predicate).collect()),
        }
    }

    /// Makes the predicate of the least cost the pivot.
    pub fn choose_pivot(&mut self, cost: impl FnMut(&Predicate) -> usize) {
        if let Self::All(predicates) = self
            && let Some((least, _)) = predicates.iter().map(cost).enumerate().min_by_key(|(_, cost)| *cost)
        {
            predicates.swap(0, least);
        }
    }

    /// The predicate under which the index lists the filter.
    pub fn pivot(&self) -> &Predicate {
        match self {
            Self::One(predicate) => predicate,
            Self::All(predicates) => &predicates[0],
        }
    }

    /// All predicates, the pivot first.
    pub fn predicates(&self) -> &[Predicate] {
        match self {
            Self::One(predicate) => std::slice::from_ref(predicate),
            Self::All(predicates) => predicates,
        }
    }

    /// Whether this was compiled from a filter equal to `filter`, in any order of conditions.
    pub fn equals(&self, filter: &Filter, fields: &Fields) -> bool {
        let (predicates, conditions) = (self.predicates(), filter.conditions());
        predicates.len() == conditions.len()
            && conditions.iter().all(|condition| {
                let field = fields.number(&condition.path);
                predicates.iter().any(|predicate| Some(predicate.field) == field && predicate.test == condition.test)
            })
    }
}

impl KeyHasher {
    /// The key of an exact value of a field.
    pub fn value(&self, field: u32, value: Scalar<&str>) -> u64 {
        self.0.hash_one((field, value))
    }

    /// The key of a string prefix of a field.
    pub fn prefix(&self, field: u32, prefix: &[u8]) -> u64 {
        self.0.hash_one((field, "prefix", prefix))
    }

    /// The keys under which a pivot is listed: one for each value, or one for the prefix.
    pub fn predicate(&self, predicate: &Predicate) -> impl Iterator<Item = u64> {
        let (values, prefix) = match &predicate.test {
            Test::Is(value) => (std::slice::from_ref(value), None),
            Test::AnyOf(values) => (&**values, None),
            Test::Prefix(prefix) => (&[][..], Some(self.prefix(predicate.field, prefix.as_bytes()))),
        };
        values.iter().map(|value| self.value(predicate.field, value.lent())).chain(prefix)
    }

    /// The key of a whole filter. The order of its conditions does not matter. `None` if no filter in the index names
    /// one of its fields.
    pub fn filter(&self, filter: &Filter, fields: &Fields) -> Option<u64> {
        filter.conditions().iter().try_fold(0_u64, |sum, condition| {
            Some(sum.wrapping_add(self.test(fields.number(&condition.path)?, &condition.test)))
        })
    }

    /// The key of a compiled filter; it equals that of the filter it was compiled from.
    pub fn compiled(&self, filter: &CompiledFilter) -> u64 {
        filter
            .predicates()
            .iter()
            .fold(0, |sum, predicate| sum.wrapping_add(self.test(predicate.field, &predicate.test)))
    }

    fn test(&self, field: u32, test: &Test) -> u64 {
        self.0.hash_one((field, test))
    }
}

/// A hasher for keys that are hashes already: it returns them unchanged.
#[derive(Debug, Default)]
pub struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
