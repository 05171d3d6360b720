//! A publisher: sends one HTTP request after the other over one connection, which stays open.
//!
//! The caller makes the bodies. This module does not know events.

use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::stream::{Tls, connect};

/// A connection for publishing.
#[derive(Debug)]
pub struct Publisher {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
}

impl Publisher {
    /// Connects to a server. All requests go to `path`.
    ///
    /// # Errors
    /// Where the connection or its handshake fails.
    pub async fn connect(address: SocketAddr, path: &str) -> io::Result<Self> {
        Self::connect_with(address, path, None).await
    }

    /// The same, with TLS if there is one.
    ///
    /// # Errors
    /// See [`Publisher::connect`].
    pub async fn connect_with(address: SocketAddr, path: &str, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = connect(address, tls).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // The task ends with the connection.
        tokio::spawn(connection);
        Ok(Self { requests, host: address.to_string(), path: path.into() })
    }

    /// Publishes one JSON body, and returns the body of the response.
    ///
    /// # Errors
    /// Where the connection breaks, or the status of the response is no success.
    pub async fn publish(&mut self, body: impl Into<Bytes>) -> io::Result<Bytes> {
        let request = Request::post(&self.path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .map_err(io::Error::other)?;
        self.requests.ready().await.map_err(io::Error::other)?;
        let response = self.requests.send_request(request).await.map_err(io::Error::other)?;
        let status: StatusCode = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        if !status.is_success() {
            return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        Ok(body)
    }
}
