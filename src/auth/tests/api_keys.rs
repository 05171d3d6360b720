//! API keys, and those without a credential.

use super::*;

#[tokio::test]
async fn a_key_is_accepted_with_its_secret() {
    let [shop, crm] = ["shop-backend", "crm-backend"].map(|name| ApiKey::generate(name).unwrap());
    let text = format!(
        "{}publish = [\"inventory-change\"]\n{}namespace = \"crm\"\nadmin = [\"revoke\"]\n",
        shop.table, crm.table
    );
    let setup = open(&[("auth.toml", &text)]).unwrap();
    assert!(setup.auth.anonymous().is_none());
    let principal = setup.principal(&shop.text).await.unwrap();
    assert_eq!(principal.source(), Some("shop-backend"));
    assert_eq!((principal.namespace, principal.expires), (NamespaceId::FIRST, None));
    assert!(principal.grants.publish(channel("inventory-change")).is_some() && !principal.grants.subscribes());
    let other = setup.principal(&crm.text).await.unwrap();
    assert_eq!(other.namespace, NamespaceId(1));

    let (_, secret) = crm.text.rsplit_once('_').unwrap();
    let mixed = format!("tdg_{}_{secret}", shop.id);
    let mut damaged = shop.text.clone();
    let last = if damaged.pop() == Some('a') { 'b' } else { 'a' };
    damaged.push(last);
    for key in [mixed, damaged, format!("tdg_unknown1_{secret}"), format!("{}x", shop.text)] {
        assert_eq!(setup.refusal(&key).await, Reason::ApiKey, "{key}");
    }
    for key in ["tdg_", "tdg_x", "tdg__", "tdg_x_\u{e9}", &shop.text[..12], &format!("{} ", shop.text)] {
        assert_eq!(setup.refusal(key).await, Reason::Malformed, "{key}");
    }
}

#[tokio::test]
async fn the_name_of_another_key_is_another_publisher() {
    let [shop, crm, far] = ["shop", "crm", "far"].map(|name| ApiKey::generate(name).unwrap());
    let key = PrivateKey::ed25519();
    let PrivateKey::Own(own) = &key else { panic!() };
    let text = format!(
        "{}{}{}namespace = \"other\"\n[[issuer]]\niss = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\nkey_file = \"key\"\n",
        shop.table, crm.table, far.table
    );
    let setup = open(&[("auth.toml", &text), ("key", &own.public_pem().unwrap())]).unwrap();
    let shop = setup.principal(&shop.text).await.unwrap();
    let is_other = |principal: Option<&Principal>, name: &str| setup.auth.is_other_publisher(principal, name);
    assert!(!is_other(Some(&shop), "shop") && is_other(Some(&shop), "crm"));
    assert!(!is_other(Some(&shop), "https://nobody.example"));
    assert!(!is_other(Some(&shop), "far"), "the names of another tenant's keys are not told");
    let token = setup.principal(&key.token(&claims(json!({ "sub": "crm" })))).await.unwrap();
    assert!(is_other(Some(&token), "crm") && is_other(None, "crm"));
}

#[tokio::test]
async fn without_a_credential_only_what_the_file_says_is_granted() {
    let setup = open(&[("auth.toml", "[anonymous]\nsubscribe = [\"cache-invalidate\"]\n")]).unwrap();
    let principal = setup.auth.anonymous().unwrap();
    assert!(principal.grants.subscribe(channel("cache-invalidate")).is_some() && !principal.grants.publishes());
    assert_eq!((&principal.identity, principal.source()), (&Identity::Anonymous, None));
    assert!(setup.auth.still_accepts(&principal));
    // A bad credential never becomes no credential.
    assert_eq!(setup.refusal("nonsense").await, Reason::Malformed);
}
