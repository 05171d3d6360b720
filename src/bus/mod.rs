//! The application layer: the one way in.
//!
//! Everything that publishes, subscribes or reads goes through [`Bus`]: HTTP, WebSockets, event streams, and whatever is
//! added later. A transport turns bytes into a call and the answer into bytes; it has no rule of its own. Every entry
//! takes a [`Caller`] and is about that caller's namespace.
//!
//! Only this module holds a namespace's log, and only it makes a [`Subscription`] or a [`LogReader`]. So a transport
//! cannot append, read or subscribe without passing here.
//!
//! | entry | file |
//! |---|---|
//! | [`Bus::publisher`], [`Publisher::publish`](publish::Publisher::publish) | `publish.rs` |
//! | [`Publisher::charge`](publish::Publisher::charge) | `publish_limit.rs` |
//! | [`Bus::select`], [`Bus::select_each`], [`Bus::resolve`], [`Bus::subscribe`] | `resolve.rs` |
//! | [`Bus::reader`] | `reader.rs` |
//! | [`Bus::flow_store`] | `flow_store.rs` |
//! | [`Bus::look`] | `look.rs` |
//! | [`Bus::history`] | `history.rs` |
//! | [`Bus::latest`], [`Bus::latest_list`] | `latest.rs` |
//! | [`Bus::unpack`], [`Bus::cursors`] | `cursors.rs` |
//! | [`Bus::channels`], [`Bus::types`], [`Bus::schema`], [`Bus::event_schema`], [`Bus::nodes`], [`Bus::incidents`], [`Bus::long_polls`] | `overview.rs` |
//! | [`Bus::authenticate`], [`Bus::renew`], [`Bus::may_subscribe`], [`Bus::require`] | `authorize.rs` |
//! | [`Bus::revoke`] | `revocations.rs` |
//! | the record of what was published and refused | `audit.rs` |
//! | [`Bus::admit`], [`Bus::evicted`], [`Bus::readiness`] | `admit.rs` |

mod admit;
pub mod audit;
mod authorize;
mod cursor_bases;
mod cursors;
mod flow_store;
mod history;
mod latest;
mod latest_cache;
mod long_polls;
mod look;
mod namespace;
mod overview;
mod publish;
mod publish_limit;
mod query;
mod reader;
mod resolve;
mod revocation_list;
mod revocations;
mod survey;
mod traffic;

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

pub use authorize::{NotRenewed, Renewal, TakenBack, expires_in_ms};
pub use cursor_bases::CursorBases;
pub use flow_store::FlowStore;
pub use history::{Gap, History, HistoryQuery};
pub use latest::{LatestAnswer, LatestList, LatestQuery};
pub use latest_cache::{LatestCache, LatestEvent};
pub use long_polls::LongPolls;
pub use look::Look;
pub use namespace::Namespace;
pub use overview::{ChannelCounts, ChannelSummary, NodeStatus, NodeSummary};
#[cfg(feature = "redis")]
pub use publish::ValidEvents;
pub use publish::{Documents, Published, Publisher};
pub use publish_limit::PublishLimit;
pub use query::{StreamQuery, UnreadableQuery, parameters};
pub use reader::LogReader;
pub use resolve::{Begin, Selected, Subscription, SubscriptionParts};
pub use revocation_list::Revocation;
pub use revocations::{INTERVAL as REVOCATIONS_INTERVAL, MAX_REVOKED_NAME, Revocations};
pub use survey::{ConnectionOrder, ConnectionRow, ConnectionTransport, Survey, visit_slice};
pub use traffic::Traffic;

use crate::access::Caller;
use crate::admission::Admission;
use crate::auth::Auth;
use crate::broker::BrokerError;
use crate::cascade::Cascades;
use crate::event::{Catalog, Filter, Selector};
use crate::metrics::Metrics;
use crate::protocol::{ErrorCode, Problem};

/// The application layer of one node.
pub struct Bus {
    catalog: Arc<Catalog>,
    namespaces: Vec<Arc<Namespace>>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
    /// `None`: everybody may do everything.
    auth: Option<Arc<Auth>>,
    publish_limit: Option<PublishLimit>,
    cascades: Arc<Cascades>,
    /// `None`: nothing is recorded.
    audit: Option<Arc<audit::Audit>>,
    /// The filter of all subscriptions without one.
    no_filter: Arc<Filter>,
    /// What they select without a pin.
    everything: Arc<Selector>,
}

/// How far this node is on its way to its end.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Cancelled when this node is asked to stop: it is not ready from then on, and still serves.
    pub stopping: CancellationToken,
    /// Cancelled when the drain begins: the node takes nothing new from then on. `stopping` was cancelled before.
    pub draining: CancellationToken,
}

impl Bus {
    /// The application layer over these namespaces, of which there is at least one.
    pub fn new(
        catalog: Arc<Catalog>,
        namespaces: Vec<Arc<Namespace>>,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
        lifecycle: Lifecycle,
        publish_limit: Option<PublishLimit>,
        auth: Option<Arc<Auth>>,
    ) -> Self {
        let (no_filter, everything) = Default::default();
        let cascades = Arc::new(Cascades::none(&catalog));
        Self {
            catalog,
            namespaces,
            admission,
            metrics,
            lifecycle,
            auth,
            publish_limit,
            cascades,
            audit: None,
            no_filter,
            everything,
        }
    }

    /// Adds the rules by which events invalidate caches.
    #[must_use]
    pub fn with_cascades(mut self, cascades: Cascades) -> Self {
        self.cascades = Arc::new(cascades);
        self
    }

    /// Waits until the connections of this node were handed everything that publishers were answered so far.
    pub async fn catch_up(&self) {
        let caught_up = self.namespaces.iter().flat_map(|namespace| {
            self.catalog.channels().map(async move |channel| {
                if let Ok(bounds) = namespace.log().bounds(channel, None).await {
                    namespace.progress().reached(channel, &bounds.head()).await;
                }
            })
        });
        join_all(caught_up).await;
    }

    fn namespace(&self, caller: &Caller) -> &Arc<Namespace> {
        &self.namespaces[caller.namespace().index()]
    }
}

/// What a caller is told of a log that could not be read.
fn unreadable(error: BrokerError) -> Problem {
    match error {
        BrokerError::RateLimited { cause, retry_after } => rate_limited(cause, retry_after),
        BrokerError::Rejected(cause) => {
            let detail = "the broker refused to read the log: the reason is in this node's log";
            Problem::new(ErrorCode::BrokerUnavailable, detail).with_cause(cause)
        }
        error => Problem::new(
            ErrorCode::BrokerUnavailable,
            "the broker is unavailable: try again; the reason is in this node's log",
        )
        .with_cause(error),
    }
}

fn rate_limited(cause: String, retry_after: Option<std::time::Duration>) -> Problem {
    let mut problem = Problem::new(
        ErrorCode::RateLimited,
        "the broker's rate limit is reached, and nothing was done: try again after the time in the header Retry-After",
    )
    .with_cause(cause);
    if let Some(pause) = retry_after {
        problem.retry_after = Some(pause.as_secs().max(1));
    }
    problem
}
