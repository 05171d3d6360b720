//! Follows a channel and resumes where it stopped, after a lost connection and after a restart of this program.
//!
//! `cargo run --example subscribe`, with a daemon at `TIDINGS_URL` (`http://127.0.0.1:7400` by default). Stop it, publish
//! something, start it again: it prints what it missed. An argument names the file that keeps the position.

use std::error::Error;
use std::fs;

use tidings::client::{Client, Subscription, Update};

const CHANNEL: &str = "order-status";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let file = std::env::args().nth(1).unwrap_or_else(|| format!("{CHANNEL}.position"));

    // The position of the last event that this program finished. The first run begins with the oldest event of the log.
    let since = if fs::exists(&file)? { fs::read_to_string(&file)? } else { "start".into() };

    // The subscriber reconnects by itself and resumes each subscription at its own position.
    let mut subscriber = Client::new(&url)?.subscribe([Subscription::to(CHANNEL).since(since)]);
    loop {
        match subscriber.next().await? {
            Update::Event(delivery) => {
                println!("{} {}", delivery.position, delivery.event);
                // Save the position after the work is done. A program that stops in between repeats one event and skips
                // none. Where the work writes to a database, save the position in the same transaction.
                fs::write(&file, delivery.position.to_string())?;
            }
            // The log no longer has these events. Load afresh what depends on them, then go on.
            Update::Gap { channel, from, position } => {
                eprintln!("gap in {channel}: everything after {from} up to {position} is gone");
                fs::write(&file, position.to_string())?;
            }
            Update::Subscribed { channel, position } => eprintln!("subscribed to {channel} after {position}"),
            Update::Connected { node } => eprintln!("connected to node {node}"),
            Update::Disconnected { reason, retry_in } => eprintln!("disconnected: {reason}; retry in {retry_in:.1?}"),
            Update::Delayed { channel, reason, retry_in } => {
                eprintln!("{channel} is delayed: {reason}; retry in {retry_in:.1?}");
            }
            // Later versions of the client may report more.
            _ => {}
        }
    }
}
