//! A TCP proxy between a daemon and Redis, which injects network faults: refused, reset, silent, slow and half-open connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A running proxy; it stops when it is dropped.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<ProxyState>,
    connections: Arc<AtomicU64>,
}

/// How the proxy treats all connections, existing and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass unchanged.
    Pass,
    /// Existing connections are reset, and the port is closed.
    Refuse,
    /// Bytes are held back in both directions.
    Silent,
    /// Bytes to the server are held back.
    DeafServer,
    /// Bytes to the client are held back.
    DeafClient,
    /// Adds this latency in each direction.
    Latency(Duration),
    /// Limits the bandwidth in each direction to so many bytes a second, for all connections together.
    Bandwidth(u32),
}

#[derive(Clone, Copy)]
struct ProxyState {
    mode: Mode,
    /// The port to which new connections are forwarded.
    server: u16,
    /// Connections with a smaller number are reset.
    cut: u64,
    /// Connections with a smaller number pass no bytes any more, in either direction.
    stranded: u64,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Starts a proxy to a port on localhost.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (state, receiver) = watch::channel(ProxyState { mode: Mode::Pass, server, cut: 0, stranded: 0 });
        let connections = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(listener, receiver, connections.clone()));
        Self { port, state, connections }
    }

    /// Sets the mode. Bytes that were held back are forwarded on the next [`Mode::Pass`].
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Resets all existing connections; new ones pass.
    pub fn cut(&self) {
        let all = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.cut = all);
    }

    /// Makes all existing connections half-open for good, as a NAT does that dropped its entries; new ones pass.
    pub fn strand(&self) {
        let all = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.stranded = all);
    }

    /// Forwards new connections to another port; existing ones stay.
    pub fn redirect(&self, server: u16) {
        self.state.send_modify(|state| state.server = server);
    }
}

/// Accepts connections until the proxy is dropped. Closes and reopens the port according to the mode.
async fn accept(listener: TcpListener, mut state: watch::Receiver<ProxyState>, connections: Arc<AtomicU64>) {
    let address = listener.local_addr().expect("its address");
    let mut listener = Some(listener);
    let next_free: NextFree = Arc::new([Mutex::new(Instant::now()), Mutex::new(Instant::now())]);
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
                // The port could not be bound again yet: try again soon.
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
                tokio::spawn(forward(client, state.clone(), number, next_free.clone()));
            }
        }
    }
}

/// For each direction, when the next byte may pass under a bandwidth limit.
type NextFree = Arc<[Mutex<Instant>; 2]>;

/// Forwards one connection until either side ends it or the proxy resets it.
async fn forward(mut client: TcpStream, state: watch::Receiver<ProxyState>, number: u64, next_free: NextFree) {
    let server = state.borrow().server;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    // Without Nagle's algorithm, so that the latency is exactly what the mode sets.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let mut watching = state.clone();
        tokio::select! {
            end = watching.wait_for(|state| state.cut > number || state.mode == Mode::Refuse) => end.is_err(),
            () = copy(from_client, to_server, state.clone(), number, Direction::ToServer, &next_free[0]) => true,
            () = copy(from_server, to_client, state.clone(), number, Direction::ToClient, &next_free[1]) => true,
        }
    };
    if !end {
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Copies bytes in one direction, in order, each after its latency and within the bandwidth limit.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: watch::Receiver<ProxyState>,
    number: u64,
    direction: Direction,
    next_free: &Mutex<Instant>,
) {
    let (depart, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let mut gate = state.clone();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let Ok(latency) = gate.wait_for(|state| state.passes(number, direction)).await.map(|state| state.latency())
            else {
                break;
            };
            if depart.send((Instant::now() + latency, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
        // Bytes that were read before the end are still delivered.
        drop(depart);
        std::future::pending::<()>().await;
    };
    let write = async {
        while let Some((due, bytes)) = arrive.recv().await {
            tokio::time::sleep_until(due).await;
            for packet in bytes.chunks(1500) {
                let mode = state.borrow().mode;
                if let Mode::Bandwidth(rate) = mode {
                    tokio::time::sleep_until(reserve(next_free, packet.len(), rate)).await;
                }
                if to.write_all(packet).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

/// Reserves bandwidth for so many bytes, and returns when they will have passed.
fn reserve(next_free: &Mutex<Instant>, bytes: usize, rate: u32) -> Instant {
    let mut next_free = next_free.lock().expect("no task panics while it holds the lock");
    *next_free = (*next_free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
    *next_free
}

impl ProxyState {
    /// Whether bytes of this connection pass in this direction.
    fn passes(&self, number: u64, direction: Direction) -> bool {
        let held = match direction {
            Direction::ToServer => matches!(self.mode, Mode::Refuse | Mode::Silent | Mode::DeafServer),
            Direction::ToClient => matches!(self.mode, Mode::Refuse | Mode::Silent | Mode::DeafClient),
        };
        self.stranded <= number && !held
    }

    /// The latency to add.
    fn latency(&self) -> Duration {
        match self.mode {
            Mode::Latency(latency) => latency,
            _ => Duration::ZERO,
        }
    }
}
