//! A socket of the load generator, plain or with TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;

/// A connection to the server.
pub type Stream = MaybeTlsStream<TcpStream>;

/// TLS to a server.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// TLS to the server of this name.
    ///
    /// # Errors
    /// If it is neither a host's name nor an address.
    pub fn to(host: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        Ok(Self { config, name: name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))? })
    }
}

/// Connects, with TLS if there is one.
///
/// # Errors
/// If the connection or the TLS handshake fails.
pub async fn connect(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(MaybeTlsStream::Plain(stream)),
        Some(Tls { config, name }) => {
            let connector = TlsConnector::from(config.clone());
            Ok(MaybeTlsStream::Rustls(connector.connect(name.clone(), stream).await?))
        }
    }
}
