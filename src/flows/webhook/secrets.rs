//! The secrets of a webhook, and the signatures that they make (Standard Webhooks 1.0).
//!
//! A file has one secret a line, `whsec_` and the base64 of random bytes. A message is signed with each, so that a receiver
//! can change from one to the next. The file is read again when it is old, so that a rotation needs no restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How old the content of the file may be with which a message is signed.
const MAX_AGE: Duration = Duration::from_secs(5);
/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// The shortest secret that the specification recommends, in bytes.
const MIN_BYTES: usize = 24;
/// The most secrets of a webhook. Each adds a signature to every request.
const MAX_SECRETS: usize = 10;
/// Some encoders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secrets in a file.
pub struct Secrets {
    /// `None` for a secret that was made for this process.
    file: Option<Box<SecretFile>>,
    known: Mutex<Known>,
}

struct SecretFile {
    path: PathBuf,
    /// The webhook that has it, for log lines.
    webhook: String,
}

struct Known {
    keys: Arc<[hmac::Key]>,
    /// When the file was read, or tried to be.
    read: Instant,
    /// Why the last attempt failed.
    failure: Option<String>,
}

impl Secrets {
    /// The secrets in a file, for the webhook of this name, and a warning about a weak one.
    ///
    /// # Errors
    /// The file cannot be read or has no secret. The text repeats nothing of it.
    pub fn open(file: &Path, webhook: &str) -> Result<(Self, Option<String>), String> {
        let text = std::fs::read(file).map(Zeroizing::new).map_err(|error| crate::config::read_error(&error))?;
        let (keys, shortest) = read(&text)?;
        let warning = (shortest < MIN_BYTES)
            .then(|| format!("a secret has {shortest} bytes: the specification recommends {MIN_BYTES} to 64"));
        let known = Mutex::new(Known { keys: keys.into(), read: Instant::now(), failure: None });
        let file = SecretFile { path: file.to_owned(), webhook: webhook.to_owned() };
        Ok((Self { file: Some(Box::new(file)), known }, warning))
    }

    /// A random secret for this process, and its text for whoever checks the signatures.
    pub fn random() -> (Self, Zeroizing<String>) {
        let bytes: Zeroizing<[u8; MIN_BYTES]> = Zeroizing::new(rand::random());
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes.as_slice())));
        let keys = [hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice())];
        let known = Known { keys: Arc::from(keys), read: Instant::now(), failure: None };
        (Self { file: None, known: Mutex::new(known) }, text)
    }

    /// The header `webhook-signature` of a message: a signature for each secret.
    pub async fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let keys = self.current().await;
        let signatures = keys.iter().map(|key| {
            let mut signed = hmac::Context::with_key(key);
            signed.update(format!("{id}.{timestamp}.").as_bytes());
            signed.update(body);
            format!("v1,{}", BASE64_STANDARD.encode(signed.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// The secrets in the file now. While it cannot be used, those that it had before.
    async fn current(&self) -> Arc<[hmac::Key]> {
        let Some(SecretFile { path, webhook }) = self.file.as_deref() else { return self.lock().keys.clone() };
        {
            let mut known = self.lock();
            if known.read.elapsed() < MAX_AGE {
                return known.keys.clone();
            }
            known.read = Instant::now();
        }
        let text = tokio::fs::read(path).await.map(Zeroizing::new);
        let keys = text.map_err(|error| crate::config::read_error(&error)).and_then(|text| read(&text));
        let mut known = self.lock();
        match keys {
            Ok((keys, _)) => (known.keys, known.failure) = (keys.into(), None),
            // Each reason once: the file is read again every few seconds.
            Err(error) if known.failure.as_ref() != Some(&error) => {
                tracing::warn!(webhook, file = %path.display(), error, "the secrets of a webhook cannot be read; the ones before are used");
                known.failure = Some(error);
            }
            Err(_) => {}
        }
        known.keys.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secrets of a file's content, and the length of the shortest.
fn read(text: &[u8]) -> Result<(Vec<hmac::Key>, usize), String> {
    let text = std::str::from_utf8(text).map_err(|_| "this is no text")?;
    let mut keys = Vec::new();
    let mut shortest = usize::MAX;
    for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
        let wrong = || format!("line {}: a secret is {PREFIX} and the base64 of random bytes", number + 1);
        let encoded = line.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let secret = Zeroizing::new(BASE64.decode(encoded).map_err(|_| wrong())?);
        if secret.is_empty() {
            return Err(wrong());
        }
        shortest = shortest.min(secret.len());
        keys.push(hmac::Key::new(hmac::HMAC_SHA256, &secret));
    }
    match keys.len() {
        0 => Err(format!("there is no secret: write one a line, {PREFIX} and the base64 of random bytes")),
        1..=MAX_SECRETS => Ok((keys, shortest)),
        _ => Err(format!("there are more than {MAX_SECRETS} secrets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's own libraries.
    #[tokio::test]
    async fn a_message_is_signed_with_each_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n\n  whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA \r\n"))
            .unwrap();
        let (secrets, warning) = Secrets::open(file.path(), "a").unwrap();
        assert_eq!(warning, None);
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#).await;
        let (first, second) = signed.split_once(' ').unwrap();
        assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(second.starts_with("v1,") && second != first);
    }

    #[test]
    fn a_file_without_a_secret_is_refused_and_nothing_of_it_is_repeated() {
        for text in
            ["", "\n", "hunter2", "whsec_", "whsec_hunter2!", &format!("{SECRET}\nhunter2"), &[SECRET; 11].join("\n")]
        {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("MfKQ"), "{error}");
        }
        assert_eq!(read(b"whsec_AAAA").map(|(keys, shortest)| (keys.len(), shortest)), Ok((1, 3)));
    }
}
