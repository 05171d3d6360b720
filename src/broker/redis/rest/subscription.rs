//! A subscription over the REST interface: an event stream that stays open (`POST /subscribe/CHANNEL/CHANNEL…`).
//!
//! The server keeps nothing for a subscriber that it cannot reach, and may drop messages without a word. The log has the
//! events anyway; see [`listener`](super::super::listener).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fred::bytes::Bytes;
use futures_util::future::try_join_all;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::transport::CallError;
use super::lines::{Line, Lines};
use super::{BrokerError, CALL_TIMEOUT, Rest, accepted, lost};

/// Messages that wait for the listener. While more come, the stream is not read.
const CAPACITY: usize = 1024;

/// The most bytes of the path of one request. Further channels get requests of their own.
const MAX_PATH: usize = 4 << 10;

/// The characters of a channel that are written as they are in a path: those that a path may have (RFC 3986, section 3.3).
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b':').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// Whether the server takes one channel a request only.
pub(super) type OneByOne = AtomicBool;

/// Open streams. They end when this is dropped.
pub(in super::super) struct Subscription {
    incoming: mpsc::Receiver<Incoming>,
    /// The tasks that read the streams.
    readers: JoinSet<()>,
}

/// What comes on a subscription.
#[derive(Debug)]
pub(in super::super) enum Incoming {
    /// The server has subscribed to this channel.
    Subscribed(String),
    Message {
        channel: String,
        text: Bytes,
    },
    /// A stream has ended, for this reason.
    Ended(String),
}

impl Subscription {
    /// The next message, or the end.
    pub async fn next(&mut self) -> Incoming {
        self.incoming.recv().await.unwrap_or_else(|| Incoming::Ended("the subscription was closed".into()))
    }
}

impl Rest {
    /// Subscribes, and waits until the server has done so. What is published meanwhile may be lost.
    ///
    /// # Errors
    /// The server refused it, or did not answer in time.
    pub async fn subscribe(self: &Arc<Self>, channels: &[String]) -> Result<Subscription, BrokerError> {
        let (sender, incoming) = mpsc::channel(CAPACITY);
        let mut subscription = Subscription { incoming, readers: JoinSet::new() };
        let mut missing: HashSet<&str> = channels.iter().map(String::as_str).collect();
        let paths = paths(channels, self.one_by_one.load(Ordering::Relaxed));
        let several = paths.len() < channels.len();
        let opened = timeout(CALL_TIMEOUT, async {
            for response in try_join_all(paths.iter().map(|path| self.open(path))).await? {
                subscription.readers.spawn(read(response, sender.clone()));
            }
            drop(sender);
            while !missing.is_empty() {
                match subscription.next().await {
                    Incoming::Subscribed(channel) => drop(missing.remove(&*channel)),
                    Incoming::Message { .. } => {}
                    Incoming::Ended(cause) => return Err(BrokerError::Unavailable(cause).into()),
                }
            }
            Ok(())
        });
        let opened = opened.await.unwrap_or_else(|_| {
            Err(CallError::from(BrokerError::Unavailable("the REST interface does not answer to SUBSCRIBE".into())))
        });
        // The server has subscribed to some of the channels, or refused the command.
        let partly = missing.len() < channels.len();
        let refused = |error: &CallError| several && (partly || error.text.starts_with("ERR "));
        if opened.as_ref().is_err_and(refused) && !self.one_by_one.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis = self.name,
                "the server takes one channel a request only: each gets a request of its own"
            );
        }
        opened.map(|()| subscription).map_err(|error| error.cause)
    }

    async fn open(&self, path: &str) -> Result<Response, CallError> {
        let request = self.http.post(format!("{}/subscribe{path}", self.base));
        let request = request.header(ACCEPT, HeaderValue::from_static("text/event-stream"));
        accepted(request.send().await.map_err(lost)?).await
    }
}

/// The paths of requests that subscribe to all channels.
fn paths(channels: &[String], one_by_one: bool) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for channel in channels {
        let part = format!("/{}", utf8_percent_encode(channel, IN_PATH));
        match paths.last_mut() {
            Some(path) if !one_by_one && path.len() + part.len() <= MAX_PATH => path.push_str(&part),
            _ => paths.push(part),
        }
    }
    paths
}

async fn read(mut response: Response, sender: mpsc::Sender<Incoming>) {
    let mut lines = Lines::default();
    let cause = loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break "the REST interface has ended the subscription".to_owned(),
            Err(error) => break lost(error).cause.to_string(),
        };
        for line in lines.take(&chunk) {
            let incoming = match line {
                Line::Subscribed(channel) => Incoming::Subscribed(channel),
                Line::Message { channel, text } => Incoming::Message { channel, text },
            };
            if sender.send(incoming).await.is_err() {
                return;
            }
        }
    };
    // Nobody waits for it if the subscription was dropped.
    let _ = sender.send(Incoming::Ended(cause)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_as_many_channels_as_fit() {
        let channels: Vec<_> = (0..300).map(|number| format!("internal:t/n,:{number:04}")).collect();
        let paths_of = |one_by_one| paths(&channels, one_by_one);
        assert_eq!(paths_of(true).len(), 300);
        let several = paths_of(false);
        assert!(several.len() > 1 && several.iter().all(|path| path.len() <= MAX_PATH));
        assert_eq!(several.concat(), paths_of(true).concat());
        assert_eq!(paths_of(true)[7], "/internal:t%2Fn%2C:0007");
    }
}
