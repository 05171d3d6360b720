//! The keys that an issuer publishes at a URL: a JSON Web Key Set, fetched in the background.
//!
//! - The URL is in the configuration. Nothing in a token causes a request to anywhere else.
//! - A token with an unknown key causes one fetch, whoever else waits for it, and at most one in [`COOLDOWN`]: time alone
//!   decides, whatever the fetch brought. So a flood of bad tokens costs the issuer nothing.
//! - A failed fetch forgets no key. After [`MAX_STALE`] without a successful one, no key is used any more: otherwise a key
//!   that was withdrawn would be valid for ever. Then nobody can tell whether a token is valid, which is 503 and not 401.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use reqwest::Client;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use rustls::RootCertStore;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use super::jws::Jws;
use super::keys::{KeySet, VerifyingKey};
use super::refusal::shown;
use crate::metrics::Metrics;
use crate::outbound::{BodyError, body, is_loopback, system_roots, tls};

/// The shortest time from one fetch to the next.
const COOLDOWN: Duration = Duration::from_secs(10);
/// How long the keys of the last successful fetch are used.
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest time of a fetch, from the connection to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a fetch.
const WAIT: Duration = Duration::from_secs(6);
/// The maximum size of a set, in bytes.
const MAX_BYTES: usize = 256 << 10;
/// When keys are fetched again, if the answer does not say.
const REFRESH: Duration = Duration::from_secs(10 * 60);
/// The bounds of what the answer says with `max-age`.
const MIN_REFRESH: Duration = Duration::from_secs(60);
const MAX_REFRESH: Duration = Duration::from_secs(60 * 60);
/// The longest time from a failed fetch to the next.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The most requests that wait for a fetch. Tokens with known keys never wait.
const MAX_WAITING: usize = 256;

/// The key set of one issuer.
#[derive(Debug)]
pub struct Jwks {
    url: Url,
    client: Client,
    cooldown: Duration,
    known: ArcSwap<Known>,
    fetches: Mutex<Fetches>,
    /// Wakes the task that fetches.
    wanted: Notify,
    /// Counts the fetches that ended.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
    metrics: Arc<Metrics>,
}

/// The keys, and whether they are those of the issuer still.
#[derive(Debug, Default)]
struct Known {
    keys: Arc<KeySet>,
    /// When the last successful fetch ended.
    fetched: Option<SystemTime>,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Fetches {
    /// When the last one began.
    begun: Option<Instant>,
    running: bool,
    /// How many failed in a row.
    failures: u32,
}

impl Known {
    fn is_fresh(&self, now: SystemTime) -> bool {
        // A clock that was put back makes nothing stale.
        self.fetched.is_some_and(|fetched| now.duration_since(fetched).unwrap_or_default() < MAX_STALE)
    }
}

/// Whether keys may be fetched from this URL: https, or http on loopback.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err("keys are fetched with https; with http from loopback only".into()),
        _ => return Err("keys are fetched from an https URL".into()),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("the URL must have neither a user, nor a password, nor a fragment".into());
    }
    Ok(url)
}

impl Jwks {
    /// A set that is not fetched yet.
    ///
    /// # Errors
    /// There is no way to make a TLS connection.
    pub fn new(url: Url, metrics: Arc<Metrics>) -> Result<Self, String> {
        Self::with_cooldown(url, metrics, COOLDOWN)
    }

    pub(super) fn with_cooldown(url: Url, metrics: Arc<Metrics>, cooldown: Duration) -> Result<Self, String> {
        Ok(Self {
            client: client(&url)?,
            url,
            cooldown,
            known: ArcSwap::default(),
            fetches: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(MAX_WAITING),
            metrics,
        })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether this key is still published, and may be used.
    pub fn accepts(&self, key: &Arc<VerifyingKey>, now: SystemTime) -> bool {
        let known = self.known.load();
        known.is_fresh(now) && known.keys.contains(key)
    }

    /// The keys, among which that of the token is, unless it has none. An unknown one is looked for with one fetch.
    ///
    /// # Errors
    /// Nobody can tell whether the key is one of the issuer's. The text says why.
    pub async fn keys_for(&self, jws: &Jws<'_>, now: SystemTime) -> Result<Arc<KeySet>, String> {
        let known = self.known.load_full();
        if known.is_fresh(now) && known.keys.has_for(jws) {
            return Ok(known.keys.clone());
        }
        if self.wait_for_fetch().await.is_err() {
            return Err(format!("too many requests wait for the keys at {}", self.url));
        }
        let known = self.known.load_full();
        match &known.failure {
            _ if known.is_fresh(now) && known.keys.has_for(jws) => Ok(known.keys.clone()),
            // The issuer was asked just now, and does not know the key.
            None if known.is_fresh(now) => Ok(known.keys.clone()),
            Some(failure) => Err(format!("the keys at {} cannot be fetched: {failure}", self.url)),
            None => Err(format!("the keys at {} were not fetched yet", self.url)),
        }
    }

    /// Waits for the fetch that is under way, or for a new one if that is allowed.
    ///
    /// # Errors
    /// Too many wait.
    async fn wait_for_fetch(&self) -> Result<(), ()> {
        // Before the state is looked at: a fetch that ends in between counts.
        let mut ended = self.ended.subscribe();
        if !self.is_running() {
            match self.begin() {
                true => self.wanted.notify_one(),
                false => return Ok(()),
            }
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Err(()) };
        // Without an end in this time, the caller finds what it found before.
        let _ = timeout(WAIT, ended.changed()).await;
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).running
    }

    /// Begins a fetch, if the last one began long enough ago.
    fn begin(&self) -> bool {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if fetches.running || fetches.begun.is_some_and(|begun| begun.elapsed() < self.cooldown) {
            return false;
        }
        fetches.running = true;
        fetches.begun = Some(Instant::now());
        true
    }

    /// Begins a fetch that is due.
    fn begin_now(&self) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.running = true;
        fetches.begun = Some(Instant::now());
    }

    /// Fetches the keys now, again when they are due, and when a token has an unknown one. Never ends.
    pub async fn keep_fetched(self: Arc<Self>) {
        // This is also the fetch that a request wanted before the task began, or that another task left unfinished.
        self.begin_now();
        loop {
            let fetched = self.fetch().await;
            let due = Instant::now() + self.end(fetched);
            loop {
                tokio::select! {
                    () = self.wanted.notified() => if !self.is_running() { continue },
                    () = sleep_until(due) => self.begin_now(),
                }
                break;
            }
        }
    }

    /// Takes the result of a fetch. The result is the time until the next.
    fn end(&self, fetched: Result<(KeySet, Option<Duration>), String>) -> Duration {
        let failed = fetched.is_err();
        self.metrics.jwks_fetched(!failed);
        let known = self.known.load_full();
        let next = match fetched {
            Ok((keys, max_age)) => {
                if known.failure.is_some() || known.fetched.is_none() {
                    tracing::info!(url = %self.url, keys = keys.len(), "the keys of an issuer were fetched");
                }
                let fetched = Some(SystemTime::now());
                self.known.store(Arc::new(Known { keys: Arc::new(keys), fetched, failure: None }));
                max_age.map_or(REFRESH, |age| age.clamp(MIN_REFRESH, MAX_REFRESH))
            }
            Err(failure) => {
                tracing::warn!(
                    url = %self.url, failure, known = known.keys.len(),
                    "the keys of an issuer cannot be fetched; the known ones are used for 24 hours"
                );
                let (keys, fetched) = (known.keys.clone(), known.fetched);
                self.known.store(Arc::new(Known { keys, fetched, failure: Some(failure) }));
                Duration::ZERO
            }
        };
        let retry = {
            let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
            fetches.running = false;
            fetches.failures = if failed { fetches.failures.saturating_add(1) } else { 0 };
            self.cooldown.saturating_mul(1 << fetches.failures.saturating_sub(1).min(3)).min(MAX_RETRY)
        };
        self.ended.send_modify(|count| *count += 1);
        if failed { retry.max(self.cooldown) } else { next }
    }

    async fn fetch(&self) -> Result<(KeySet, Option<Duration>), String> {
        let accept = "application/jwk-set+json, application/json";
        let request = self.client.get(self.url.clone()).header(ACCEPT, accept);
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("the answer is a redirect ({}), which is not followed", status.as_u16()));
        }
        if status != reqwest::StatusCode::OK {
            return Err(format!("the answer has the status {}", status.as_u16()));
        }
        let max_age = max_age(response.headers());
        let body = body(&mut response, MAX_BYTES).await.map_err(|error| match error {
            BodyError::TooLong(most) => format!("the answer has more than {most} bytes"),
            BodyError::Lost(error) => describe(error),
        })?;
        let known = self.known.load_full();
        let (keys, others) = KeySet::from_jwks(&body, &known.keys)?;
        for other in others.iter().take(10) {
            tracing::debug!(url = %self.url, "a key of the set is not used: {other}");
        }
        Ok((keys, max_age))
    }

    #[cfg(test)]
    pub fn preload(&self, keys: KeySet) {
        self.known.store(Arc::new(Known { keys: Arc::new(keys), fetched: Some(SystemTime::now()), failure: None }));
    }
}

/// How long the answer may be used, by `Cache-Control: max-age=N` (RFC 9111, section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = text.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// The error with its causes, without the URL, and without control characters.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    shown(&text).trim_matches('"').to_owned()
}

/// A client for this one URL.
fn client(url: &Url) -> Result<Client, String> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")));
    let builder = match url.scheme() {
        "https" => builder.https_only(true).tls_backend_preconfigured(tls(system_roots()?)?),
        // Loopback: a proxy would be a way to elsewhere. Without any TLS configuration there would be no client.
        _ => builder.no_proxy().tls_backend_preconfigured(tls(RootCertStore::empty())?),
    };
    builder.build().map_err(|error| format!("there is no HTTP client: {error}"))
}
