//! The signals of the daemon.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | the first one stops the daemon; one during the drain notice ends the notice; any other one ends the process |
//! | SIGHUP | the daemon reads its configuration again, or stops if the terminal that it logs to is gone |
//! | SIGUSR1, SIGUSR2 | the daemon logs the signal. Without a handler, the signal would end the process |
//! | SIGXFSZ | the daemon goes on, and the write that reached the limit of a file's size fails |
//!
//! SIGPIPE is ignored by Rust's runtime. SIGQUIT keeps its default: it ends the process at once, with a core dump.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::reload::Reload;

/// The number of SIGXFSZ, on every system except Linux on MIPS.
const SIGXFSZ: i32 = 25;

/// The handlers of the signals. A signal that arrives before [`Signals::handle`] waits.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: [Signal; 2],
    /// Whether stderr was a terminal when the daemon started.
    on_terminal: bool,
}

/// What the signals ask the server for.
pub struct Asked {
    /// The first signal to stop.
    pub shutdown: oneshot::Receiver<()>,
    /// The second one.
    pub drain_now: oneshot::Receiver<()>,
}

impl Signals {
    pub fn new() -> io::Result<Self> {
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            on_terminal: io::stderr().is_terminal(),
        })
    }

    /// Handles the signals from now on, in a task that ends with the process.
    pub fn handle(self, reload: Reload) -> Asked {
        let [(shutdown, first), (drain_now, second)] = [(); 2].map(|()| oneshot::channel());
        let (stop, stops) = mpsc::channel(1);
        tokio::spawn(self.dispatch(stop, reload));
        tokio::spawn(stop_in_steps(stops, shutdown, drain_now));
        Asked { shutdown: first, drain_now: second }
    }

    async fn dispatch(mut self, stop: mpsc::Sender<&'static str>, reload: Reload) {
        let [user1, user2] = &mut self.user;
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hangup.recv() => {
                    if self.on_terminal && !io::stderr().is_terminal() {
                        "SIGHUP, since its terminal is gone"
                    } else {
                        reload.run();
                        continue;
                    }
                }
                _ = user1.recv() => {
                    tracing::info!(signal = "SIGUSR1", "the signal has no effect");
                    continue;
                }
                _ = user2.recv() => {
                    tracing::info!(signal = "SIGUSR2", "the signal has no effect");
                    continue;
                }
            };
            if stop.send(name).await.is_err() {
                return;
            }
        }
    }
}

/// Passes the signals to stop on: each goes one step further.
async fn stop_in_steps(
    mut stops: mpsc::Receiver<&'static str>,
    shutdown: oneshot::Sender<()>,
    drain_now: oneshot::Sender<()>,
) {
    let Some(signal) = stops.recv().await else { return };
    tracing::info!(signal, "stopping after a signal; another signal stops sooner");
    // The server has ended by itself if nobody receives this.
    let _ = shutdown.send(());
    let Some(signal) = stops.recv().await else { return };
    // The server waits for it only while it gives notice.
    let signal = match drain_now.send(()) {
        Ok(()) => {
            tracing::info!(signal, "the notice ends after another signal; the next one stops at once");
            let Some(signal) = stops.recv().await else { return };
            signal
        }
        Err(()) => signal,
    };
    tracing::warn!(signal, "stopped by another signal before the drain was complete");
    std::process::exit(1);
}
