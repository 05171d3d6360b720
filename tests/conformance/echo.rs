//! Serves WebSockets that send each message back, with the daemon's handshake, frames and compression: what check.py runs
//! a conformance suite against. Prints its address.

use std::io::Write;

/// The suite sends messages of up to 16 MiB.
const LIMIT: usize = 32 << 20;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    tidings::parts::echo(listener, LIMIT).await
}
