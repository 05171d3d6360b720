//! What a command asks of a daemon's grants: what a refusal with `forbidden` adds, since the daemon's text is the same for all.

use std::fmt;

use super::Command;
use super::program;
use crate::access::AdminRight;

/// What a credential must grant, and what for.
#[derive(Debug)]
pub struct Grant {
    /// What the command wanted, as in "to publish order-status".
    action: String,
    /// The entry of the grants that allows it.
    entry: String,
}

impl Grant {
    /// To publish events of a type.
    pub fn publish(event_type: &str) -> Self {
        Self { action: format!("publish {event_type}"), entry: format!("{event_type} in its list `publish`") }
    }

    /// To read channels. Without names: all that it grants.
    pub fn subscribe(channels: &[String]) -> Self {
        let names = channels.join(", ");
        let names = if names.is_empty() { "these channels" } else { &names };
        Self { action: format!("read {names}"), entry: format!("{names} in its list `subscribe`") }
    }

    /// To look at something of an operator, or to change it.
    pub fn admin(action: &str, right: AdminRight) -> Self {
        Self { action: action.to_owned(), entry: format!("`{}` in its list `admin`", right.name()) }
    }

    /// What a command needs, for those that need one grant.
    pub(super) fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Publish(publish) => Self::publish(publish.event_type()?),
            Command::Trigger(trigger) => Self::publish(trigger.event_type()),
            Command::Tail(tail) => Self::subscribe(tail.channels()),
            Command::Top(top) => Self::subscribe(top.channels()),
            Command::History(history) => Self::subscribe(history.channels()),
            Command::Latest(latest) => Self::subscribe(&[latest.event_type().to_owned()]),
            Command::Nodes(_) => Self::admin("list the nodes", AdminRight::Nodes),
            Command::Webhooks(_) => Self::admin("list the webhooks", AdminRight::Nodes),
            Command::Webhook(_) | Command::Bridge(_) | Command::Sink(_) => {
                Self::admin("see or change what a flow does", AdminRight::Flows)
            }
            Command::Token(_) => Self::admin("revoke credentials", AdminRight::Revoke),
            _ => return None,
        })
    }
}

/// A sentence for the user, with the command that shows the grants.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, entry } = self;
        write!(f, "To {action}, the credential needs {entry}; ")?;
        f.write_str(&inspect())
    }
}

/// Which command shows what a credential grants.
pub fn inspect() -> String {
    format!("`{} token inspect` shows what it grants.", program::called())
}
