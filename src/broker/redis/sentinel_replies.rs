//! What the sentinels of a service say, and the master that follows from it.
//!
//! The reply that knows of the newest failover counts. `sentinel.rs` polls the sentinels and writes their replies here; a
//! [`Target`](super::target::Target) reads the master from here for each connection.

use std::sync::Arc;

use fred::types::config::Server;
use tokio::sync::watch;

use super::{BrokerError, CALL_TIMEOUT};

/// A service whose master the sentinels name.
#[derive(Clone)]
pub(super) struct SentinelService {
    pub name: Arc<str>,
    pub replies: watch::Receiver<SentinelReplies>,
    /// For [`NamedMaster::report_replica`].
    pub updates: watch::Sender<SentinelReplies>,
}

/// A server that was named as the master.
#[derive(Clone)]
pub(super) struct NamedMaster {
    reply: SentinelReply,
    replies: watch::Receiver<SentinelReplies>,
    updates: watch::Sender<SentinelReplies>,
}

/// What a sentinel says of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentinelReply {
    /// The number of the failover that made `server` the master.
    pub failover: u64,
    pub server: Server,
}

/// The state of all sentinels of the URL, by their index in it.
pub(super) struct SentinelReplies {
    /// The last reply of each. A reply stays valid after its sentinel is gone, until the named server contradicts it.
    pub last: Vec<Option<SentinelReply>>,
    /// Whether the sentinel answers now.
    pub online: Vec<bool>,
    /// The last failure of any sentinel.
    pub failure: BrokerError,
}

impl SentinelService {
    /// The master, by the newest reply. Waits up to [`CALL_TIMEOUT`] for the first reply.
    ///
    /// # Errors
    /// No sentinel names a master. The cause is the last failure of a sentinel.
    pub async fn master(&mut self) -> Result<NamedMaster, BrokerError> {
        let replies = self.replies.clone();
        let known = self.replies.wait_for(|replies| replies.newest().is_some());
        let reply = match tokio::time::timeout(CALL_TIMEOUT, known).await {
            Ok(known) => known.ok().and_then(|replies| replies.newest().cloned()),
            Err(_) => None,
        };
        match reply {
            Some(reply) => Ok(NamedMaster { reply, replies, updates: self.updates.clone() }),
            None => {
                let failure = replies.borrow().failure.clone();
                Err(failure.at(format_args!("no sentinel names the master of {}", self.name)))
            }
        }
    }

    /// Waits for a change since the last call of [`master`](Self::master).
    pub async fn changed(&mut self) {
        if self.replies.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl NamedMaster {
    pub fn server(&self) -> &Server {
        &self.reply.server
    }

    /// Whether another master was named since.
    pub fn is_superseded(&self) -> bool {
        self.replies.borrow().newest() != Some(&self.reply)
    }

    /// Reports that the server calls itself a replica. If its sentinel does not answer any more, and another sentinel
    /// names another master, the reply is discarded: the sentinel would never correct it.
    pub fn report_replica(&self) {
        self.updates.send_if_modified(|replies| {
            let others = replies.last.iter().flatten().any(|reply| *reply != self.reply);
            let mut discarded = false;
            for (reply, online) in replies.last.iter_mut().zip(&replies.online) {
                if others && !online && reply.as_ref() == Some(&self.reply) {
                    *reply = None;
                    discarded = true;
                }
            }
            discarded
        });
    }

    /// Waits until another master is named.
    pub async fn superseded(&mut self) {
        let Self { reply, replies, .. } = self;
        if replies.wait_for(|replies| replies.newest() != Some(reply)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl SentinelReplies {
    /// The reply that knows of the newest failover.
    pub fn newest(&self) -> Option<&SentinelReply> {
        self.last.iter().flatten().max_by_key(|reply| reply.failover)
    }
}
