//! The parts of a client, for the commands that look at a connection more closely than its calls do: `bench` and `doctor`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{self, HeaderMap};
use url::Url;

use super::urls::route;
use super::{Client, Error, uses_https};
use crate::secret::Secret;

/// A stream may last for so long.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl Client {
    /// A client of each node alone. They share their connections and their token.
    pub(crate) fn each_node(&self) -> impl Iterator<Item = Self> {
        self.bases.iter().map(|base| Self { bases: Arc::from([base.clone()]), node: Arc::default(), ..self.clone() })
    }

    /// The address of the current node, as it was given.
    pub(crate) fn base_url(&self) -> &Url {
        self.base(self.node())
    }

    /// The same for people: without user name, password and the slash of an empty path.
    pub(crate) fn shown_url(&self) -> String {
        let base = self.base_url();
        let path = if base.path() == "/" { "" } else { base.path() };
        format!("{}{path}", self.url())
    }

    /// The names of the types that the credential may see, to read or to publish.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub(crate) async fn types(&self) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Schemas {
            schemas: serde_json::Map<String, serde_json::Value>,
        }
        let response: Schemas = self.get(&["v1", "schemas"], &[]).await?;
        Ok(response.schemas.into_iter().map(|(name, _)| name).collect())
    }

    /// Whether it sends a token.
    pub(crate) fn has_token(&self) -> bool {
        self.credential.is_some()
    }

    /// Takes every certificate of a daemon, without a check of who answers.
    ///
    /// # Errors
    /// The client's own certificate cannot be used.
    pub(crate) fn without_verification(self) -> Result<Self, Error> {
        self.change_tls(|tls| {
            tls.takes_any = true;
            Ok(())
        })
    }

    /// Whether it takes every certificate of an `https:` daemon.
    pub(crate) fn takes_any_certificate(&self) -> bool {
        self.tls.takes_any && uses_https(&self.bases)
    }

    /// The TLS configuration of its connections.
    pub(crate) fn tls_config(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls_config
    }

    /// The token to send, if it has one.
    ///
    /// # Errors
    /// The provider of the token failed.
    pub(crate) async fn token(&self) -> Result<Option<Secret>, Error> {
        match &self.credential {
            Some(credential) => credential.get().await.map(|token| Some(token.secret)),
            None => Ok(None),
        }
    }

    /// Sends one GET request without a token, and returns whatever comes back, also a refusal.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub(crate) async fn response(&self, path: &[&str], headers: HeaderMap) -> Result<Response, Error> {
        let base = self.base_url();
        let sent = self.http.get(route(base, path)).headers(headers).send().await;
        sent.map_err(|error| Error::unreachable(base, &error, !error.is_connect()))
    }

    /// The same with the token and with parameters, for a response that may last for a day.
    ///
    /// # Errors
    /// [`Error::Unreachable`], and those of [`Client::token`].
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        let base = self.base_url();
        let mut request = self.http.get(route(base, path)).query(parameters).headers(headers).timeout(STREAM_TIMEOUT);
        if let Some(credential) = &self.credential {
            request = request.header(header::AUTHORIZATION, credential.get().await?.header()?);
        }
        request.send().await.map_err(|error| Error::unreachable(base, &error, !error.is_connect()))
    }
}
