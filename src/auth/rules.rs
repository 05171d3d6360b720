//! Rules: what the claims of an identity provider grant, with its tokens unchanged.

use super::claims::{ClaimTest, Pointer};
use crate::access::{GrantError, GrantList};
use crate::event::Json;

/// If all conditions hold, these grants.
#[derive(Debug, Clone)]
pub struct Rule {
    pub when: Vec<ClaimTest>,
    pub grants: RuleGrants,
}

/// The grants of a rule, before the claims of a token are written into them.
#[derive(Debug, Clone, Default)]
pub struct RuleGrants {
    pub publish: Vec<RuleEntry>,
    pub subscribe: Vec<RuleEntry>,
    pub admin: Option<Json<'static>>,
}

/// An entry, in whose `where` the values of claims are still missing.
#[derive(Debug, Clone)]
pub struct RuleEntry {
    /// A name, or an object with `channel` and perhaps `where`.
    pub entry: Json<'static>,
    /// The fields of `where` whose values are claims.
    pub claims: Vec<(String, Pointer)>,
}

impl Rule {
    /// What a token with these claims is granted: nothing unless all conditions hold, and all claims of the pins have values.
    ///
    /// # Errors
    /// The values make no valid grants: there are too many.
    pub fn grants(&self, claims: &Json<'_>) -> Result<Option<GrantList>, GrantError> {
        if !self.when.iter().all(|test| test.holds(claims)) {
            return Ok(None);
        }
        self.grants.with(claims).map(|grants| GrantList::read(&grants)).transpose()
    }
}

impl RuleGrants {
    /// The grants as JSON. `None` if a claim has no value that a pin can have.
    fn with(&self, claims: &Json<'_>) -> Option<Json<'static>> {
        let list = |entries: &[RuleEntry]| {
            let entries: Option<Vec<_>> = entries.iter().map(|entry| entry.with(claims)).collect();
            entries.map(Json::Array)
        };
        let mut members = vec![("publish".into(), list(&self.publish)?), ("subscribe".into(), list(&self.subscribe)?)];
        members.extend(self.admin.clone().map(|admin| ("admin".into(), admin)));
        Some(Json::Object(members))
    }
}

impl RuleEntry {
    fn with(&self, claims: &Json<'_>) -> Option<Json<'static>> {
        let mut entry = self.entry.clone();
        if self.claims.is_empty() {
            return Some(entry);
        }
        let Json::Object(members) = &mut entry else { return None };
        let pin = members.iter_mut().find(|(name, _)| name == "where").map(|(_, pin)| pin);
        let Some(Json::Object(fields)) = pin else { return None };
        for (field, pointer) in &self.claims {
            fields.push((field.clone().into(), pointer.literal(claims)?));
        }
        Some(entry)
    }
}
