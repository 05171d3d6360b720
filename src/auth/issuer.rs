//! An issuer of tokens: whose keys sign them, what they must claim, and what their claims grant.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::claims::{self, ClaimTest, Pointer};
use super::jwks::Jwks;
use super::jws::{Algorithm, Jws};
use super::keys::{KeySet, VerifyingKey};
use super::refusal::{Cause, Reason, Refusal, shown};
use super::rules::Rule;
use crate::access::{GrantList, Identity, NamespaceId, Principal, TokenIdentity};
use crate::event::{Catalog, Json};

/// An issuer, as `[[issuer]]` describes it.
#[derive(Debug)]
pub struct Issuer {
    /// The claim `iss` of its tokens. A reload that changes the issuer makes a new text, so that its address tells whether
    /// a principal is of the issuer as it is now.
    pub name: Arc<str>,
    /// The description as it was read, to compare with that of the next reload.
    pub definition: String,
    pub audience: Vec<String>,
    /// The claim that is compared with `audience`.
    pub audience_claim: Pointer,
    pub keys: Keys,
    pub algorithms: Vec<Algorithm>,
    pub require: Vec<ClaimTest>,
    /// The claim with a grants object. `None`: none is taken from tokens.
    pub grants: Option<Pointer>,
    pub namespace: NamespaceChoice,
    pub rules: Vec<Rule>,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone)]
pub enum Keys {
    /// In a file.
    Fixed(Arc<KeySet>),
    /// At a URL.
    Jwks(Arc<Jwks>),
}

/// The namespace of an issuer's tokens.
#[derive(Debug, Clone)]
pub enum NamespaceChoice {
    Fixed(NamespaceId),
    /// One of these, which the claim names.
    Claim(Pointer, Vec<(String, NamespaceId)>),
}

/// How far a clock may be wrong, and how long a token may be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub clock_skew: Duration,
    pub max_lifetime: Duration,
}

impl Keys {
    /// Whether this key is still one of them, and may be used at this time.
    pub fn accepts(&self, key: &Arc<VerifyingKey>, now: SystemTime) -> bool {
        match self {
            Self::Fixed(keys) => keys.contains(key),
            Self::Jwks(jwks) => jwks.accepts(key, now),
        }
    }
}

impl Issuer {
    /// The key that signed the token.
    ///
    /// # Errors
    /// None did, or the keys of the issuer are out of reach.
    pub async fn signer(&self, jws: &Jws<'_>, now: SystemTime) -> Result<Arc<VerifyingKey>, Refusal> {
        if !self.algorithms.contains(&jws.algorithm) {
            let text = format!("the issuer {} does not use the algorithm {}", shown(&self.name), jws.algorithm.name());
            return Err(Reason::Algorithm.because(text).into());
        }
        let keys = match &self.keys {
            Keys::Fixed(keys) => keys.clone(),
            Keys::Jwks(jwks) => jwks.keys_for(jws, now).await.map_err(Refusal::Unavailable)?,
        };
        if !keys.has_for(jws) {
            let id = jws.key_id.as_deref().map(|id| format!(" with the id {}", shown(id))).unwrap_or_default();
            let text = format!("the issuer {} has no {} key{id}", shown(&self.name), jws.algorithm.name());
            return Err(Reason::UnknownKey.because(text).into());
        }
        let signer = keys.signer(jws).cloned();
        signer.ok_or_else(|| {
            let text = format!("the signature is of none of the keys of {}", shown(&self.name));
            Reason::Signature.because(text).into()
        })
    }

    /// Whom the verified claims of a token name.
    ///
    /// # Errors
    /// A claim does not hold.
    pub fn principal(
        &self,
        claims: &Json<'_>,
        catalog: &Catalog,
        times: Times,
        now: SystemTime,
    ) -> Result<Principal, Cause> {
        self.check_audience(claims)?;
        let issued = claims::date(claims, "iat")?;
        let expires = check_times(claims, issued, times, now)?;
        for test in &self.require {
            if !test.holds(claims) {
                return Err(
                    Reason::Required.because(format!("the claim {} is not what `require` asks for", test.pointer))
                );
            }
        }
        let identity = TokenIdentity {
            issuer: self.name.clone(),
            subject: claims::text(claims, "sub")?.map(Box::from),
            id: claims::text(claims, "jti")?.map(Box::from),
            issued,
        };
        let namespace = self.namespace.of(claims)?;
        let grants = self.grant_list(claims)?.resolve(catalog).map_err(|error| Reason::Grants.because(error))?;
        let identity = Identity::Token(identity);
        Ok(Principal { identity, namespace, grants: Arc::new(grants), expires: Some(expires) })
    }

    /// What the token has in its own claim, and what the rules make of the others.
    fn grant_list(&self, claims: &Json<'_>) -> Result<GrantList, Cause> {
        let mut list = GrantList::default();
        if let Some(pointer) = &self.grants
            && let Some(grants) = pointer.find(claims)
        {
            list = GrantList::read(grants).map_err(|error| Reason::Grants.because(format!("{pointer}: {error}")))?;
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let added = rule.grants(claims).and_then(|more| more.map_or(Ok(()), |more| list.add(more)));
            added.map_err(|error| Reason::Grants.because(format!("rule {index}: {error}")))?;
        }
        Ok(list)
    }

    fn check_audience(&self, claims: &Json<'_>) -> Result<(), Cause> {
        let pointer = &self.audience_claim;
        let refused = |text: String| Err(Reason::Audience.because(text));
        let named: Option<Vec<&str>> = match pointer.find(claims) {
            None => return refused(format!("the claim {pointer} is missing, which names the audience")),
            Some(Json::Array(elements)) => elements.iter().map(Json::as_str).collect(),
            Some(value) => value.as_str().map(|text| vec![text]),
        };
        match named {
            Some(named) if named.iter().any(|name| self.audience.iter().any(|own| own == name)) => Ok(()),
            Some(named) => {
                let named: Vec<String> = named.iter().take(4).map(|name| shown(name)).collect();
                refused(format!("the claim {pointer} is {}, which is not in `audience`", named.join(", ")))
            }
            None => refused(format!("the claim {pointer} is neither a string nor a list of strings")),
        }
    }
}

impl NamespaceChoice {
    fn of(&self, claims: &Json<'_>) -> Result<NamespaceId, Cause> {
        let (pointer, namespaces) = match self {
            Self::Fixed(namespace) => return Ok(*namespace),
            Self::Claim(pointer, namespaces) => (pointer, namespaces),
        };
        let named = pointer.find(claims).and_then(Json::as_str);
        let found = namespaces.iter().find(|(name, _)| named == Some(name.as_str()));
        found.map(|(_, namespace)| *namespace).ok_or_else(|| {
            let named = named.map_or_else(|| "missing, or not a string".to_owned(), shown);
            Reason::Namespace.because(format!("the claim {pointer}, which names the namespace, is {named}"))
        })
    }
}

/// Checks `exp` and `nbf`, and how long the token is valid. The result is the moment from which on it is not.
fn check_times(claims: &Json<'_>, issued: Option<i64>, times: Times, now: SystemTime) -> Result<SystemTime, Cause> {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, skew) = (since_1970.as_secs() as i64, times.clock_skew.as_secs() as i64);
    let Some(expires) = claims::date(claims, "exp")? else {
        return Err(Reason::Claim.because("the claim `exp` is missing"));
    };
    let end = u64::try_from(expires).unwrap_or_default();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(end) + times.clock_skew;
    if now >= end {
        return Err(Reason::Expired.because(format!("the token expired {} s ago", seconds.saturating_sub(expires))));
    }
    if let Some(begin) = claims::date(claims, "nbf")?.filter(|begin| *begin > seconds + skew) {
        return Err(Reason::NotYetValid.because(format!("the token is valid in {} s", begin - seconds)));
    }
    let max = times.max_lifetime.as_secs() as i64;
    let lifetime = expires - issued.unwrap_or(expires);
    let left = expires - seconds - skew;
    // Without `iat`, or with a false one, what is left counts: a revocation is kept for no longer.
    match lifetime.max(left) {
        longest if longest > max => {
            let text = format!("the token is valid for {longest} s, which is longer than `max_lifetime`, {max} s");
            Err(Reason::Lifetime.because(text))
        }
        _ => Ok(end),
    }
}
