//! Tasks with a name, an owner and an end.
//!
//! Two kinds: a [`Service`](Services) runs as long as the node does, and its end is a failure of the node. A task of a
//! [`TaskGroup`] serves one connection or one replay; if it panics, the panic is logged and counted, and what the task
//! owned is released by `Drop`.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::metrics::Metrics;

/// A service has ended although the node goes on.
#[derive(Debug, thiserror::Error)]
#[error("the {name} {how}")]
pub struct ServiceEnded {
    /// The service's name.
    pub name: &'static str,
    how: String,
}

/// The services of a node: it cannot go on without any of them.
#[derive(Debug, Default)]
pub struct Services {
    running: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

impl Services {
    /// Starts a service. Its error says why it ended.
    pub fn start(
        &mut self,
        name: &'static str,
        service: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> ServiceHandle {
        let stop = CancellationToken::new();
        let (running, ended) = oneshot::channel();
        let handle = ServiceHandle { stop: stop.clone(), ended };
        let task = self.running.spawn(async move {
            let _running = running;
            stop.run_until_cancelled(service).await.unwrap_or(Ok(()))
        });
        self.names.insert(task.id(), name);
        handle
    }

    /// Waits until a service ends, which none should while the node runs.
    pub async fn ended(&mut self) -> ServiceEnded {
        match self.running.join_next_with_id().await {
            Some(ended) => self.describe(ended),
            // There is none to end.
            None => std::future::pending().await,
        }
    }

    fn describe(&mut self, ended: Result<(Id, Result<(), String>), JoinError>) -> ServiceEnded {
        let (id, how) = match ended {
            Ok((id, Ok(()))) => (id, "has ended".to_owned()),
            Ok((id, Err(reason))) => (id, format!("has ended: {reason}")),
            Err(error) => (error.id(), panicked(error)),
        };
        ServiceEnded { name: self.names.remove(&id).unwrap_or("unknown service"), how }
    }
}

/// Stops one service, or waits for its end.
#[derive(Debug)]
pub struct ServiceHandle {
    stop: CancellationToken,
    /// The service drops its end when it has ended.
    ended: oneshot::Receiver<()>,
}

impl ServiceHandle {
    /// Stops the service at its next await, and waits until it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.join().await;
    }

    /// Waits until the service has ended by itself.
    pub async fn join(self) {
        let _ = self.ended.await;
    }
}

fn panicked(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", message(&*panic)),
        Err(_) => "was aborted".to_owned(),
    }
}

/// Short-lived tasks of one kind, counted until they have ended.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    tracker: TaskTracker,
    metrics: Arc<Metrics>,
}

impl TaskGroup {
    /// An empty group.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { tracker: TaskTracker::new(), metrics }
    }

    /// Starts a task. Its panic is logged under `name` and counted.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let member = self.enter();
        tokio::spawn(async move { member.run(name, task).await });
    }

    /// A place in the group for a task, or a part of a task, that the caller runs.
    pub fn enter(&self) -> Member {
        Member { metrics: self.metrics.clone(), _token: self.tracker.token() }
    }

    /// Waits until all tasks have ended. None is to be started meanwhile.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// A place in a [`TaskGroup`], which waits until this is dropped.
#[derive(Debug)]
pub struct Member {
    metrics: Arc<Metrics>,
    _token: TaskTrackerToken,
}

impl Member {
    /// Runs a part of a task in the group. Its panic is logged under `name` and counted; then there is no result.
    ///
    /// Not an `async fn`, which would hold the task twice.
    pub fn run<T>(&self, name: &'static str, task: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        AssertUnwindSafe(task).catch_unwind().map(move |result| {
            let report = |panic: Box<dyn Any + Send>| {
                self.metrics.task_panics.inc();
                tracing::error!(task = name, panic = message(&*panic), "a task panicked");
            };
            result.map_err(report).ok()
        })
    }
}

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_ends_is_named_with_the_reason() {
        let mut services = Services::default();
        let relay = services.start("relay", std::future::pending());
        services.start("probe", async { Err("it was told to".to_owned()) });
        assert_eq!(services.ended().await.to_string(), "the probe has ended: it was told to");
        services.start("registry", async { panic!("number {}", 7) });
        assert_eq!(services.ended().await.to_string(), "the registry panicked: number 7");
        relay.stop().await;
        assert_eq!(services.ended().await.to_string(), "the relay has ended");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_counted_and_the_others_go_on() {
        let metrics = Arc::new(Metrics::default());
        let tasks = TaskGroup::new(metrics.clone());
        let (sender, receiver) = oneshot::channel();
        tasks.spawn("first", async { panic!("on purpose") });
        tasks.spawn("second", async { sender.send(()).unwrap() });
        tasks.wait().await;
        receiver.await.unwrap();
        assert_eq!(metrics.task_panics.get(), 1);
    }
}
