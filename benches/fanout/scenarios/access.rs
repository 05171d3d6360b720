//! What authentication costs: connections with a token each are opened, and events go to subscribers with grants and pins.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tidings::load::{Dialect, client_frame};

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::dialects::SUBSCRIBED;
use crate::events::CHANNEL;
use crate::issuer::Issuer;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, System, TIDINGS};
use crate::table::{Column, Table};
use crate::turns::{Side, compare_in_turns};
use crate::usage::{CPU, Meter, resident};

pub const TOKENS: &str = "tokens";
pub const GRANTS: &str = "grants";

pub const WITHOUT: &str = "without authentication";
pub const WITH: &str = "with a token each";
pub const GRANT: &str = "a grant";
pub const FILTER: &str = "a filter, without authentication";
pub const PIN: &str = "a pin";

/// The time until all are subscribed.
pub const OPEN: &str = "seconds to open";
const MEMORY: &str = "bytes a connection";
/// How much more than without authentication.
pub const MORE: &str = "bytes more a connection";

const CONNECTIONS: usize = 10_000;
const SUBSCRIBERS: usize = 9_900;

pub fn tokens() -> Scenario {
    Scenario {
        name: TOKENS,
        about: "10,000 connections, each with an RS256 token of its own, and without",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Opened)],
        tables: |results| vec![tokens_table(results)],
    }
}

pub fn grants() -> Scenario {
    let pairs = [Delivered { pinned: false }, Delivered { pinned: true }];
    Scenario {
        name: GRANTS,
        about: "9,900 subscribers with a grant or a pin, and without authentication",
        rounds: usize::MAX,
        steps: pairs.map(|pair| Step::new(TIDINGS, pair)).into(),
        tables: grants_tables,
    }
}

fn tokens_table(results: &Results) -> Table {
    let columns = [
        Column::seconds("opened in", OPEN),
        Column::against_case("of that without", OPEN, WITHOUT),
        Column::micros("CPU to open one", CPU),
        Column::kib("memory a connection", MEMORY),
    ];
    let rows = [WITHOUT, WITH].map(|case| (case.to_owned(), sample_key(TOKENS, case, TIDINGS.name)));
    Table::new("10,000 connections, opened and subscribed", "", &columns).rows(results, rows)
}

fn grants_tables(results: &Results) -> Vec<Table> {
    let pair = |title, without, with| {
        let columns = [Column::micros("CPU a delivery", CPU), Column::against_case("of that without", CPU, without)];
        let rows = [without, with].map(|case| (case.to_owned(), sample_key(GRANTS, case, TIDINGS.name)));
        Table::new(title, "", &columns).rows(results, rows)
    };
    vec![
        pair("9,900 subscribers of a channel", WITHOUT, GRANT),
        pair("9,900 subscribers of one product's events", FILTER, PIN),
    ]
}

/// A subscriber that sends its credential, if it has one, in the first frame, as browsers must.
pub fn subscriber(token: Option<String>, filter: Option<&Value>) -> Arc<Dialect> {
    let mut subscribe = json!({ "type": "subscribe", "sub": "1", "channel": CHANNEL });
    if let Some(filter) = filter {
        subscribe["where"] = filter.clone();
    }
    let auth = token.map(|token| json!({ "type": "auth", "token": token }));
    let frames = auth.into_iter().chain([subscribe]);
    let hello = frames.flat_map(|frame| client_frame(frame.to_string().as_bytes(), false)).collect();
    Arc::new(Dialect { path: "/v1/ws".into(), hello, confirmation: (SUBSCRIBED.to_vec(), 1), ..Dialect::default() })
}

/// Starts a daemon that trusts the issuer.
fn start_with_auth(issuer: &Issuer) -> io::Result<Running> {
    let folder = tempfile::tempdir()?;
    let auth = issuer.trusted_in(folder.path())?;
    with_auth(TIDINGS, &auth).start(folder)?.map_err(io::Error::other)
}

pub fn with_auth(system: System, auth: &Path) -> System {
    system.with(&["--auth", &auth.display().to_string()])
}

/// Opens connections to a daemon without authentication, closes them, and opens as many to one with it.
struct Opened;

impl Opened {
    async fn open(server: &Running, dialects: Vec<Arc<Dialect>>) -> io::Result<Figures> {
        let before = resident(server.pid());
        let (meter, begun) = (Meter::start(server.pid()), Instant::now());
        let audience =
            Audience::open_as(server, CONNECTIONS, |number| dialects[number % dialects.len()].clone()).await?;
        let open = begun.elapsed().as_secs_f64();
        let mut figures = meter.stop().each(CONNECTIONS as u64);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = (resident(server.pid()) - before) / CONNECTIONS as f64;
        figures.extend([(OPEN.to_owned(), open), (MEMORY.to_owned(), memory)]);
        audience.close().await?;
        Ok(figures)
    }
}

#[async_trait]
impl Measure for Opened {
    fn files(&self) -> usize {
        CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let without = Self::open(&server, vec![subscriber(None, None)]).await?;
        drop(server);
        let issuer = Issuer::new()?;
        let server = start_with_auth(&issuer)?;
        let of = |user| io::Result::Ok(subscriber(Some(issuer.token(&format!("u{user}"), &json!(CHANNEL))?), None));
        let mut with = Self::open(&server, (0..CONNECTIONS).map(of).collect::<io::Result<_>>()?).await?;
        with.insert(MORE.into(), with[MEMORY] - without[MEMORY]);
        Ok([(WITHOUT, without), (WITH, with)].map(|(case, figures)| CaseFigures { case: case.into(), figures }).into())
    }
}

/// Publishes to the subscribers of two daemons in turn, one without authentication and one with it. Subscribers with a pin are
/// compared with subscribers that ask for the same filter.
struct Delivered {
    pinned: bool,
}

#[async_trait]
impl Measure for Delivered {
    fn case(&self) -> String {
        if self.pinned { PIN } else { GRANT }.into()
    }

    fn files(&self) -> usize {
        2 * SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let filter = self.pinned.then(|| json!({ "productId": "p-1" }));
        let without = Side::open(server, SUBSCRIBERS, Some(subscriber(None, filter.as_ref()))).await?;
        let issuer = Issuer::new()?;
        let entry = match &filter {
            Some(pin) => json!({ "channel": CHANNEL, "where": pin }),
            None => json!(CHANNEL),
        };
        let token = issuer.token("u1", &entry)?;
        let with = Side::open(start_with_auth(&issuer)?, SUBSCRIBERS, Some(subscriber(Some(token), None))).await?;
        let (without, with) = compare_in_turns(without, with, 4).await?;
        let cases = if self.pinned { [FILTER, PIN] } else { [WITHOUT, GRANT] };
        Ok(cases
            .into_iter()
            .zip([without, with])
            .map(|(case, figures)| CaseFigures { case: case.into(), figures })
            .collect())
    }
}
