//! Test vectors of others.

use super::*;
use crate::auth::keys::KeySet;

/// The key of a vector: a secret for HS256, or a public key. `None` for one that is not used here.
fn key_set(jwk: &Value) -> Option<KeySet> {
    match jwk["kty"].as_str() {
        Some("oct") => KeySet::from_secret(&URL_SAFE_NO_PAD.decode(jwk["k"].as_str()?).ok()?).ok(),
        _ => KeySet::from_file(jwk.to_string().as_bytes()).ok(),
    }
}

fn is_verified(jwk: &Value, token: &str) -> bool {
    let Ok(jws) = Jws::parse(token) else { return false };
    key_set(jwk).is_some_and(|keys| keys.signer(&jws).is_some())
}

/// The examples of RFC 7515, appendix A.1 and A.3, and of RFC 8037, appendix A.4.
#[test]
fn the_examples_of_the_standards_are_verified() {
    for (jwk, token) in [
        (
            json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvb\
             S9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }),
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf\
             Q.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4i\
             ylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        assert!(is_verified(&jwk, token), "{token}");
        let last = token.len() - 20;
        let damaged = [&token[..last], if &token[last..=last] == "A" { "B" } else { "A" }, &token[last + 1..]].concat();
        assert!(!is_verified(&jwk, &damaged), "{damaged}");
    }
}

/// Project Wycheproof's vectors for JSON Web Signatures: `testvectors_v1/json_web_signature_test.json` of
/// <https://github.com/C2SP/wycheproof> (Apache-2.0).
#[test]
#[ignore = "TIDINGS_WYCHEPROOF must name the file json_web_signature_test.json"]
fn wycheproof_agrees() {
    // Characters that base64url does not have are skipped by some verifiers; here they are refused.
    const STRICTER: [u64; 2] = [372, 373];
    // They are letter for letter the valid vector 357: the padding that they are named for is not there.
    const CONTRADICTIONS: [u64; 2] = [367, 370];
    let path = std::env::var("TIDINGS_WYCHEPROOF").unwrap();
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let (mut valid, mut invalid, mut unused) = (0, 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let jwk = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        for test in group["tests"].as_array().unwrap() {
            let token = test["jws"].as_str().unwrap_or_default();
            let id = test["tcId"].as_u64().unwrap();
            let verified = is_verified(jwk, token);
            match test["result"].as_str().unwrap() {
                "valid" if verified => valid += 1,
                "valid" => {
                    let other_algorithm = Jws::parse(token).is_err_and(|cause| cause.reason == Reason::Algorithm);
                    assert!(other_algorithm || key_set(jwk).is_none() || STRICTER.contains(&id), "{test}");
                    unused += 1;
                }
                _ if CONTRADICTIONS.contains(&id) => unused += 1,
                _ => {
                    assert!(!verified, "{test}");
                    invalid += 1;
                }
            }
        }
    }
    println!("{valid} valid and verified, {invalid} invalid and refused, {unused} not used");
    assert_eq!(valid + invalid + unused, vectors["numberOfTests"].as_i64().unwrap());
}
