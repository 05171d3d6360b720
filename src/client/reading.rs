//! What a client asks a daemon beside publishing and subscribing: channels, nodes, health, history, newest events, schemas,
//! and revocations.

use serde::Deserialize;
use serde_json::Value;

use super::requests::RESPONSE_TIMEOUT;
use super::urls::fits_path;
use super::{
    ChannelInfo, Client, ConnectionInfo, Error, History, HistoryQuery, LatestList, LoggedEvent, NodeInfo, Revocation,
};
use crate::event::{JsonText, Position};

impl Client {
    /// Lists the channels of the daemon.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no node responds, [`Error::Refused`] if the daemon refuses, and [`Error::Unexpected`] if
    /// the response is not that of a daemon.
    pub async fn channels(&self) -> Result<Vec<ChannelInfo>, Error> {
        #[derive(Deserialize)]
        struct Channels {
            channels: Vec<ChannelInfo>,
        }
        let response: Channels = self.get(&["v1", "channels"], &[]).await?;
        Ok(response.channels)
    }

    /// Lists the nodes that share the daemon's broker, including the daemon itself.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        #[derive(Deserialize)]
        struct Nodes {
            nodes: Vec<NodeInfo>,
        }
        let response: Nodes = self.get(&["v1", "nodes"], &[]).await?;
        Ok(response.nodes)
    }

    /// Lists the connections to the node with the largest send buffers, at most `limit`: its slowest consumers.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] without the admin right `connections`.
    pub async fn connections(&self, limit: usize) -> Result<Vec<ConnectionInfo>, Error> {
        #[derive(Deserialize)]
        struct Connections {
            connections: Vec<ConnectionInfo>,
        }
        let query = [("sort", "buffered".into()), ("limit", limit.to_string())];
        let response: Connections = self.get(&["v1", "connections"], &query).await?;
        Ok(response.connections)
    }

    /// Succeeds if the daemon is alive, whatever its broker does.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn alive(&self) -> Result<(), Error> {
        self.get::<Value>(&["healthz"], &[]).await.map(drop)
    }

    /// Succeeds if the daemon can publish and receive: it reaches its broker, and is not about to stop.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] says why the daemon is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.get::<Value>(&["readyz"], &[]).await.map(drop)
    }

    /// Revokes credentials on all nodes, within 2 s: requests are refused, and connections closed. Needs the right `revoke`.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), Error> {
        self.post_json(&["v1", "revocations"], revocation, RESPONSE_TIMEOUT).await
    }

    /// Reads one page of retained events. [`History::cursor`] is the `since` of the next page.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] also names an unknown channel or field, or a `since` that cannot be read.
    pub async fn history(&self, query: &HistoryQuery) -> Result<History, Error> {
        let mut parameters: Vec<(&str, String)> =
            query.channels.iter().map(|channel| ("channel", channel.clone())).collect();
        parameters.extend(query.filter.as_ref().map(|filter| ("where", filter.get().to_owned())));
        parameters.extend(query.since.clone().map(|since| ("since", since)));
        parameters.extend(query.limit.map(|limit| ("limit", limit.to_string())));
        self.get(&["v1", "events"], &parameters).await
    }

    /// The newest event of a subject, at most two seconds old. `None` if there is none, or none that the credential grants.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] also says that the type is unknown, or keeps no newest events. [`Error::Url`] if the
    /// subject is empty, `.` or `..`.
    pub async fn latest(&self, event_type: &str, subject: &str) -> Result<Option<LoggedEvent>, Error> {
        fits_path("type", event_type)?;
        if let Err(error) = fits_path("subject", subject) {
            let advice = "list the newest events, with a filter on the field that is the subject";
            return Err(Error::Url(format!("{error}: {advice}")));
        }
        match self.get(&["v1", "latest", event_type, subject], &[]).await {
            Ok(event) => Ok(Some(event)),
            Err(Error::Refused(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one page of the newest events of a type's subjects, in the order of the log. [`LatestList::cursor`] is the `cursor` of
    /// the next page, and after the last page the `since` of a subscription that goes on from there.
    ///
    /// # Errors
    /// As [`Client::latest`]; [`Error::Refused`] also names an unknown field, or a cursor that cannot be read.
    pub async fn latest_list(
        &self,
        event_type: &str,
        filter: Option<&JsonText>,
        cursor: Option<&Position>,
        limit: u32,
    ) -> Result<LatestList, Error> {
        fits_path("type", event_type)?;
        let mut parameters = vec![("limit", limit.to_string())];
        parameters.extend(filter.map(|filter| ("where", filter.get().to_owned())));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
        self.get(&["v1", "latest", event_type], &parameters).await
    }

    /// Fetches the JSON Schema of a type's `data`.
    ///
    /// # Errors
    /// As [`Client::channels`]; [`Error::Refused`] with status 404 if the daemon does not know the type.
    pub async fn schema(&self, event_type: &str) -> Result<Value, Error> {
        self.get(&["v1", "schemas", event_type], &[]).await
    }
}
