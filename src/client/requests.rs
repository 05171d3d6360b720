//! How one HTTP request is sent: its timeouts, its token, and what moves the client on to the next node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use url::Url;

use super::retry::Attempts;
use super::token::HeldToken;
use super::urls::route;
use super::{Client, Error, error};

/// How long a daemon may take to begin its response. Longer than the daemon's own timeout for its broker.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a response may take from its beginning to its end. Longer, since a page of history can be large.
const BODY_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a TCP connection may take. Shorter than [`RESPONSE_TIMEOUT`], so that a node that is down is reported as
/// "nothing was sent".
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

impl Client {
    /// Sends a GET request as [`Client::send`] does.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(&str, String)],
    ) -> Result<T, Error> {
        self.send(RESPONSE_TIMEOUT, |base| self.http.get(route(base, path)).query(parameters)).await
    }

    /// Sends a POST request with this body as JSON, as [`Client::send`] does.
    pub(super) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        self.send(limit, |base| self.http.post(route(base, path)).json(body)).await
    }

    /// Sends a request to each node until one responds, and again until the retry timeout if the caller has set one. A node
    /// must begin its response within `limit`.
    async fn send<T: DeserializeOwned>(
        &self,
        limit: Duration,
        request: impl Fn(&Url) -> reqwest::RequestBuilder,
    ) -> Result<T, Error> {
        let mut attempts = Attempts::new(self, Duration::ZERO);
        loop {
            let node = attempts.node;
            match self.call(node, request(self.base(node)), limit).await {
                Ok(response) => return Ok(response),
                Err(error) => match attempts.failed(self, &error) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Sends a request to a node with the token that the client has. If the daemon refuses a token that was held for a
    /// while, the request is sent once more with a new one: the daemon has done nothing.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        node: usize,
        request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<T, Error> {
        let Some(credential) = &self.credential else { return self.exchange(node, request, None, limit).await };
        let token = credential.get().await?;
        let again = request.try_clone();
        let refusal = match self.exchange(node, request, Some(&token), limit).await {
            Err(error) if error.is_unauthenticated() => error,
            outcome => return outcome,
        };
        credential.refused(&token.secret);
        let Some(again) = again.filter(|_| credential.is_renewable() && !token.is_new) else { return Err(refusal) };
        let new = credential.get().await?;
        if new.secret == token.secret {
            return Err(refusal);
        }
        let outcome = self.exchange(node, again, Some(&new), limit).await;
        if outcome.as_ref().is_err_and(Error::is_unauthenticated) {
            credential.refused(&new.secret);
        }
        outcome
    }

    /// Sends a request to a node, which must begin its response within `limit`. After a transient error, the client moves
    /// on to the next node.
    async fn exchange<T: DeserializeOwned>(
        &self,
        node: usize,
        mut request: reqwest::RequestBuilder,
        token: Option<&HeldToken>,
        limit: Duration,
    ) -> Result<T, Error> {
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.header()?);
        }
        // In place of the time limit that all requests have: `limit` can be longer.
        request = request.timeout(limit + BODY_TIMEOUT);
        let base = self.base(node);
        let exchange = async {
            let response = match timeout(limit, request.send()).await {
                Ok(response) => response.map_err(|error| Error::unreachable(base, &error, !error.is_connect()))?,
                Err(_) => {
                    let cause = format!("no response within {limit:.1?}");
                    return Err(Error::Unreachable { url: error::redacted(base), cause, sent: true });
                }
            };
            let status = response.status();
            let headers = response.headers().clone();
            let body = response.bytes().await.map_err(|error| Error::unreachable(base, &error, true))?;
            if !status.is_success() {
                let refused = Error::refused(base, status.as_u16(), &headers, &body);
                return Err(refused.or_unauthenticated(base, token.is_some()));
            }
            // 204 has no body.
            let body = if status == reqwest::StatusCode::NO_CONTENT { b"null" } else { &body[..] };
            serde_json::from_slice(body).map_err(|error| Error::unexpected_body(base, &headers, &error))
        };
        let result = exchange.await;
        if let Err(error) = &result
            && error.is_transient()
        {
            // A concurrent request may have moved on already: move on only once.
            let _ = self.node.compare_exchange(node, node.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        result
    }
}

/// The settings of all HTTP requests.
pub(super) fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(RESPONSE_TIMEOUT + BODY_TIMEOUT)
        .tcp_nodelay(true)
        // The WebSocket ignores proxy settings, so HTTP must ignore them too.
        .no_proxy()
        // A redirected POST would become a GET, and the WebSocket follows none.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
}

/// # Errors
/// [`Error::Url`] if the settings of TLS cannot be used.
pub(super) fn build(http: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    http.build().map_err(|error| Error::Url(error.to_string()))
}
