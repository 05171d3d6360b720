//! The REST interface of Upstash (<https://upstash.com/docs/redis/features/restapi>): commands as HTTP requests, and the bus as
//! event streams ([`subscription`]).
//!
//! - A command is a JSON array that is posted to `/`, several are an array of arrays for `/pipeline`. The answer has a
//!   `result` or an `error`; a pipeline has one of these for each command, with the status 200 whatever failed.
//! - Requests carry text only. So arguments that are no UTF-8 go through a script's [`DECODE`] in hexadecimal digits.
//! - Answers are asked for in Base64, because they may have any bytes.
//! - A database with replicas answers with a token. The next request has it, and then sees what the one before it wrote.

mod lines;
mod reply;
mod subscription;

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fred::bytes_utils::Str;
use fred::types::Value;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Semaphore;

pub(super) use self::subscription::{Incoming, Subscription};
use super::tls;
use super::transport::{Arguments, CallError, Command, Transport};
use super::{BrokerError, CALL_TIMEOUT};
use crate::config::RedisUrl;
use crate::outbound::{self, BodyError};
use crate::suggest::Known;

/// Requests at the same time, each of which has a connection. Further calls wait, and the wait counts towards their timeout.
const MAX_REQUESTS: usize = 64;

/// The most bytes of an answer: many times what a page of events has, in Base64.
const MAX_ANSWER: usize = 32 << 20;

/// The most bytes of an answer with an error.
const MAX_ERROR: usize = 64 << 10;

/// How long a connection is kept for the next request. Servers and what stands before them close an idle one after 30 s or
/// more, and a request that meets the end of its connection fails.
const KEPT: Duration = Duration::from_secs(20);

/// The longest pause that the interface may ask for: whatever waits for it must come back.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What stands before a script whose arguments are in hexadecimal digits.
const DECODE: &str = "\
for i, arg in ipairs(ARGV) do
  ARGV[i] = string.gsub(arg, '..', function(digits) return string.char(tonumber(digits, 16)) end)
end
";

/// How the error of a refused token begins.
pub(super) const REFUSED_TOKEN: &str = "the REST interface refused the token of the broker's URL";

const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");

/// A database behind the REST interface.
pub(super) struct Rest {
    http: Client,
    /// The address without a slash at its end.
    base: String,
    /// The URL without its token, for log lines.
    pub name: String,
    /// The token of the newest answer.
    sync_token: Mutex<Option<HeaderValue>>,
    permits: Semaphore,
    one_by_one: subscription::OneByOne,
}

impl Rest {
    /// The database that the URL names.
    ///
    /// # Errors
    /// What is wrong with the URL, as a sentence without its token.
    pub fn new(url: &RedisUrl) -> Result<Self, String> {
        let known = ["cacert", "cert", "key"];
        if let Some(name) = url.parameters().find(|name| !known.contains(name)) {
            let known = Known::new("parameters", known);
            return Err(known.refuse(&format!("a {}:// URL has no parameter `{name}`", url.scheme), name));
        }
        let (Some(token), None) = (&url.username, &url.password) else {
            return Err(format!("the token of the REST interface is missing: write {}://TOKEN@HOST", url.scheme));
        };
        let Some((host, port)) = url.servers.first() else { return Err("the host is missing".into()) };
        let tls = tls::client_config(url)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let base = format!("{scheme}://{host}:{port}{}", url.path.trim_end_matches('/'));
        let bearer = HeaderValue::try_from(format!("Bearer {token}"));
        let mut bearer = bearer.map_err(|_| "the token has characters that no header can have".to_owned())?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (HeaderName::from_static("upstash-encoding"), HeaderValue::from_static("base64")),
        ]);
        let builder = Client::builder()
            .default_headers(headers)
            // A redirect would take the token elsewhere.
            .redirect(Policy::none())
            .connect_timeout(CALL_TIMEOUT)
            .pool_idle_timeout(KEPT)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")));
        let builder = match tls {
            Some(tls) => builder.https_only(true).tls_backend_preconfigured(tls),
            // Loopback: a proxy would be a way to elsewhere. Without any TLS configuration there would be no client.
            None => builder.no_proxy().tls_backend_preconfigured(tls::without_roots()?),
        };
        Ok(Self {
            http: builder.build().map_err(|error| format!("there is no HTTP client: {error}"))?,
            base,
            name: url.to_string(),
            sync_token: Mutex::default(),
            permits: Semaphore::new(MAX_REQUESTS),
            one_by_one: subscription::OneByOne::default(),
        })
    }

    /// Posts a command, or several, and returns the body of the answer.
    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let _permit = self.permits.acquire().await.map_err(|_| BrokerError::closed())?;
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let token = self.sync_token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = token.into_iter().fold(request, |request, token| request.header(SYNC_TOKEN, token));
        let mut response = accepted(request.body(body).send().await.map_err(lost)?).await?;
        if let Some(token) = response.headers_mut().remove(SYNC_TOKEN) {
            *self.sync_token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        }
        read(&mut response, MAX_ANSWER).await
    }

    async fn run(&self, name: &'static str, script: &Str, (keys, args): Arguments) -> Result<Value, CallError> {
        let count = keys.len().to_string();
        let keys = keys.iter().map(|key| Value::Bytes(key.clone().into_bytes()));
        let arguments = [script.clone().into(), count.into()].into_iter().chain(keys).chain(args);
        self.call((name, arguments.collect())).await
    }
}

#[async_trait]
impl Transport for Rest {
    fn protocol(&self) -> &'static str {
        "REST"
    }

    async fn evalsha(&self, hash: &Str, arguments: Arguments) -> Result<Value, CallError> {
        match arguments.1.iter().all(reply::is_text) {
            true => self.run("EVALSHA", hash, arguments).await,
            // The server runs another script then, which it need not keep.
            false => Err(CallError::no_script()),
        }
    }

    async fn eval(&self, source: &Str, (keys, args): Arguments) -> Result<Value, CallError> {
        if args.iter().all(reply::is_text) {
            return self.run("EVAL", source, (keys, args)).await;
        }
        let source = format!("{DECODE}{source}").into();
        self.run("EVAL", &source, (keys, args.iter().map(reply::hexadecimal).collect())).await
    }

    async fn call(&self, command: Command) -> Result<Value, CallError> {
        let answer = self.post("/", reply::command(&command)?).await?;
        reply::one(&answer)?
    }

    async fn call_each(&self, commands: Vec<Command>) -> Result<Vec<Result<Value, CallError>>, CallError> {
        let answer = self.post("/pipeline", reply::commands(&commands)?).await?;
        Ok(reply::each(&answer, commands.len())?)
    }
}

/// What the fuzz target of the replies calls.
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz {
    use super::{lines, reply};

    /// Reads an answer, as that to one command and to several.
    pub fn answer(body: &[u8]) {
        drop(reply::one(body));
        assert!(
            reply::each(body, 2).is_err()
                || body.starts_with(b"[")
                || body.first().is_some_and(u8::is_ascii_whitespace)
        );
        drop(reply::error_text(body));
    }

    /// Reads a stream, in one piece and byte by byte.
    pub fn stream(bytes: &[u8]) {
        let (mut whole, mut pieces) = (lines::Lines::default(), lines::Lines::default());
        let found: Vec<_> = bytes.iter().flat_map(|byte| pieces.take(&[*byte])).collect();
        assert_eq!(whole.take(bytes), found);
    }
}

/// An answer with the status 200.
///
/// # Errors
/// What another status means for the call.
async fn accepted(mut response: Response) -> Result<Response, CallError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let header = response.headers().get(RETRY_AFTER);
    let retry_after = header.and_then(|value| outbound::retry_after(value.to_str().ok()?, MAX_PAUSE));
    let body = read(&mut response, MAX_ERROR).await.unwrap_or_default();
    let text = reply::error_text(&body);
    let told = |what: &str| match &text {
        Some(text) => format!("{what} (status {}): {text}", status.as_u16()),
        None => format!("{what} (status {})", status.as_u16()),
    };
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BrokerError::Rejected(told(REFUSED_TOKEN)).into(),
        StatusCode::TOO_MANY_REQUESTS => {
            BrokerError::RateLimited { cause: told("the REST interface limits the rate of requests"), retry_after }
                .into()
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            BrokerError::TooLarge(told("the request is larger than the REST interface takes")).into()
        }
        StatusCode::BAD_REQUEST if text.is_some() => CallError::reply(text.unwrap_or_default()),
        _ if status.is_redirection() => {
            BrokerError::Rejected(told("the REST interface redirects, which is not followed")).into()
        }
        _ => BrokerError::Unavailable(told("the REST interface failed")).into(),
    })
}

async fn read(response: &mut Response, most: usize) -> Result<Vec<u8>, CallError> {
    outbound::body(response, most).await.map_err(|error| match error {
        BodyError::TooLong(most) => {
            BrokerError::Unavailable(format!("the REST interface sent more than {most} bytes")).into()
        }
        BodyError::Lost(error) => lost(error),
    })
}

/// A request without an answer. The command may have run, unless there was no connection.
fn lost(error: reqwest::Error) -> CallError {
    let (timed_out, error) = (error.is_timeout(), error.without_url());
    let what =
        if error.is_connect() { "no connection to the REST interface" } else { "no answer of the REST interface" };
    // The last cause says most: `Connection refused`, `certificate …`.
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    let error = CallError::from(BrokerError::Unavailable(format!("{what}: {text}")));
    CallError { timed_out, ..error }
}

/// The server sent what is no answer of this interface.
fn unreadable() -> BrokerError {
    BrokerError::Unavailable("the REST interface sent an unexpected answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rest, String> {
        Rest::new(&RedisUrl::parse(text).unwrap().unwrap())
    }

    #[test]
    fn a_url_has_a_token_and_a_host() {
        let rest = read("upstash+http://t0k%20en@127.0.0.1:8080/path/").map(|rest| (rest.base, rest.name));
        assert_eq!(rest, Ok(("http://127.0.0.1:8080/path".into(), "upstash+http://***@127.0.0.1:8080/path/".into())));
        assert_eq!(read("upstash+http://t@[::1]").map(|rest| rest.base), Ok("http://[::1]:80".into()));
        for (text, expected) in [
            ("upstash+https://h", "token"),
            ("upstash+https://user:s3cret@h", "token"),
            ("upstash+http://s3cret@127.0.0.1?s3cret=x&tls=true", "parameter"),
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
