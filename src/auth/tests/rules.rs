//! Rules: what the claims of an identity provider grant.

use super::*;

/// An issuer with these rules, and its key.
fn issuer(rules: &str) -> (Setup, PrivateKey) {
    let key = PrivateKey::ed25519();
    (Setup::with_key(&key, rules), key)
}

#[tokio::test]
async fn a_claim_is_a_literal_in_a_pin() {
    let (setup, key) = issuer(
        r#"[[issuer.rule]]
        when = { "/scope" = "orders:read" }
        subscribe = [{ channel = "order-status", where = { customerId = { claim = "/ids" } } }]"#,
    );
    for (more, own, others) in [
        (json!({ "ids": "u1" }), true, false),
        (json!({ "ids": ["u1", "u2"] }), true, true),
        (json!({ "ids": "*" }), false, false),
        (json!({ "ids": "u*" }), false, false),
        (json!({ "ids": "" }), false, false),
        (json!({ "ids": [] }), false, false),
        (json!({ "ids": {} }), false, false),
        (json!({ "ids": { "prefix": "" } }), false, false),
        (json!({ "ids": { "prefix": "u" } }), false, false),
        (json!({ "ids": ["u1", ""] }), false, false),
        (json!({ "ids": ["u1", null] }), false, false),
        (json!({ "ids": [["u1"]] }), false, false),
        (json!({}), false, false),
    ] {
        let mut all = claims(json!({ "scope": "profile orders:read" }));
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let principal = setup.principal(&key.token(&all)).await.unwrap();
        assert_eq!(gets(&principal, "order-status", json!({ "customerId": "u1" })), own, "{more}");
        assert_eq!(gets(&principal, "order-status", json!({ "customerId": "u2" })), others, "{more}");
        assert!(!gets(&principal, "order-status", json!({})), "{more}");
    }
    // `null` in the claims, which the helper leaves out.
    let text = claims(json!({ "scope": "orders:read" })).to_string().replacen('{', "{\"ids\":null,", 1);
    let principal = setup.principal(&key.sign(r#"{"alg":"EdDSA"}"#, &text)).await.unwrap();
    assert!(!principal.grants.subscribes());
    // A value that the field cannot have refuses the token.
    let token = key.token(&claims(json!({ "scope": "orders:read", "ids": 7 })));
    assert_eq!(setup.refusal(&token).await, Reason::Grants);
}

#[tokio::test]
async fn conditions_are_tested_as_filters_are() {
    for (when, more, holds) in [
        (r#""/scope" = "a""#, json!({ "scope": "b a" }), true),
        (r#""/scope" = "a""#, json!({ "scope": "ab" }), false),
        (r#""/scope" = "a""#, json!({ "scope": ["a"] }), true),
        (r#""/scp" = "a""#, json!({ "scp": "a b" }), true),
        (r#""/scope" = "a b""#, json!({ "scope": "a b" }), false),
        (r#""/roles" = "a""#, json!({ "roles": "a b" }), false),
        (r#""/roles" = "a""#, json!({ "roles": ["b", "a"] }), true),
        (r#""/roles" = ["a", "c"]"#, json!({ "roles": ["b", "c"] }), true),
        (r#""/roles" = { prefix = "bus:" }"#, json!({ "roles": ["x", "bus:read"] }), true),
        (r#""/roles" = { prefix = "bus:" }"#, json!({ "roles": ["x"] }), false),
        (r#""/n" = 5"#, json!({ "n": 5.0 }), true),
        (r#""/n" = 1.5"#, json!({ "n": 1.5 }), true),
        (r#""/n" = 5"#, json!({ "n": "5" }), false),
        (r#""/verified" = true"#, json!({ "verified": true }), true),
        (r#""/verified" = true"#, json!({ "verified": "true" }), false),
        (r#""/realm_access/roles" = "r""#, json!({ "realm_access": { "roles": ["r"] } }), true),
        (r#""/cognito:groups" = "g""#, json!({ "cognito:groups": ["g"] }), true),
        (r#""/https:~1~1a.example~1roles" = "r""#, json!({ "https://a.example/roles": ["r"] }), true),
        (r#""/roles/0" = "a""#, json!({ "roles": ["a"] }), true),
        (r#""/roles/00" = "a""#, json!({ "roles": ["a"] }), false),
        (r#""/missing" = "a""#, json!({}), false),
        (r#""/roles" = "a""#, json!({ "roles": { "a": "a" } }), false),
        (r#""/a" = "x", "/b" = "y""#, json!({ "a": "x" }), false),
        (r#""/a" = "x", "/b" = "y""#, json!({ "a": "x", "b": "y" }), true),
    ] {
        let (setup, key) = issuer(&format!("[[issuer.rule]]\nwhen = {{ {when} }}\npublish = [\"order-*\"]"));
        let principal = setup.principal(&key.token(&claims(more.clone()))).await.unwrap();
        assert_eq!(principal.grants.publishes(), holds, "{when}: {more}");
    }
}

#[tokio::test]
async fn what_rules_and_the_own_claim_grant_is_added() {
    let rules = r#"
        [[issuer.rule]]
        subscribe = ["order-status"]
        [[issuer.rule]]
        when = { "/admin" = true }
        admin = ["nodes"]"#;
    let own = json!({ "tidings": { "subscribe": ["inventory-change"] }, "admin": true });
    for (grants, counts) in
        [("", [true, true]), ("grants = \"\"\n", [true, false]), ("grants = \"/other\"\n", [true, false])]
    {
        let (setup, key) = issuer(&[grants, rules].concat());
        let principal = setup.principal(&key.token(&claims(own.clone()))).await.unwrap();
        let subscribes =
            ["order-status", "inventory-change"].map(|name| principal.grants.subscribe(channel(name)).is_some());
        assert_eq!(subscribes, counts, "{grants}");
        assert!(principal.grants.has(crate::access::AdminRight::Nodes));
    }
}

#[tokio::test]
async fn a_token_chooses_among_the_namespaces_of_its_issuer() {
    let (setup, key) = issuer("namespace_claim = \"/org\"\nnamespaces = [\"shop\", \"crm\"]\n");
    assert_eq!(setup.auth.namespaces(), ["default", "shop", "crm"]);
    for (org, namespace) in [("shop", 1), ("crm", 2)] {
        let principal = setup.principal(&key.token(&claims(json!({ "org": org })))).await.unwrap();
        assert_eq!(principal.namespace, NamespaceId(namespace));
    }
    for org in [json!("default"), json!("other"), json!(["shop"]), json!(""), json!(1), Value::Null] {
        assert_eq!(setup.refusal(&key.token(&claims(json!({ "org": org })))).await, Reason::Namespace, "{org}");
    }
    let (setup, key) = issuer("namespace = \"shop\"\n");
    let principal = setup.principal(&key.token(&claims(json!({ "org": "crm" })))).await.unwrap();
    assert_eq!(principal.namespace, NamespaceId(1));
}

#[tokio::test]
async fn another_claim_can_name_the_audience() {
    let (setup, key) = issuer("audience_claim = \"/client_id\"\n");
    setup.principal(&key.token(&claims(json!({ "aud": null, "client_id": AUDIENCE })))).await.unwrap();
    assert_eq!(setup.refusal(&key.token(&claims(json!({})))).await, Reason::Audience);
}
