//! `docs/security.md`: each file in it works for tokens of the shape that it shows.

use super::*;
use crate::auth::issuer::Keys;
use crate::auth::keys::KeySet;

const PAGE: &str = include_str!("../../../docs/security.md");

/// The heading, the file, and the claims of each provider.
fn providers() -> Vec<(&'static str, &'static str, Value)> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("Files that work")).unwrap();
    let block = |text: &'static str, language: &str| {
        let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let parts = section.split("\n### ").skip(1);
    parts
        .map(|part| {
            (part.lines().next().unwrap(), block(part, "toml"), serde_json::from_str(block(part, "json")).unwrap())
        })
        .collect()
}

/// Moves the times of the token to now.
fn fresh(mut claims: Value) -> Value {
    let shift = now() - claims["iat"].as_i64().unwrap();
    for name in ["iat", "exp", "nbf", "auth_time"] {
        if let Some(time) = claims[name].as_i64() {
            claims[name] = (time + shift).into();
        }
    }
    claims
}

#[tokio::test]
async fn each_file_works_for_tokens_of_its_shape() {
    let mut seen = Vec::new();
    for (name, text, claims) in providers() {
        let key = match text.split_once("algorithms = [\"").unwrap().1.split('"').next().unwrap() {
            "RS256" => PrivateKey::rsa(),
            "ES256" => PrivateKey::p256(),
            "EdDSA" => PrivateKey::ed25519(),
            other => panic!("{other}"),
        };
        let public = match &key {
            PrivateKey::Own(own) => own.public_pem().unwrap(),
            _ => String::new(),
        };
        let setup = open(&[("auth.toml", text), ("tidings-public.pem", &public)])
            .unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        let issuer = setup.auth.current.load().issuer(claims["iss"].as_str().unwrap()).unwrap().clone();
        if let Keys::Jwks(keys) = &issuer.keys {
            keys.preload(KeySet::from_file(key.jwk("k1").to_string().as_bytes()).unwrap());
        }
        let sign =
            |claims: &Value| key.sign(&format!(r#"{{"alg":"{}","kid":"k1"}}"#, key.algorithm()), &claims.to_string());
        let claims = fresh(claims);
        let customer = setup.principal(&sign(&claims)).await.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        let own = claims["app_metadata"]["customer_id"].as_str().or(claims["oid"].as_str()).or(claims["sub"].as_str());
        assert!(gets(&customer, "order-status", json!({ "customerId": own })), "{name}");
        assert!(!gets(&customer, "order-status", json!({ "customerId": "somebody else" })), "{name}");
        assert!(!customer.grants.publishes() && !gets(&customer, "inventory-change", json!({})), "{name}");

        let with = |pointer: &str, value: Value| {
            let mut claims = claims.clone();
            let mut at = &mut claims;
            for step in pointer.split('/') {
                at = &mut at[step];
            }
            *at = value;
            claims
        };
        let (staff, other) = match name {
            "Auth0" => (with("permissions", json!(["orders:read-all"])), with("aud", json!("https://other.example"))),
            "Clerk" => (with("metadata/role", json!("staff")), with("azp", json!("https://evil.example"))),
            "Keycloak" => {
                (with("resource_access/tidings", json!({ "roles": ["staff"] })), with("aud", json!("account")))
            }
            "Supabase" => (with("app_metadata/role", json!("staff")), with("role", json!("anon"))),
            "Firebase" => (with("role", json!("staff")), with("aud", json!("other-project"))),
            "Cognito" => (with("cognito:groups", json!(["staff"])), with("token_use", json!("id"))),
            "Entra" => (with("roles", json!(["staff"])), with("ver", json!("1.0"))),
            "No provider" => {
                (with("tidings", json!({ "subscribe": ["order-*"] })), with("tidings", json!({ "subscibe": [] })))
            }
            other => panic!("{other} has no test"),
        };
        let staff = setup.principal(&sign(&staff)).await.unwrap();
        assert!(gets(&staff, "order-status", json!({ "customerId": "somebody else" })), "{name}");
        setup.refusal(&sign(&other)).await;
        seen.push(name);
    }
    assert_eq!(seen, ["Auth0", "Clerk", "Keycloak", "Supabase", "Firebase", "Cognito", "Entra", "No provider"]);
}

/// The page lists every reason, and no other.
#[test]
fn every_reason_is_described() {
    let (_, section) = PAGE.split_once("| `reason` | the check |").unwrap();
    let mut described: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|names| names.split(", ").map(|name| name.trim_matches('`')))
        .collect();
    let mut labels = Reason::ALL.map(Reason::label).to_vec();
    labels.sort_unstable();
    described.sort_unstable();
    assert_eq!(described, labels);
}
