//! The subscriber: receives events over one WebSocket, with any number of subscriptions, and reconnects by itself.
//!
//! It has no background task: it reads from the connection only while [`Subscriber::next`] is polled. If the consumer is
//! too slow, the daemon's send buffer fills up and the daemon closes the connection (4008). The subscriber then resumes from
//! its position, so that no event is dropped in the middle of a stream.
//!
//! `connect.rs` opens the WebSocket and `open_connection.rs` reads and writes it. `subscriptions.rs` holds the state of the
//! subscriptions, and `renewal.rs` when the token is renewed. This file decides what a frame or a lost connection means.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::Stream;

use super::backoff::{self, Backoff};
use super::connect::{Connected, connect};
use super::open_connection::{CLOSE_TIMEOUT, OpenConnection, to_messages};
use super::renewal::Renewal;
use super::subscription::Subscription;
use super::subscriptions::{ErrorOutcome, SubscribedOutcome, Subscriptions};
use super::syncs::{SyncId, Syncs};
use super::token::HeldToken;
use super::{Client, Delivery, Error, Update};
use crate::event::Position;
use crate::protocol::{Auth, ClientFrame, CloseCode, ErrorCode, ServerFrame};
use crate::secret::Secret;

/// A connection to a daemon with its subscriptions. Reconnects by itself and resumes where it was.
pub struct Subscriber {
    client: Client,
    /// The number of the node to connect to, modulo the count of nodes. Rises with each lost connection.
    node: usize,
    subscriptions: Subscriptions,
    connection: ConnectionState,
    renewal: Renewal,
    /// The token that has expired on the last connection.
    expired: Option<Secret>,
    backoff: Backoff,
    syncs: Syncs,
    /// Updates that `next` has not returned yet. One frame produces at most two, the end of a connection one more for each
    /// unanswered sync.
    pending: VecDeque<Update>,
}

/// Each state owns the future it waits for, so that dropping [`Subscriber::next`] halfway loses nothing.
enum ConnectionState {
    /// Waiting until the next attempt.
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send>>),
    Open(Box<OpenConnection>),
}

impl Subscriber {
    pub(super) fn new(client: Client, subscriptions: Vec<Subscription>) -> Self {
        Self {
            node: client.node(),
            client,
            subscriptions: Subscriptions::new(subscriptions),
            connection: ConnectionState::Waiting(Instant::now()),
            renewal: Renewal::default(),
            expired: None,
            backoff: Backoff::default(),
            syncs: Syncs::default(),
            pending: VecDeque::new(),
        }
    }

    /// Returns the next update. Connects if necessary, and retries without limit after a transient failure.
    ///
    /// Cancel safe: dropping the future, in a `select!` for example, loses no update.
    ///
    /// # Errors
    /// - [`Error::Subscription`]: the daemon refused one subscription. The others continue, so call `next` again.
    /// - [`Error::Unauthenticated`]: the token is missing, or it was refused, has expired or was revoked, and its provider has
    ///   no newer one.
    /// - [`Error::Refused`], [`Error::Closed`], [`Error::Unexpected`] and [`Error::Url`]: the connection was refused for a
    ///   reason that a retry does not change. Calling `next` again connects again.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.pending.pop_front() {
                return Ok(update);
            }
            match &mut self.connection {
                ConnectionState::Waiting(until) => {
                    sleep_until(*until).await;
                    let requests = to_messages(self.subscriptions.begin_connection());
                    let connecting = Box::pin(connect(self.client.clone(), self.node, requests, self.expired.clone()));
                    self.connection = ConnectionState::Connecting(connecting);
                }
                ConnectionState::Connecting(connecting) => match connecting.as_mut().await {
                    Ok((socket, token)) => {
                        self.renewal = Renewal::default();
                        let mut open = OpenConnection::new(socket, token);
                        open.outgoing.extend(to_messages(self.subscriptions.added()));
                        // Behind the subscriptions.
                        open.outgoing.extend(to_messages(self.syncs.unsent()));
                        self.connection = ConnectionState::Open(Box::new(open));
                    }
                    Err(error) => {
                        let retry_after = if let Error::Refused(problem) = &error { problem.retry_after } else { None };
                        // Jitter on top: the daemon sent the same Retry-After to many clients.
                        let retry_in = retry_after.map(|retry_after| retry_after + self.backoff.next());
                        if !error.is_transient() {
                            self.connect_later(retry_in);
                            return Err(error);
                        }
                        self.disconnected(error.to_string(), retry_in);
                    }
                },
                ConnectionState::Open(open) => {
                    let now = Instant::now();
                    let retry_at = self.subscriptions.next_retry_at();
                    if let Some(retry_at) = retry_at.filter(|retry_at| *retry_at <= now) {
                        open.outgoing.extend(to_messages(self.subscriptions.due_retries(retry_at)));
                        continue;
                    }
                    if let Some(credential) = &self.client.credential {
                        self.renewal.begin_if_due(credential, now);
                    }
                    let wake_at = [retry_at, self.renewal.due()];
                    let received = tokio::select! {
                        biased;
                        renewed = self.renewal.renewed() => {
                            self.handle_renewed(renewed)?;
                            continue;
                        }
                        received = open.receive() => received,
                        () = wait_until(wake_at) => continue,
                    };
                    match received {
                        Ok(Some(text)) => self.handle_frame(&text)?,
                        Ok(None) => {}
                        Err(reason) => {
                            let retry_in = open.reconnect_at.map(|at| at.saturating_duration_since(Instant::now()));
                            let closed = open.closed.take();
                            let token = open.token.take();
                            let final_error = closed.and_then(|(code, reason)| self.final_error(code, reason, token));
                            if let Some(error) = final_error {
                                self.connect_later(retry_in);
                                return Err(error);
                            }
                            self.disconnected(reason, retry_in);
                        }
                    }
                }
            }
        }
    }

    /// Adds a subscription. The daemon is asked for it at once, or on the next connection.
    pub fn add(&mut self, subscription: Subscription) {
        self.subscriptions.add(subscription);
        self.request_added();
    }

    /// Requests the subscriptions that were added since the connection began to open.
    fn request_added(&mut self) {
        if let ConnectionState::Open(open) = &mut self.connection {
            open.outgoing.extend(to_messages(self.subscriptions.added()));
        }
    }

    /// Asks the daemon for a proof that this subscriber has everything: [`Subscriber::next`] returns [`Update::Synced`], after
    /// all that was published before this call and answered with 202, or [`Update::NotSynced`]. Without a connection, the
    /// request is sent on the next one.
    ///
    /// Returns `None` while eight requests have no answer.
    pub fn sync(&mut self) -> Option<SyncId> {
        let (id, frame) = self.syncs.request()?;
        if let ConnectionState::Open(open) = &mut self.connection {
            open.outgoing.extend(to_messages([frame]));
            self.syncs.sent();
        }
        Some(id)
    }

    /// Turns the subscriber into a stream of the results of [`Subscriber::next`]. The stream never ends.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        stream::unfold(self, |mut subscriber| async { Some((subscriber.next().await, subscriber)) })
    }

    /// Closes the connection with a closing handshake, for at most 1 s. Dropping a subscriber cuts the connection instead.
    pub async fn close(self) {
        if let ConnectionState::Open(mut open) = self.connection {
            // A failure does not matter: the connection is dropped in any case.
            let _ = timeout(CLOSE_TIMEOUT, open.socket.close(None)).await;
        }
    }

    /// The error of a close code after which the subscriber does not reconnect. `None` if it does: also where a token has
    /// expired whose provider may have a newer one.
    fn final_error(&mut self, code: u16, reason: String, token: Option<Secret>) -> Option<Error> {
        if !CloseCode::is_final(code) {
            return None;
        }
        if code == CloseCode::TokenExpired.as_u16()
            && let (Some(credential), Some(token)) = (&self.client.credential, &token)
            && credential.is_renewable()
        {
            credential.refused(token);
            self.expired = Some(token.clone());
            return None;
        }
        Some(Error::closed(self.client.base(self.node), code, reason, token.is_some()))
    }

    /// The provider has returned a token for the renewal, or has failed.
    fn handle_renewed(&mut self, renewed: Result<HeldToken, Error>) -> Result<(), Error> {
        let ConnectionState::Open(open) = &mut self.connection else { return Ok(()) };
        match renewed {
            // The provider has no newer one yet.
            Ok(token) if open.token.as_ref() == Some(&token.secret) => self.renewal.schedule(),
            Ok(token) => {
                open.pending_token = Some(token.secret.clone());
                open.outgoing.extend(to_messages([ClientFrame::Auth(Auth { token: token.secret })]));
            }
            Err(error) if error.is_transient() => {
                self.renewal.schedule_again();
                self.pending.push_back(Update::NotRenewed { reason: error.to_string() });
            }
            Err(error) => {
                self.connect_later(None);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reports that the connection is lost, and schedules the next attempt as [`Subscriber::connect_later`] does.
    fn disconnected(&mut self, reason: String, retry_in: Option<Duration>) {
        let retry_in = self.connect_later(retry_in);
        self.pending.push_back(Update::Disconnected { reason, retry_in });
    }

    /// Schedules the next attempt, at the next node: after `retry_in` if the daemon named a time, or after a backoff delay.
    /// Returns the delay. Answers the syncs that were sent on this connection.
    fn connect_later(&mut self, retry_in: Option<Duration>) -> Duration {
        // A daemon in trouble may accept connections and cut them soon after. Only a connection that lasted resets the
        // backoff.
        if let ConnectionState::Open(open) = &self.connection
            && open.opened.elapsed() >= backoff::MAX_DELAY
        {
            self.backoff.reset();
        }
        let retry_in = retry_in.unwrap_or_else(|| self.backoff.next());
        self.node = self.node.wrapping_add(1);
        self.connection = ConnectionState::Waiting(Instant::now() + retry_in);
        for sync in self.syncs.lost() {
            self.pending.push_back(Update::NotSynced { sync, reason: "the connection was lost".into() });
        }
        retry_in
    }

    /// Handles one frame of the daemon.
    fn handle_frame(&mut self, text: &str) -> Result<(), Error> {
        /// An `event` frame. Most frames are events, so this fast path parses them directly and copies the event once.
        #[derive(Deserialize)]
        struct EventFrame<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            position: Option<Position>,
            event: Option<Box<RawValue>>,
        }
        if let Ok(EventFrame { kind, position: Some(position), event: Some(event) }) = serde_json::from_str(text)
            && kind == "event"
        {
            return self.handle_event(position, event);
        }
        let Ok(frame) = serde_json::from_str::<ServerFrame<'_>>(text) else {
            // A later version of the daemon may send it.
            tracing::debug!(bytes = text.len(), "ignored an unknown frame");
            return Ok(());
        };
        let ConnectionState::Open(open) = &mut self.connection else { return Ok(()) };
        match frame {
            ServerFrame::Welcome { node, heartbeat_ms, expires_in_ms, .. } => {
                // Two heartbeat intervals, and half of one for the network.
                let idle_timeout = Duration::from_millis(heartbeat_ms.saturating_mul(5) / 2);
                open.idle_timeout = idle_timeout.max(Duration::from_millis(100));
                self.pending.push_back(Update::Connected { node: node.into_owned() });
                self.authenticated(expires_in_ms);
            }
            ServerFrame::Authenticated { expires_in_ms } => {
                open.token = open.pending_token.take().or(open.token.take());
                self.authenticated(expires_in_ms);
            }
            ServerFrame::Error { code: ErrorCode::Unauthenticated, message, sub: None, id: None }
                if open.pending_token.is_some() =>
            {
                if let (Some(credential), Some(refused)) = (&self.client.credential, open.pending_token.take()) {
                    credential.refused(&refused);
                }
                self.renewal.schedule();
                self.pending.push_back(Update::NotRenewed { reason: message.into_owned() });
            }
            ServerFrame::Subscribed { sub, channel, position, recovered } => {
                match self.subscriptions.subscribed(&sub, &channel, position, recovered) {
                    SubscribedOutcome::Live(channel, position, frame) => {
                        open.outgoing.extend(to_messages(frame));
                        self.pending.push_back(Update::Subscribed { channel, position });
                    }
                    SubscribedOutcome::Ignored => {}
                    SubscribedOutcome::Reconnect => {
                        self.disconnected(
                            "a stream begins after the position of one of its subscriptions".into(),
                            None,
                        );
                    }
                }
            }
            ServerFrame::Gap { channel, from, position } => {
                if self.subscriptions.gap(&channel, &from, &position) {
                    self.pending.push_back(Update::Gap { channel: channel.into(), from, position });
                }
            }
            ServerFrame::Heartbeat { positions } => {
                positions.iter().for_each(|(channel, position)| self.subscriptions.advance(channel, position));
            }
            ServerFrame::Synced { id, positions } => {
                if let Some(sync) = self.syncs.answered(&id) {
                    let positions = positions.into_iter().map(|(channel, at)| (channel.as_ref().into(), at)).collect();
                    self.pending.push_back(Update::Synced { sync, positions });
                }
            }
            ServerFrame::Error { message, id: Some(id), .. } => {
                if let Some(sync) = self.syncs.answered(&id) {
                    self.pending.push_back(Update::NotSynced { sync, reason: message.into_owned() });
                }
            }
            ServerFrame::Error { code, message, sub, id: None } => {
                let message = message.into_owned();
                let channel = match self.subscriptions.error(code, sub.as_deref()) {
                    ErrorOutcome::Reconnect => {
                        self.disconnected(message, None);
                        return Ok(());
                    }
                    ErrorOutcome::Delayed(channel, retry_in) => {
                        self.pending.push_back(Update::Delayed { channel, reason: message, retry_in });
                        return Ok(());
                    }
                    ErrorOutcome::Refused(channel, frame) => {
                        open.outgoing.extend(to_messages(frame));
                        channel.to_string()
                    }
                    ErrorOutcome::RefusedAndReconnect(channel) => {
                        self.disconnected(message.clone(), None);
                        channel.to_string()
                    }
                    ErrorOutcome::NotASubscription => "the connection".into(),
                };
                return Err(Error::Subscription { channel, code: code.as_str().to_owned(), message });
            }
            ServerFrame::Draining { reconnect_in_ms } => {
                open.reconnect_at =
                    Some(Instant::now() + Duration::from_millis(reconnect_in_ms).min(backoff::MAX_PAUSE));
            }
            ServerFrame::Unsubscribed { sub } => self.subscriptions.unsubscribed(&sub),
            ServerFrame::Event { .. } | ServerFrame::Pong => {}
        }
        Ok(())
    }

    /// The daemon has accepted the token of the connection, and said for how long.
    fn authenticated(&mut self, expires_in_ms: Option<u64>) {
        let expires = expires_in_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        if let (ConnectionState::Open(open), Some(credential)) = (&self.connection, &self.client.credential)
            && let Some(token) = &open.token
        {
            credential.expires(token, expires);
            self.renewal.expires(expires.filter(|_| credential.is_renewable()));
        }
    }

    fn handle_event(&mut self, position: Position, event: Box<RawValue>) -> Result<(), Error> {
        let Some((channel, is_new)) = self.subscriptions.event(&position, &event) else {
            return Err(self.client.unexpected("the daemon sent an event without a type".into()));
        };
        if is_new {
            self.pending.push_back(Update::Event(Delivery { channel, position, event }));
        }
        Ok(())
    }
}

/// Waits until the earliest of these times; for ever if there is none.
async fn wait_until(times: [Option<Instant>; 2]) {
    match times.into_iter().flatten().min() {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
