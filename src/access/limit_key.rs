//! The key under which a rate limit counts a client: its credential, or its address if it has none.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::{Caller, Identity};
use crate::network::ClientNetwork;

/// The key of a client in a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// The hash of a credential's namespace, issuer and subject, or of its namespace and key: 64 bits under a secret of
    /// this process, so that nobody can choose a name to use up the rate of another.
    Credential(u64),
    Address(ClientNetwork),
}

/// Makes the keys of one limit.
#[derive(Debug, Default)]
pub struct LimitKeys(RandomState);

impl LimitKeys {
    /// The key of a caller who connects from `address`. A renewed token has the key of the one before.
    pub fn of(&self, caller: &Caller, address: IpAddr) -> LimitKey {
        let namespace = caller.namespace();
        match caller.principal().map(|principal| &principal.identity) {
            Some(Identity::Token(token)) => {
                LimitKey::Credential(self.0.hash_one((namespace, &token.issuer, &token.subject)))
            }
            Some(Identity::Key { id, .. }) => LimitKey::Credential(self.0.hash_one((namespace, id))),
            Some(Identity::Anonymous) | None => LimitKey::Address(address.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::{NamespaceId, Principal, TokenIdentity};

    #[test]
    fn a_credential_counts_wherever_it_is_used_and_others_by_their_address() {
        let keys = LimitKeys::default();
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let of = |namespace, identity| {
            let namespace = NamespaceId(namespace);
            Caller::of(Arc::new(Principal { identity, namespace, grants: Arc::default(), expires: None }))
        };
        let token = |subject: &str, id: &str| {
            let (subject, id) = (Some(subject.into()), Some(id.into()));
            Identity::Token(TokenIdentity { issuer: "https://a.example/".into(), subject, id, issued: None })
        };
        let key = |id: &str| Identity::Key { id: id.into(), name: "shop".into() };
        assert_eq!(keys.of(&of(0, token("u1", "1")), here), keys.of(&of(0, token("u1", "2")), there));
        assert_eq!(keys.of(&of(0, key("k1")), here), keys.of(&of(0, key("k1")), there));
        let different = [
            keys.of(&of(0, token("u1", "1")), here),
            keys.of(&of(0, token("u2", "1")), here),
            keys.of(&of(1, token("u1", "1")), here),
            keys.of(&of(0, key("k1")), here),
            keys.of(&of(0, key("k2")), here),
            keys.of(&of(0, Identity::Anonymous), here),
            keys.of(&Caller::unrestricted(NamespaceId::FIRST), there),
        ];
        for (index, one) in different.iter().enumerate() {
            assert!(!different[..index].contains(one), "{index}");
        }
    }
}
