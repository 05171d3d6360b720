//! Opens the WebSocket of a subscriber: the handshake, with a token that may have to be renewed for it.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
#[cfg(not(feature = "tls"))]
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
#[cfg(feature = "tls")]
use tokio_tungstenite::{Connector, connect_async_tls_with_config};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::token::HeldToken;
use super::urls::route;
use super::{Client, Error, error};
use crate::protocol::{self, CloseCode};
use crate::secret::Secret;

/// The WebSocket of a subscriber.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// A new connection, and the token that the daemon has accepted.
pub type Connected = (Socket, Option<Secret>);

/// How long the handshake may take, and what follows it up to the first frame.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// In bytes. Small, since one process may hold thousands of subscribers.
const READ_BUFFER: usize = 8 * 1024;

/// Opens a WebSocket to a node and sends the first requests. Returns the token that the daemon has accepted, too. `expired` is a
/// token that it does not accept any more.
pub async fn connect(
    client: Client,
    node: usize,
    requests: Vec<Message>,
    expired: Option<Secret>,
) -> Result<Connected, Error> {
    let Some(credential) = &client.credential else {
        return Ok((handshake(&client, node, requests, None).await?, None));
    };
    let token = credential.get().await?;
    if expired.as_ref() == Some(&token.secret) {
        let reason = "the token has expired".into();
        return Err(Error::closed(client.base(node), CloseCode::TokenExpired.as_u16(), reason, true));
    }
    let refusal = match handshake(&client, node, requests.clone(), Some(&token)).await {
        Ok(socket) => return Ok((socket, Some(token.secret))),
        Err(error) if error.is_unauthenticated() => error,
        Err(error) => return Err(error),
    };
    credential.refused(&token.secret);
    // A token that was held may have expired while this process, or the whole machine, slept.
    if !credential.is_renewable() || token.is_new {
        return Err(refusal);
    }
    let new = credential.get().await?;
    if new.secret == token.secret {
        return Err(refusal);
    }
    match handshake(&client, node, requests, Some(&new)).await {
        Ok(socket) => Ok((socket, Some(new.secret))),
        Err(error) => {
            if error.is_unauthenticated() {
                credential.refused(&new.secret);
            }
            Err(error)
        }
    }
}

/// Opens a WebSocket to a node with this token, and sends the first requests.
async fn handshake(
    client: &Client,
    node: usize,
    requests: Vec<Message>,
    token: Option<&HeldToken>,
) -> Result<Socket, Error> {
    let base = client.base(node);
    let mut url = route(base, &["v1", "ws"]);
    // Cannot fail: the URL standard allows a change from one "special" scheme (http) to another (ws).
    let _ = url.set_scheme(if base.scheme() == "https" { "wss" } else { "ws" });
    let mut request = url.as_str().into_client_request().map_err(|error| Error::Url(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol::SUBPROTOCOL));
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token.header()?);
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let connecting = async {
        #[cfg(feature = "tls")]
        let connecting = {
            let connector = Connector::Rustls(client.tls_config.clone());
            connect_async_tls_with_config(request, Some(config), true, Some(connector))
        };
        #[cfg(not(feature = "tls"))]
        let connecting = connect_async_with_config(request, Some(config), true);
        let (mut socket, _) = connecting.await?;
        for request in requests {
            socket.feed(request).await?;
        }
        socket.flush().await?;
        Ok(socket)
    };
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response))) => {
            let body = response.body().as_deref().unwrap_or_default();
            let refused = Error::not_upgraded(base, response.status().as_u16(), response.headers(), body);
            Err(refused.or_unauthenticated(base, token.is_some()))
        }
        Ok(Err(error)) => Err(Error::no_websocket(base, &error)),
        Err(_) => {
            let cause = format!("the WebSocket handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs());
            Err(Error::Unreachable { url: error::redacted(base), cause, sent: false })
        }
    }
}
