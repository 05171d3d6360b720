//! Which events of a channel a subscriber gets: what it asked for, within what it is granted.

use super::json::Json;
use super::{Condition, Filter};

/// Alternatives, of which one must match. The hub indexes each of them as a filter.
///
/// Alternatives are kept as they are and never merged: an event matches a conjunction of lists of conditions, so nothing
/// that a client asks for can widen what it is granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector(Box<[Filter]>);

impl Selector {
    /// What a client asked for, where it is granted the whole channel.
    pub fn of(filter: Filter) -> Self {
        Self([filter].into())
    }

    /// What a client asked for, within one of these pins. Without pins nothing matches.
    pub fn within(filter: &Filter, pins: &[Filter]) -> Self {
        let mut alternatives: Vec<_> = pins.iter().map(|pin| filter.and(pin)).collect();
        alternatives.sort_unstable();
        alternatives.dedup();
        Self(alternatives.into())
    }

    /// The alternatives.
    pub fn alternatives(&self) -> &[Filter] {
        &self.0
    }

    /// Whether every event matches.
    pub fn is_everything(&self) -> bool {
        self.0.iter().any(Filter::is_empty)
    }

    /// Whether an event with this `data` matches.
    pub fn matches(&self, data: &Json<'_>) -> bool {
        self.0.iter().any(|filter| filter.matches(data))
    }
}

/// Everything.
impl Default for Selector {
    fn default() -> Self {
        Self::of(Filter::default())
    }
}

impl Filter {
    /// Whether both hold.
    pub fn and(&self, other: &Self) -> Self {
        let mut conditions: Vec<Condition> = self.conditions().iter().chain(other.conditions()).cloned().collect();
        conditions.sort_unstable();
        conditions.dedup();
        Self::from_sorted(conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Catalog;

    fn filter(text: &str) -> Filter {
        let catalog = Catalog::builtin();
        let orders = catalog.get(catalog.channel("order-status").unwrap());
        Filter::parse(&Json::parse(text).unwrap(), orders).unwrap()
    }

    fn matches(selector: &Selector, data: &str) -> bool {
        selector.matches(&Json::parse(data).unwrap())
    }

    #[test]
    fn a_client_cannot_widen_its_pins() {
        let pins = [filter(r#"{"customerId": "u1"}"#), filter(r#"{"newStatus": "shipped"}"#)];
        let asked = filter(r#"{"customerId": ["u1", "u2"]}"#);
        let selector = Selector::within(&asked, &pins);
        for (data, expected) in [
            (r#"{"customerId": "u1", "newStatus": "paid"}"#, true),
            (r#"{"customerId": "u2", "newStatus": "paid"}"#, false),
            (r#"{"customerId": "u2", "newStatus": "shipped"}"#, true),
            (r#"{"customerId": "u3", "newStatus": "shipped"}"#, false),
            (r#"{"newStatus": "shipped"}"#, false),
        ] {
            assert_eq!(matches(&selector, data), expected, "{data}");
        }
        let own = Selector::within(&Filter::default(), &pins[..1]);
        assert!(!own.is_everything() && !matches(&own, "{}"));
        assert!(!matches(&Selector::within(&Filter::default(), &[]), "{}"));
        assert!(Selector::default().is_everything());
    }

    #[test]
    fn equal_selections_are_equal_however_they_came_about() {
        let [one, two] = [filter(r#"{"customerId": "u1"}"#), filter(r#"{"newStatus": "shipped"}"#)];
        let both = filter(r#"{"customerId": "u1", "newStatus": "shipped"}"#);
        assert_eq!(one.and(&two), both);
        assert_eq!(two.and(&one).and(&both), both);
        assert_eq!(
            Selector::within(&Filter::default(), &[two.clone(), one.clone(), two.clone()]),
            Selector::within(&Filter::default(), &[one, two])
        );
    }
}
