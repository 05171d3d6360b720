//! A filter as the index keeps it: small, its fields by number, and the hashes by which it is found.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use super::facts::{Fact, Fields};
use crate::event::{Condition, Filter, Scalar, Test};

/// What one field must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    pub field: u32,
    pub test: Test,
}

/// All that must hold. Nearly every rule is of one check, which then takes no memory beside the rule's own.
#[derive(Debug)]
pub enum Rule {
    One(Check),
    /// The first is the one by which the rule is found.
    All(Box<[Check]>),
}

/// Makes the hashes by which rules are found. Subscribers choose what is hashed, so nobody outside can foresee them.
#[derive(Debug, Default)]
pub struct Keys(RandomState);

/// A map by such hashes, which need no other. That two things have the same one is too rare to cost anything, but not
/// excluded: who finds something by its hash looks at it.
pub type ByKey<Value> = HashMap<u64, Value, BuildHasherDefault<AsItIs>>;

impl Check {
    /// Whether a fact is about this field, and as it must be.
    pub fn holds(&self, fact: &Fact<'_>) -> bool {
        self.field == fact.field && self.test.holds(fact.value.lent())
    }
}

impl Rule {
    /// The rule that a filter is; its fields are named for it.
    pub fn new(filter: &Filter, fields: &mut Fields) -> Self {
        let mut check =
            |condition: &Condition| Check { field: fields.name(&condition.path), test: condition.test.clone() };
        match filter.conditions() {
            [only] => Self::One(check(only)),
            many => Self::All(many.iter().map(check).collect()),
        }
    }

    /// Has it found by the check of the least cost.
    pub fn pivot_on_least(&mut self, cost: impl FnMut(&Check) -> usize) {
        if let Self::All(checks) = self
            && let Some((least, _)) = checks.iter().map(cost).enumerate().min_by_key(|(_, cost)| *cost)
        {
            checks.swap(0, least);
        }
    }

    /// The check by which it is found.
    pub fn pivot(&self) -> &Check {
        match self {
            Self::One(check) => check,
            Self::All(checks) => &checks[0],
        }
    }

    /// All its checks, the pivot first.
    pub fn checks(&self) -> &[Check] {
        match self {
            Self::One(check) => std::slice::from_ref(check),
            Self::All(checks) => checks,
        }
    }

    /// Whether it is the rule that `filter` is.
    pub fn is(&self, filter: &Filter, fields: &Fields) -> bool {
        let (checks, conditions) = (self.checks(), filter.conditions());
        checks.len() == conditions.len()
            && conditions.iter().all(|condition| {
                let field = fields.number(&condition.path);
                checks.iter().any(|check| Some(check.field) == field && check.test == condition.test)
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

    /// The keys of what is found by a check.
    pub fn check(&self, check: &Check) -> impl Iterator<Item = u64> {
        let (values, prefix) = match &check.test {
            Test::Is(value) => (std::slice::from_ref(value), None),
            Test::AnyOf(values) => (&**values, None),
            Test::Prefix(start) => (&[][..], Some(self.prefix(check.field, start.as_bytes()))),
        };
        values.iter().map(|value| self.value(check.field, value.lent())).chain(prefix)
    }

    /// The key of a whole filter, whatever the order of its parts; none where it names a field that no rule does.
    pub fn filter(&self, filter: &Filter, fields: &Fields) -> Option<u64> {
        filter.conditions().iter().try_fold(0_u64, |sum, condition| {
            Some(sum.wrapping_add(self.part(fields.number(&condition.path)?, &condition.test)))
        })
    }

    /// The key of the whole filter that a rule is.
    pub fn rule(&self, rule: &Rule) -> u64 {
        rule.checks().iter().fold(0, |sum, check| sum.wrapping_add(self.part(check.field, &check.test)))
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
