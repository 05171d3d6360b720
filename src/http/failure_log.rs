//! Which failed requests get a log line: all of them on a node that is well, ten a second on one whose broker is away.
//!
//! Thousands of publishers may try again all through an outage. Their lines would say the same and fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::rate::{Rate, Used};

/// The lines a second, and the most at once.
const LINES: u64 = 10;

/// Counts the lines, and the failures that got none.
#[derive(Debug)]
pub struct FailureLog {
    rate: Rate,
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: Used,
    left_out: u64,
}

impl FailureLog {
    pub fn new() -> Self {
        Self { rate: Rate::new(LINES, LINES), begin: Instant::now(), state: Mutex::default() }
    }

    /// Whether a failure gets a line now. `Some` has the number of failures since the last line, which got none.
    pub fn line(&self) -> Option<u64> {
        self.line_at(self.begin.elapsed())
    }

    fn line_at(&self, age: Duration) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.rate.take(&mut state.used, age.as_nanos() as u64, 1) {
            Ok(()) => Some(std::mem::take(&mut state.left_out)),
            Err(_) => {
                state.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_have_lines_at_once_and_the_next_line_tells_how_many_had_none() {
        let log = FailureLog::new();
        let lines_at = |millis| (0..25).filter_map(|_| log.line_at(Duration::from_millis(millis))).collect::<Vec<_>>();
        assert_eq!(lines_at(0), [0; 10]);
        assert!(lines_at(99).is_empty());
        assert_eq!(lines_at(100), [40]);
        assert_eq!(lines_at(60_000), [24, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
