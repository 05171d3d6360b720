//! The secrets of a webhook, and the signatures that they make (Standard Webhooks 1.0).
//!
//! A file has one secret a line, `whsec_` and the base64 of random bytes. A message is signed with each, so that a receiver
//! can change from one to the next. The file is read again when it is old, so that a rotation needs no restart. One read at
//! a time is under way, and a signature waits for it a moment only: a file on a mount that hangs stops no delivery.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// How old the content of the file may be with which a message is signed.
const MAX_AGE: Duration = Duration::from_secs(5);
/// How long a signature waits for the file.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest file, in bytes.
const MAX_FILE: usize = 64 << 10;
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
    known: Arc<Mutex<Known>>,
}

#[derive(Clone)]
struct SecretFile {
    path: PathBuf,
    /// The webhook that has it, for log lines.
    webhook: String,
}

struct Known {
    keys: Arc<[hmac::Key]>,
    /// When the file was read, or tried to be.
    read: Instant,
    /// The read has not ended.
    is_reading: bool,
    /// Why the last attempt failed.
    failure: Option<String>,
}

impl Secrets {
    /// The secrets in a file, for the webhook of this name, and a warning about a weak one.
    ///
    /// # Errors
    /// The file cannot be read or has no secret. The text repeats nothing of it.
    pub fn open(file: &Path, webhook: &str) -> Result<(Self, Option<String>), String> {
        let (keys, shortest) = read_file(file)?;
        let warning = (shortest < MIN_BYTES)
            .then(|| format!("a secret has {shortest} bytes: the specification recommends {MIN_BYTES} to 64"));
        let known = Known::new(keys.into());
        let file = SecretFile { path: file.to_owned(), webhook: webhook.to_owned() };
        Ok((Self { file: Some(Box::new(file)), known }, warning))
    }

    /// A random secret for this process, and its text for whoever checks the signatures.
    pub fn random() -> (Self, Zeroizing<String>) {
        let bytes: Zeroizing<[u8; MIN_BYTES]> = Zeroizing::new(rand::random());
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes.as_slice())));
        let keys = [hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice())];
        (Self { file: None, known: Known::new(Arc::from(keys)) }, text)
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
        let Some(file) = self.file.as_deref() else { return lock(&self.known).keys.clone() };
        {
            let mut known = lock(&self.known);
            if known.is_reading || known.read.elapsed() < MAX_AGE {
                return known.keys.clone();
            }
            (known.read, known.is_reading) = (Instant::now(), true);
        }
        // The thread ends the read even if nobody waits for it any more.
        let (known, of_thread) = (self.known.clone(), file.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let read = read_file(&of_thread.path).map(|(keys, _)| keys);
            let mut known = lock(&known);
            (known.read, known.is_reading) = (Instant::now(), false);
            match read {
                Ok(keys) => (known.keys, known.failure) = (keys.into(), None),
                Err(failure) => of_thread.note(&mut known, failure),
            }
        });
        let ended = timeout(PATIENCE, reading).await;
        let mut known = lock(&self.known);
        if ended.is_err() && known.is_reading {
            file.note(&mut known, format!("it was not read within {} ms", PATIENCE.as_millis()));
        }
        known.keys.clone()
    }
}

impl SecretFile {
    /// Logs each reason once: the file is read again every few seconds.
    fn note(&self, known: &mut Known, failure: String) {
        if known.failure.as_ref() != Some(&failure) {
            let Self { path, webhook } = self;
            tracing::warn!(webhook, file = %path.display(), error = failure, "the secrets of a webhook cannot be read; the ones before are used");
            known.failure = Some(failure);
        }
    }
}

impl Known {
    fn new(keys: Arc<[hmac::Key]>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { keys, read: Instant::now(), is_reading: false, failure: None }))
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The secrets in a file, and the length of the shortest.
fn read_file(path: &Path) -> Result<(Vec<hmac::Key>, usize), String> {
    let mut text = Zeroizing::new(Vec::new());
    let read =
        |text: &mut Vec<u8>| -> io::Result<usize> { File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(text) };
    let bytes = read(&mut text).map_err(|error| crate::config::read_error(&error))?;
    if bytes > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    read_text(&text)
}

/// The secrets of a file's content, and the length of the shortest.
fn read_text(text: &[u8]) -> Result<(Vec<hmac::Key>, usize), String> {
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
            let error = read_text(text.as_bytes()).unwrap_err();
            assert!(!error.contains("hunter2") && !error.contains("MfKQ"), "{error}");
        }
        assert_eq!(read_text(b"whsec_AAAA").map(|(keys, shortest)| (keys.len(), shortest)), Ok((1, 3)));
    }

    /// Lets the reader of a pipe end: the runtime waits for its thread.
    struct Unblocked(PathBuf);

    impl Drop for Unblocked {
        fn drop(&mut self) {
            let _ = File::options().read(true).write(true).open(&self.0);
        }
    }

    /// A pipe without a writer stands for a file on a mount that hangs.
    #[tokio::test]
    async fn a_file_that_cannot_be_read_in_time_holds_up_no_signature_and_is_read_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, SECRET).unwrap();
        let (secrets, _) = Secrets::open(&path, "a").unwrap();
        let signed = secrets.sign("1", 1, b"{}").await;
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let _unblocked = Unblocked(path.clone());
        for _ in 0..3 {
            // The second and the third find the first read still waiting.
            lock(&secrets.known).read = Instant::now().checked_sub(MAX_AGE).unwrap();
            let again = timeout(10 * MAX_AGE, secrets.sign("1", 1, b"{}"));
            assert_eq!(again.await.expect("it is signed in time"), signed, "the secrets before are used");
        }
        assert!(lock(&secrets.known).failure.as_ref().is_some_and(|failure| failure.contains("within")));
        // The mount answers. This reaches the one read that waits for it.
        let write = move || std::fs::write(path, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        tokio::task::spawn_blocking(write).await.unwrap().unwrap();
        while secrets.sign("1", 1, b"{}").await == signed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(lock(&secrets.known).failure, None);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n{}", "\n".repeat(1 << 20))).unwrap();
        let Err(error) = Secrets::open(file.path(), "a") else { panic!("it was read") };
        assert!(error.contains("65536 bytes"), "{error}");
    }
}
