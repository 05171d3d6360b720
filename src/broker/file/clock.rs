//! The log's own time: it goes with the machine's uptime, so that a clock that is stepped makes no event older or younger.
//!
//! Ages are differences of log times. Only where the machine was started anew in between does the wall clock say how long
//! that took. A time of day is an age too, reckoned back from the wall clock as it is now: it means the same before and
//! after a step. Log times never go back, so that a channel's events are in the order of their times.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::event;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of the log's time; they began with the wall clock's when the log was begun.
pub(super) type LogTime = u64;

/// What the machine's clocks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Milliseconds since 1970, by the wall clock.
    pub wall: u64,
    /// Milliseconds since the machine was started, sleep included.
    pub up: u64,
    /// Which start of the machine; empty where the system does not say.
    pub boot: Arc<str>,
}

/// A log time, and what the machine's clocks said at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub log: LogTime,
    pub at: Reading,
}

/// Tells the log's time while the machine runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    log: LogTime,
    up: u64,
}

impl Reading {
    pub fn now() -> Self {
        Self { wall: wall(), up: up(), boot: boot() }
    }

    /// The clocks now; which start of the machine this is cannot have changed.
    pub fn again(&self) -> Self {
        Self { wall: wall(), up: up(), boot: self.boot.clone() }
    }

    /// Whether both are of one start of the machine; `false` where the system does not say.
    pub fn same_boot(&self, other: &Self) -> bool {
        !self.boot.is_empty() && self.boot == other.boot
    }
}

impl Clock {
    /// Goes on from the `last` moment that is known; `newest` is the time of the newest event.
    pub fn resume(last: Option<&Moment>, newest: LogTime, now: &Reading) -> Self {
        let log = match last {
            Some(last) if last.at.same_boot(now) => last.log + now.up.saturating_sub(last.at.up),
            // A wall clock that went back meanwhile says nothing.
            Some(last) => last.log + now.wall.saturating_sub(last.at.wall),
            None => now.wall,
        };
        Self { log: log.max(newest), up: now.up }
    }

    pub fn now(&self) -> LogTime {
        self.at(up())
    }

    /// A moment that somebody asks for.
    pub fn when(&self, moment: event::Moment) -> LogTime {
        match moment {
            event::Moment::Ago(age) => self.now().saturating_sub(millis(age)),
            event::Moment::At(at) => self.now().saturating_add_signed(at.saturating_sub(wall() as i64)),
        }
    }

    /// The moment of a reading that was taken after this clock was made.
    pub fn moment(&self, at: Reading) -> Moment {
        Moment { log: self.at(at.up), at }
    }

    fn at(&self, up: u64) -> LogTime {
        self.log + up.saturating_sub(self.up)
    }
}

/// A duration in the log's unit.
pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn up() -> u64 {
    #[cfg(target_os = "linux")]
    const SINCE_BOOT: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const SINCE_BOOT: ClockId = ClockId::Monotonic;
    let time = clock_gettime(SINCE_BOOT);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

fn boot() -> Arc<str> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    /// A wall clock some time in 2026.
    const WALL: u64 = 1_790_000_000_000;

    fn reading(wall: u64, up: u64, boot: &str) -> Reading {
        Reading { wall, up, boot: boot.into() }
    }

    fn begun() -> Clock {
        Clock::resume(None, 0, &reading(WALL, 1_000, "one"))
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_age() {
        let clock = begun();
        let before = clock.moment(reading(WALL + 5, 1_005, "one"));
        for stepped in [WALL + 10 + HOUR, WALL + 10 - HOUR] {
            let after = clock.moment(reading(stepped, 1_010, "one"));
            assert_eq!(after.log - before.log, 5);
            // Nor does it for a daemon that is started after it.
            let resumed = Clock::resume(Some(&before), before.log, &reading(stepped, 1_010, "one"));
            assert_eq!(resumed.moment(reading(stepped, 1_017, "one")).log - before.log, 12);
        }
    }

    #[test]
    fn over_a_start_of_the_machine_the_wall_clock_says_how_long_it_took() {
        let last = begun().moment(reading(WALL, 1_000, "one"));
        let resume = |wall, boot| Clock::resume(Some(&last), last.log, &reading(wall, 7, boot)).at(7) - last.log;
        assert_eq!(resume(WALL + HOUR, "two"), HOUR);
        // As far as it can be believed.
        assert_eq!(resume(WALL - HOUR, "two"), 0);
        assert_eq!(resume(0, "two"), 0);
        // A system that does not say which start it is has only its wall clock.
        assert_eq!(resume(WALL + HOUR, ""), HOUR);
    }

    #[test]
    fn a_time_of_day_is_an_age() {
        let clock = Clock::resume(None, WALL + 10 * HOUR, &Reading::now());
        let at = |millis: i64| clock.when(event::Moment::At(wall() as i64 + millis));
        let ago = |millis| clock.when(event::Moment::Ago(Duration::from_millis(millis)));
        let hour = HOUR as i64;
        for (time, expected) in [(at(-hour), -hour), (ago(HOUR), -hour), (at(hour), hour), (ago(0), 0)] {
            // As long as this takes.
            let now = clock.now() as i64;
            assert!((now - hour / 2..=now + hour / 2).contains(&(time as i64 - expected)), "{time} of {now}");
        }
        assert_eq!(clock.when(event::Moment::At(i64::MIN)), 0);
        assert!(clock.when(event::Moment::At(i64::MAX)) > clock.now());
    }

    #[test]
    fn it_never_goes_back_behind_the_newest_event() {
        let newest = WALL + HOUR;
        for last in [None, Some(begun().moment(reading(WALL, 1_000, "one")))] {
            assert_eq!(Clock::resume(last.as_ref(), newest, &reading(WALL, 2_000, "one")).at(2_000), newest);
        }
        let clock = Clock::resume(None, 0, &Reading::now());
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
