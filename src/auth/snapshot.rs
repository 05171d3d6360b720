//! The configuration in force: `auth.toml` with everything resolved. It never changes; a reload makes a new one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::api_key::SecretHash;
use super::file::{AuthFile, IssuerTable, KeySource, KeyTable, NamespaceTable};
use super::issuer::{Issuer, Keys, NamespaceChoice, Times};
use super::jwks::Jwks;
use crate::access::{GrantList, Identity, NamespaceId, Principal};
use crate::event::Catalog;
use crate::metrics::Metrics;

/// See the module.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configurations, from 0.
    pub version: u64,
    pub times: Times,
    pub anonymous: Option<Arc<Principal>>,
    issuers: HashMap<Arc<str>, Arc<Issuer>>,
    keys: HashMap<Box<str>, ConfiguredKey>,
    /// The names of the keys, by namespace: a tenant must not learn the names of another.
    publishers: HashSet<(NamespaceId, Box<str>)>,
}

/// An API key.
#[derive(Debug)]
pub struct ConfiguredKey {
    definition: String,
    pub hash: SecretHash,
    pub principal: Arc<Principal>,
}

/// What a snapshot is made with.
pub struct Builder<'a> {
    /// The name of the file, for mistakes.
    pub file: String,
    /// The namespaces of the node, by their number.
    pub namespaces: &'a [String],
    pub catalog: &'a Catalog,
    pub metrics: &'a Arc<Metrics>,
    /// The configuration that was in force before.
    pub old: Option<&'a Snapshot>,
}

impl Builder<'_> {
    /// Resolves the file.
    ///
    /// # Errors
    /// It names a namespace that the node does not have, or there is no way to fetch keys.
    pub fn build(&self, file: AuthFile) -> Result<Snapshot, Vec<String>> {
        let new: Vec<&str> =
            file.namespaces().into_iter().filter(|name| self.namespace(Some(name)).is_none()).collect();
        if !new.is_empty() {
            let mistake = |name: &&str| {
                format!(
                    "{}: the namespace {name} is new: the namespaces of a node are fixed until it is restarted",
                    self.file
                )
            };
            return Err(new.iter().map(mistake).collect());
        }
        self.resolve(file).map_err(|text| vec![format!("{}: {text}", self.file)])
    }

    /// What can still go wrong with a file that was checked stops at the first mistake.
    fn resolve(&self, file: AuthFile) -> Result<Snapshot, String> {
        let anonymous = file.anonymous.map(|grants| self.anonymous(&grants)).transpose()?;
        let (mut keys, mut publishers) = (HashMap::new(), HashSet::new());
        for table in file.keys {
            let id = Box::from(table.id.as_str());
            publishers.insert((self.known_namespace(table.namespace.as_deref())?, Box::from(table.name.as_str())));
            keys.insert(id, self.key(table)?);
        }
        let mut issuers = HashMap::new();
        for table in file.issuers {
            let issuer = self.issuer(table)?;
            issuers.insert(issuer.name.clone(), Arc::new(issuer));
        }
        let version = self.old.map_or(0, |old| old.version + 1);
        Ok(Snapshot { version, times: file.times, anonymous, issuers, keys, publishers })
    }

    /// The number of a namespace; of the default one, if there is no name.
    fn namespace(&self, name: Option<&str>) -> Option<NamespaceId> {
        let Some(name) = name else { return Some(NamespaceId::FIRST) };
        let index = self.namespaces.iter().position(|known| known == name)?;
        u16::try_from(index).ok().map(NamespaceId)
    }

    /// The same for a name that was found before.
    fn known_namespace(&self, name: Option<&str>) -> Result<NamespaceId, String> {
        self.namespace(name).ok_or_else(|| format!("there is no namespace {}", name.unwrap_or_default()))
    }

    fn anonymous(&self, grants: &GrantList) -> Result<Arc<Principal>, String> {
        let grants = grants.resolve(self.catalog).map_err(|error| format!("anonymous: {error}"))?;
        let old = self.old.and_then(|old| old.anonymous.as_ref()).filter(|old| *old.grants == grants);
        Ok(old.cloned().unwrap_or_else(|| {
            let (identity, namespace) = (Identity::Anonymous, NamespaceId::FIRST);
            Arc::new(Principal { identity, namespace, grants: Arc::new(grants), expires: None })
        }))
    }

    /// A key. One that did not change keeps its principal, whose address says so.
    fn key(&self, table: KeyTable) -> Result<ConfiguredKey, String> {
        let old = self.old.and_then(|old| old.keys.get(table.id.as_str()));
        if let Some(old) = old.filter(|old| old.definition == table.definition) {
            let principal = old.principal.clone();
            return Ok(ConfiguredKey { definition: table.definition, hash: table.hash, principal });
        }
        let namespace = self.known_namespace(table.namespace.as_deref())?;
        let grants = table.grants.resolve(self.catalog).map_err(|error| format!("key {}: {error}", table.id))?;
        let identity = Identity::Key { id: table.id.into(), name: table.name.into() };
        let principal = Principal { identity, namespace, grants: Arc::new(grants), expires: None };
        Ok(ConfiguredKey { definition: table.definition, hash: table.hash, principal: Arc::new(principal) })
    }

    /// An issuer. One that did not change, and has lost no key of a file, keeps the text of its name, whose address says so.
    fn issuer(&self, table: IssuerTable) -> Result<Issuer, String> {
        let old = self.old.and_then(|old| old.issuers.get(table.iss.as_str()));
        let keys = match (table.source, old.map(|old| &old.keys)) {
            (KeySource::Jwks(url), Some(Keys::Jwks(known))) if *known.url() == url => Keys::Jwks(known.clone()),
            (KeySource::Jwks(url), _) => Keys::Jwks(Arc::new(Jwks::new(url, self.metrics.clone())?)),
            (KeySource::Fixed(keys), _) => Keys::Fixed(Arc::new(keys)),
        };
        let lost_none = |old: &Issuer| match (&old.keys, &keys) {
            (Keys::Fixed(old), Keys::Fixed(new)) => new.contains_all(old),
            _ => true,
        };
        let unchanged = old.filter(|old| old.definition == table.definition && lost_none(old));
        let name = unchanged.map_or_else(|| Arc::from(table.iss), |old| old.name.clone());
        let namespace = match table.namespace {
            NamespaceTable::Fixed(name) => NamespaceChoice::Fixed(self.known_namespace(name.as_deref())?),
            NamespaceTable::Claim(pointer, names) => {
                let known = |name: String| self.known_namespace(Some(&name)).map(|id| (name, id));
                NamespaceChoice::Claim(pointer, names.into_iter().map(known).collect::<Result<_, _>>()?)
            }
        };
        Ok(Issuer {
            name,
            definition: table.definition,
            audience: table.audience,
            audience_claim: table.audience_claim,
            keys,
            algorithms: table.algorithms,
            require: table.require,
            grants: table.grants,
            namespace,
            rules: table.rules,
        })
    }
}

impl Snapshot {
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.get(name)
    }

    pub fn key(&self, id: &str) -> Option<&ConfiguredKey> {
        self.keys.get(id)
    }

    /// The key sets that are fetched.
    pub fn key_sets(&self) -> impl Iterator<Item = &Arc<Jwks>> {
        self.issuers.values().filter_map(|issuer| match &issuer.keys {
            Keys::Jwks(jwks) => Some(jwks),
            Keys::Fixed(_) => None,
        })
    }

    /// Whether this configuration would let the principal in, too, as far as its key or issuer decides that.
    pub fn accepts(&self, principal: &Principal) -> bool {
        match &principal.identity {
            Identity::Anonymous => {
                self.anonymous.as_ref().is_some_and(|own| Arc::ptr_eq(&own.grants, &principal.grants))
            }
            Identity::Token(token) => {
                self.issuers.get(&token.issuer).is_some_and(|issuer| Arc::ptr_eq(&issuer.name, &token.issuer))
            }
            Identity::Key { id, .. } => {
                let key = self.keys.get(id);
                key.is_some_and(|key| Arc::ptr_eq(&key.principal.grants, &principal.grants))
            }
        }
    }

    /// Whether a key in this namespace has this name.
    pub fn is_publisher(&self, namespace: NamespaceId, name: &str) -> bool {
        // A set of pairs cannot be asked with a borrowed pair.
        self.publishers.contains(&(namespace, Box::from(name)))
    }
}
