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
mod renewal;
mod retry;
mod subscriber;
mod subscription;
mod subscriptions;
mod syncs;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod update;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

pub use answers::{Accepted, ChannelInfo, Gap, History, HistoryQuery, LatestList, LoggedEvent, NodeInfo, Revocation};
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

use crate::event::{JsonText, Position};
use retry::Attempts;
#[cfg(feature = "tls")]
use tls::TlsOptions;
use token::{Credential, HeldToken};

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

/// How long a daemon may take to begin its response. Longer than the daemon's own timeout for its broker.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole response may take. Longer, since a page of history can be large.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TCP connection may take. Shorter than [`RESPONSE_TIMEOUT`], so that a node that is down is reported as
/// "nothing was sent".
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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

    /// Lists the channels of the daemon.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node responds, [`Error::Refused`] if the daemon refuses, and [`Error::Unexpected`] if
    /// the response is not that of a daemon.
    pub async fn channels(&self) -> Result<Vec<ChannelInfo>, Error> {
        #[derive(Deserialize)]
        struct Channels {
            channels: Vec<ChannelInfo>,
        }
        let response: Channels = self.get(&["v1", "channels"], &[]).await?;
        Ok(response.channels)
    }

    /// Lists the nodes that share the daemon's broker, including the daemon itself.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        #[derive(Deserialize)]
        struct Nodes {
            nodes: Vec<NodeInfo>,
        }
        let response: Nodes = self.get(&["v1", "nodes"], &[]).await?;
        Ok(response.nodes)
    }

    /// Succeeds if the daemon is alive, whatever its broker does.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn alive(&self) -> Result<(), Error> {
        self.get::<Value>(&["healthz"], &[]).await.map(drop)
    }

    /// Succeeds if the daemon can publish and receive: it reaches its broker, and is not about to stop.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] says why the daemon is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.get::<Value>(&["readyz"], &[]).await.map(drop)
    }

    /// Revokes credentials on all nodes, within 2 s: requests are refused, and connections closed. Needs the right `revoke`.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), Error> {
        let mut attempts = Attempts::new(self, Duration::ZERO);
        loop {
            let node = attempts.node;
            let request = self.http.post(route(self.base(node), &["v1", "revocations"])).json(revocation);
            match self.call(node, request, RESPONSE_TIMEOUT).await {
                Ok(()) => return Ok(()),
                Err(error) => match attempts.failed(self, &error) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Reads one page of retained events. [`History::cursor`] is the `since` of the next page.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] also names an unknown channel or field, or a `since` that cannot be read.
    pub async fn history(&self, query: &HistoryQuery) -> Result<History, Error> {
        let mut parameters: Vec<(&str, String)> =
            query.channels.iter().map(|channel| ("channel", channel.clone())).collect();
        parameters.extend(query.filter.as_ref().map(|filter| ("where", filter.get().to_owned())));
        parameters.extend(query.since.clone().map(|since| ("since", since)));
        parameters.extend(query.limit.map(|limit| ("limit", limit.to_string())));
        self.get(&["v1", "events"], &parameters).await
    }

    /// The newest event of a subject, at most two seconds old. `None` if there is none, or none that the credential grants.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] also says that the type is unknown, or keeps no newest events.
    pub async fn latest(&self, event_type: &str, subject: &str) -> Result<Option<LoggedEvent>, Error> {
        match self.get(&["v1", "latest", event_type, subject], &[]).await {
            Ok(event) => Ok(Some(event)),
            Err(Error::Refused(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one page of the newest events of a type's subjects, in the order of the log. [`LatestList::cursor`] is the `cursor` of
    /// the next page, and after the last page the `since` of a subscription that goes on from there.
    ///
    /// # Errors
    /// As [`Client::latest`]; [`Error::Refused`] also names an unknown field, or a cursor that cannot be read.
    pub async fn latest_list(
        &self,
        event_type: &str,
        filter: Option<&JsonText>,
        cursor: Option<&Position>,
        limit: u32,
    ) -> Result<LatestList, Error> {
        let mut parameters = vec![("limit", limit.to_string())];
        parameters.extend(filter.map(|filter| ("where", filter.get().to_owned())));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
        self.get(&["v1", "latest", event_type], &parameters).await
    }

    /// Fetches the JSON Schema of a type's `data`.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] with status 404 if the daemon does not know the type.
    pub async fn schema(&self, event_type: &str) -> Result<Value, Error> {
        self.get(&["v1", "schemas", event_type], &[]).await
    }

    /// Creates a subscriber with these subscriptions. It connects at the first call of [`Subscriber::next`].
    pub fn subscribe(&self, subscriptions: impl IntoIterator<Item = Subscription>) -> Subscriber {
        Subscriber::new(self.clone(), subscriptions.into_iter().collect())
    }

    /// Sends a GET request to each node until one responds, and again until the retry timeout if the caller has set one.
    async fn get<T: DeserializeOwned>(&self, path: &[&str], parameters: &[(&str, String)]) -> Result<T, Error> {
        let mut attempts = Attempts::new(self, Duration::ZERO);
        loop {
            let node = attempts.node;
            let request = self.http.get(route(self.base(node), path)).query(parameters);
            match self.call(node, request, RESPONSE_TIMEOUT).await {
                Ok(response) => return Ok(response),
                Err(error) => match attempts.failed(self, &error) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Sends a request to a node with the token that the client has. If the daemon refuses a token that was held for a
    /// while, the request is sent once more with a new one: the daemon has done nothing.
    async fn call<T: DeserializeOwned>(
        &self,
        node: usize,
        request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<T, Error> {
        let Some(credential) = &self.credential else { return self.exchange(node, request, None, limit).await };
        let token = credential.get().await?;
        let again = request.try_clone();
        let refusal = match self.exchange(node, request, Some(&token), limit).await {
            Err(error) if error.is_unauthenticated() => error,
            outcome => return outcome,
        };
        credential.refused(&token.secret);
        let Some(again) = again.filter(|_| credential.is_renewable() && !token.is_new) else { return Err(refusal) };
        let new = credential.get().await?;
        if new.secret == token.secret {
            return Err(refusal);
        }
        let outcome = self.exchange(node, again, Some(&new), limit).await;
        if outcome.as_ref().is_err_and(Error::is_unauthenticated) {
            credential.refused(&new.secret);
        }
        outcome
    }

    /// Sends a request to a node, which must begin its response within `limit`. After a transient error, the client moves
    /// on to the next node.
    async fn exchange<T: DeserializeOwned>(
        &self,
        node: usize,
        mut request: reqwest::RequestBuilder,
        token: Option<&HeldToken>,
        limit: Duration,
    ) -> Result<T, Error> {
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.header()?);
        }
        let base = self.base(node);
        let exchange = async {
            let response = match timeout(limit, request.send()).await {
                Ok(response) => response.map_err(|error| Error::unreachable(base, &error, !error.is_connect()))?,
                Err(_) => {
                    let cause = format!("no response within {limit:.1?}");
                    return Err(Error::Unreachable { url: error::redacted(base), cause, sent: true });
                }
            };
            let status = response.status();
            let headers = response.headers().clone();
            let body = response.bytes().await.map_err(|error| Error::unreachable(base, &error, true))?;
            if !status.is_success() {
                let refused = Error::refused(base, status.as_u16(), &headers, &body);
                return Err(refused.or_unauthenticated(base, token.is_some()));
            }
            // 204 has no body.
            let body = if status == reqwest::StatusCode::NO_CONTENT { b"null" } else { &body[..] };
            serde_json::from_slice(body).map_err(|error| Error::unexpected_body(base, &headers, &error))
        };
        let result = exchange.await;
        if let Err(error) = &result
            && error.is_transient()
        {
            // A concurrent request may have moved on already: move on only once.
            let _ = self.node.compare_exchange(node, node.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        result
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

/// The settings of all HTTP requests.
fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        // The WebSocket ignores proxy settings, so HTTP must ignore them too.
        .no_proxy()
        // A redirected POST would become a GET, and the WebSocket follows none.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
}

fn build(http: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    http.build().map_err(|error| Error::Url(error.to_string()))
}

#[cfg(feature = "tls")]
fn uses_https(bases: &[Url]) -> bool {
    bases.iter().any(|base| base.scheme() == "https")
}

/// Parses a daemon's URL. [`route`] adds the path of a route to it.
fn base(url: &str) -> Result<Url, Error> {
    let invalid =
        |cause: &str| Error::Url(format!("{:?} is not a valid daemon URL: {cause}", error::redacted_text(url)));
    // `127.0.0.1:7400` is no URL, and `localhost:7400` is one whose scheme is `localhost`.
    let without_scheme =
        || !url.contains("://") && Url::parse(&format!("http://{url}")).is_ok_and(|url| url.port().is_some());
    let example = "write http://HOST:PORT, such as http://127.0.0.1:7400";
    let mut base = match Url::parse(url) {
        Err(_) if without_scheme() => return Err(invalid("write http:// before it")),
        Err(url::ParseError::InvalidPort) => return Err(invalid("a port is a number up to 65535")),
        parsed => parsed.map_err(|_| invalid(example))?,
    };
    match base.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => return Err(invalid("this client was built without TLS (the feature `tls`)")),
        "ws" => return Err(invalid("write http:// instead; the client opens WebSockets by itself")),
        "wss" => return Err(invalid("write https:// instead; the client opens WebSockets by itself")),
        _ if without_scheme() => return Err(invalid("write http:// before it")),
        _ => return Err(invalid(example)),
    }
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

/// The URL of a route, such as `["v1", "events"]`, below a daemon's URL.
fn route(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests;
