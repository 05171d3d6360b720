//! The window of a channel: how many events may be in flight, so that they take as long as the target says.

use std::time::{Duration, Instant};

/// The first window of a channel, in events.
const FIRST: f64 = 32.0;
/// The largest window. It bounds how far a publisher is ahead of subscribers whose delay cannot be measured.
const MAX: f64 = 2_000.0;
/// How much one delay changes the window, at least and at most.
const CHANGE: (f64, f64) = (0.7, 1.2);

/// A window that follows the measured delay.
#[derive(Debug)]
pub struct Window {
    events: f64,
    /// The most events that were in flight since the last change. A window that was not needed does not grow.
    peak: u64,
    /// No change before this: the last one must have had its effect.
    next_change: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: FIRST, peak: 0, next_change: None }
    }
}

impl Window {
    /// The window in events: at least one.
    pub fn events(&self) -> f64 {
        self.events
    }

    /// This many events are in flight.
    pub fn in_flight(&mut self, events: u64) {
        self.peak = self.peak.max(events);
    }

    /// Follows a measured delay. Only the delay of the slowest subscribers lets it grow.
    pub fn observe(&mut self, delay: Duration, slowest: bool, target: Duration, now: Instant) {
        if self.next_change.is_some_and(|next| now < next) {
            return;
        }
        let ratio = (target.as_secs_f64() / delay.as_secs_f64().max(1e-6)).clamp(CHANGE.0, CHANGE.1);
        if ratio < 1.0 || slowest && self.peak as f64 >= self.events / 2.0 {
            self.events = (self.events * ratio).clamp(1.0, MAX);
            self.next_change = Some(now + delay);
            self.peak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);

    /// Lets a queue that serves `rate` events a second run with this window until it settles; returns the delay.
    fn settle(window: &mut Window, rate: f64) -> Duration {
        let mut now = window.next_change.unwrap_or_else(Instant::now);
        let mut delay = Duration::ZERO;
        for _ in 0..100 {
            window.in_flight(window.events() as u64);
            delay = Duration::from_secs_f64(window.events() / rate);
            now += delay;
            window.observe(delay, true, TARGET, now);
        }
        delay
    }

    #[test]
    fn the_delay_of_a_full_window_settles_at_the_target_whatever_the_rate() {
        for rate in [100.0, 1_000.0, 10_000.0] {
            let delay = settle(&mut Window::default(), rate).as_secs_f64() / TARGET.as_secs_f64();
            assert!((0.8..1.3).contains(&delay), "{rate}: {delay} of the target");
        }
    }

    #[test]
    fn a_window_has_bounds() {
        let mut window = Window::default();
        settle(&mut window, 1.0);
        assert_eq!(window.events(), 1.0, "a publisher alone is never stopped for good");
        settle(&mut window, 1e9);
        assert_eq!(window.events(), MAX);
    }

    #[test]
    fn a_window_that_is_not_needed_does_not_grow() {
        let (mut window, now) = (Window::default(), Instant::now());
        for round in 1..100 {
            window.in_flight(3);
            window.observe(Duration::from_millis(1), true, TARGET, now + Duration::from_secs(round));
        }
        assert_eq!(window.events(), FIRST);
    }

    #[test]
    fn a_window_changes_once_in_a_delay() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..100 {
            window.observe(TARGET * 4, true, TARGET, now);
        }
        assert_eq!(window.events(), FIRST * CHANGE.0);
    }
}
