//! From a credential to a [`Principal`]: who the client is, and what it may do.
//!
//! [`Auth`] has the configuration in force, `auth.toml`, as one immutable [`Snapshot`](snapshot::Snapshot). A reload swaps
//! it as a whole, or not at all. A credential is a token (a JWT) or an [API key](api_key); [`Auth::authenticate`] is the one
//! way in. It fails closed: a credential that is not valid names nobody, and never somebody with less rights.
//!
//! The client is told that its credential is refused, and never why. Why is in the log and in the metric
//! `tidings_auth_refusals`.
//!
//! | file | what it knows |
//! |---|---|
//! | `file.rs` | what `auth.toml` may say |
//! | `snapshot.rs` | what of it is in force |
//! | `jws.rs`, `keys.rs`, `jwks.rs` | signatures, and where keys come from |
//! | `issuer.rs`, `claims.rs`, `rules.rs` | what a token must claim, and what its claims grant |
//! | `api_key.rs` | API keys |
//! | `token_cache.rs` | tokens that were verified |
//! | `reload.rs` | reading the files again |
//! | `sign.rs` | making tokens |

mod api_key;
mod claims;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod issuer;
mod jwks;
mod jws;
mod keys;
mod refusal;
mod reload;
mod rules;
pub mod sign;
mod snapshot;
#[cfg(test)]
mod tests;
mod token_cache;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use api_key::ApiKey;
pub use refusal::{Cause, Reason, Refusal};

use self::api_key::Presented;
use self::jws::Jws;
use self::refusal::shown;
use self::reload::Stamp;
use self::sign::sha256;
use self::snapshot::{Builder, Snapshot};
use self::token_cache::{TokenCache, Verified};
use crate::access::{Identity, NamespaceId, Principal};
use crate::config::read_error;
use crate::event::{Catalog, Json};
use crate::metrics::Metrics;

/// The longest credential, in bytes.
pub const MAX_CREDENTIAL: usize = 16 << 10;
/// How often a credential is verified again because the configuration changed meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// How often at most a refusal is logged at `info`; the others are at `debug`.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How far the clock may step back without making expired tokens valid again, in milliseconds. A larger step is taken for a
/// correction of a clock that was wrong.
const MAX_STEP_BACK: u64 = 60 * 60 * 1000;

/// Who may do what, by `auth.toml`.
#[derive(Debug)]
pub struct Auth {
    file: PathBuf,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    /// By their number, the default one first.
    namespaces: Vec<String>,
    current: ArcSwap<Snapshot>,
    tokens: TokenCache,
    /// Counts the reloads that were accepted.
    changes: watch::Sender<u64>,
    /// What the newest change of the files came to.
    outcome: watch::Sender<Option<&'static str>>,
    /// The files as they were when they were read last.
    read: Mutex<Stamp>,
    clock: Clock,
    log: RefusalLog,
}

/// What `tidings config check` says of a file without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub issuers: usize,
    pub keys: usize,
    /// The namespaces that the file names.
    pub namespaces: Vec<String>,
    /// What is allowed and still suspicious, one sentence each.
    pub warnings: Vec<String>,
}

/// Checks the file, and the key files that it names. It fetches nothing.
///
/// # Errors
/// Every mistake, with the line or the path of the key.
pub fn check(file: &Path, catalog: &Catalog) -> Result<Summary, Vec<String>> {
    let text = read_text(file)?;
    let read = file::read(file, &text, catalog);
    let content = read.file?;
    let namespaces = content.namespaces().into_iter().map(str::to_owned).collect();
    Ok(Summary { issuers: content.issuers.len(), keys: content.keys.len(), namespaces, warnings: read.warnings })
}

fn read_text(file: &Path) -> Result<String, Vec<String>> {
    std::fs::read_to_string(file)
        .map_err(|error| vec![format!("cannot read {}: {}", file.display(), read_error(&error))])
}

impl Auth {
    /// Reads the file and the key files that it names. It fetches nothing: [`Auth::run`] does.
    ///
    /// # Errors
    /// Every mistake, with the line or the path of the key.
    pub fn open(
        file: &Path,
        catalog: Arc<Catalog>,
        default_namespace: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, Vec<String>> {
        let text = read_text(file)?;
        let read = file::read(file, &text, &catalog);
        for warning in &read.warnings {
            tracing::warn!("{warning}");
        }
        let stamp = Stamp::of(file, Some(&text), &read.files);
        let content = read.file?;
        let mut namespaces = vec![default_namespace.to_owned()];
        namespaces
            .extend(content.namespaces().into_iter().filter(|name| *name != default_namespace).map(str::to_owned));
        let file_name = file.display().to_string();
        let builder =
            Builder { file: file_name, namespaces: &namespaces, catalog: &catalog, metrics: &metrics, old: None };
        let current = ArcSwap::from_pointee(builder.build(content)?);
        Ok(Arc::new(Self {
            file: file.to_owned(),
            catalog,
            metrics,
            namespaces,
            current,
            tokens: TokenCache::default(),
            changes: watch::Sender::new(0),
            outcome: watch::Sender::new(None),
            read: Mutex::new(stamp),
            clock: Clock::default(),
            log: RefusalLog::default(),
        }))
    }

    /// The namespaces of the node, by their number: the default one, and those that the file named at the start. A reload
    /// that names another one is refused.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.clone()
    }

    /// The principal of a token or an API key.
    ///
    /// # Errors
    /// The credential is not valid, or the keys that could verify it are out of reach. This method logs and counts the
    /// refusal.
    pub async fn authenticate(&self, credential: &str, now: SystemTime) -> Result<Arc<Principal>, Refusal> {
        let result = self.principal(credential, self.clock.at(now)).await;
        if let Err(refusal) = &result {
            self.metrics.credential_refused(refusal.reason().label());
            self.log.write(refusal);
        }
        result
    }

    async fn principal(&self, credential: &str, now: SystemTime) -> Result<Arc<Principal>, Refusal> {
        if credential.len() > MAX_CREDENTIAL {
            let text = format!("the credential has {} bytes; {MAX_CREDENTIAL} are possible", credential.len());
            return Err(Reason::TooLong.because(text).into());
        }
        if credential.starts_with(api_key::PREFIX) {
            return Ok(self.key_principal(credential)?);
        }
        let hash = sha256(credential.as_bytes());
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.current.load_full();
            if let Some(principal) = self.tokens.get(&hash, snapshot.version, now) {
                return Ok(principal);
            }
            let verified = self.verify(credential, &snapshot, now).await;
            // A reload may have come while this waited for keys, and may refuse what the old configuration accepts.
            if self.current.load().version == snapshot.version {
                return Ok(self.tokens.insert(hash, verified?, credential.len()));
            }
        }
        Err(Refusal::Unavailable("the configuration changes all the time".into()))
    }

    fn key_principal(&self, credential: &str) -> Result<Arc<Principal>, Cause> {
        let Some(presented) = Presented::parse(credential) else {
            return Err(Reason::Malformed.because("the credential begins like an API key, and is none"));
        };
        let snapshot = self.current.load();
        match snapshot.key(presented.id) {
            Some(key) if presented.has(&key.hash) => Ok(key.principal.clone()),
            Some(_) => {
                Err(Reason::ApiKey.because(format!("the secret of the API key {} is another", shown(presented.id))))
            }
            None => Err(Reason::ApiKey.because(format!("there is no API key {}", shown(presented.id)))),
        }
    }

    async fn verify(&self, token: &str, snapshot: &Snapshot, now: SystemTime) -> Result<Verified, Refusal> {
        let jws = Jws::parse(token)?;
        let claims = Json::parse_bytes(jws.unverified_payload()).map_err(|error| {
            Reason::Malformed.because(format!("the claims of the token are not JSON: {}", error.message))
        })?;
        if claims.as_object().is_none() {
            return Err(Reason::Malformed.because("the claims of the token are not an object").into());
        }
        let Some(name) = claims::text(&claims, "iss")? else {
            return Err(Reason::Issuer.because("the claim `iss` is missing").into());
        };
        let Some(issuer) = snapshot.issuer(name) else {
            return Err(Reason::Issuer.because(format!("the issuer {} is not configured", shown(name))).into());
        };
        let key = issuer.signer(&jws, now).await?;
        let principal = issuer.principal(&claims, &self.catalog, snapshot.times, now)?;
        Ok(Verified { principal: Arc::new(principal), version: snapshot.version, key, keys: issuer.keys.clone() })
    }

    /// The principal of clients without a credential. `None`: every client needs one.
    pub fn anonymous(&self) -> Option<Arc<Principal>> {
        self.current.load().anonymous.clone()
    }

    /// Whether the configuration still has the key or the issuer of this principal as it was. After a reload that removed or
    /// changed it, the client must present its credential again.
    pub fn still_accepts(&self, principal: &Principal) -> bool {
        self.current.load().accepts(principal)
    }

    /// Counts the reloads that were accepted.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What each change of the files comes to: `accepted`, `refused` or `deleted`.
    pub fn outcomes(&self) -> watch::Receiver<Option<&'static str>> {
        self.outcome.subscribe()
    }

    /// Whether `source` is the name of a configured key in the namespace of this principal, and not of its own key. The
    /// subject of a token is compared like any other text: whoever can choose it would else be any publisher.
    pub fn is_other_publisher(&self, principal: Option<&Principal>, source: &str) -> bool {
        let own = match principal.map(|principal| &principal.identity) {
            Some(Identity::Key { name, .. }) => Some(&**name),
            _ => None,
        };
        let namespace = principal.map_or(NamespaceId::FIRST, |principal| principal.namespace);
        own != Some(source) && self.current.load().is_publisher(namespace, source)
    }

    /// The longest time for which a token may be accepted from now on: its `exp` is at most `max_lifetime` and the clock
    /// skew away, and it ends the clock skew after that.
    pub fn longest_validity(&self) -> Duration {
        let times = self.current.load().times;
        times.max_lifetime + 2 * times.clock_skew
    }
}

/// A clock that ignores steps back of up to [`MAX_STEP_BACK`], which would make expired tokens valid again.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl Clock {
    fn at(&self, now: SystemTime) -> SystemTime {
        let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let latest = self.0.fetch_max(millis, Ordering::Relaxed);
        match latest.saturating_sub(millis) {
            0 => now,
            1..=MAX_STEP_BACK => SystemTime::UNIX_EPOCH + Duration::from_millis(latest),
            _ => {
                self.0.store(millis, Ordering::Relaxed);
                now
            }
        }
    }
}

/// Logs refusals, at most one line a second, because any stranger can cause one.
#[derive(Debug, Default)]
struct RefusalLog {
    /// When the last line was written, and how many were left out since.
    last: Mutex<(Option<Instant>, u64)>,
}

impl RefusalLog {
    fn write(&self, refusal: &Refusal) {
        let (reason, why) = (refusal.reason().label(), refusal.text());
        let left_out = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match last.0 {
                Some(at) if at.elapsed() < LOG_EVERY => {
                    last.1 += 1;
                    None
                }
                _ => {
                    let left_out = last.1;
                    *last = (Some(Instant::now()), 0);
                    Some(left_out)
                }
            }
        };
        match left_out {
            Some(left_out) => tracing::info!(reason, why, left_out, "a credential was refused"),
            None => tracing::debug!(reason, why, "a credential was refused"),
        }
    }
}
