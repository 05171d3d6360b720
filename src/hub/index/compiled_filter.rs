//! A filter as the index keeps it: small, its fields by number, and the hashes by which it is found.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use super::field_values::{FieldValue, Fields};
use crate::event::{Condition, Filter, Scalar, Test};

/// What one field must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Predicate {
    pub field: u32,
    pub test: Test,
}

/// All that must hold. Nearly every filter is of one predicate, which then takes no memory beside the filter's own.
#[derive(Debug)]
pub enum CompiledFilter {
    One(Predicate),
    /// The first is the one by which the filter is found.
    All(Box<[Predicate]>),
}

/// Makes the hashes by which filters are found. Subscribers choose what is hashed, so nobody outside can foresee them.
#[derive(Debug, Default)]
pub struct Keys(RandomState);

/// A map by such hashes, which need no other. That two things have the same one is too rare to cost anything, but not
/// excluded: who finds something by its hash looks at it.
pub type ByKey<Value> = HashMap<u64, Value, BuildHasherDefault<AsItIs>>;

impl Predicate {
    /// Whether a field value is about this field, and as it must be.
    pub fn holds(&self, value: &FieldValue<'_>) -> bool {
        self.field == value.field && self.test.holds(value.value.lent())
    }
}

impl CompiledFilter {
    /// The filter that a filter is; its fields are named for it.
    pub fn new(filter: &Filter, fields: &mut Fields) -> Self {
        let mut predicate =
            |condition: &Condition| Predicate { field: fields.name(&condition.path), test: condition.test.clone() };
        match filter.conditions() {
            [only] => Self::One(predicate(only)),
            many => Self::All(many.iter().map(predicate).collect()),
        }
    }

    /// Has it found by the predicate of the least cost.
    pub fn pivot_on_least(&mut self, cost: impl FnMut(&Predicate) -> usize) {
        if let Self::All(predicates) = self
            && let Some((least, _)) = predicates.iter().map(cost).enumerate().min_by_key(|(_, cost)| *cost)
        {
            predicates.swap(0, least);
        }
    }

    /// The predicate by which it is found.
    pub fn pivot(&self) -> &Predicate {
        match self {
            Self::One(predicate) => predicate,
            Self::All(predicates) => &predicates[0],
        }
    }

    /// All its predicates, the pivot first.
    pub fn predicates(&self) -> &[Predicate] {
        match self {
            Self::One(predicate) => std::slice::from_ref(predicate),
            Self::All(predicates) => predicates,
        }
    }

    /// Whether it is the filter that `filter` is.
    pub fn is(&self, filter: &Filter, fields: &Fields) -> bool {
        let (predicates, conditions) = (self.predicates(), filter.conditions());
        predicates.len() == conditions.len()
            && conditions.iter().all(|condition| {
                let field = fields.number(&condition.path);
                predicates.iter().any(|predicate| Some(predicate.field) == field && predicate.test == condition.test)
            })
    }
}

impl Keys {
    /// The key of what is found by this value of a field.
    pub fn value(&self, field: u32, value: Scalar<&str>) -> u64 {
        self.0.hash_one((field, value))
    }

    /// The key of what is found by a string of a field that starts so.
    pub fn prefix(&self, field: u32, start: &[u8]) -> u64 {
        self.0.hash_one((field, "prefix", start))
    }

    /// The keys of what is found by a predicate.
    pub fn predicate(&self, predicate: &Predicate) -> impl Iterator<Item = u64> {
        let (values, prefix) = match &predicate.test {
            Test::Is(value) => (std::slice::from_ref(value), None),
            Test::AnyOf(values) => (&**values, None),
            Test::Prefix(start) => (&[][..], Some(self.prefix(predicate.field, start.as_bytes()))),
        };
        values.iter().map(|value| self.value(predicate.field, value.lent())).chain(prefix)
    }

    /// The key of a whole filter, whatever the order of its parts; none where it names a field that no filter does.
    pub fn filter(&self, filter: &Filter, fields: &Fields) -> Option<u64> {
        filter.conditions().iter().try_fold(0_u64, |sum, condition| {
            Some(sum.wrapping_add(self.part(fields.number(&condition.path)?, &condition.test)))
        })
    }

    /// The key of a compiled filter: that of the filter it was made from.
    pub fn compiled(&self, filter: &CompiledFilter) -> u64 {
        filter
            .predicates()
            .iter()
            .fold(0, |sum, predicate| sum.wrapping_add(self.part(predicate.field, &predicate.test)))
    }

    fn part(&self, field: u32, test: &Test) -> u64 {
        self.0.hash_one((field, test))
    }
}

/// The hasher of what is a hash.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
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
