//! A TCP proxy that breaks the network on purpose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

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
    /// Everything takes so much longer, each way.
    Late(Duration),
    /// So many bytes a second get through each way, of all connections together.
    Narrow(u32),
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
    let free: Free = Arc::new([Mutex::new(Instant::now()), Mutex::new(Instant::now())]);
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
                tokio::spawn(carry(client, state.clone(), number, free.clone()));
            }
        }
    }
}

/// When the next byte may pass, in each direction.
type Free = Arc<[Mutex<Instant>; 2]>;

async fn carry(mut client: TcpStream, state: watch::Receiver<State>, number: u64, free: Free) {
    let server = state.borrow().server;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    // What is late is late by what it is told to be.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let mut watching = state.clone();
        tokio::select! {
            end = watching.wait_for(|state| state.cut > number || state.mode == Mode::Refuse) => end.is_err(),
            () = pump(from_client, to_server, state.clone(), number, Direction::ToServer, &free[0]) => true,
            () = pump(from_server, to_client, state.clone(), number, Direction::ToClient, &free[1]) => true,
        }
    };
    if !end {
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

/// What is read goes on its way, and arrives in order when its time has come.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: watch::Receiver<State>,
    number: u64,
    direction: Direction,
    free: &Mutex<Instant>,
) {
    let (depart, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let mut gate = state.clone();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let Ok(late) = gate.wait_for(|state| state.passes(number, direction)).await.map(|state| state.late())
            else {
                break;
            };
            if depart.send((Instant::now() + late, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
        // What is on its way still arrives.
        drop(depart);
        std::future::pending::<()>().await;
    };
    let write = async {
        while let Some((due, bytes)) = arrive.recv().await {
            tokio::time::sleep_until(due).await;
            for packet in bytes.chunks(1500) {
                let mode = state.borrow().mode;
                if let Mode::Narrow(rate) = mode {
                    tokio::time::sleep_until(reserve(free, packet.len(), rate)).await;
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

/// When so many bytes have passed behind all that are before them.
fn reserve(free: &Mutex<Instant>, bytes: usize, rate: u32) -> Instant {
    let mut free = free.lock().expect("nobody panics while it is held");
    *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
    *free
}

impl State {
    fn passes(&self, number: u64, direction: Direction) -> bool {
        let held = match direction {
            Direction::ToServer => matches!(self.mode, Mode::Refuse | Mode::Silent | Mode::DeafServer),
            Direction::ToClient => matches!(self.mode, Mode::Refuse | Mode::Silent | Mode::DeafClient),
        };
        self.stranded <= number && !held
    }

    fn late(&self) -> Duration {
        match self.mode {
            Mode::Late(late) => late,
            _ => Duration::ZERO,
        }
    }
}
