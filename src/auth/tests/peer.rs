//! Verdicts beside those of an independent implementation, `jose`, over thousands of tokens, good and bad.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const TOKENS: usize = 4_000;

/// What is done to a good token.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    /// One bit of the signature.
    SignatureBit,
    /// Fewer or more bytes of the signature.
    SignatureLength,
    /// Claims that were not signed.
    Payload,
    /// The key of somebody else.
    OtherKey,
    Algorithm,
    Expiry,
    Begin,
    Issuer,
    Audience,
    Missing,
    Type,
    // From here on, jose is laxer on purpose or by choice: these must be refused here.
    Extension,
    OwnKey,
    Twice,
    Padding,
    Lifetime,
    SubjectType,
}

const CHANGES: [Change; 18] = [
    Change::Nothing,
    Change::SignatureBit,
    Change::SignatureLength,
    Change::Payload,
    Change::OtherKey,
    Change::Algorithm,
    Change::Expiry,
    Change::Begin,
    Change::Issuer,
    Change::Audience,
    Change::Missing,
    Change::Type,
    Change::Extension,
    Change::OwnKey,
    Change::Twice,
    Change::Padding,
    Change::Lifetime,
    Change::SubjectType,
];

impl Change {
    fn is_stricter_here(self) -> bool {
        CHANGES.iter().position(|change| *change == self)
            >= CHANGES.iter().position(|change| *change == Self::Extension)
    }
}

fn pick<'a, T>(dice: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[dice.random_range(0..all.len())]
}

/// A token with this change.
fn changed(dice: &mut StdRng, change: Change, key: &PrivateKey, other: &PrivateKey, now: i64) -> String {
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "iat": now, "exp": now + 600 });
    let mut header = json!({ "alg": key.algorithm() });
    match change {
        Change::Expiry => claims["exp"] = (now + dice.random_range(-35..-25)).into(),
        Change::Begin => claims["nbf"] = (now + dice.random_range(25..35)).into(),
        Change::Issuer => {
            claims["iss"] = pick(dice, &[json!("https://issuer.example"), json!(""), json!([ISSUER])]).clone();
        }
        Change::Audience => {
            let all =
                [json!("x"), json!(["x", AUDIENCE]), json!([]), json!([AUDIENCE]), json!(["x"]), json!({}), json!(7)];
            claims["aud"] = pick(dice, &all).clone();
        }
        Change::Missing => {
            let name = *pick(dice, &["iss", "aud", "exp", "sub", "iat"]);
            claims.as_object_mut().unwrap().remove(name);
        }
        Change::Type => {
            let name = *pick(dice, &["exp", "nbf"]);
            let values = [json!("1"), json!(true), json!([1]), json!({}), json!((now + 600).to_string())];
            claims[name] = pick(dice, &values).clone();
        }
        Change::Algorithm => {
            let names = ["none", "HS256", "RS256", "ES256", "EdDSA", "HS512", "PS256", "", "hs256"];
            header["alg"] = (*pick(dice, &names)).into();
        }
        Change::Extension => {
            header["crit"] = pick(dice, &[json!([]), json!(["b64"]), json!(["exp"]), json!(7)]).clone();
            header["b64"] = true.into();
        }
        Change::OwnKey => header[*pick(dice, &["jwk", "jku", "x5u"])] = "https://issuer.example".into(),
        Change::Lifetime => claims["exp"] = (now + 24 * 60 * 60 + dice.random_range(31..1_000)).into(),
        Change::SubjectType => claims["sub"] = pick(dice, &[json!(7), json!(["u1"]), json!("\n")]).clone(),
        _ => {}
    }
    let mut text = claims.to_string();
    if change == Change::Twice {
        text = text.replacen('{', "{\"sub\":\"u2\",", 1);
    }
    let signer = if change == Change::OtherKey { other } else { key };
    let token = signer.sign(&header.to_string(), &text);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    match change {
        Change::SignatureBit => {
            let at = dice.random_range(0..bytes.len());
            bytes[at] ^= 1 << dice.random_range(0..8);
        }
        Change::SignatureLength => match dice.random_range(0..3) {
            0 => bytes.truncate(dice.random_range(0..bytes.len())),
            1 => bytes.push(0),
            _ => bytes.insert(0, 0),
        },
        _ => {}
    }
    let signature = URL_SAFE_NO_PAD.encode(bytes);
    match change {
        Change::Payload => {
            claims["sub"] = "u2".into();
            let (header, _) = signed.split_once('.').unwrap();
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
        }
        Change::Padding => format!("{signed}.{signature}="),
        _ => format!("{signed}.{signature}"),
    }
}

#[tokio::test]
async fn verdicts_are_those_of_jose() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jose");
    assert!(folder.join("node_modules").exists(), "{} has no packages: make setup installs them", folder.display());
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(13);
    let mut dice = StdRng::seed_from_u64(seed);
    let pairs = [
        (PrivateKey::ed25519(), PrivateKey::ed25519()),
        (PrivateKey::p256(), PrivateKey::p256()),
        (PrivateKey::rsa(), PrivateKey::p256()),
        (PrivateKey::secret(), PrivateKey::Own(SigningKey::from_secret(&[7; 32]).unwrap())),
    ];
    let setups: Vec<Setup> = pairs.iter().map(|(key, _)| Setup::with_key(key, "")).collect();
    let now = now();
    let (mut lines, mut verdicts) = (String::new(), Vec::new());
    for _ in 0..TOKENS {
        let index = dice.random_range(0..pairs.len());
        let ((key, other), change) = (&pairs[index], *pick(&mut dice, &CHANGES));
        let token = changed(&mut dice, change, key, other, now);
        let time = UNIX_EPOCH + Duration::from_secs(now as u64);
        let accepted = setups[index].auth.authenticate(&token, time).await.is_ok();
        let jwk = match key.algorithm() {
            "HS256" => json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }),
            _ => key.jwk("k1"),
        };
        let line = json!({
            "jwk": jwk, "algorithms": [key.algorithm()], "issuer": ISSUER, "audience": AUDIENCE, "now": now, "token": token,
        });
        lines.push_str(&format!("{line}\n"));
        verdicts.push((change, token, accepted));
    }
    let mut peer = Command::new("node")
        .arg(folder.join("verify.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut input = peer.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = peer.wait_with_output().unwrap();
    writer.join().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.lines().count(), TOKENS);
    let mut counts = [0; 2];
    for ((change, token, accepted), theirs) in verdicts.iter().zip(output.lines()) {
        match change.is_stricter_here() {
            true => assert!(!accepted, "{change:?}: {token}"),
            false => assert_eq!(*accepted, theirs == "1", "seed {seed}, {change:?}: {token}"),
        }
        counts[usize::from(*accepted)] += 1;
    }
    assert!(counts[0] > TOKENS / 3 && counts[1] > TOKENS / 20, "{counts:?}");
}
