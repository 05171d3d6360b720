//! Grants: what a credential allows. They only add; their order never matters.
//!
//! A [`GrantList`] is what somebody wrote: in the claim of a token, on an API key, or in a rule. [`Grants`] are what that
//! comes to with the channels that there are. One mistake refuses the whole list: a pin that was misspelt must not become a
//! grant without one.

use std::fmt;

use crate::event::{Catalog, ChannelId, Filter, FilterError, Json, JsonText, Selector};
use crate::suggest;

/// The most entries of a list, `publish` and `subscribe` together.
pub const MAX_ENTRIES: usize = 100;
/// The most entries that may grant one channel, for publishing or for subscribing.
pub const MAX_ENTRIES_OF_CHANNEL: usize = 16;

/// What may be granted besides events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminRight {
    /// `/v1/nodes`, `/v1/incidents`, and the list at `/v1/webhooks`.
    Nodes,
    /// `/metrics`.
    Metrics,
    /// `/v1/connections`.
    Connections,
    /// `/v1/revocations`.
    Revoke,
    /// `/v1/webhooks/NAME/…`: dead letters, which are events, and what is done with flows.
    Flows,
}

/// Entries as they were written, for any channels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GrantList {
    publish: Vec<Entry>,
    subscribe: Vec<Entry>,
    admin: AdminRights,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// The pointer to the entry in its list.
    at: String,
    name: Box<str>,
    /// The name stands for all channels that begin with it.
    wildcard: bool,
    /// The pin.
    condition: Option<JsonText>,
}

/// What a credential allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Grants {
    publish: Rules,
    subscribe: Rules,
    admin: AdminRights,
}

/// The rule of each channel that is granted, in the order of the channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Rules(Box<[(ChannelId, Rule)]>);

/// Which events of a channel are granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    All,
    /// Those that match one of these filters.
    Pinned(Box<[Filter]>),
}

/// A set of [`AdminRight`]s, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct AdminRights(u8);

/// Why a list was refused, with the pointer into it: `/subscribe/0/where/customerid: …`. For logs and `token inspect`; a
/// client is never told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrantError(String);

impl AdminRight {
    pub const ALL: [Self; 5] = [Self::Nodes, Self::Metrics, Self::Connections, Self::Revoke, Self::Flows];

    /// Its name in a list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Metrics => "metrics",
            Self::Connections => "connections",
            Self::Revoke => "revoke",
            Self::Flows => "flows",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl GrantList {
    /// Reads `{"publish": […], "subscribe": […], "admin": […]}`, each of which may be left out.
    ///
    /// # Errors
    /// The first mistake: an unknown member, a wrong type, a `*` elsewhere than at the end of a name, an empty pin, too
    /// many entries.
    pub fn read(grants: &Json<'_>) -> Result<Self, GrantError> {
        let Some(members) = grants.as_object() else { return Err(mistake("", "grants are a JSON object")) };
        let mut list = Self::default();
        for (name, value) in members {
            let at = format!("/{}", shown(name));
            match &**name {
                "publish" => list.publish = entries(value, &at)?,
                "subscribe" => list.subscribe = entries(value, &at)?,
                "admin" => list.admin = admin_rights(value, &at)?,
                _ => return Err(mistake(&at, "grants have no such member: publish, subscribe, admin")),
            }
        }
        list.check_count()?;
        Ok(list)
    }

    /// Adds the entries of another list.
    ///
    /// # Errors
    /// Together there are too many.
    pub fn add(&mut self, other: Self) -> Result<(), GrantError> {
        self.publish.extend(other.publish);
        self.subscribe.extend(other.subscribe);
        self.admin.0 |= other.admin.0;
        self.check_count()
    }

    fn check_count(&self) -> Result<(), GrantError> {
        match self.publish.len() + self.subscribe.len() {
            0..=MAX_ENTRIES => Ok(()),
            count => Err(mistake("", &format!("there are at most {MAX_ENTRIES} entries, not {count}"))),
        }
    }

    /// What the list comes to with the channels of `catalog`. Under a name with a wildcard, a channel to which the pin does
    /// not apply is not granted. A literal name that no channel has grants nothing.
    ///
    /// # Errors
    /// A pin does not fit the channel that its entry names, or too many entries are about one channel.
    pub fn resolve(&self, catalog: &Catalog) -> Result<Grants, GrantError> {
        Ok(Grants {
            publish: Rules::resolve(&self.publish, catalog)?,
            subscribe: Rules::resolve(&self.subscribe, catalog)?,
            admin: self.admin,
        })
    }
}

impl Grants {
    /// What may be published on a channel. `None` if nothing may.
    pub fn publish(&self, channel: ChannelId) -> Option<&Rule> {
        self.publish.get(channel)
    }

    /// What of a channel may be received. `None` if nothing may.
    pub fn subscribe(&self, channel: ChannelId) -> Option<&Rule> {
        self.subscribe.get(channel)
    }

    /// Whether anything may be published.
    pub fn publishes(&self) -> bool {
        !self.publish.0.is_empty()
    }

    /// Whether anything may be received.
    pub fn subscribes(&self) -> bool {
        !self.subscribe.0.is_empty()
    }

    pub fn has(&self, right: AdminRight) -> bool {
        self.admin.0 & right.bit() != 0
    }

    /// Whether anything is granted besides events.
    pub fn has_any_admin_right(&self) -> bool {
        self.admin != AdminRights::default()
    }
}

impl Rule {
    /// Which events a client gets that asked for `filter`.
    pub fn selector(&self, filter: &Filter) -> Selector {
        match self {
            Self::All => Selector::of(filter.clone()),
            Self::Pinned(pins) => Selector::within(filter, pins),
        }
    }

    /// Whether an event with this `data` is granted.
    pub fn allows(&self, data: &Json<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Pinned(pins) => pins.iter().any(|pin| pin.matches(data)),
        }
    }
}

impl Rules {
    fn get(&self, channel: ChannelId) -> Option<&Rule> {
        let at = self.0.binary_search_by_key(&channel, |(channel, _)| *channel).ok()?;
        Some(&self.0[at].1)
    }

    fn resolve(entries: &[Entry], catalog: &Catalog) -> Result<Self, GrantError> {
        let mut rules = Vec::new();
        for channel in catalog.channels() {
            let known = catalog.get(channel);
            let (mut pins, mut everything, mut count) = (Vec::new(), false, 0);
            for entry in entries.iter().filter(|entry| entry.names(&known.name)) {
                count += 1;
                let Some(condition) = &entry.condition else {
                    everything = true;
                    continue;
                };
                match Filter::parse(&condition.read(), known) {
                    Ok(pin) => pins.push(pin),
                    Err(_) if entry.wildcard => {}
                    Err(error) => return Err(entry.refused(&error)),
                }
            }
            if count > MAX_ENTRIES_OF_CHANNEL {
                let text = format!("at most {MAX_ENTRIES_OF_CHANNEL} entries may be about {}, not {count}", known.name);
                return Err(mistake("", &text));
            }
            match (everything, pins.is_empty()) {
                (true, _) => rules.push((channel, Rule::All)),
                (false, false) => {
                    pins.sort_unstable();
                    pins.dedup();
                    rules.push((channel, Rule::Pinned(pins.into())));
                }
                (false, true) => {}
            }
        }
        rules.sort_unstable_by_key(|(channel, _)| *channel);
        Ok(Self(rules.into()))
    }
}

impl Entry {
    fn names(&self, channel: &str) -> bool {
        match self.wildcard {
            true => channel.starts_with(&*self.name),
            false => *channel == *self.name,
        }
    }

    fn refused(&self, error: &FilterError) -> GrantError {
        mistake(&self.at, &error.to_string())
    }
}

fn entries(value: &Json<'_>, at: &str) -> Result<Vec<Entry>, GrantError> {
    let Json::Array(entries) = value else { return Err(mistake(at, "this is a list of channels")) };
    if entries.len() > MAX_ENTRIES {
        return Err(mistake(at, &format!("there are at most {MAX_ENTRIES} entries, not {}", entries.len())));
    }
    entries.iter().enumerate().map(|(index, entry)| self::entry(entry, format!("{at}/{index}"))).collect()
}

fn entry(value: &Json<'_>, at: String) -> Result<Entry, GrantError> {
    let (mut name, mut condition) = (None, None);
    match value {
        Json::String(text) => name = Some(&**text),
        Json::Object(members) => {
            for (member, value) in members {
                let at = format!("{at}/{}", shown(member));
                match (&**member, value) {
                    ("channel", Json::String(text)) => name = Some(&**text),
                    ("channel", _) => return Err(mistake(&at, "a channel's name is a string")),
                    ("where", Json::Object(fields)) if !fields.is_empty() => condition = Some(JsonText::from(value)),
                    ("where", _) => return Err(mistake(&at, "a pin is an object with at least one field")),
                    _ => return Err(mistake(&at, "an entry has no such member: channel, where")),
                }
            }
        }
        _ => return Err(mistake(&at, "an entry is a channel's name, or an object with `channel` and `where`")),
    }
    let Some(name) = name else { return Err(mistake(&at, "`channel` is missing")) };
    let (name, wildcard) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
    if name.contains('*') || name.is_empty() && !wildcard {
        return Err(mistake(&at, "a channel's name has a `*` at its end only, and is not empty"));
    }
    Ok(Entry { at, name: name.into(), wildcard, condition })
}

fn admin_rights(value: &Json<'_>, at: &str) -> Result<AdminRights, GrantError> {
    let Json::Array(names) = value else { return Err(mistake(at, "this is a list of names")) };
    let mut rights = AdminRights::default();
    for (index, name) in names.iter().enumerate() {
        let right = AdminRight::ALL.into_iter().find(|right| name.as_str() == Some(right.name()));
        let Some(right) = right else {
            let known = AdminRight::ALL.map(AdminRight::name).join(", ");
            return Err(mistake(&format!("{at}/{index}"), &format!("there is no such right: {known}")));
        };
        rights.0 |= right.bit();
    }
    Ok(rights)
}

fn mistake(at: &str, text: &str) -> GrantError {
    let text = if at.is_empty() { text.to_owned() } else { format!("{at}: {text}") };
    GrantError(suggest::one_line(&text).into_owned())
}

/// A name that a stranger wrote, for a log line.
fn shown(name: &str) -> impl fmt::Display {
    name.chars().take(100).flat_map(char::escape_debug).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Grants, String> {
        let list = GrantList::read(&Json::parse(text).unwrap()).map_err(|error| error.to_string())?;
        list.resolve(&Catalog::builtin()).map_err(|error| error.to_string())
    }

    fn channel(name: &str) -> ChannelId {
        Catalog::builtin().channel(name).unwrap()
    }

    #[test]
    fn entries_only_add() {
        let grants = read(
            r#"{"publish": ["inventory-change", {"channel": "order-status", "where": {"customerId": "u1"}}],
                "subscribe": [{"channel": "order-*", "where": {"customerId": "u1"}},
                              {"channel": "order-status", "where": {"customerId": "u2"}}, "finance-change",
                              {"channel": "finance-change", "where": {"id": "a"}}],
                "admin": ["metrics", "revoke"]}"#,
        )
        .unwrap();
        assert_eq!(grants.publish(channel("inventory-change")), Some(&Rule::All));
        assert!(matches!(grants.publish(channel("order-status")), Some(Rule::Pinned(pins)) if pins.len() == 1));
        assert!(matches!(grants.subscribe(channel("order-status")), Some(Rule::Pinned(pins)) if pins.len() == 2));
        assert_eq!(
            grants.subscribe(channel("finance-change")),
            Some(&Rule::All),
            "an entry without a pin adds the rest"
        );
        assert_eq!(grants.subscribe(channel("inventory-change")), None);
        let rights = AdminRight::ALL.map(|right| grants.has(right));
        assert_eq!(rights, [false, true, false, true, false]);
        let nothing = read("{}").unwrap();
        assert!(!nothing.publishes() && !nothing.subscribes() && !nothing.has_any_admin_right());
    }

    #[test]
    fn a_wildcard_grants_no_channel_to_which_its_pin_does_not_apply() {
        let grants =
            read(r#"{"subscribe": [{"channel": "*", "where": {"customerId": "u1"}}, "unknown-type"]}"#).unwrap();
        assert!(grants.subscribe(channel("order-status")).is_some());
        assert_eq!(grants.subscribe(channel("inventory-change")), None);
    }

    #[test]
    fn one_mistake_refuses_the_whole_list() {
        let many = |count| format!(r#"{{"subscribe": [{}]}}"#, vec![r#""order-status""#; count].join(","));
        for (text, refusal) in [
            ("[]", "grants are a JSON object"),
            (r#"{"subscribe": {}}"#, "/subscribe: this is a list of channels"),
            (r#"{"subscribe": [1]}"#, "/subscribe/0: an entry is a channel's name"),
            (r#"{"subscribe": [{}]}"#, "/subscribe/0: `channel` is missing"),
            (r#"{"subscribe": [""]}"#, "/subscribe/0: a channel's name has"),
            (r#"{"subscribe": ["a*b"]}"#, "/subscribe/0: a channel's name has"),
            (r#"{"subscribe": ["a**"]}"#, "/subscribe/0: a channel's name has"),
            (r#"{"subscribe": [{"channel": 1}]}"#, "/subscribe/0/channel: a channel's name is a string"),
            (r#"{"subscribe": [{"channel": "a", "wehre": {"b": 1}}]}"#, "/subscribe/0/wehre: an entry has no such"),
            (r#"{"subscribe": [{"channel": "a", "where": null}]}"#, "/subscribe/0/where: a pin is an object"),
            (r#"{"subscribe": [{"channel": "a", "where": {}}]}"#, "/subscribe/0/where: a pin is an object"),
            (r#"{"subscribe": [{"channel": "order-status", "where": {"customerid": "u"}}]}"#, "customerId"),
            (r#"{"publish": [{"channel": "order-status", "where": {"customerId": 7}}]}"#, "/publish/0: "),
            (r#"{"Subscribe": []}"#, "/Subscribe: grants have no such member"),
            (r#"{"admin": ["all"]}"#, "/admin/0: there is no such right: nodes"),
            (r#"{"admin": "nodes"}"#, "/admin: this is a list of names"),
            (&many(17), "at most 16 entries may be about order-status, not 17"),
            (&many(101), "at most 100 entries, not 101"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(refusal), "{text}: {found}");
        }
        assert!(read(&many(16)).is_ok());
    }
}
