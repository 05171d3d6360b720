//! Tokens: what is accepted, and which check refuses what.

use super::*;

#[tokio::test]
async fn a_token_of_each_algorithm_is_accepted() {
    for key in [PrivateKey::ed25519(), PrivateKey::secret(), PrivateKey::rsa(), PrivateKey::p256()] {
        let setup = Setup::with_key(&key, "");
        let token = key.token(&claims(json!({ "jti": "t1", "tidings": { "subscribe": ["order-status"] } })));
        let principal = setup.principal(&token).await.unwrap();
        let Identity::Token(identity) = &principal.identity else { panic!("{principal:?}") };
        assert_eq!((&*identity.issuer, identity.subject.as_deref()), (ISSUER, Some("u1")));
        assert_eq!(identity.id.as_deref(), Some("t1"));
        assert!(principal.grants.subscribe(channel("order-status")).is_some() && !principal.grants.publishes());
        assert_eq!(principal.namespace, NamespaceId::FIRST);
        assert!(setup.principal(&(token.clone() + "A")).await.is_err());
        // One bit of the signature.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[7] ^= 1;
        let damaged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(setup.refusal(&damaged).await, Reason::Signature, "{}", key.algorithm());
    }
}

#[tokio::test]
async fn each_claim_is_checked() {
    let key = PrivateKey::ed25519();
    let setup = Setup::with_key(&key, "require = { \"/token_use\" = \"access\" }\n");
    let good = claims(json!({ "token_use": "access" }));
    setup.principal(&key.token(&good)).await.unwrap();
    let day = 24 * 60 * 60;
    for (more, reason) in [
        (json!({ "iss": null }), Reason::Issuer),
        (json!({ "iss": "https://issuer.example" }), Reason::Issuer),
        (json!({ "iss": "HTTPS://issuer.example/" }), Reason::Issuer),
        (json!({ "iss": [ISSUER] }), Reason::Claim),
        (json!({ "aud": null }), Reason::Audience),
        (json!({ "aud": [] }), Reason::Audience),
        (json!({ "aud": "https://bus.example/" }), Reason::Audience),
        (json!({ "aud": ["account"] }), Reason::Audience),
        (json!({ "aud": [AUDIENCE, 7] }), Reason::Audience),
        (json!({ "aud": { "0": AUDIENCE } }), Reason::Audience),
        (json!({ "exp": null }), Reason::Claim),
        (json!({ "exp": "9999999999" }), Reason::Claim),
        (json!({ "exp": true }), Reason::Claim),
        (json!({ "exp": [now() + 60] }), Reason::Claim),
        (json!({ "exp": 1e300 }), Reason::Claim),
        (json!({ "exp": -1 }), Reason::Expired),
        (json!({ "exp": 0 }), Reason::Expired),
        (json!({ "exp": now() - 31 }), Reason::Expired),
        (json!({ "nbf": now() + 60 }), Reason::NotYetValid),
        (json!({ "nbf": "x" }), Reason::Claim),
        (json!({ "nbf": "0" }), Reason::Claim),
        (json!({ "iat": "0" }), Reason::Claim),
        (json!({ "iat": null, "exp": now() + day + 60 }), Reason::Lifetime),
        (json!({ "iat": now() + 2 * day, "exp": now() + 2 * day }), Reason::Lifetime),
        (json!({ "iat": now() - day, "exp": now() + 60 }), Reason::Lifetime),
        (json!({ "sub": 7 }), Reason::Claim),
        (json!({ "sub": "" }), Reason::Claim),
        (json!({ "sub": "a\r\nb" }), Reason::Claim),
        (json!({ "jti": 7 }), Reason::Claim),
        (json!({ "token_use": null }), Reason::Required),
        (json!({ "token_use": "id" }), Reason::Required),
        (json!({ "tidings": { "subscribe": ["order-status"], "wehre": {} } }), Reason::Grants),
        (json!({ "tidings": [] }), Reason::Grants),
        (json!({ "tidings": { "subscribe": [{ "channel": "order-status", "where": {} }] } }), Reason::Grants),
        (json!({ "tidings": { "subscribe": [{ "channel": "order-status", "where": { "x": 1 } }] } }), Reason::Grants),
        (json!({ "tidings": { "subscribe": vec!["order-status"; 17] } }), Reason::Grants),
    ] {
        let mut all = json!({ "token_use": "access" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(setup.refusal(&key.token(&claims(all))).await, reason, "{more}");
    }
    for more in [
        json!({ "aud": ["account", AUDIENCE] }),
        json!({ "exp": now() as f64 + 600.5 }),
        json!({ "exp": now() - 20 }),
        json!({ "nbf": now() + 20 }),
        json!({ "nbf": now() as f64 - 0.5 }),
        json!({ "iat": now() + 3600 }),
        json!({ "iat": null, "sub": null }),
        json!({ "iat": now(), "exp": now() + day }),
        json!({ "tidings": {} }),
    ] {
        let mut all = json!({ "token_use": "access" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let result = setup.principal(&key.token(&claims(all))).await;
        assert!(result.is_ok(), "{more}: {result:?}");
    }
}

#[tokio::test]
async fn a_header_that_asks_for_more_is_refused() {
    let key = PrivateKey::ed25519();
    let setup = Setup::with_key(&key, "");
    let text = claims(json!({})).to_string();
    let jwk = key.jwk("own").to_string();
    for (header, reason) in [
        (r#"{"alg":"none"}"#.to_owned(), Reason::Algorithm),
        (r#"{"alg":"None"}"#.into(), Reason::Algorithm),
        (r#"{"alg":"HS256"}"#.into(), Reason::Algorithm),
        (r#"{"alg":"RS256"}"#.into(), Reason::Algorithm),
        (r#"{"alg":"RS512"}"#.into(), Reason::Algorithm),
        (r#"{"alg":"eddsa"}"#.into(), Reason::Algorithm),
        (r#"{"alg":["EdDSA"]}"#.into(), Reason::Malformed),
        (r#"{}"#.into(), Reason::Malformed),
        (r#"{"alg":"EdDSA","alg":"EdDSA"}"#.into(), Reason::Malformed),
        (r#"["EdDSA"]"#.into(), Reason::Malformed),
        (r#"{"alg":"EdDSA","crit":[]}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","crit":["exp"]}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","crit":null}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","b64":false,"crit":["b64"]}"#.into(), Reason::Header),
        (format!(r#"{{"alg":"EdDSA","jwk":{jwk}}}"#), Reason::Header),
        (r#"{"alg":"EdDSA","jku":"https://issuer.example/keys"}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","x5u":"https://issuer.example/keys"}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","x5c":[]}"#.into(), Reason::Header),
        (r#"{"alg":"EdDSA","kid":7}"#.into(), Reason::Malformed),
    ] {
        assert_eq!(setup.refusal(&key.sign(&header, &text)).await, reason, "{header}");
    }
    for header in [r#"{"alg":"EdDSA","typ":"at+jwt","kid":"any"}"#, r#"{"alg":"Ed25519","x5t":"x"}"#] {
        setup.principal(&key.sign(header, &text)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_a_token_is_refused() {
    let key = PrivateKey::ed25519();
    let setup = Setup::with_key(&key, "");
    let good = key.token(&claims(json!({})));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    for token in [
        String::new(),
        "x".into(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}=="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        good.replace('.', ".\u{e9}"),
        "\0".into(),
    ] {
        let reason = setup.refusal(&token).await;
        assert!([Reason::Malformed, Reason::Signature].contains(&reason), "{token}: {reason:?}");
    }
    for payload in ["", "null", "[]", "7", "{", "{\"iss\":1,\"iss\":1}", &"[".repeat(200), "\u{feff}{}"] {
        let token = key.sign(r#"{"alg":"EdDSA"}"#, payload);
        assert_eq!(setup.refusal(&token).await, Reason::Malformed, "{payload}");
    }
    let twice = claims(json!({})).to_string().replacen('{', "{\"sub\":\"u2\",", 1);
    assert_eq!(setup.refusal(&key.sign(r#"{"alg":"EdDSA"}"#, &twice)).await, Reason::Malformed);
    let long = key.token(&claims(json!({ "padding": "x".repeat(MAX_CREDENTIAL) })));
    assert_eq!(setup.refusal(&long).await, Reason::TooLong);
}

/// Two holes of other libraries: the public key as the secret of a MAC, and the key of one issuer for another.
#[tokio::test]
async fn a_key_verifies_for_its_issuer_and_its_algorithm_only() {
    let [one, other] = [PrivateKey::ed25519(), PrivateKey::ed25519()];
    let [one_jwk, other_jwk] = [&one, &other].map(|key| key.jwk("same").to_string());
    let issuer = |iss: &str, file: &str| {
        format!("[[issuer]]\niss = \"{iss}\"\naudience = [\"{AUDIENCE}\"]\nkey_file = \"{file}\"\n")
    };
    let text = [issuer(ISSUER, "one"), issuer("https://other.example", "other")].concat();
    let setup = open(&[("auth.toml", &text), ("one", &one_jwk), ("other", &other_jwk)]).unwrap();
    let header = r#"{"alg":"EdDSA","kid":"same"}"#;
    setup.principal(&one.sign(header, &claims(json!({})).to_string())).await.unwrap();
    assert_eq!(setup.refusal(&other.sign(header, &claims(json!({})).to_string())).await, Reason::Signature);
    let unknown = one.sign(r#"{"alg":"EdDSA","kid":"another"}"#, &claims(json!({})).to_string());
    assert_eq!(setup.refusal(&unknown).await, Reason::UnknownKey);

    let rsa = PrivateKey::rsa();
    let setup = Setup::with_key(&rsa, "");
    let public = rsa.jwk("k1");
    for secret in [public.to_string().into_bytes(), URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap()] {
        let mac = SigningKey::from_secret(&secret).unwrap();
        assert_eq!(setup.refusal(&mac.sign(&claims(json!({})).to_string())).await, Reason::Algorithm);
    }
}

#[tokio::test]
async fn a_token_ends_at_exp_and_the_clock_skew() {
    let key = PrivateKey::ed25519();
    let text = |skew: &str| {
        format!(
            "clock_skew = \"{skew}\"\n[[issuer]]\niss = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\nkey_file = \"key\"\n"
        )
    };
    let PrivateKey::Own(own) = &key else { panic!() };
    let begin = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let token = key.token(&claims(json!({ "iat": 1_999_999_000, "nbf": 2_000_000_000, "exp": 2_000_000_100 })));
    for (skew, seconds) in [("30s", 30), ("0s", 0), ("2m", 120)] {
        let setup = open(&[("auth.toml", &text(skew)), ("key", &own.public_pem().unwrap())]).unwrap();
        assert_eq!(setup.auth.longest_validity(), Duration::from_secs(24 * 60 * 60 + 2 * seconds));
        let skew = Duration::from_secs(seconds);
        let at =
            async |time: SystemTime| setup.auth.authenticate(&token, time).await.map_err(|refusal| refusal.reason());
        let tick = Duration::from_millis(1);
        assert_eq!(at(begin - skew - Duration::from_secs(1)).await.err(), Some(Reason::NotYetValid));
        let principal = at(begin - skew).await.unwrap();
        let end = begin + Duration::from_secs(100) + skew;
        assert_eq!(principal.expires, Some(end));
        assert_eq!(principal.remaining(begin), Some(Duration::from_secs(100) + skew));
        assert!(at(end - tick).await.is_ok());
        assert_eq!(at(end).await.err(), Some(Reason::Expired));
        // A clock that is put back a little revives nothing.
        assert_eq!(at(end - tick).await.err(), Some(Reason::Expired));
        assert!(at(end - Duration::from_secs(2 * 60 * 60)).await.is_err_and(|reason| reason == Reason::NotYetValid));
    }
}

#[tokio::test]
async fn a_good_token_is_verified_once_and_a_bad_one_is_not_remembered() {
    let key = PrivateKey::ed25519();
    let setup = Setup::with_key(&key, "");
    let grants = json!({ "tidings": { "subscribe": ["order-status"] } });
    let token = key.token(&claims(grants.clone()));
    let first = setup.principal(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &setup.principal(&token).await.unwrap()));
    let mut other = claims(grants);
    other["sub"] = "u2".into();
    let second = setup.principal(&key.token(&other)).await.unwrap();
    assert!(Arc::ptr_eq(&first.grants, &second.grants), "equal grants are shared");
    assert_eq!(setup.auth.tokens.len(), 2);
    for n in 0..1_000 {
        let bad = key.token(&claims(json!({ "sub": n.to_string(), "aud": "other" })));
        assert_eq!(setup.refusal(&bad).await, Reason::Audience);
    }
    assert_eq!(setup.auth.tokens.len(), 2);
    assert!(setup.auth.metrics.prometheus().contains("tidings_auth_refusals_total{reason=\"audience\"} 1000"));
}
