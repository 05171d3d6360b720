//! The log's clock: it advances with the machine's uptime, so that a step of the wall clock changes no event's age.
//!
//! The age of an event is a difference of two log times. The wall clock counts only across a reboot of the machine, where
//! uptime says nothing. A time of day is converted to an age by the wall clock of the moment, so that it means the same
//! before and after a step. Log time never goes back, so that a channel's events are in the order of their times.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::event::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Log time in milliseconds. It began as the wall clock's time when the log was created.
pub(super) type LogTime = u64;

/// One reading of the machine's clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClockReading {
    /// Milliseconds since 1970, by the wall clock.
    pub wall: u64,
    /// Milliseconds since the machine booted, sleep included.
    pub up: u64,
    /// The kernel's id of this boot; empty where the system has none.
    pub boot: Arc<str>,
}

/// A log time and the reading of the machine's clocks at that time, from which the clock resumes after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClockCheckpoint {
    pub log: LogTime,
    pub reading: ClockReading,
}

/// The log's clock while this process runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogClock {
    /// The log time at the uptime `up`.
    log: LogTime,
    up: u64,
}

impl ClockReading {
    pub fn now() -> Self {
        Self { wall: wall(), up: up(), boot: boot() }
    }

    /// A reading now, by a process that started in the same boot: the boot's id is not read again.
    pub fn again(&self) -> Self {
        Self { wall: wall(), up: up(), boot: self.boot.clone() }
    }

    /// Whether both readings are of one boot; `false` where the system has no id for it.
    pub fn same_boot(&self, other: &Self) -> bool {
        !self.boot.is_empty() && self.boot == other.boot
    }
}

impl LogClock {
    /// Resumes from the `last` checkpoint, if there is one; `newest` is the log time of the newest event.
    pub fn resume(last: Option<&ClockCheckpoint>, newest: LogTime, now: &ClockReading) -> Self {
        let log = match last {
            Some(last) if last.reading.same_boot(now) => last.log + now.up.saturating_sub(last.reading.up),
            // A wall clock that went back across a reboot counts as no time.
            Some(last) => last.log + now.wall.saturating_sub(last.reading.wall),
            None => now.wall,
        };
        Self { log: log.max(newest), up: now.up }
    }

    pub fn now(&self) -> LogTime {
        self.at(up())
    }

    /// The log time of a moment in a request.
    pub fn time_of(&self, moment: Moment) -> LogTime {
        match moment {
            Moment::Ago(age) => self.now().saturating_sub(millis(age)),
            Moment::At(at) => self.now().saturating_add_signed(at.saturating_sub(wall() as i64)),
        }
    }

    /// The checkpoint of a reading that was taken after this clock was made.
    pub fn checkpoint(&self, reading: ClockReading) -> ClockCheckpoint {
        ClockCheckpoint { log: self.at(reading.up), reading }
    }

    fn at(&self, up: u64) -> LogTime {
        self.log + up.saturating_sub(self.up)
    }
}

/// A duration in the unit of log times.
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
    /// A wall clock's time in 2026.
    const WALL: u64 = 1_790_000_000_000;

    fn reading(wall: u64, up: u64, boot: &str) -> ClockReading {
        ClockReading { wall, up, boot: boot.into() }
    }

    fn created() -> LogClock {
        LogClock::resume(None, 0, &reading(WALL, 1_000, "one"))
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_age() {
        let clock = created();
        let before = clock.checkpoint(reading(WALL + 5, 1_005, "one"));
        for stepped in [WALL + 10 + HOUR, WALL + 10 - HOUR] {
            let after = clock.checkpoint(reading(stepped, 1_010, "one"));
            assert_eq!(after.log - before.log, 5);
            // A daemon that starts after the step counts the same.
            let resumed = LogClock::resume(Some(&before), before.log, &reading(stepped, 1_010, "one"));
            assert_eq!(resumed.checkpoint(reading(stepped, 1_017, "one")).log - before.log, 12);
        }
    }

    #[test]
    fn across_a_reboot_the_wall_clock_counts() {
        let last = created().checkpoint(reading(WALL, 1_000, "one"));
        let resume = |wall, boot| LogClock::resume(Some(&last), last.log, &reading(wall, 7, boot)).at(7) - last.log;
        assert_eq!(resume(WALL + HOUR, "two"), HOUR);
        // A wall clock that went back counts as no time.
        assert_eq!(resume(WALL - HOUR, "two"), 0);
        assert_eq!(resume(0, "two"), 0);
        // Without an id of the boot only the wall clock counts.
        assert_eq!(resume(WALL + HOUR, ""), HOUR);
    }

    #[test]
    fn a_time_of_day_is_converted_to_an_age() {
        let clock = LogClock::resume(None, WALL + 10 * HOUR, &ClockReading::now());
        let at = |millis: i64| clock.time_of(Moment::At(wall() as i64 + millis));
        let ago = |millis| clock.time_of(Moment::Ago(Duration::from_millis(millis)));
        let hour = HOUR as i64;
        for (time, expected) in [(at(-hour), -hour), (ago(HOUR), -hour), (at(hour), hour), (ago(0), 0)] {
            // The test may be slow.
            let now = clock.now() as i64;
            assert!((now - hour / 2..=now + hour / 2).contains(&(time as i64 - expected)), "{time} of {now}");
        }
        assert_eq!(clock.time_of(Moment::At(i64::MIN)), 0);
        assert!(clock.time_of(Moment::At(i64::MAX)) > clock.now());
    }

    #[test]
    fn log_time_never_falls_below_the_newest_event() {
        let newest = WALL + HOUR;
        for last in [None, Some(created().checkpoint(reading(WALL, 1_000, "one")))] {
            assert_eq!(LogClock::resume(last.as_ref(), newest, &reading(WALL, 2_000, "one")).at(2_000), newest);
        }
        let clock = LogClock::resume(None, 0, &ClockReading::now());
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
