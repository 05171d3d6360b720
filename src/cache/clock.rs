//! Elapsed time: the larger of what the monotonic clock and the wall clock say.
//!
//! The monotonic clock stops while a virtual machine sleeps. The wall clock can be set back. The larger of the two can only
//! make an entry look older than it is, which costs a load and never a stale read. Both are read each time, so a wall clock that
//! stands still hides nothing. The clocks of two machines are never compared.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// A time since an arbitrary moment, or a duration, in nanoseconds.
pub type Nanos = i64;

/// Earlier than every time. Far from the limit, so that differences do not overflow.
pub const NEVER: Nanos = i64::MIN / 4;
/// Later than every time.
pub const FOREVER: Nanos = i64::MAX / 4;

/// A duration in nanoseconds. What is longer than 70 years is for ever.
pub fn nanos(duration: Duration) -> Nanos {
    i64::try_from(duration.as_nanos()).unwrap_or(FOREVER).min(FOREVER)
}

/// The time that has passed, as a duration.
pub fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// What the cache needs of its surroundings, so that a test can replace them.
pub trait Environment: Send + Sync + 'static {
    /// The time, for ages. Never slower than either clock of the machine.
    fn now(&self) -> Nanos;
    /// How long something has lasted at least: never faster than the time, whatever is done to the wall clock. For holds.
    fn monotonic(&self) -> Nanos;
    /// A number from 0 up to 1.
    fn random(&self) -> f64;
    /// Waits.
    fn sleep(&self, delay: Duration) -> BoxFuture<'static, ()>;
}

/// The two clocks of a machine.
pub trait Clocks: Send + Sync + 'static {
    fn monotonic(&self) -> Nanos;
    fn wall(&self) -> Nanos;
}

/// A wall clock that has fallen behind by more than this was set back. Less is the grain of the clocks, or the time between two
/// readings.
const STEP: Nanos = 20_000_000;

/// A clock that never runs slower than the monotonic one, nor than the wall clock unless that was set back.
pub struct Clock<C> {
    clocks: C,
    /// What the wall clock counts from. Changes when it is set back.
    origin: AtomicI64,
    /// The most by which the wall clock has been ahead of the monotonic one. Only rises, by steps and sleep.
    ahead: AtomicI64,
    stepping: Mutex<()>,
}

impl<C: Clocks> Clock<C> {
    pub fn new(clocks: C) -> Self {
        let origin = AtomicI64::new(clocks.wall().saturating_sub(clocks.monotonic()));
        Self { clocks, origin, ahead: AtomicI64::new(0), stepping: Mutex::new(()) }
    }

    pub fn now(&self) -> Nanos {
        // First: who sees a new origin reads the wall clock after it was set back.
        let origin = self.origin.load(Ordering::Acquire);
        let most = self.ahead.load(Ordering::Acquire);
        let (monotonic, wall) = (self.clocks.monotonic(), self.clocks.wall());
        let ahead = wall - monotonic - origin;
        if ahead > most {
            return monotonic + ahead.max(self.ahead.fetch_max(ahead, Ordering::AcqRel));
        }
        if ahead < most - STEP {
            self.set_back();
        }
        monotonic + most
    }

    /// The wall clock was set back: it counts from there.
    #[cold]
    fn set_back(&self) {
        let _stepping = self.stepping.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = {
            let ahead = self.clocks.wall() - self.clocks.monotonic() - self.origin.load(Ordering::Relaxed);
            self.ahead.load(Ordering::Acquire) - ahead
        };
        if behind > STEP {
            self.origin.fetch_sub(behind, Ordering::Release);
        }
    }
}

struct SystemClocks {
    start: Instant,
}

impl Clocks for SystemClocks {
    fn monotonic(&self) -> Nanos {
        nanos(self.start.elapsed())
    }

    fn wall(&self) -> Nanos {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
    }
}

/// The environment outside of tests.
pub struct SystemEnvironment {
    clock: Clock<SystemClocks>,
}

impl SystemEnvironment {
    pub fn new() -> Self {
        Self { clock: Clock::new(SystemClocks { start: Instant::now() }) }
    }
}

impl Environment for SystemEnvironment {
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn monotonic(&self) -> Nanos {
        self.clock.clocks.monotonic()
    }

    fn random(&self) -> f64 {
        rand::random()
    }

    fn sleep(&self, delay: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(delay).boxed()
    }
}

/// The result of `future`, or `None` if it has none within `limit`.
pub async fn within<F: Future>(environment: &dyn Environment, limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = environment.sleep(limit) => None,
    }
}
