//! Whole numbers of the command line: [`whole`] reads one, and says what it expects in place of what is wrong.

use std::ops::RangeInclusive;

use super::output::thousands;

/// A reader of whole numbers in a range. Its end may be the largest number, which no text names then.
pub fn whole<T>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: TryFrom<u64>,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| match (*range.start(), *range.end()) {
            (from, u64::MAX) => format!("expected a whole number from {from} up"),
            (from, to) => format!("expected a whole number from {from} to {}", thousands(to)),
        })
    }
}
