//! The edge: which pages and hosts may be named, how large a head may be, how many connections and how much of anything a
//! client may have, and where the operator's routes are. Each rule is tried on both readers of handshakes.

mod admin;
mod controls;
mod files;
mod frames;
mod heads;
mod hosts;
mod limits;
mod origins;
mod rates;

use std::net::{IpAddr, SocketAddr};

use tidings::config::{BrokerUrl, Config};
use tokio::net::TcpSocket;

use crate::support::node::{Node, config};
use crate::support::raw::{RawConnection, Reader, ResponseHead, Target, handshake, handshake_headers};
use crate::support::within;

/// Both readers of handshakes.
const READERS: [Reader; 2] = [Reader::Direct, Reader::Hyper];

/// A node with a changed configuration.
async fn node_with(change: impl FnOnce(&mut Config)) -> Node {
    let mut config = config(BrokerUrl::Memory);
    change(&mut config);
    Node::start(config).await
}

/// The response to a handshake with these lines, in addition to the usual ones. A line replaces the usual one of its name.
async fn handshaken(node: &Node, reader: Reader, lines: &[&str]) -> ResponseHead {
    handshaken_on(&mut RawConnection::connect(Target { address: node.address, reader }).await, lines).await
}

async fn handshaken_on(raw: &mut RawConnection, lines: &[&str]) -> ResponseHead {
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    let replaced = |usual: &&str| lines.iter().all(|line| name(line) != name(usual));
    let usual = handshake_headers().into_iter().filter(replaced);
    raw.send(&handshake(&usual.chain(lines.iter().copied()).collect::<Vec<_>>())).await;
    raw.head().await
}

/// Connects from this address of this machine.
async fn connect_from(address: &str, to: SocketAddr) -> RawConnection {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0)).unwrap();
    RawConnection::over(within("a connection", socket.connect(to)).await.unwrap())
}
