//! Ctrl-C and SIGTERM: the one rule for all commands, and the wait for such a signal.
//!
//! - `serve`, `tail` and `top` run until they are stopped, and `bench` reports what it has measured so far: a signal is their
//!   normal end, with exit code 0.
//! - Any other command is stopped before it is done. It ends by the signal, as a program does that knows nothing of signals:
//!   a shell shows 130 or 143, and ends a loop around the command, too. A command that has something to say first waits with
//!   [`Stops`], and then returns [`Failure::Stopped`](super::failure::Failure::Stopped).
//!
//! A signal ends the process at once, unless there is a [`Waiting`]. A handler that is set once stays for the life of the process.
//! It reads [`AT_ONCE`]: if that is set, the handler does what the system does without a handler.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether a handled signal does what it does without a handler.
static AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// How many [`Waiting`] there are.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A signal that stops a command. Shown as people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Interrupt,
    Terminate,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        })
    }
}

impl Stop {
    /// Ends the process by this signal. Returns what a shell would show only if that is not possible.
    pub fn end(self) -> ExitCode {
        let number = match self {
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
        };
        let _ = emulate_default_handler(number);
        ExitCode::from(128 + number as u8)
    }
}

/// Somebody waits for signals: they do not end the process at once.
struct Waiting;

impl Waiting {
    fn new() -> Self {
        WAITING.fetch_add(1, Ordering::SeqCst);
        AT_ONCE.store(false, Ordering::SeqCst);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if WAITING.fetch_sub(1, Ordering::SeqCst) == 1 {
            AT_ONCE.store(true, Ordering::SeqCst);
        }
    }
}

/// The signals that stop a command. They do so only by [`Stops::next`], while this exists.
pub struct Stops {
    // The first to end: then a signal does what it does without a handler, before nobody takes it any more.
    _waiting: Waiting,
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// # Errors
    /// If a handler cannot be set.
    pub fn new() -> io::Result<Self> {
        let handled = |kind: SignalKind| {
            let taken = signal(kind)?;
            register_conditional_default(kind.as_raw_value(), AT_ONCE.clone())?;
            Ok::<_, io::Error>(taken)
        };
        let (interrupt, terminate) = (handled(SignalKind::interrupt())?, handled(SignalKind::terminate())?);
        // Last: before the handlers are set, a signal that does nothing by itself would be lost.
        Ok(Self { _waiting: Waiting::new(), interrupt, terminate })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}

/// Runs `work`, which blocks and has changed something that outlives the process. A signal, or Ctrl-Z, calls `leave` before it
/// does what it does otherwise; `back` is called when the process goes on.
///
/// # Errors
/// If a handler cannot be set.
pub fn leaving<T>(leave: impl Fn() + Send, back: impl Fn() + Send, work: impl FnOnce() -> T) -> io::Result<T> {
    /// Ends the thread, also after a panic.
    struct Closing(Handle);
    impl Drop for Closing {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    const ALL: [i32; 5] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP];
    let mut signals = Signals::new(ALL)?;
    for number in ALL {
        register_conditional_default(number, AT_ONCE.clone())?;
    }
    // Last, as in `Stops::new`.
    let _waiting = Waiting::new();
    let closing = Closing(signals.handle());
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in &mut signals {
                leave();
                let _ = emulate_default_handler(number);
                back();
            }
        });
        let _closing = closing;
        Ok(work())
    })
}
