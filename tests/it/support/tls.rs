//! TLS for tests: clients that trust a test's authority, and a front that adds TLS for clients without it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tidings::config::TlsConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::{Authority, Certificate};

/// Both versions that the daemon speaks.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// reqwest looks for the process's cryptography, even for plain HTTP.
pub fn install_cryptography() {
    // It fails where a test before this one has done it.
    let _ = ring::default_provider().install_default();
}

/// The listener's settings for this certificate.
pub fn server_config(certificate: &Certificate, client_ca: Option<&str>) -> TlsConfig {
    TlsConfig {
        cert: certificate.cert.clone().into(),
        key: certificate.key.clone().into(),
        client_ca: client_ca.map(Into::into),
    }
}

/// A client that trusts this authority, over one version, and shows a certificate if it has one.
pub fn client_config(
    ca: &str,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Certificate>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("the authority's certificate")).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Certificate { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_file(cert).expect("a certificate")];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).expect("a key")).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Makes a handshake over any stream.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: impl Into<Arc<ClientConfig>>,
) -> std::io::Result<TlsStream<S>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(config.into()).connect(name, stream).await
}

/// Connects to an address, and makes a handshake.
pub async fn connect(
    address: SocketAddr,
    config: impl Into<Arc<ClientConfig>>,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, config).await
}

/// Takes plain connections and continues each of them over TLS, as a client would. What comes back without the end that
/// TLS asks for (`close_notify`) is reset. So every test of the plain protocol also tests TLS.
pub struct TlsFront {
    pub address: SocketAddr,
    task: JoinHandle<()>,
    /// The files of the certificate live as long as the front.
    _authority: Authority,
}

impl TlsFront {
    /// A front of the daemon at this address, whose certificate this authority has signed.
    pub async fn start(daemon: SocketAddr, authority: Authority) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let configs = VERSIONS.map(|version| Arc::new(client_config(&authority.cacert(), version, None)));
        let task = tokio::spawn(async move {
            // The versions take turns.
            for config in configs.iter().cycle() {
                let Ok((plain, _)) = listener.accept().await else { return };
                tokio::spawn(pass(plain, daemon, config.clone()));
            }
        });
        Self { address, task, _authority: authority }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bytes that the sockets of a front hold, about. A client that does not read must soon fill the daemon's socket.
const SOCKET_BUFFER: u32 = 32 << 10;

/// Passes one connection on.
async fn pass(plain: TcpStream, daemon: SocketAddr, config: Arc<ClientConfig>) {
    let _ = plain.set_nodelay(true);
    let _ = socket2::SockRef::from(&plain).set_send_buffer_size(SOCKET_BUFFER as usize);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SOCKET_BUFFER).expect("an option of the socket");
    let Ok(socket) = socket.connect(daemon).await else { return reset(plain) };
    let Ok(secure) = handshake(socket, config).await else { return reset(plain) };
    let _ = secure.get_ref().0.set_nodelay(true);
    let (mut from_daemon, mut to_daemon) = tokio::io::split(secure);
    let (mut from_client, mut to_client) = plain.into_split();
    let sending = tokio::spawn(async move {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            match from_client.read(&mut bytes).await {
                Ok(0) => return to_daemon.shutdown().await,
                Ok(read) => {
                    to_daemon.write_all(&bytes[..read]).await?;
                    to_daemon.flush().await?;
                }
                Err(error) => return Err(error),
            }
        }
    });
    let mut bytes = vec![0; 16 * 1024];
    loop {
        match from_daemon.read(&mut bytes).await {
            Ok(0) => {
                let _ = to_client.shutdown().await;
                break;
            }
            Ok(read) if to_client.write_all(&bytes[..read]).await.is_ok() => {}
            Ok(_) => break,
            Err(_) => {
                let _ = to_client.as_ref().set_zero_linger();
                // Otherwise it would end cleanly.
                to_client.forget();
                break;
            }
        }
    }
    sending.abort();
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}
