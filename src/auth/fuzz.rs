//! Fuzz targets: credentials, keys and `auth.toml`.

use std::path::Path;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use super::file::{AuthFile, KeySource};
use super::keys::KeySet;
use super::sign::SigningKey;
use super::*;

/// The time at which tokens are presented: 2026-11-21, so that a seed is good for ever.
const NOW: Duration = Duration::from_secs(1_795_255_200);
/// Two issuers: one with a secret that the target signs with, and one with public keys.
const CONFIGURATION: &str = include_str!("fuzz.toml");
const KEYS: &[u8] = include_bytes!("fuzz.jwks");
const SECRET: &[u8] = b"a secret of exactly thirty-two b";

static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| Arc::new(Catalog::builtin()));

/// A credential. With a second line, the lines are the header and the claims of a token, which is signed here: so a fuzzer
/// gets past the signature. Nobody is let in without a valid signature, and no log line repeats the credential.
pub fn jwt(bytes: &[u8]) {
    static AUTH: LazyLock<Auth> = LazyLock::new(auth);
    static KEY: LazyLock<Option<SigningKey>> = LazyLock::new(|| SigningKey::from_secret(SECRET).ok());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let credential = match (text.split_once('\n'), &*KEY) {
        (Some((header, claims)), Some(key)) => key.sign_with_header(header, claims),
        _ => text.to_owned(),
    };
    let now = SystemTime::UNIX_EPOCH + NOW;
    let authenticated = ready(AUTH.principal(&credential, now));
    match &authenticated {
        Ok(principal) => {
            assert!(principal.expires.is_none_or(|end| now < end));
            // Without the last byte it is another secret, or another signature.
            let shorter = credential.get(..credential.len() - 1).unwrap_or_default();
            assert!(ready(AUTH.principal(shorter, now)).is_err(), "{shorter} was accepted");
        }
        Err(refusal) => {
            check_text(refusal.text());
            let secret = credential.rsplit(['.', '_']).next().filter(|part| part.len() > 20);
            assert!(secret.is_none_or(|part| !refusal.text().contains(part)), "{}", refusal.text());
        }
    }
    assert_eq!(ready(AUTH.principal(&credential, now)), authenticated, "the second time");
}

/// The keys that an issuer publishes, and those of a `key_file` and a `secret_file`.
pub fn jwks(bytes: &[u8]) {
    let mut sets = Vec::new();
    match KeySet::from_jwks(bytes, &KeySet::default()) {
        Ok((keys, others)) => {
            assert!((1..=100).contains(&keys.len()));
            others.iter().for_each(|text| check_text(text));
            let again = KeySet::from_jwks(bytes, &keys).map(|(again, _)| again);
            assert!(again.is_ok_and(|again| again.contains_all(&keys) && keys.contains_all(&again)));
            sets.push(keys);
        }
        Err(error) => check_text(&error),
    }
    for set in [KeySet::from_file(bytes), KeySet::from_secret(bytes)] {
        match set {
            Ok(keys) => sets.push(keys),
            Err(error) => check_text(&error.to_string()),
        }
    }
    // A signature of nobody, for each algorithm.
    for header in ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFZERTQSJ9"] {
        let token = format!("{header}.e30.{}", "A".repeat(86));
        let Ok(jws) = Jws::parse(&token) else { panic!("{token} is a token") };
        assert!(sets.iter().all(|keys| keys.signer(&jws).is_none()));
    }
}

/// `auth.toml`. It is refused with at least one mistake, each at its place; a file that is accepted makes a configuration,
/// and a comment at its end changes nothing.
pub fn auth_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files that it names are read, and some of a system never end.
    if text.contains("_file") && ["/dev", "/proc", "\\"].iter().any(|part| text.contains(part)) {
        return;
    }
    let path = Path::new("/nowhere/auth.toml");
    let read = file::read(path, text, &CATALOG);
    match read.file {
        Ok(content) => {
            let again = file::read(path, &format!("{text}\n# the end\n"), &CATALOG).file;
            assert!(again.is_ok_and(|again| definitions(&again) == definitions(&content)));
            let namespaces: Vec<String> = content.namespaces().into_iter().map(str::to_owned).collect();
            assert!(build(content, &namespaces).is_ok());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                check_text(&mistake);
                assert!(mistake.starts_with("/nowhere/auth.toml"), "{mistake}");
            }
        }
    }
    read.warnings.iter().for_each(|warning| check_text(warning));
}

fn definitions(content: &AuthFile) -> Vec<&str> {
    let issuers = content.issuers.iter().map(|issuer| &*issuer.definition);
    issuers.chain(content.keys.iter().map(|key| &*key.definition)).collect()
}

/// Resolves a file, with keys in the place of those that it would fetch.
fn build(mut content: AuthFile, namespaces: &[String]) -> Result<Snapshot, Vec<String>> {
    for (index, issuer) in content.issuers.iter_mut().enumerate() {
        let keys = if index == 0 { KeySet::from_secret(SECRET) } else { KeySet::from_file(KEYS) };
        let keys = keys.map_err(|error| vec![error.to_string()])?;
        issuer.algorithms = keys.algorithms();
        issuer.source = KeySource::Fixed(keys);
    }
    let (file, metrics) = ("auth.toml".to_owned(), Arc::default());
    Builder { file, namespaces, catalog: &CATALOG, metrics: &metrics, old: None }.build(content)
}

fn auth() -> Auth {
    let namespaces = vec!["default".to_owned(), "shop".to_owned(), "crm".to_owned()];
    let content = file::read(Path::new("auth.toml"), CONFIGURATION, &CATALOG).file;
    let snapshot = match content.and_then(|content| build(content, &namespaces)) {
        Ok(snapshot) => snapshot,
        Err(mistakes) => panic!("{mistakes:?}"),
    };
    Auth {
        file: PathBuf::new(),
        catalog: CATALOG.clone(),
        metrics: Arc::default(),
        namespaces,
        current: ArcSwap::from_pointee(snapshot),
        tokens: TokenCache::default(),
        changes: watch::Sender::new(0),
        outcome: watch::Sender::new(None),
        read: Mutex::new(Stamp::of(Path::new(""), None, &[])),
        clock: Clock::default(),
        log: RefusalLog::default(),
    }
}

/// The result of a future that waits for nothing, as the keys are here.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the keys are waited for"),
    }
}

/// A text for the log or a terminal is one line, however long the input was.
fn check_text(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "{} bytes: {text}", text.len());
}
