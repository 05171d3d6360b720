//! The Rust client: publishes events to a tidings daemon, subscribes to channels and reads their history.
//!
//! [`Client`] makes HTTP requests. [`Client::subscribe`] returns a [`Subscriber`], which receives events over one WebSocket,
//! reconnects by itself and resumes without loss. The `tidings` commands use this client, too.
//!
//! ```no_run
//! use tidings::client::{Client, Subscription, Update};
//! use tidings::event::{InventoryChange, Payload};
//!
//! # async fn example() -> Result<(), tidings::client::Error> {
//! let client = Client::new("http://127.0.0.1:7400")?;
//! let mut subscriber = client.subscribe([Subscription::to("inventory-change")]);
//! let sale = Payload::InventoryChange(InventoryChange {
//!     product_id: "123".into(),
//!     variant_id: None,
//!     old_quantity: 100,
//!     new_quantity: 95,
//!     reason: "sale".into(),
//! });
//! loop {
//!     match subscriber.next().await? {
//!         // From here on, the subscriber receives every new event.
//!         Update::Subscribed { .. } => drop(client.publish(&sale).await?),
//!         Update::Event(delivery) => println!("{} {}", delivery.position, delivery.event),
//!         _ => {}
//!     }
//! }
//! # }
//! ```

mod answers;
mod backoff;
mod connect;
mod error;
mod filter;
mod flows;
mod open_connection;
#[cfg(feature = "server")]
mod parts;
mod publish;
mod reading;
mod renewal;
mod requests;
mod retry;
mod subscriber;
mod subscription;
mod subscription_state;
mod subscriptions;
mod syncs;
#[cfg(feature = "tls")]
mod tls;
mod token;
#[cfg(feature = "server")]
mod unverified;
mod update;
mod urls;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use url::Url;

pub use answers::{
    Accepted, ChannelInfo, ConnectionInfo, Gap, History, HistoryQuery, LatestList, LoggedEvent, NodeInfo, Revocation,
};
pub use error::{AuthFailure, Error, FieldError, Problem};
pub use flows::DeadMessage;
#[cfg(feature = "server")]
pub(crate) use publish::EventText;
pub use publish::MAX_BATCH;
pub use subscriber::Subscriber;
pub use subscription::Subscription;
pub use syncs::SyncId;
pub use token::Token;
pub use update::{Delivery, Update};
pub use webhooks::{DeadLetter, FailedReplay, WebhookInfo, WebhookReplay, WebhookTest};

use requests::{build, http};
#[cfg(feature = "tls")]
use tls::TlsOptions;
use token::Credential;
use urls::base;

/// A client of one daemon, or of several nodes of one bus. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The base URL of each node.
    bases: Arc<[Url]>,
    /// The number of the current node, modulo the count of nodes. Rises when a request to the current node fails.
    node: Arc<AtomicUsize>,
    credential: Option<Arc<Credential>>,
    /// `None`: as [`retry`] says.
    retry_timeout: Option<Duration>,
    on_retry: Option<Arc<OnRetry>>,
    #[cfg(feature = "tls")]
    tls: TlsOptions,
    /// The configuration of `wss:` connections.
    #[cfg(feature = "tls")]
    tls_config: Arc<rustls::ClientConfig>,
}

/// The callback of [`Client::on_retry`].
type OnRetry = dyn Fn(&Error, Duration) + Send + Sync;

impl Client {
    /// A client of the daemon at `url`, such as `http://127.0.0.1:7400`. Does not connect yet.
    ///
    /// An `https:` URL needs the feature `tls`. The client then trusts the authorities of the system, or those of
    /// [`Client::with_ca`].
    ///
    /// # Errors
    /// [`Error::Url`] if `url` is not an `http:` or `https:` URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::for_nodes([url])
    }

    /// A client of several nodes of one bus. It uses the first node, and moves to the next one when a node does not respond
    /// or is about to stop.
    ///
    /// # Errors
    /// [`Error::Url`] if a URL is not an `http:` or `https:` URL, or if there is none.
    pub fn for_nodes<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, Error> {
        let bases: Arc<[Url]> = urls.into_iter().map(|url| base(url.as_ref())).collect::<Result<_, _>>()?;
        if bases.is_empty() {
            return Err(Error::Url("no daemon URL was given: give one, such as http://127.0.0.1:7400".into()));
        }
        #[cfg(feature = "tls")]
        let tls = TlsOptions::default();
        #[cfg(feature = "tls")]
        let tls_config = tls.config(uses_https(&bases))?;
        #[cfg(feature = "tls")]
        let http = build(http().tls_backend_preconfigured((*tls_config).clone()))?;
        #[cfg(not(feature = "tls"))]
        let http = build(http())?;
        Ok(Self {
            http,
            bases,
            node: Arc::default(),
            credential: None,
            retry_timeout: None,
            on_retry: None,
            #[cfg(feature = "tls")]
            tls,
            #[cfg(feature = "tls")]
            tls_config,
        })
    }

    /// Trusts only these certificate authorities (PEM), instead of those of the system.
    ///
    /// # Errors
    /// [`Error::Url`] if there is no certificate in the text.
    #[cfg(feature = "tls")]
    pub fn with_ca(self, pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.change_tls(|tls| tls.set_ca(pem.as_ref()))
    }

    /// Shows this certificate to a daemon that asks for one (mutual TLS). Both texts are PEM; the certificate may be
    /// followed by intermediate ones.
    ///
    /// # Errors
    /// [`Error::Url`] if one of them cannot be used, or if they do not belong together.
    #[cfg(feature = "tls")]
    pub fn with_client_certificate(self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.change_tls(|tls| tls.set_identity(cert.as_ref(), key.as_ref()))
    }

    #[cfg(feature = "tls")]
    fn change_tls(mut self, change: impl FnOnce(&mut TlsOptions) -> Result<(), Error>) -> Result<Self, Error> {
        change(&mut self.tls)?;
        self.tls_config = self.tls.config(uses_https(&self.bases))?;
        self.http = build(http().tls_backend_preconfigured((*self.tls_config).clone()))?;
        Ok(self)
    }

    /// Sends this token or API key (`Authorization: Bearer`) with every request and WebSocket handshake.
    ///
    /// With [`Token::from_provider`], a token that is about to expire is renewed on the live connection of a [`Subscriber`],
    /// and a refused request is repeated once with a new token.
    pub fn with_token(mut self, token: impl Into<Token>) -> Self {
        self.credential = Some(Arc::new(Credential::new(token.into())));
        self
    }

    /// How long a call is retried while no node can be reached, or while all of them refuse for the moment. With zero, it
    /// tries each node once.
    ///
    /// By default, a call that can connect to no node fails at once. [`Client::publish`] and [`Client::publish_all`] retry
    /// for 15 s if a node refused for the moment (429, 503) or did not respond.
    pub fn with_retry_timeout(mut self, retry_timeout: Duration) -> Self {
        self.retry_timeout = Some(retry_timeout);
        self
    }

    /// Calls `report` before each retry of a request that no node has accepted, with the error and the whole time for which
    /// the call is retried.
    pub fn on_retry(mut self, report: impl Fn(&Error, Duration) + Send + Sync + 'static) -> Self {
        self.on_retry = Some(Arc::new(report));
        self
    }

    /// The scheme, host and port of the current node. User name, password and path are left out.
    pub fn url(&self) -> String {
        error::redacted(self.base(self.node()))
    }

    /// Creates a subscriber with these subscriptions. It connects at the first call of [`Subscriber::next`].
    pub fn subscribe(&self, subscriptions: impl IntoIterator<Item = Subscription>) -> Subscriber {
        Subscriber::new(self.clone(), subscriptions.into_iter().collect())
    }

    /// The number of the current node.
    fn node(&self) -> usize {
        self.node.load(Ordering::Relaxed)
    }

    /// The base URL of a node.
    fn base(&self, node: usize) -> &Url {
        &self.bases[node % self.bases.len()]
    }

    fn unexpected(&self, cause: String) -> Error {
        Error::Unexpected { url: self.url(), cause, accepted: true }
    }
}

#[cfg(feature = "tls")]
fn uses_https(bases: &[Url]) -> bool {
    bases.iter().any(|base| base.scheme() == "https")
}

#[cfg(test)]
mod tests;
