//! What `tidings config check --connect` finds out about a broker: what its server has and lacks, and what an idle node costs.

use std::time::Duration;

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, such as `persistence`.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    pub verdict: Verdict,
}

/// What a finding means for the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// tidings works. The text says what is worse for it, and what to do.
    Worse(String),
    /// It does not work: no node becomes ready, or the bridge that was looked at does nothing. The text says what to do.
    Fails(String),
}

impl Finding {
    pub fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Good }
    }

    pub fn worse(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Worse(advice.into()) }
    }

    pub fn fails(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Fails(advice.into()) }
    }
}

/// What an idle node costs beside the pulse of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleNode {
    /// The namespaces, each of which has a pulse of its own.
    pub namespaces: u64,
    /// Calls beside those of the broker itself, of all namespaces.
    pub more: Vec<MoreCalls>,
}

/// Calls that an idle node makes beside those of the broker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreCalls {
    /// What they are for, such as `the leases of 2 flows`.
    pub purpose: String,
    /// How many there are in a month.
    pub a_month: u64,
}

/// A month has 30 days.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// The calls of a month that come each `interval`.
pub fn calls_a_month(interval: Duration) -> u64 {
    (MONTH.as_secs_f64() / interval.as_secs_f64()).round() as u64
}

/// A number with commas between thousands.
pub(super) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_thirty_days() {
        assert_eq!(calls_a_month(Duration::from_secs(60)), 43_200);
        assert_eq!(calls_a_month(Duration::from_millis(500)), 5_184_000);
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(with_commas(number), text);
        }
    }
}
