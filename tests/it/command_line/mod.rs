//! The command line at a terminal and in scripts: what it says, what it leaves behind, and which exit code it has.
//!
//! - [`prompt`] types at the prompt for a token.
//! - [`stopped`] has the exit codes after Ctrl-C and SIGTERM.
//! - [`shown`] looks at what a terminal gets: narrow tables, letters that turn the direction.
//! - [`unseen`] follows channels that a token may not see, or fields that no channel has.
//! - [`history`] reads a channel to which somebody publishes all the time.
//! - [`numbers`] has wrong numbers and small rates.

mod history;
mod numbers;
mod prompt;
mod shown;
mod stopped;
mod unseen;

use std::net::TcpListener;

/// A server that takes connections and never answers, and its address.
fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
