//! Which channels a command follows: those that were named, or all of them, also those that come later.
//!
//! A channel comes when a daemon with more types takes the place of another one, or when the token may see more. A daemon that is
//! started again closes its connections. So [`Following`] asks for the channels again after each connect.

use std::collections::{HashMap, HashSet};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::failure::{Failure, say};
use super::fields::{self, Field};
use super::output::DIM;
use super::remote::TOKEN_VARIABLE;
use super::{grant, program};
use crate::client::{Client, Error, Subscription, Update};
use crate::event::{Filter, FilterError, Moment, Position, Since};
use crate::suggest;

/// The value of `--since` that begins with the newest event of each subject.
pub const LATEST: &str = "latest";
/// The pause after the daemon could not be asked for its channels.
const PAUSE: Duration = Duration::from_secs(5);

/// The channels that a command follows.
pub struct Following {
    client: Client,
    conditions: Vec<Field>,
    /// The value of `--since`.
    since: Option<String>,
    begun: Instant,
    /// The channels that were looked at. `None` if channels were named.
    known: Option<HashMap<Arc<str>, Known>>,
    /// Whether it tells people which channels come and go.
    says: bool,
    /// Asks for the channels again.
    looking: Option<Pin<Box<dyn Future<Output = Looked> + Send>>>,
}

/// A channel of all.
#[derive(Default)]
struct Known {
    /// How far it was followed.
    position: Option<Position>,
    /// Whether the daemon has refused to go on with it.
    has_ended: bool,
}

/// The channels that have come, or why they are not known.
type Looked = Result<Vec<Candidate>, Failure>;

/// A channel that is not followed. The subscription is `None` if the filter cannot match it.
struct Candidate {
    name: Arc<str>,
    subscription: Option<Subscription>,
    keeps_latest: bool,
}

/// What an update means.
pub enum Seen {
    Update(Update),
    /// One of all channels is not there any more, or the token may not see it any more. The others go on.
    Ended(Arc<str>),
}

impl Following {
    /// Follows the named channels, or all. Returns their subscriptions, too.
    ///
    /// # Errors
    /// The daemon cannot be asked; no channel has the fields of the conditions.
    pub async fn begin(
        client: Client,
        named: Vec<String>,
        conditions: Vec<Field>,
        since: Option<String>,
    ) -> Result<(Self, Vec<Subscription>), Failure> {
        let (all, begun) = (named.is_empty(), Instant::now());
        let subscriptions = subscriptions(&client, named, &conditions).await?;
        let known = subscriptions.iter().map(|subscription| (subscription.channel.clone(), Known::default()));
        let known = all.then(|| known.collect());
        let mut begins = Vec::with_capacity(subscriptions.len());
        let mut from_now = Vec::new();
        for subscription in subscriptions {
            begins.push(match &since {
                // Of all channels, those that keep no newest events begin with their next event.
                Some(since) if all && since == LATEST && !keeps_latest(&client, &subscription.channel).await? => {
                    from_now.push(subscription.channel.clone());
                    subscription
                }
                Some(since) => subscription.since(since),
                None => subscription,
            });
        }
        match from_now.len() {
            0 => {}
            count if count == begins.len() => {
                say(
                    "no type keeps its newest events (`latest` in [types.NAME]): all channels begin with their next event",
                );
            }
            _ => say(&format!(
                "{DIM}these keep no newest events and begin with their next one: {}{DIM:#}",
                from_now.join(", ")
            )),
        }
        Ok((Self { client, conditions, since, begun, known, says: true, looking: None }, begins))
    }

    /// The same without a word about channels that come and go: something else is drawn on the terminal.
    pub fn silent(self) -> Self {
        Self { says: false, ..self }
    }

    /// The subscriptions of channels that have come. Waits until there are any; for ever if channels were named. Cancel safe.
    pub async fn more(&mut self) -> Vec<Subscription> {
        loop {
            let Some(looking) = &mut self.looking else { return pending().await };
            let looked = looking.as_mut().await;
            self.looking = None;
            match looked {
                Ok(candidates) => {
                    let more: Vec<_> =
                        candidates.into_iter().filter_map(|candidate| self.subscription(candidate)).collect();
                    if !more.is_empty() {
                        if self.says {
                            let names: Vec<_> = more.iter().map(|subscription| &*subscription.channel).collect();
                            say(&format!("{DIM}following, too: {}{DIM:#}", names.join(", ")));
                        }
                        return more;
                    }
                }
                Err(_) => self.look(PAUSE),
            }
        }
    }

    /// Takes what the subscriber returned.
    ///
    /// # Errors
    /// Those of the subscriber, but for the refusal of one of all channels. Where each was refused from the beginning, the last
    /// refusal is one.
    pub fn saw(&mut self, update: Result<Update, Error>) -> Result<Seen, Error> {
        let Some(known) = &mut self.known else { return update.map(Seen::Update) };
        match &update {
            Ok(Update::Event(delivery)) => note(known, &delivery.channel, &delivery.position),
            Ok(Update::Gap { channel, position, .. } | Update::Subscribed { channel, position }) => {
                note(known, channel, position);
            }
            Ok(Update::Connected { .. }) => self.look(Duration::ZERO),
            Err(Error::Subscription { channel, code, message })
                if matches!(&**code, "unknown-channel" | "forbidden") =>
            {
                if self.says {
                    say(&format!("{DIM}{channel} is not followed any more: {message}{DIM:#}"));
                }
                known.entry(channel.as_str().into()).or_default().has_ended = true;
                // An operator sees all channels, and may follow none of them.
                let is_one_followed = known.values().any(|known| !known.has_ended || known.position.is_some());
                if self.says && !is_one_followed {
                    return update.map(Seen::Update);
                }
                return Ok(Seen::Ended(channel.as_str().into()));
            }
            _ => {}
        }
        update.map(Seen::Update)
    }

    /// Asks for the channels, after a pause.
    fn look(&mut self, pause: Duration) {
        let Some(known) = &self.known else { return };
        let (client, conditions) = (self.client.clone(), self.conditions.clone());
        let followed = known.iter().filter(|(_, known)| !known.has_ended);
        let followed: HashSet<_> = followed.map(|(name, _)| name.clone()).collect();
        let wants_latest = self.since.as_deref() == Some(LATEST);
        self.looking = Some(Box::pin(async move {
            sleep(pause).await;
            let mut candidates = Vec::new();
            for channel in client.channels().await?.into_iter().filter(|channel| !followed.contains(&*channel.name)) {
                let subscription = subscription(&client, &channel.name, &conditions, true).await?.ok();
                let keeps_latest = wants_latest && keeps_latest(&client, &channel.name).await?;
                candidates.push(Candidate { name: channel.name.into(), subscription, keeps_latest });
            }
            Ok(candidates)
        }));
    }

    /// The subscription of a channel that has come. It begins where it would have begun with the command: so it has what was
    /// published until now.
    fn subscription(&mut self, candidate: Candidate) -> Option<Subscription> {
        let Candidate { name, subscription, keeps_latest } = candidate;
        let known = self.known.as_mut()?.entry(name).or_default();
        known.has_ended = false;
        let since = match (&known.position, self.since.as_deref()) {
            (Some(position), _) => position.to_string(),
            (None, Some(LATEST)) if keeps_latest => LATEST.into(),
            (None, since) => begins(since, self.begun.elapsed()),
        };
        Some(subscription?.since(since))
    }
}

/// Where a channel begins that comes so long after the command began.
fn begins(since: Option<&str>, elapsed: Duration) -> String {
    match since.map(str::parse) {
        Some(Ok(Since::Start)) => "start".into(),
        Some(Ok(Since::AcceptedFrom(Moment::Ago(age)))) => format!("{}ms", (age + elapsed).as_millis()),
        Some(Ok(Since::AcceptedFrom(Moment::At(_)))) => since.unwrap_or_default().into(),
        // A cursor does not have this channel.
        _ => format!("{}ms", elapsed.as_millis()),
    }
}

/// Notes how far a channel was followed.
fn note(known: &mut HashMap<Arc<str>, Known>, channel: &str, position: &Position) {
    if let Some(known) = known.get_mut(channel) {
        known.position = Some(position.clone());
    }
}

/// Whether a channel's type keeps the newest event of each subject.
async fn keeps_latest(client: &Client, channel: &str) -> Result<bool, Failure> {
    match client.latest_list(channel, None, None, 1).await {
        Ok(_) => Ok(true),
        Err(Error::Refused(problem)) if problem.status == 422 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The subscriptions for the named channels. Without names, those for all channels that have the fields of the filter.
pub async fn subscriptions(
    client: &Client,
    named: Vec<String>,
    conditions: &[Field],
) -> Result<Vec<Subscription>, Failure> {
    let all = named.is_empty();
    let mut names = named;
    if all {
        names = client.channels().await?.into_iter().map(|channel| channel.name).collect();
        if names.is_empty() {
            return Err(nothing_granted(client));
        }
    } else {
        // Follow a channel once, even if it was named twice.
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    let (mut subscriptions, mut refused) = (Vec::new(), Vec::new());
    for name in &names {
        match subscription(client, name, conditions, all).await? {
            Ok(subscription) => subscriptions.push(subscription),
            Err(error) => refused.push(error),
        }
    }
    if subscriptions.is_empty() {
        return Err(no_channel_matches(&refused, conditions));
    }
    if subscriptions.len() < names.len() {
        let followed: Vec<_> = subscriptions.iter().map(|subscription| &*subscription.channel).collect();
        say(&format!("{DIM}only these channels can match --where: {}{DIM:#}", followed.join(", ")));
    }
    Ok(subscriptions)
}

/// The subscription for a channel. The filter of one of all channels may be one that cannot match it.
async fn subscription(
    client: &Client,
    name: &str,
    conditions: &[Field],
    all: bool,
) -> Result<Result<Subscription, Unmatched>, Failure> {
    // The schema is fetched even without conditions, so that the command fails at once if the daemon is unreachable.
    let schema = match client.schema(name).await {
        // An unknown channel. The daemon refuses the subscription, and suggests a similar name.
        Err(Error::Refused(problem)) if problem.status == 404 => json!({}),
        schema => schema?,
    };
    let subscription = Subscription::to(name);
    if conditions.is_empty() {
        return Ok(Ok(subscription));
    }
    let filter = fields::filter(&schema, conditions);
    // A named channel's filter is left to the daemon, whose schema is the one that counts.
    Ok(match Filter::read(&filter, name, &schema) {
        Err(error) if all => {
            let fields = schema["properties"].as_object().map(|fields| fields.keys().cloned().collect());
            Err(Unmatched { error, fields: fields.unwrap_or_default() })
        }
        _ => Ok(subscription.filter(filter)),
    })
}

/// One of all channels, which the filter cannot match.
struct Unmatched {
    error: FilterError,
    /// The fields of its data.
    fields: Vec<String>,
}

/// The failure of a command for all channels where there is none for the credential.
fn nothing_granted(client: &Client) -> Failure {
    match client.has_token() {
        true => format!("the token may subscribe to no channel; {}", grant::inspect()),
        false => format!(
            "without a token, there is no channel to subscribe to: give one with --token-file FILE, or in {TOKEN_VARIABLE}"
        ),
    }
    .into()
}

/// The failure of a filter for all channels that none of them can match.
fn no_channel_matches(refused: &[Unmatched], conditions: &[Field]) -> Failure {
    // A channel that has the fields, but never with these values, is the one that was meant.
    if let Some(meant) = refused.iter().find(|refused| matches!(refused.error, FilterError::Invalid(_))) {
        return meant.error.to_string().into();
    }
    let known: Vec<_> = refused.iter().flat_map(|refused| &refused.fields).map(String::as_str).collect();
    let mut names: Vec<&str> = Vec::new();
    for field in conditions {
        if !names.contains(&field.name.as_str()) {
            names.push(&field.name);
        }
    }
    let unknown = names.iter().find(|name| !known.contains(*name));
    let near = unknown.and_then(|unknown| suggest::nearest(unknown, known.iter().copied()));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let shown: Vec<_> = names.iter().map(|name| suggest::quoted(name)).collect();
    let these = match &*shown {
        [one] => format!("the field {one}"),
        several => format!("all of the fields {}", several.join(", ")),
    };
    let first = conditions.first().map_or_else(String::new, |field| format!("{}={}", field.name, field.text));
    format!(
        "no channel has {these}{near}\nName a channel to learn which fields it has, as in `{} tail order-status --where {first}`.",
        program::called()
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_comes_begins_where_it_would_have_begun_with_the_command() {
        let after = |since| begins(since, Duration::from_secs(90));
        assert_eq!(after(None), "90000ms");
        assert_eq!(after(Some("now")), "90000ms");
        assert_eq!(after(Some("10m")), "690000ms");
        assert_eq!(after(Some("start")), "start");
        assert_eq!(after(Some("2026-11-21T10:00:00Z")), "2026-11-21T10:00:00Z");
        assert_eq!(after(Some("order-status=k3:41")), "90000ms");
    }
}
