//! Counts events of the last seconds by channel, subject and source.
//!
//! Bounded: each second remembers so many names at most. Events of further names count in the total only.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The time over which rates are averaged, in seconds.
pub const WINDOW: usize = 10;
/// The most names of one kind in one second.
const MAX_NAMES: usize = 10_000;

/// How often things came in the last [`WINDOW`].
pub struct Tally {
    begun: Instant,
    /// The newest second last.
    seconds: VecDeque<Second>,
}

#[derive(Default)]
struct Second {
    number: u64,
    total: u64,
    channels: HashMap<Arc<str>, u64>,
    subjects: HashMap<(Arc<str>, String), u64>,
    sources: HashMap<String, u64>,
}

/// A name with its rate, in events per second.
pub type Rated<N> = (N, f64);

impl Tally {
    /// Begins to count.
    pub fn new(now: Instant) -> Self {
        Self { begun: now, seconds: VecDeque::new() }
    }

    /// Counts an event.
    pub fn add(&mut self, now: Instant, channel: &Arc<str>, subject: Option<&str>, source: Option<&str>) {
        let number = now.duration_since(self.begun).as_secs();
        if self.seconds.back().is_none_or(|second| second.number < number) {
            self.seconds.push_back(Second { number, ..Second::default() });
            self.forget(number);
        }
        let Some(second) = self.seconds.back_mut() else { return };
        second.total += 1;
        count(&mut second.channels, channel.clone());
        if let Some(subject) = subject {
            count(&mut second.subjects, (channel.clone(), subject.to_owned()));
        }
        if let Some(source) = source {
            count(&mut second.sources, source.to_owned());
        }
    }

    /// All events, per second.
    pub fn total(&mut self, now: Instant) -> f64 {
        let time = self.look(now);
        self.seconds.iter().map(|second| second.total).sum::<u64>() as f64 / time
    }

    /// The rate of each channel.
    pub fn channels(&mut self, now: Instant) -> HashMap<Arc<str>, f64> {
        let time = self.look(now);
        sum(&self.seconds, |second| &second.channels).into_iter().map(|(name, n)| (name, n as f64 / time)).collect()
    }

    /// The most frequent subjects, each with its channel.
    pub fn subjects(&mut self, now: Instant, most: usize) -> Vec<Rated<(Arc<str>, String)>> {
        let time = self.look(now);
        first(sum(&self.seconds, |second| &second.subjects), most, time)
    }

    /// The most frequent sources.
    pub fn sources(&mut self, now: Instant, most: usize) -> Vec<Rated<String>> {
        let time = self.look(now);
        first(sum(&self.seconds, |second| &second.sources), most, time)
    }

    /// Forgets what is older than the window. Returns the seconds over which to average: at the beginning they are fewer.
    fn look(&mut self, now: Instant) -> f64 {
        let age = now.duration_since(self.begun);
        self.forget(age.as_secs());
        // The window ends in the middle of a second.
        let window = WINDOW as f64 - 1.0 + f64::from(age.subsec_nanos()) / 1e9;
        age.max(Duration::from_millis(100)).as_secs_f64().min(window)
    }

    fn forget(&mut self, number: u64) {
        while self.seconds.front().is_some_and(|second| second.number + WINDOW as u64 <= number) {
            self.seconds.pop_front();
        }
    }
}

fn count<N: Hash + Eq>(counts: &mut HashMap<N, u64>, name: N) {
    if let Some(known) = counts.get_mut(&name) {
        *known += 1;
    } else if counts.len() < MAX_NAMES {
        counts.insert(name, 1);
    }
}

fn sum<'a, N: Hash + Eq + Clone + 'a>(
    seconds: &'a VecDeque<Second>,
    of: impl Fn(&'a Second) -> &'a HashMap<N, u64>,
) -> HashMap<N, u64> {
    let mut all = HashMap::new();
    for (name, n) in seconds.iter().flat_map(of) {
        *all.entry(name.clone()).or_default() += n;
    }
    all
}

/// The names with the highest rates, those with the same rate by name.
fn first<N: Ord>(counts: HashMap<N, u64>, most: usize, time: f64) -> Vec<Rated<N>> {
    let mut all: Vec<_> = counts.into_iter().map(|(name, n)| (Reverse(n), name)).collect();
    all.sort();
    all.truncate(most);
    all.into_iter().map(|(Reverse(n), name)| (name, n as f64 / time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_averages_over_the_last_seconds() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let (orders, stock): (Arc<str>, Arc<str>) = ("orders".into(), "stock".into());
        let mut tally = Tally::new(begun);
        for n in 0..10 {
            tally.add(at(n * 100), &stock, Some(&n.to_string()), None);
        }
        for n in 0..20 {
            tally.add(at(n * 100), &orders, Some("a"), Some("shop"));
        }
        assert_eq!(tally.total(at(2_000)), 15.0);
        assert_eq!(tally.channels(at(2_000))[&stock], 5.0);
        assert_eq!(
            tally.subjects(at(2_000), 2),
            [((orders.clone(), "a".into()), 10.0), ((stock.clone(), "0".into()), 0.5)]
        );
        assert_eq!(tally.sources(at(2_000), 5), [("shop".into(), 10.0)]);
        // The first second has left the window, the second one not.
        assert_eq!(tally.total(at(10_500)), 10.0 / 9.5);
        assert_eq!(tally.total(at(60_000)), 0.0);
        assert!(tally.subjects(at(60_000), 5).is_empty());
    }

    #[test]
    fn names_are_bounded() {
        let now = Instant::now();
        let mut tally = Tally::new(now);
        let channel: Arc<str> = "orders".into();
        for n in 0..MAX_NAMES + 5 {
            tally.add(now, &channel, Some(&n.to_string()), None);
        }
        assert_eq!(tally.seconds[0].subjects.len(), MAX_NAMES);
        assert_eq!(tally.seconds[0].total, MAX_NAMES as u64 + 5);
    }
}
