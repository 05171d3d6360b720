//! What a daemon says of itself: alive, ready, its clock, whom it lets in, and the other nodes of its bus.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, DATE, HeaderMap, HeaderValue, ORIGIN, SERVER};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::super::failure::client_certificate_advice;
use super::super::output::{human, thousands};
use super::finding::Finding;
use crate::client::{ChannelInfo, Client, Error, HistoryQuery, Problem};

/// So often the round trip is measured.
const ROUNDS: usize = 5;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// A round trip above this is worth a word.
const SLOW: Duration = Duration::from_millis(250);
/// The header `Date` has whole seconds.
const RESOLUTION: f64 = 1.0;
/// Fewer connections than this are too few for a shop. The usual limit of 1,024 open files allows 918.
const FEW: u64 = 500;
/// A clock may differ by so much, in seconds. Tokens allow 60 s.
const SKEW: f64 = 5.0;

/// Whether a daemon answers at all, how fast, and what its clock says.
pub async fn alive(node: &Client) -> Vec<Finding> {
    const CHECK: &str = "daemon";
    let mut times = Vec::new();
    let mut clock = None;
    for _ in 0..ROUNDS {
        let (begun, now) = (Instant::now(), SystemTime::now());
        let response = match timeout(ANSWER, node.response(&["healthz"], HeaderMap::new())).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let advice = match &error {
                    Error::Unreachable { cause, .. } => client_certificate_advice(cause),
                    _ => None,
                };
                let fix = advice.unwrap_or("look at what listens there: its log, and that of the proxy in front of it");
                return vec![Finding::problem(CHECK, format!("no answer to GET /healthz: {error}"), fix)];
            }
            Err(_) => {
                let fix = "what listens there accepts connections and hangs: look at its log, at the load of its machine, and at the proxy in front of it";
                return vec![Finding::problem(CHECK, "GET /healthz is not answered within 5 s", fix)];
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body: Value = response.json().await.unwrap_or_default();
        times.push(begun.elapsed());
        if let Some(detail) = body["detail"].as_str().filter(|detail| detail.contains("TLS only")) {
            return vec![Finding::problem(CHECK, detail, "give the address with https://")];
        }
        if body["status"] != "alive" {
            let server = headers.get(SERVER).and_then(|server| server.to_str().ok());
            let by = server.map(|server| format!(" by {server}")).unwrap_or_default();
            let fix = "give the address of a daemon with --url; if there is a proxy, check where it forwards to, and below which path";
            return vec![Finding::problem(
                CHECK,
                format!("GET /healthz is answered{by} with {status}, and not by a daemon"),
                fix,
            )];
        }
        clock = headers.get(DATE).and_then(|date| Some((now + times[times.len() - 1] / 2, read_date(date)?)));
    }
    times.sort();
    let median = times[ROUNDS / 2];
    let trip = match median > SLOW {
        true => Finding::warning(
            "round trip",
            format!("{} for an HTTP request", human(median)),
            "use a node that is nearer, or look for a proxy or a machine that is overloaded",
        ),
        false => Finding::ok("round trip", human(median)),
    };
    vec![Finding::ok(CHECK, "answers"), trip, clock.map_or_else(no_date, |(ours, theirs)| skew(ours, theirs))]
}

fn read_date(date: &HeaderValue) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date.as_bytes()).ok()
}

fn no_date() -> Finding {
    Finding::skipped("clock", "the answer has no header Date")
}

/// How far this machine's clock is from the daemon's.
fn skew(ours: SystemTime, theirs: Timestamp) -> Finding {
    let ours = Timestamp::try_from(ours).unwrap_or_default();
    // The header was cut to whole seconds.
    let ahead = ours.duration_since(theirs).as_secs_f64() - RESOLUTION / 2.0;
    match ahead.abs() <= SKEW {
        true => Finding::ok("clock", "within 5 s of the daemon's"),
        false => {
            let side = if ahead > 0.0 { "ahead of" } else { "behind" };
            let message = format!("this machine is {:.0} s {side} the daemon", ahead.abs());
            Finding::warning("clock", message, "set both clocks by NTP: tokens and `since` by time depend on them")
        }
    }
}

/// Whether it can publish and receive. `broker_fails`: whether a finding about its broker says why not.
pub async fn ready(node: &Client, broker_fails: bool) -> Finding {
    const CHECK: &str = "ready";
    match node.ready().await {
        Ok(()) => Finding::ok(CHECK, "reaches its broker"),
        Err(Error::Refused(_)) if broker_fails => Finding::skipped(
            CHECK,
            "not ready, and its broker has a problem: see below, where its configuration is checked",
        ),
        Err(Error::Refused(problem)) => Finding::problem(CHECK, problem.to_string(), not_ready(&problem)),
        Err(error) => Finding::problem(CHECK, error.to_string(), "look at the daemon's log"),
    }
}

/// What to do about a daemon that is not ready. The broker and the audit have one code.
fn not_ready(problem: &Problem) -> &'static str {
    match problem.code.as_str() {
        "draining" => "it stops: ask another node, or wait until it is started again",
        _ if problem.detail.contains("audit file") => {
            "the daemon's log says why: make room on the disk of `file` in [audit], or let the daemon's user write there; it goes \
             on by itself"
        }
        _ => {
            "the daemon's log says what the broker refuses; `tidings config check --connect` on its machine looks at the broker"
        }
    }
}

/// Whether pages of this origin may use the daemon.
pub async fn origin(node: &Client, origin: &str) -> Vec<Finding> {
    const CHECK: &str = "origin";
    let Ok(value) = HeaderValue::from_str(origin) else {
        return vec![Finding::problem(CHECK, format!("{origin:?} is no origin"), "write it as https://shop.example")];
    };
    // The route that the clients of pages ask when a WebSocket does not come up.
    let answer = node.response(&["v1", "ws"], HeaderMap::from_iter([(ORIGIN, value)])).await;
    vec![match answer {
        Ok(response) if allows(response.headers(), origin) => {
            Finding::ok(CHECK, format!("pages of {origin} are let in"))
        }
        Ok(response) if response.status() == StatusCode::FORBIDDEN => Finding::problem(
            CHECK,
            format!("pages of {origin} are refused"),
            format!("add it to allowed_origins of the daemon: --allowed-origins {origin}"),
        ),
        Ok(_) => Finding::problem(
            CHECK,
            format!("pages of {origin} may not read the answer: it has no Access-Control-Allow-Origin for them"),
            "check that the proxy in between passes on Origin and the headers of the answer",
        ),
        Err(error) => Finding::problem(CHECK, error.to_string(), "look at the daemon's log"),
    }]
}

fn allows(headers: &HeaderMap, origin: &str) -> bool {
    headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|allowed| allowed == origin || allowed == "*")
}

/// The check of what the credential grants.
const ACCESS: &str = "access";

/// The channels that are tried. Each is a request, and may be a refusal in the daemon's metrics and audit.
const TRIED: usize = 20;

/// The channels among the first of these that the credential may read. An operator is shown all of them, to look at.
async fn readable(node: &Client, shown: Vec<ChannelInfo>) -> Result<Vec<String>, Error> {
    let mut readable = Vec::new();
    for ChannelInfo { name, .. } in shown.into_iter().take(TRIED) {
        match node.history(&HistoryQuery::default().channel(&name).since("now").limit(1)).await {
            Ok(_) => readable.push(name),
            Err(Error::Refused(problem)) if problem.status == 403 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(readable)
}

/// What a credential grants that may read no channel. A publisher needs none, and sees the schemas of its types.
async fn unread(node: &Client, is_operator: bool) -> Finding {
    if is_operator {
        return Finding::ok(ACCESS, "no channel may be read, and the token has an admin right");
    }
    match node.types().await {
        Ok(types) if types.is_empty() => Finding::warning(
            ACCESS,
            "the token grants no channel",
            "grant one in auth.toml, or to the token: `tidings token inspect` shows its grants",
        ),
        Ok(types) => {
            let (count, s) = (types.len(), if types.len() == 1 { "" } else { "s" });
            Finding::ok(ACCESS, format!("no channel may be read, {count} type{s} may be published"))
        }
        Err(error) => Finding::problem(ACCESS, error.to_string(), "look at the daemon's log"),
    }
}

/// Who it lets in, and a channel that may be followed.
pub async fn access(node: &Client) -> (Option<String>, Vec<Finding>) {
    const CHECK: &str = ACCESS;
    let channels = async {
        let shown = node.channels().await?;
        let all = shown.len();
        Ok((readable(node, shown).await?, all))
    };
    match channels.await {
        Ok((channels, all)) => {
            let first = channels.first().cloned();
            let of = if all > TRIED { format!(" of the {TRIED} that were tried, of {all}") } else { String::new() };
            let finding = match channels.len() {
                0 => unread(node, all > 0).await,
                1 => Finding::ok(CHECK, format!("1 channel may be read{of}")),
                count => Finding::ok(CHECK, format!("{count} channels may be read{of}")),
            };
            (first, vec![finding])
        }
        Err(error @ Error::Unauthenticated { .. }) => {
            let fix = "give a token with --token-file or TIDINGS_TOKEN; `tidings token inspect` says what is in it, and until when it is valid";
            (None, vec![Finding::problem(CHECK, error.to_string(), fix)])
        }
        Err(error) => (
            None,
            vec![Finding::problem(
                CHECK,
                error.to_string(),
                "look at the daemon's log, and at the proxy's if there is one",
            )],
        ),
    }
}

/// How many more connections the daemon accepts. Each is an open file.
pub async fn limit(node: &Client) -> Finding {
    const CHECK: &str = "connections";
    let text = match node.stream(&["metrics"], &[], HeaderMap::new()).await {
        Ok(response) if response.status().is_success() => response.text().await.unwrap_or_default(),
        // On the operator's address alone, or not for this token.
        _ => return Finding::skipped(CHECK, "the limit is in the metrics, which are not shown here to this token"),
    };
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let (Some(open), Some(limit)) = (value("tidings_connections "), value("tidings_connections_limit ")) else {
        return Finding::skipped(CHECK, "the daemon does not tell its limit");
    };
    let message = format!("{} of {} are open", thousands(open), thousands(limit));
    match limit < FEW || open > limit / 10 * 8 {
        true => Finding::warning(
            CHECK,
            message,
            "raise the limit on open files of the daemon (LimitNOFILE=65536 in a systemd unit, `ulimit -n 65536` in a shell), or its max_connections",
        ),
        false => Finding::ok(CHECK, message),
    }
}

/// The other nodes of its bus.
pub async fn nodes(node: &Client) -> Vec<Finding> {
    const CHECK: &str = "nodes";
    let nodes = match node.nodes().await {
        Ok(nodes) => nodes,
        Err(Error::Refused(problem)) if problem.status == 403 => {
            return vec![Finding::skipped(CHECK, "the token has no right to see the nodes")];
        }
        Err(error) => return vec![Finding::problem(CHECK, error.to_string(), "look at the daemon's log")],
    };
    let lost: Vec<_> = nodes.iter().filter(|node| node.state == "lost").map(|node| node.address.as_str()).collect();
    let versions: BTreeSet<_> =
        nodes.iter().filter(|node| node.state != "lost").map(|node| node.version.as_str()).collect();
    let mut findings = Vec::new();
    if !lost.is_empty() {
        let message = format!("{} of {} nodes are lost: {}", lost.len(), nodes.len(), lost.join(", "));
        let fix = "a node that crashed leaves the list after an hour; one that runs has lost its broker: see its log";
        findings.push(Finding::warning(CHECK, message, fix));
    }
    if versions.len() > 1 {
        let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
        findings.push(Finding::warning(
            CHECK,
            format!("the nodes have different versions: {versions}"),
            "finish the update",
        ));
    }
    if findings.is_empty() {
        let s = if nodes.len() == 1 { "" } else { "s" };
        findings.push(Finding::ok(CHECK, format!("{} node{s}", nodes.len())));
    }
    findings
}
