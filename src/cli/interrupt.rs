//! Ctrl-C and SIGTERM for the commands that publish: what is in flight may be published, and the user must learn that.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for a signal that ends the command; returns its name for people.
///
/// # Errors
/// If a handler cannot be set.
pub async fn interrupted() -> io::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}
