//! The calls of the append script that are in flight, in the order in which they were sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{MaybeDone, maybe_done};

/// The calls in flight, in the order in which they were sent.
///
/// `FuturesOrdered` would do the same, but it wakes its task each time it has polled all of its futures. With one call in
/// flight that is every time: the task then ran twice for each call, and another thread was woken for it.
pub(super) struct CallsInFlight<F: Future>(VecDeque<Pin<Box<MaybeDone<F>>>>);

impl<F: Future> CallsInFlight<F> {
    /// No calls, with space for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(VecDeque::with_capacity(capacity))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn push(&mut self, call: F) {
        self.0.push_back(Box::pin(maybe_done(call)));
    }

    /// Waits until the first call has finished, and removes it. The others make progress meanwhile. `None` if no call is
    /// in flight.
    pub async fn next(&mut self) -> Option<F::Output> {
        poll_fn(|context| {
            let Some(first) = self.0.front_mut() else { return Poll::Ready(None) };
            if first.poll_unpin(context).is_pending() {
                for call in self.0.iter_mut().skip(1) {
                    // Its output stays with it until it is the first.
                    let _ = call.poll_unpin(context);
                }
                return Poll::Pending;
            }
            Poll::Ready(self.0.pop_front().and_then(|mut first| first.as_mut().take_output()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct CountedWakes(AtomicUsize);

    impl Wake for CountedWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn calls_finish_in_the_order_of_sending_and_all_make_progress() {
        let mut calls = CallsInFlight::with_capacity(0);
        assert_eq!(calls.next().await, None);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel::<u32>()).unzip();
        receivers.into_iter().for_each(|call| calls.push(call));
        for (number, sender) in senders.into_iter().enumerate().rev() {
            assert!(calls.next().now_or_never().is_none(), "the first call has not finished");
            sender.send(number as u32).unwrap();
        }
        for number in 0..3 {
            assert_eq!(calls.next().await, Some(Ok(number)));
        }
        assert_eq!(calls.next().await, None);
    }

    #[tokio::test]
    async fn a_call_in_flight_does_not_wake_its_own_task() {
        let mut calls = CallsInFlight::with_capacity(0);
        calls.push(std::future::pending::<()>());
        let wakes = Arc::new(CountedWakes::default());
        assert!(pin!(calls.next()).poll(&mut Context::from_waker(&wakes.clone().into())).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    }
}
