//! The tasks of the backend, which have names, and end together.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The backend's tasks. They end together: when the backend is closed or dropped, and when one of them panics. The
/// [`Signals`](crate::broker::Signals) end with them, so that the node does not go on without a task that it needs.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    pub closing: CancellationToken,
}

/// Closes the backend if its task panics.
struct PanicGuard {
    task: &'static str,
    closing: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), closing: CancellationToken::new() }
    }

    /// Starts a task. `name` is for the log line of a panic.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let guard = PanicGuard { task: name, closing: self.closing.clone() };
        self.tracker.spawn(async move {
            let _ = guard.closing.run_until_cancelled(task).await;
        })
    }

    /// Ends all tasks, and waits until they have ended.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.task, "a task of the Redis backend panicked: the backend is closed");
            self.closing.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::broker::Signal;

    /// The other tasks hold what a panicked one leaves behind: without them the signals would not end.
    #[tokio::test]
    async fn a_task_that_panics_ends_the_signals_and_closes_the_backend() {
        let (tasks, (sender, mut signals)) = (Tasks::new(), mpsc::channel::<Signal>(1));
        let holder = tasks.spawn("holder", async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        assert!(tasks.spawn("other", async {}).await.is_ok());
        assert!(!tasks.closing.is_cancelled(), "a task that ends in order closes nothing");
        assert!(tasks.spawn("broken", async { panic!("on purpose") }).await.unwrap_err().is_panic());
        let ended = tokio::time::timeout(Duration::from_secs(10), signals.recv()).await;
        assert_eq!(ended, Ok(None));
        assert!(holder.await.is_ok() && tasks.closing.is_cancelled());
    }
}
