//! Turns a credential into a [`Caller`], and checks the grants of callers. No other file does either.
//!
//! A channel that is not granted and one that does not exist get the same answer. So the grants are checked before the
//! channel's name, its fields or a position.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::audit::What;
use super::{Bus, Revocations};
use crate::access::{AdminRight, CallOrigin, Caller, Guard, Identity, NamespaceId, Principal, Rule};
use crate::auth::{Auth, Refusal};
use crate::event::{ChannelId, Filter, Selector};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// The detail of each 401, whichever check failed.
const NEEDED: &str = "a valid credential is required: send a token or an API key as `Authorization: Bearer …`";
const NOT_GRANTED: &str = "the credential does not grant this";
/// What a refused caller wanted to do, for the audit.
pub(super) const PUBLISH: &str = "publish";
const SUBSCRIBE: &str = "subscribe";
const ADMINISTER: &str = "administer";
const AUTHENTICATE: &str = "authenticate";
/// The longest name of a channel in the audit, in characters: a stranger may choose it.
const MAX_NAME: usize = 256;
/// The challenges of RFC 6750, section 3.
const NO_CREDENTIAL: &str = "Bearer";
const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;
const INSUFFICIENT: &str = r#"Bearer error="insufficient_scope""#;

/// What a renewed credential changes on its connection. Only the application layer makes it.
#[derive(Debug)]
pub struct Renewal(Arc<Principal>);

/// Why a credential does not renew the one of a connection.
#[derive(Debug)]
pub enum NotRenewed {
    /// It is not accepted. The connection goes on with the one that it has.
    Refused(Problem),
    /// It belongs to another issuer, subject or namespace: the connection must end.
    SomebodyElse,
}

/// Says which credentials of open connections are no longer accepted: those that were revoked, and those whose key or
/// issuer was removed from the configuration.
#[derive(Debug)]
pub struct TakenBack {
    auth: Option<Arc<Auth>>,
    revocations: Arc<Revocations>,
}

impl TakenBack {
    pub fn new(auth: Option<Arc<Auth>>, revocations: Arc<Revocations>) -> Self {
        Self { auth, revocations }
    }
}

impl Guard for TakenBack {
    fn refuses(&self, principal: &Principal) -> bool {
        self.revocations.is_known_to_cover(principal)
            || self.auth.as_ref().is_some_and(|auth| !auth.still_accepts(principal))
    }
}

impl Bus {
    /// Whether callers must be authenticated.
    pub fn has_auth(&self) -> bool {
        self.auth.is_some()
    }

    /// The caller who presents this credential.
    ///
    /// # Errors
    /// `unauthenticated`, with the same text whichever check failed. `broker-unavailable` if it cannot be checked now.
    pub async fn authenticate(&self, credential: &str, origin: CallOrigin) -> Result<Caller, Problem> {
        let Some(auth) = &self.auth else { return Ok(self.anybody().from(origin)) };
        let principal = match auth.authenticate(credential, SystemTime::now()).await {
            Ok(principal) => principal,
            Err(Refusal::Invalid(cause)) => {
                return Err(self.record_unauthenticated(None, &origin, cause.reason.label(), refused()));
            }
            Err(Refusal::Unavailable(cause)) => return Err(unavailable(cause)),
        };
        let revocations = self.namespaces[principal.namespace.index()].revocations();
        match revocations.covers(&principal) {
            Ok(false) => Ok(Caller::of(principal).from(origin)),
            Ok(true) => {
                let caller = Caller::of(principal);
                Err(self.record_unauthenticated(Some(&caller), &origin, "revoked", refused()))
            }
            Err(cause) => Err(unavailable(cause)),
        }
    }

    /// The caller without a credential. `None` if there is none that may do anything.
    pub fn without_credential(&self) -> Option<Caller> {
        match &self.auth {
            None => Some(self.anybody()),
            Some(auth) => auth.anonymous().map(Caller::of),
        }
    }

    /// The refusal of a caller without a credential.
    pub fn credential_needed(&self, origin: &CallOrigin) -> Problem {
        let problem = Problem::new(ErrorCode::Unauthenticated, NEEDED).with_challenge(NO_CREDENTIAL);
        self.record_unauthenticated(None, origin, "none", problem)
    }

    /// The refusal of a credential in the query of a URL, where logs and histories would keep it (RFC 9700, section 4.3.2).
    pub fn credential_in_query(&self, parameter: &str, origin: &CallOrigin) -> Problem {
        let detail = format!(
            "a URL is no place for a credential: send it as `Authorization: Bearer …`, or as the first frame of a WebSocket, \
             and not as the parameter {}",
            suggest::quoted(parameter)
        );
        let problem = Problem::new(ErrorCode::Unauthenticated, detail).with_challenge(INVALID_TOKEN);
        self.record_unauthenticated(None, origin, "in-query", problem)
    }

    fn record_unauthenticated(
        &self,
        caller: Option<&Caller>,
        origin: &CallOrigin,
        reason: &'static str,
        problem: Problem,
    ) -> Problem {
        let what = What::Refused { action: AUTHENTICATE, name: None, code: problem.code, reason: Some(reason) };
        self.record_refusal(caller, origin, what);
        problem
    }

    fn anybody(&self) -> Caller {
        Caller::unrestricted(NamespaceId::FIRST)
    }

    /// The credential that a live connection presents, to renew the one that it has.
    ///
    /// # Errors
    /// See [`NotRenewed`].
    pub async fn renew(&self, caller: &Caller, credential: &str) -> Result<(Caller, Renewal), NotRenewed> {
        let renewed = self.authenticate(credential, caller.origin().clone()).await.map_err(NotRenewed::Refused)?;
        let (Some(before), Some(now)) = (caller.principal(), renewed.principal()) else {
            let detail = "this daemon asks for no credential: send none";
            return Err(NotRenewed::Refused(Problem::new(ErrorCode::InvalidFrame, detail)));
        };
        if !before.is_renewed_by(now) {
            return Err(NotRenewed::SomebodyElse);
        }
        let renewal = Renewal(now.clone());
        Ok((renewed, renewal))
    }

    /// Waits until the caller's credential is not accepted any more.
    pub async fn credential_ended(&self, caller: &Caller) {
        let Some(principal) = caller.principal() else { return std::future::pending().await };
        let ends = async {
            match principal.remaining(SystemTime::now()) {
                Some(remaining) => tokio::time::sleep(remaining).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ends => {}
            () = self.taken_back(principal) => {}
        }
    }

    async fn taken_back(&self, principal: &Principal) {
        let mut revocations = self.namespaces[principal.namespace.index()].revocations().changes();
        let Some(mut reloads) = self.auth.as_ref().map(|auth| auth.changes()) else {
            return std::future::pending().await;
        };
        loop {
            if self.refuses(principal) {
                return;
            }
            tokio::select! {
                changed = revocations.changed() => if changed.is_err() { return std::future::pending().await },
                changed = reloads.changed() => if changed.is_err() { return std::future::pending().await },
            }
        }
    }

    /// Whether this credential was revoked, or removed from the configuration.
    fn refuses(&self, principal: &Principal) -> bool {
        self.namespaces[principal.namespace.index()].guard().refuses(principal)
    }

    /// The channel of this name, and which of its events the caller may receive. `None` stands for a caller who may do
    /// everything.
    pub(super) fn granted_channel<'a>(
        &self,
        caller: &'a Caller,
        name: &str,
    ) -> Result<(ChannelId, Option<&'a Rule>), Problem> {
        let channel = self.catalog.channel(name);
        let Some(principal) = caller.principal() else {
            return channel.map(|channel| (channel, None)).ok_or_else(|| {
                let known = self.known_types(caller, "channels", "GET /v1/channels");
                let refusal = format!("there is no channel {} here", suggest::quoted(name));
                Problem::new(ErrorCode::UnknownChannel, known.refuse(&refusal, name))
            });
        };
        let granted = channel.and_then(|channel| Some((channel, Some(principal.grants.subscribe(channel)?))));
        granted.ok_or_else(|| self.denied(caller, SUBSCRIBE, Some(name)))
    }

    /// Whether the caller may receive anything of these channels, before anything else about them is looked at.
    ///
    /// # Errors
    /// `forbidden`, `unauthenticated`.
    pub fn may_subscribe<'n>(
        &self,
        caller: &Caller,
        channels: impl IntoIterator<Item = &'n String>,
    ) -> Result<(), Problem> {
        let Some(principal) = caller.principal() else { return Ok(()) };
        if !principal.grants.subscribes() {
            return Err(self.denied(caller, SUBSCRIBE, None));
        }
        channels.into_iter().try_for_each(|name| self.granted_channel(caller, name).map(drop))
    }

    /// Whether a `source` is the name of a publisher with a key, other than this one.
    pub(super) fn is_other_publisher(&self, principal: &Principal, source: &str) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.is_other_publisher(Some(principal), source))
    }

    /// Whether the caller has a right beside events.
    ///
    /// # Errors
    /// `forbidden`, `unauthenticated`.
    pub fn require(&self, caller: &Caller, right: AdminRight) -> Result<(), Problem> {
        match caller.principal() {
            Some(principal) if !principal.grants.has(right) => Err(self.denied(caller, ADMINISTER, Some(right.name()))),
            _ => Ok(()),
        }
    }
}

impl Renewal {
    pub fn principal(&self) -> &Arc<Principal> {
        &self.0
    }

    /// Which events of a channel a subscription gets now. `None` if the channel is not granted any more.
    pub fn selector(&self, channel: ChannelId, asked: &Filter) -> Option<Arc<Selector>> {
        Some(Arc::new(self.0.grants.subscribe(channel)?.selector(asked)))
    }

    /// How long the credential is valid, in milliseconds. `None` if it has no end.
    pub fn expires_in_ms(&self) -> Option<u64> {
        expires_in_ms(&self.0)
    }
}

/// How long a credential is still valid, in milliseconds.
pub fn expires_in_ms(principal: &Principal) -> Option<u64> {
    let millis = |remaining: Duration| u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    principal.remaining(SystemTime::now()).map(millis)
}

impl Bus {
    /// Refuses a call that the caller's grants do not allow: with 403, or with 401 for a caller without a credential, who could
    /// get further with one. `name` is that of the channel or the right.
    pub(super) fn denied(&self, caller: &Caller, action: &'static str, name: Option<&str>) -> Problem {
        let anonymous = caller.principal().is_some_and(|principal| principal.identity == Identity::Anonymous);
        let problem = match anonymous {
            true => Problem::new(ErrorCode::Unauthenticated, NEEDED).with_challenge(NO_CREDENTIAL),
            false => Problem::new(ErrorCode::Forbidden, NOT_GRANTED).with_challenge(INSUFFICIENT),
        };
        if caller.origin().is_some() {
            let name = name.map(|name| suggest::cut(name, MAX_NAME).into());
            let what = What::Refused { action, name, code: problem.code, reason: None };
            self.record_refusal(Some(caller), caller.origin(), what);
        }
        problem
    }
}

fn refused() -> Problem {
    Problem::new(ErrorCode::Unauthenticated, NEEDED).with_challenge(INVALID_TOKEN)
}

fn unavailable(cause: String) -> Problem {
    let detail = "credentials cannot be checked now: try again; the reason is in this node's log";
    Problem::new(ErrorCode::BrokerUnavailable, detail).with_cause(cause)
}
