//! Writes pairs to a namespace of Cloudflare KV, by its REST interface: `PUT …/storage/kv/namespaces/ID/bulk`.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use url::Url;

use super::settings::SinkSettings;
use crate::outbound::{BodyError, body as body_of, cause, retry_after, system_roots, tls};

/// How long a write may take. A full one, of `MAX_BYTES` in `pending.rs`, needs 2.2 Mbit/s. A node that loses its lease
/// meanwhile ends the write at once.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest key, in bytes.
const MAX_KEY: usize = 512;
/// The highest code of an error that is about the request and not about its pairs: a header, the route, the token. KV's own
/// codes are above it.
const LAST_GENERAL_CODE: u64 = 10_000;
/// The longest pause that an answer may ask for.
const MAX_AFTER: Duration = Duration::from_secs(300);

/// The longest answer that is read, in bytes. It may name each of the keys that the store has left out.
const MAX_ANSWER: usize = 8 << 20;

/// What is said of an answer that something else has given.
const NOT_CLOUDFLARE: &str = "not with JSON as Cloudflare does";

/// A key, its value, and the position of the event in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    pub key: String,
    pub value: String,
    #[serde(skip)]
    pub position: String,
}

/// Why nothing was written, as far as one knows.
#[derive(Debug)]
pub enum Failure {
    /// The pairs are refused, now and later.
    Invalid(String),
    /// It may work later.
    Later { reason: String, after: Option<Duration> },
}

pub struct Cloudflare {
    http: Client,
    url: Url,
    token_file: PathBuf,
    ttl: Option<Duration>,
}

#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_ttl: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    success: bool,
    result: Option<Counted>,
    errors: Vec<Reported>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counted {
    unsuccessful_keys: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reported {
    code: u64,
    message: String,
}

impl Answer {
    /// Whether KV refuses the pairs. Cloudflare answers a malformed token, and an account that does not exist, with 400 as well.
    fn is_about_pairs(&self) -> bool {
        !self.errors.is_empty() && self.errors.iter().all(|error| error.code > LAST_GENERAL_CODE)
    }
}

impl Cloudflare {
    /// A client for the namespace of these settings.
    ///
    /// # Errors
    /// An https URL, and the system has no certificate authorities.
    pub fn new(settings: &SinkSettings) -> Result<Self, String> {
        let roots = if settings.url.scheme() == "https" { system_roots()? } else { RootCertStore::empty() };
        let http = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(roots)?)
            .build()
            .map_err(|error| format!("there is no HTTP client: {error}"))?;
        Ok(Self { http, url: settings.url.clone(), token_file: settings.token_file.clone(), ttl: settings.ttl })
    }

    /// Writes all pairs. Returns the keys that the store has left out, which are to be written again.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn write(&self, pairs: &[Pair]) -> Result<Vec<String>, Failure> {
        if let [pair] = pairs
            && pair.key.len() > MAX_KEY
        {
            return Err(Failure::Invalid(format!("the key has {} bytes, and {MAX_KEY} are possible", pair.key.len())));
        }
        let later = |reason: String| Failure::Later { reason, after: None };
        // Read for each write, so that a token can be replaced.
        let token = tokio::fs::read_to_string(&self.token_file).await;
        let token = token.map_err(|error| later(format!("cannot read {}: {error}", self.token_file.display())))?;
        let expiration_ttl = self.ttl.map(|ttl| ttl.as_secs());
        let body: Vec<_> = pairs.iter().map(|Pair { key, value, .. }| Written { key, value, expiration_ttl }).collect();
        let request = self.http.put(self.url.clone()).bearer_auth(token.trim()).json(&body);
        let mut answer = request.send().await.map_err(|error| match error.is_timeout() {
            true => later(format!("no answer within {} s", TIMEOUT.as_secs())),
            false => later(cause(error)),
        })?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, MAX_AFTER));
        let body = body_of(&mut answer, MAX_ANSWER).await.map_err(|error| match error {
            BodyError::TooLong(most) => format!("with more than {most} bytes"),
            BodyError::Lost(error) => cause(error),
        });
        let answer = body.and_then(|body| serde_json::from_slice(&body).map_err(|_| NOT_CLOUDFLARE.to_owned()));
        // A front may answer 200 with a page of its own, and Cloudflare with what failed.
        let answer: Answer = match answer {
            Ok(answer) => answer,
            Err(why) if status.is_success() => {
                return Err(later(format!("the store answered {}, but {why}", status.as_u16())));
            }
            Err(_) => Answer::default(),
        };
        match status {
            status if status.is_success() && answer.success => Ok(answer.result.unwrap_or_default().unsuccessful_keys),
            StatusCode::BAD_REQUEST if answer.is_about_pairs() => Err(Failure::Invalid(said(status, &answer))),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::Invalid(said(status, &answer))),
            status => Err(Failure::Later { reason: said(status, &answer), after }),
        }
    }
}

/// What the store said, as one line.
fn said(status: StatusCode, answer: &Answer) -> String {
    let errors: Vec<_> =
        answer.errors.iter().map(|error| crate::suggest::one_line(&error.message).into_owned()).collect();
    let failed = if status.is_success() { ", but not `\"success\": true`" } else { "" };
    let text = format!("the store answered {}{failed}: {}", status.as_u16(), errors.join("; "));
    crate::suggest::cut(text.trim_end_matches(": "), 300).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::event::Since;

    #[tokio::test]
    async fn an_answer_without_end_is_a_failure_and_is_not_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(connection.read(&mut buffer).await.unwrap() > 0);
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n").await.unwrap();
            let mut sent = 0;
            while sent < 64 << 20 && connection.write_all(&[b' '; 1 << 16]).await.is_ok() {
                sent += 1 << 16;
            }
            sent
        });
        let token = tempfile::NamedTempFile::new().unwrap();
        let settings = SinkSettings {
            name: "edge".into(),
            channels: Vec::new(),
            url: format!("http://{address}/").parse().unwrap(),
            token_file: token.path().to_owned(),
            prefix: String::new(),
            ttl: None,
            since: Since::Start,
        };
        let pair = Pair { key: "a".into(), value: "1".into(), position: "k:1".into() };
        let failure = Cloudflare::new(&settings).unwrap().write(&[pair]).await.unwrap_err();
        let Failure::Later { reason, .. } = failure else { panic!("{failure:?}") };
        assert_eq!(reason, "the store answered 200, but with more than 8388608 bytes");
        let sent = server.await.unwrap();
        assert!(sent < 32 << 20, "{sent} bytes were read");
    }
}
