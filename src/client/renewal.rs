//! When the token of a connection is renewed: after 80 to 90 % of its remaining time, at random, so that clients which
//! connected together do not renew together. Never more often than once a second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Error;
use super::backoff::Backoff;
use super::token::{Credential, HeldToken};

/// The parts of the remaining time between which a token is renewed.
const EARLIEST: f64 = 0.8;
const LATEST: f64 = 0.9;
/// The shortest time between two renewals, however soon the token expires.
const MIN_DELAY: Duration = Duration::from_secs(1);

/// The renewal of the token of one connection.
#[derive(Default)]
pub(super) struct Renewal {
    /// When the token expires. `None` if it does not, or cannot be renewed.
    expires: Option<Instant>,
    step: Step,
    backoff: Backoff,
}

#[derive(Default)]
enum Step {
    /// There is nothing to do: the token does not expire, or the daemon has not answered the last renewal.
    #[default]
    None,
    Due(Instant),
    /// The provider was called.
    Called(BoxFuture<'static, Result<HeldToken, Error>>),
}

impl Renewal {
    /// The daemon has accepted a token that expires then; `None` if it is not to be renewed.
    pub fn expires(&mut self, expires: Option<Instant>) {
        self.expires = expires;
        self.backoff.reset();
        self.schedule();
    }

    /// Schedules the renewal by the time that the token has left.
    pub fn schedule(&mut self) {
        let now = Instant::now();
        self.step = match self.expires {
            Some(expires) => {
                let part = rand::random_range(EARLIEST..LATEST);
                let delay = expires.saturating_duration_since(now).mul_f64(part).max(MIN_DELAY);
                Step::Due(now + delay)
            }
            None => Step::None,
        };
    }

    /// Schedules the renewal again soon, since the provider has failed.
    pub fn schedule_again(&mut self) {
        self.step = Step::Due(Instant::now() + self.backoff.next().max(MIN_DELAY));
    }

    /// When the renewal is to begin.
    pub fn due(&self) -> Option<Instant> {
        match self.step {
            Step::Due(at) => Some(at),
            _ => None,
        }
    }

    /// Calls the provider if the time has come.
    pub fn begin_if_due(&mut self, credential: &Arc<Credential>, now: Instant) {
        if self.due().is_some_and(|at| at <= now) {
            let credential = credential.clone();
            self.step = Step::Called(async move { credential.renew().await }.boxed());
        }
    }

    /// Waits for the token of the provider; for ever if it was not called. Cancel safe: the call goes on.
    pub async fn renewed(&mut self) -> Result<HeldToken, Error> {
        let Step::Called(call) = &mut self.step else { return std::future::pending().await };
        let renewed = call.await;
        self.step = Step::None;
        renewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Token;

    #[tokio::test]
    async fn a_token_is_renewed_before_it_expires_and_never_at_once() {
        let mut renewal = Renewal::default();
        // In seconds: the shortest and the longest delay that may be meant.
        let mut delay = |valid: u64| {
            let before = Instant::now();
            renewal.expires(Some(before + Duration::from_secs(valid)));
            let due = renewal.due().unwrap();
            ((due - Instant::now()).as_secs_f64(), (due - before).as_secs_f64())
        };
        let delays: Vec<_> = (0..200).map(|_| delay(100_000)).collect();
        assert!(delays.iter().all(|(least, most)| *most >= 79_900.0 && *least <= 90_000.0), "{delays:?}");
        assert!(delays.iter().any(|(_, most)| *most < 83_000.0), "{delays:?}");
        assert!(delays.iter().any(|(least, _)| *least > 87_000.0), "{delays:?}");
        assert!(delay(0).1 >= 1.0);
        renewal.expires(None);
        assert_eq!(renewal.due(), None);
    }

    #[tokio::test]
    async fn the_provider_is_called_when_the_renewal_is_due() {
        let token = Token::from_provider(|| async { Ok::<_, String>("t".into()) });
        let credential = Arc::new(Credential::new(token));
        let mut renewal = Renewal::default();
        renewal.expires(Some(Instant::now() + Duration::from_secs(10)));
        renewal.begin_if_due(&credential, Instant::now());
        assert!(renewal.renewed().now_or_never().is_none());
        let due = renewal.due().unwrap();
        renewal.begin_if_due(&credential, due);
        assert_eq!(renewal.due(), None);
        assert!(renewal.renewed().await.is_ok_and(|token| token.secret.expose() == "t"));
        assert!(renewal.renewed().now_or_never().is_none());
        let before = Instant::now();
        renewal.schedule_again();
        assert!(renewal.due().unwrap() - before >= MIN_DELAY);
    }
}
