//! `auth.toml`: every mistake is found, with its place.

use super::*;

/// The mistakes in a file, without its path.
fn mistakes(text: &str, more: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.toml");
    fs::write(&file, text).unwrap();
    for (name, text) in more {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let prefix = format!("{}:", file.display());
    let folder = format!("{}/", folder.path().display());
    match check(&file, &Catalog::builtin()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|text| text.replace(&prefix, "").replace(&folder, "")).collect(),
    }
}

/// An issuer with a good key file, and these lines.
fn issuer(lines: &str) -> Vec<String> {
    let (_, public) = SigningKey::generate_ed25519().unwrap();
    mistakes(&format!("[[issuer]]\niss = \"i\"\naudience = [\"a\"]\nkey_file = \"key\"\n{lines}"), &[("key", &public)])
}

/// An API key with these lines.
fn key(lines: &str) -> Vec<String> {
    mistakes(&format!("{}{lines}", ApiKey::generate("n").unwrap().table), &[])
}

#[test]
fn each_mistake_is_named_with_its_line_and_key() {
    for (found, expected) in [
        (mistakes("isuer = 1\n[anonymous]\n", &[]), vec![r#"1: unknown key "isuer"; did you mean `issuer`?"#]),
        (mistakes("a = \n", &[]), vec!["1: not TOML: "]),
        (mistakes("clock_skew = \"3m\"", &[]), vec!["1: clock_skew: this is from 0 s to 120 s"]),
        (mistakes("clock_skew = 30", &[]), vec!["1: clock_skew: this is a string"]),
        (mistakes("max_lifetime = \"0s\"", &[]), vec!["1: max_lifetime: this is from 1 s"]),
        (mistakes("max_lifetime = \"soon\"", &[]), vec!["1: max_lifetime: expected a duration"]),
        (mistakes("issuer = 1", &[]), vec!["1: issuer: this is a list of tables: write [[issuer]]"]),
        (mistakes("[issuer]\niss = \"a\"", &[]), vec!["issuer: this is a list of tables"]),
        (mistakes("[anonymous]\nsubscribe = \"a\"", &[]), vec!["2: anonymous.subscribe: this is a list of channels"]),
        (
            mistakes("[anonymous]\nsubscribe = [\"a*b\",\n 7,\n { channel = \"order-status\", wehre = {} }]", &[]),
            vec![
                "2: anonymous.subscribe[0]: a channel's name has a `*`",
                "3: anonymous.subscribe[1]: an entry is a channel's name",
                "4: anonymous.subscribe[2].wehre: an entry has no such member",
            ],
        ),
        (
            mistakes("[anonymous]\nsubscribe = [{ channel = \"order-status\", where = { customerid = \"u\" } }]", &[]),
            vec!["2: anonymous.subscribe[0].where.customerid: order-status has no field"],
        ),
        (
            mistakes("[anonymous]\nsubscribe = [{ channel = \"*\", where = { a = 2020-01-01 } }]", &[]),
            vec!["2: anonymous.subscribe[0]: a date is not possible here"],
        ),
        (
            mistakes("[anonymous]\nsubscribe = [{ channel = \"*\", where = { a = { claim = \"/sub\" } } }]", &[]),
            vec!["2: anonymous.subscribe[0].where.a: only a rule of an issuer can use a claim"],
        ),
        (mistakes("[anonymous]\nadmin = [\"all\"]", &[]), vec!["2: anonymous.admin.0: there is no such right"]),
        (
            mistakes("[[issuer]]\n", &[]),
            vec![
                "1: issuer[0]: `iss` is missing",
                "1: issuer[0]: `audience` is missing",
                "1: issuer[0]: exactly one of `jwks`, `key_file` and `secret_file`",
            ],
        ),
        (issuer("jwks = \"https://a.example\""), vec!["issuer[0]: exactly one of"]),
        (issuer("algorithms = [\"RS256\"]"), vec!["5: issuer[0].algorithms: the keys cannot verify \"RS256\""]),
        (issuer("algorithms = [\"none\"]"), vec!["5: issuer[0].algorithms: the keys cannot verify \"none\""]),
        (issuer("algorithms = []"), vec!["5: issuer[0].algorithms: this list is empty"]),
        (
            issuer("audience_claim = \"client_id\""),
            vec!["audience_claim: a claim is named by a JSON Pointer, such as \"/client_id\""],
        ),
        (
            issuer("grants = \"/user_metadata/tidings\""),
            vec!["grants: users write `user_metadata` into their own tokens"],
        ),
        (issuer("require = { }"), vec!["5: issuer[0].require: this has no condition"]),
        (issuer("require = { \"/a\" = [] }"), vec!["an empty list of values never holds"]),
        (issuer("require = { \"/a\" = { prefix = \"\" } }"), vec!["a prefix is a string that is not empty"]),
        (issuer("require = { \"/a\" = { prefx = \"a\" } }"), vec!["write a value, a list of values, or { prefix"]),
        (issuer("require = { \"/a~\" = 1 }"), vec!["in a JSON Pointer `~` is written ~0"]),
        (issuer("namespace = \"Shop\""), vec!["5: issuer[0].namespace: the name of a namespace has 1 to 64"]),
        (issuer("namespace = \"a:b\""), vec!["the name of a namespace"]),
        (issuer("namespace_claim = \"/org\""), vec!["issuer[0]: a namespace is chosen by `namespace`, or by"]),
        (
            issuer("namespace_claim = \"/org\"\nnamespaces = [\"a\"]\nnamespace = \"a\""),
            vec!["a namespace is chosen by"],
        ),
        (issuer("[[issuer.rule]]\n"), vec!["issuer[0].rule[0]: this rule grants nothing"]),
        (
            issuer("[[issuer.rule]]\npublih = []\nadmin = []"),
            vec!["6: issuer[0].rule[0]: unknown key \"publih\"; did you mean `publish`?"],
        ),
        (
            issuer("[[issuer.rule]]\nwhen = { \"/unsafeMetadata/role\" = \"a\" }\nadmin = [\"nodes\"]"),
            vec!["6: issuer[0].rule[0].when.\"/unsafeMetadata/role\": users write `unsafeMetadata`"],
        ),
        (
            issuer(
                "[[issuer.rule]]\nsubscribe = [{ channel = \"order-status\", where = { customerid = { claim = \"/sub\" } } }]",
            ),
            vec!["6: issuer[0].rule[0].subscribe[0].where.customerid: "],
        ),
        (
            issuer(
                "[[issuer.rule]]\nsubscribe = [{ channel = \"order-*\", where = { customerId = { claim = \"sub\" } } }]",
            ),
            vec!["where.customerId: a claim is named by a JSON Pointer, such as \"/sub\""],
        ),
        (
            issuer(
                "[[issuer.rule]]\nsubscribe = [{ channel = \"order-status\", where = { customerId = { prefix = { claim = \"/sub\" } } } }]",
            ),
            vec!["the prefix must be a string"],
        ),
        (
            issuer("[[issuer]]\niss = \"i\"\naudience = [\"a\"]\nkey_file = \"key\""),
            vec!["issuer[1]: another issuer has the same `iss`"],
        ),
        (key("hash = 1"), vec!["not TOML: duplicate key"]),
        (key("subscribe = [\"*a\"]"), vec!["key[0].subscribe[0]: a channel's name has a `*` at its end only"]),
        (
            mistakes("[[key]]\nid = \"a b\"\nhash = \"tdg_secret\"\nname = \"a b\"", &[]),
            vec![
                "2: key[0].id: the id of a key has",
                "3: key[0].hash: expected sha256:",
                "4: key[0].name: a key's name is the `source`",
            ],
        ),
    ] {
        assert!(found.len() >= expected.len(), "{expected:?}: {found:?}");
        for mistake in &expected {
            assert!(found.iter().any(|text| text.contains(mistake)), "{mistake}: {found:?}");
        }
    }
    let secret = mistakes("[[key]]\nid = \"a\"\nhash = \"tdg_secret\"\nname = \"a\"", &[]);
    assert!(!secret.concat().contains("tdg_secret"));
    let one = ApiKey::generate("a").unwrap().table;
    assert!(mistakes(&[&*one, &one].concat(), &[])[0].contains("key[1]: another key has the same `id`"));
}

#[test]
fn a_file_that_is_no_key_is_refused() {
    let (private, public) = SigningKey::generate_ed25519().unwrap();
    let of = |source: &str, content: &str| {
        let text = format!("[[issuer]]\niss = \"i\"\naudience = [\"a\"]\n{source} = \"key\"\n");
        mistakes(&text, &[("key", content)]).concat()
    };
    for (source, content, mistake) in [
        ("key_file", "", "4: issuer[0].key_file: key: there is no key in it"),
        ("key_file", &private, "this is a private key"),
        ("key_file", include_str!("rsa.pem"), "this is a private key"),
        ("key_file", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "this is a certificate"),
        ("key_file", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "of another kind than"),
        ("key_file", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "not a well-formed PEM file"),
        ("key_file", "{", "it is not JSON"),
        ("key_file", "{\"keys\": 1}", "`keys` is not an array"),
        ("key_file", "{}", "`kty` is missing"),
        ("key_file", r#"{"kty":"oct","k":"AAAA"}"#, "this is a secret (`oct`)"),
        ("key_file", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "an RSA key has 2048 to 8192 bits, not 17"),
        (
            "key_file",
            r#"{"kty":"EC","crv":"P-384","x":"","y":""}"#,
            "keys of the kind \"EC\" on \"P-384\" are not used",
        ),
        ("key_file", r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, "an Ed25519 key has 32 bytes"),
        ("secret_file", &public, "this is a PEM file, and not a secret"),
        ("secret_file", "short\n", "a secret for HS256 has at least 32 bytes, not 5"),
        ("secret_file", r#"{"kty":"RSA","n":"AQABAQABAQABAQABAQABAQAB"}"#, "this is a JSON Web Key"),
    ] {
        let found = of(source, content);
        assert!(found.contains(mistake), "{content}: {found}");
    }
    // A secret of 32 bytes, with the newline of an editor.
    assert_eq!(of("secret_file", "a secret of exactly thirty-two b\n"), "");
    assert!(of("secret_file", "a secret of exactly thirty-one \n").contains("not 31"));
    assert_eq!(of("key_file", &public), "");
    let missing = mistakes("[[issuer]]\niss = \"i\"\naudience = [\"a\"]\nkey_file = \"none\"\n", &[]).concat();
    assert!(missing.contains("issuer[0].key_file: none: there is no such file"), "{missing}");
}

#[test]
fn keys_are_fetched_from_https_only() {
    for (url, allowed) in [
        ("https://issuer.example/keys", true),
        ("https://issuer.example:8443/keys?tenant=1", true),
        ("http://127.0.0.1:8080/keys", true),
        ("http://localhost/keys", true),
        ("http://[::1]/keys", true),
        ("http://issuer.example/keys", false),
        ("http://localhost.example/keys", false),
        ("http://127.0.0.1.example/keys", false),
        ("https://user@issuer.example/keys", false),
        ("https://user:secret@issuer.example/keys", false),
        ("https://issuer.example/keys#x", false),
        ("file:///etc/keys", false),
        ("ftp://issuer.example/keys", false),
        ("issuer.example/keys", false),
        ("", false),
    ] {
        let text = format!("[[issuer]]\niss = \"i\"\naudience = [\"a\"]\njwks = \"{url}\"\n");
        assert_eq!(mistakes(&text, &[]).is_empty(), allowed, "{url}: {:?}", mistakes(&text, &[]));
    }
    let hs = "[[issuer]]\niss = \"i\"\naudience = [\"a\"]\njwks = \"https://a.example\"\nalgorithms = [\"HS256\"]\n";
    assert!(mistakes(hs, &[]).concat().contains("the keys cannot verify \"HS256\""));
}

#[test]
fn what_is_suspicious_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.toml");
    let warnings = |text: &str| {
        fs::write(&file, text).unwrap();
        check(&file, &Catalog::builtin()).unwrap().warnings.concat()
    };
    assert!(warnings("").contains("nobody may do anything"));
    let misspelt = warnings("[anonymous]\nsubscribe = [\"order-statu\"]\n");
    assert!(misspelt.contains(":2: anonymous.subscribe[0]: there is no channel \"order-statu\""), "{misspelt}");
    assert!(misspelt.contains("did you mean `order-status`?"), "{misspelt}");
    assert!(
        warnings("[anonymous]\nadmin = [\"nodes\"]\n").contains("everybody who reaches the daemon has these rights")
    );
    assert_eq!(warnings("[anonymous]\nsubscribe = [\"order-*\", \"none-*\"]\n"), "");
    let missing = check(&folder.path().join("none.toml"), &Catalog::builtin()).unwrap_err().concat();
    assert!(missing.contains("none.toml: there is no such file"), "{missing}");
}

/// Any text: it is read or refused, and never panics.
#[test]
fn any_change_of_a_good_file_is_read_or_refused() {
    let text = include_str!("../../../docs/security.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    let catalog = Catalog::builtin();
    for block in blocks {
        for at in (0..block.len()).filter(|at| block.is_char_boundary(*at)).step_by(3) {
            for change in [
                &block[..at],
                &[&block[..at], "\"", &block[at..]].concat(),
                &[&block[..at], "[]", &block[at..]].concat(),
            ] {
                let read = file::read(Path::new("auth.toml"), change, &catalog);
                assert!(read.file.is_ok() || read.file.is_err_and(|mistakes| !mistakes.is_empty()));
            }
        }
    }
}
