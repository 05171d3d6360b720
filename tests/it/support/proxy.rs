//! A TCP proxy that breaks the network on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens.
    Refuse,
    /// What either side sends is held back.
    Silent,
    /// What the client sends is held back.
    DeafServer,
    /// What the server sends is held back.
    DeafClient,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// The port where new connections go.
    server: u16,
    /// Connections with a smaller number are reset.
    cut: u64,
    /// Connections with a smaller number are silent for ever, in both directions.
    stranded: u64,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// To a port of this machine.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (state, receiver) = watch::channel(State { mode: Mode::Pass, server, cut: 0, stranded: 0 });
        let connections = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(listener, receiver, connections.clone()));
        Self { port, state, connections }
    }

    /// What happens from now on, to connections that exist too. What was held back goes on by [`Mode::Pass`].
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Resets all connections; new ones are let through.
    pub fn cut(&self) {
        let all = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.cut = all);
    }

    /// Silences all connections for ever without closing them, as a NAT that forgot them; new ones are let through.
    pub fn strand(&self) {
        let all = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.stranded = all);
    }

    /// Sends new connections to another server; those that exist stay where they are.
    pub fn redirect(&self, server: u16) {
        self.state.send_modify(|state| state.server = server);
    }
}

/// Accepts until the proxy is dropped.
async fn accept(listener: TcpListener, mut state: watch::Receiver<State>, connections: Arc<AtomicU64>) {
    let address = listener.local_addr().expect("its address");
    let mut listener = Some(listener);
    loop {
        let refuse = state.borrow_and_update().mode == Mode::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let incoming = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if refuse => std::future::pending().await,
                // The port is not free again yet.
                None => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    None
                }
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            client = incoming => if let Some((client, _)) = client {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, state.clone(), number));
            }
        }
    }
}

async fn carry(mut client: TcpStream, state: watch::Receiver<State>, number: u64) {
    let server = state.borrow().server;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let mut watching = state.clone();
        tokio::select! {
            end = watching.wait_for(|state| state.cut > number || state.mode == Mode::Refuse) => end.is_err(),
            () = pump(from_client, to_server, state.clone(), number, Direction::ToServer) => true,
            () = pump(from_server, to_client, state.clone(), number, Direction::ToClient) => true,
        }
    };
    if !end {
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    number: u64,
    direction: Direction,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let passes = |state: &State| {
            state.stranded <= number
                && match direction {
                    Direction::ToServer => matches!(state.mode, Mode::Pass | Mode::DeafClient),
                    Direction::ToClient => matches!(state.mode, Mode::Pass | Mode::DeafServer),
                }
        };
        if state.wait_for(passes).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
