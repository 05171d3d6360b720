//! The command line at a terminal and in scripts: what it says, what it leaves behind, and which exit code it has.
//!
//! - [`numbers`] has wrong numbers and small rates.

mod numbers;

use std::net::TcpListener;

/// A server that takes connections and never answers, and its address.
fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
