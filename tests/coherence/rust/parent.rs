//! The process that has started this one, to which it talks in lines of JSON over standard input and output.
//!
//! Both sides ask. The parent calls the cache: `{"id":1,"call":"read","key":"a"}` is answered by `{"id":1,"version":5}` or
//! `{"id":1,"error":"…"}`. The cache asks for a load, `{"ask":7,"load":"a"}`, or for what a `mutate` writes,
//! `{"ask":8,"write":2}`, where 2 is the id of that call. The parent answers `{"answer":7,"version":5}` and `{"answer":8}`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};
use tidings::cache::BoxError;
use tokio::sync::{mpsc, oneshot};

/// A call of the parent, which waits for an answer with this id.
#[derive(Debug, Deserialize)]
pub struct Request {
    pub id: u64,
    #[serde(flatten)]
    pub call: Call,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub enum Call {
    Read {
        key: String,
    },
    Invalidate {
        key: String,
    },
    Mutate {
        key: String,
    },
    /// Blocks the runtime.
    Block {
        ms: u64,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Request(Request),
    Answer { answer: u64, version: Option<u64> },
}

/// How many calls may wait for the runtime. The parent waits when there are more.
const MAX_WAITING: usize = 1_000;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Parent(Arc<Questions>);

/// The questions without an answer.
#[derive(Debug, Default)]
struct Questions {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Option<u64>>>>,
}

impl Parent {
    /// Listens in a thread of its own, which ends this process when the parent ends: nothing is published after that, as if the
    /// two were one process.
    pub fn listen(&self) -> mpsc::Receiver<Request> {
        let (calls, receiver) = mpsc::channel(MAX_WAITING);
        let parent = self.clone();
        std::thread::spawn(move || {
            let code = match parent.read_lines(&calls) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("the cache cannot read from its parent: {error}");
                    1
                }
            };
            std::process::exit(code);
        });
        receiver
    }

    fn read_lines(&self, calls: &mpsc::Sender<Request>) -> Result<(), BoxError> {
        for line in io::stdin().lines() {
            match serde_json::from_str(&line?)? {
                Line::Request(request) => calls.blocking_send(request)?,
                Line::Answer { answer, version } => {
                    if let Some(asked) = self.waiting().remove(&answer) {
                        // An error: the cache has given up the load.
                        let _ = asked.send(version);
                    }
                }
            }
        }
        Ok(())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Option<u64>>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line. The parent reads all the time, so this takes no time.
    pub fn say(&self, line: &Value) -> io::Result<()> {
        writeln!(io::stdout(), "{line}")
    }

    /// The version of a key, as the database has it.
    pub async fn load(&self, key: &str) -> Result<Option<u64>, BoxError> {
        self.ask("load", key.into()).await
    }

    /// Waits until the parent has written what its call `id` says.
    pub async fn write(&self, id: u64) -> Result<(), BoxError> {
        self.ask("write", id.into()).await.map(drop)
    }

    async fn ask(&self, what: &str, of: Value) -> Result<Option<u64>, BoxError> {
        let number = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(number, sender);
        self.say(&json!({ "ask": number, what: of }))?;
        Ok(answer.await?)
    }
}
