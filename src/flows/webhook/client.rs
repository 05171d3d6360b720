//! Sends one signed request to a webhook's URL, and says what became of it.
//!
//! The addresses of the host are looked up by a resolver of our own, which leaves out every one that is not public. The
//! connection is made to what it returns and to nothing else, so that a name whose address changes between a check and the
//! connection gains nothing. An address in the URL itself is not looked up, and is judged before each request. Redirects are
//! not followed, and no proxy is used.

use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustls::RootCertStore;
use tokio::time::timeout;
use url::{Host, Url};

use super::secrets::Secrets;
use crate::network::not_public;
use crate::outbound::{cause, retry_after, system_roots, tls};

/// The media type of the body.
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// How much of an answer's body is read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 << 10;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);
/// The longest pause that an answer may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// What the header `webhook-id` cannot have as it is.
const NO_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it: a status from 200 to 299.
    Delivered { status: u16 },
    /// 410: the receiver wants no more.
    Gone,
    /// It is to be tried again.
    Failed(Failure),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, for the metrics: one of [`OUTCOMES`].
    pub kind: &'static str,
    /// A sentence for the operator. Nothing that the receiver wrote.
    pub reason: String,
    /// The status that the receiver answered with.
    pub status: Option<u16>,
    /// Where a redirect leads, in the receiver's words.
    pub location: Option<String>,
    /// The pause that the receiver asked for.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// How long the receiver as a whole takes nothing: 429 and 503 with a `Retry-After`. Other statuses are about one event.
    pub fn hold(&self) -> Option<Duration> {
        self.retry_after.filter(|_| matches!(self.status, Some(429 | 503)))
    }
}

/// The outcomes that the metrics count.
pub const OUTCOMES: [&str; 8] =
    ["delivered", "gone", "redirect", "client-error", "server-error", "timeout", "unreachable", "address"];

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// The event's id.
    pub id: Arc<str>,
    pub body: Bytes,
}

/// Sends to one URL.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    timeout: Duration,
    judge: Judge,
}

/// What an address is, if nothing may be sent to it.
type Judge = fn(IpAddr) -> Option<&'static str>;
/// Looks up the addresses of a host.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

impl Client {
    /// A client for this URL, which keeps up to `idle` connections for the next requests.
    ///
    /// # Errors
    /// An https URL, and the system has no certificate authorities.
    pub fn new(url: &Url, timeout: Duration, idle: usize, allow_private: bool) -> Result<Self, String> {
        let judge: Judge = if allow_private { |_| None } else { not_public };
        Self::with(url, timeout, idle, judge, system_lookup())
    }

    /// A client of one connection for a URL that the user of a command chose: any address will do, and these authorities are
    /// trusted instead of those of the system.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_user(url: &Url, timeout: Duration, roots: Option<RootCertStore>) -> Result<Self, String> {
        match roots {
            Some(roots) => Self::trusting(roots, url, timeout, 1, |_| None, system_lookup()),
            None => Self::new(url, timeout, 1, true),
        }
    }

    fn with(url: &Url, timeout: Duration, idle: usize, judge: Judge, lookup: Lookup) -> Result<Self, String> {
        let roots = if url.scheme() == "https" { system_roots()? } else { RootCertStore::empty() };
        Self::trusting(roots, url, timeout, idle, judge, lookup)
    }

    fn trusting(
        roots: RootCertStore,
        url: &Url,
        timeout: Duration,
        idle: usize,
        judge: Judge,
        lookup: Lookup,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Judged { judge, lookup }))
            .pool_max_idle_per_host(idle)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(roots)?)
            .build()
            .map_err(|error| format!("there is no HTTP client: {error}"))?;
        Ok(Self { http, url: url.clone(), timeout, judge })
    }

    /// The longest time of a request.
    #[cfg(test)]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a message, signed now.
    pub async fn send(&self, message: &Message, secrets: &Secrets) -> Outcome {
        match self.attempt(message, secrets).await {
            Ok(outcome) => outcome,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn attempt(&self, message: &Message, secrets: &Secrets) -> Result<Outcome, Failure> {
        let literal = match self.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if let Some(address) = literal
            && let Some(kind) = (self.judge)(address)
        {
            return Err(refused(&RefusedAddress { address, kind }));
        }
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = utf8_percent_encode(&message.id, NO_HEADER).to_string();
        let signature = secrets.sign(&id, timestamp, &message.body).await;
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, CLOUD_EVENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(message.body.clone());
        let Ok(sent) = timeout(self.timeout, request.send()).await else {
            let reason = format!("no answer within {} ms", self.timeout.as_millis());
            return Err(Failure { kind: "timeout", reason, status: None, retry_after: None, location: None });
        };
        let mut response = sent.map_err(failed)?;
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, MAX_RETRY_AFTER));
        let location = response.headers().get(LOCATION).and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let location = location.filter(|_| (300..=399).contains(&status));
        // What the receiver says does not matter: reading it only frees the connection.
        let _ = timeout(DRAIN, async {
            let mut read = 0;
            while let Ok(Some(chunk)) = response.chunk().await {
                read += chunk.len();
                if read > MAX_ANSWER {
                    break;
                }
            }
        })
        .await;
        let (kind, more) = match status {
            200..=299 => return Ok(Outcome::Delivered { status }),
            410 => return Ok(Outcome::Gone),
            300..=399 => ("redirect", ", a redirect, which is not followed"),
            400..=499 => ("client-error", ""),
            _ => ("server-error", ""),
        };
        let reason = format!("the receiver answered {status}{more}");
        Err(Failure { kind, reason, status: Some(status), retry_after, location })
    }
}

/// The resolver of the system.
fn system_lookup() -> Lookup {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) }))
}

/// Resolves host names to those addresses to which something may be sent.
struct Judged {
    judge: Judge,
    lookup: Lookup,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (judge, found) = (self.judge, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let (mut public, mut refused) = (Vec::new(), None);
            for found in found.await? {
                match judge(found.ip()) {
                    None => public.push(found),
                    Some(kind) => refused = Some(RefusedAddress { address: found.ip(), kind }),
                }
            }
            match (public.is_empty(), refused) {
                (true, Some(refused)) => Err(refused.into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// The host has no other address than this.
#[derive(Debug)]
struct RefusedAddress {
    address: IpAddr,
    kind: &'static str,
}

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, and `allow_private` is not set", self.address, self.kind)
    }
}

impl std::error::Error for RefusedAddress {}

fn refused(address: &RefusedAddress) -> Failure {
    Failure {
        kind: "address",
        reason: format!("nothing was sent: {address}"),
        status: None,
        retry_after: None,
        location: None,
    }
}

/// Why no answer came.
fn failed(error: reqwest::Error) -> Failure {
    let mut causes = std::iter::successors(error.source(), |&inner| inner.source());
    if let Some(address) = causes.find_map(|inner| inner.downcast_ref::<RefusedAddress>()) {
        return refused(address);
    }
    Failure { kind: "unreachable", reason: cause(error), status: None, retry_after: None, location: None }
}

#[cfg(test)]
mod tests;
