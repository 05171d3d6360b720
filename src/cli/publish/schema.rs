//! The schema of the type that a command publishes. It is asked for before the first event, and is retried as publishing is.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::failure::say;
use super::super::remote::{Remote, retrying};
use crate::client::{Client, Error};

/// How long it is retried where the user did not say and a daemon was reached, as publishing is.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before the second attempt, if the daemon names none.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks for the schema. Returns the client for the events, which has the rest of the time for its retries.
///
/// # Errors
/// Those of [`Client::schema`].
pub async fn fetch(remote: &Remote, client: Client, event_type: &str) -> (Result<Value, Error>, Client) {
    let start = Instant::now();
    let rest = |timeout: Duration| timeout.saturating_sub(start.elapsed());
    let schema = client.schema(event_type).await;
    if let Some(timeout) = remote.retry_timeout() {
        return (schema, client.with_retry_timeout(rest(timeout)));
    }
    let (error, pause) = match schema {
        // No daemon runs there: the user learns that at once.
        Err(error @ Error::Unreachable { sent: false, .. }) => return (Err(error), client),
        Err(Error::Refused(problem)) if problem.retry_after.is_some_and(|pause| pause > RETRY_TIMEOUT) => {
            return (Err(Error::Refused(problem)), client);
        }
        Err(error) if error.is_transient() => {
            let pause = if let Error::Refused(problem) = &error { problem.retry_after } else { None };
            (error, pause.unwrap_or(PAUSE))
        }
        schema => return (schema, client),
    };
    say(&retrying(&error, RETRY_TIMEOUT));
    sleep(pause).await;
    let client = client.on_retry(|_, _| ()).with_retry_timeout(rest(RETRY_TIMEOUT));
    let schema = client.schema(event_type).await;
    (schema, client.with_retry_timeout(rest(RETRY_TIMEOUT)))
}
