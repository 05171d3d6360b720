//! docs/deployment.md: its proxies run in front of two real daemons, and its Kubernetes manifest fits the daemon.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::config::settings;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::daemon::{Daemon, run, tidings};
use crate::support::events::sale;
use crate::support::redis::{Redis, free_port};
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

const DOCUMENT: &str = include_str!("../../docs/deployment.md");
/// The addresses of the two nodes in the document.
const NODES: [&str; 2] = ["127.0.0.1:7400", "127.0.0.1:7401"];
const INSTALL: &str = "the tests need nginx, haproxy and caddy: make setup installs Debian's packages";

/// The only fenced block of this language in the document.
fn snippet(language: &str) -> &'static str {
    let mut blocks = DOCUMENT.split("\n```").filter_map(|block| block.strip_prefix(&format!("{language}\n")));
    let block = blocks.next().unwrap_or_else(|| panic!("no block of {language} in the document"));
    assert_eq!(blocks.next(), None, "several blocks of {language} in the document");
    block
}

/// Replaces text that the snippet must have, once.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in\n{text}");
    text.replace(from, to)
}

/// Two nodes on one Redis, and a proxy in front of them.
struct Site {
    nodes: Vec<Daemon>,
    url: String,
    http: Client,
    proxy: Proxy,
    _redis: Redis,
}

/// A proxy's process; it is killed when it is dropped.
struct Proxy {
    process: Child,
    folder: TempDir,
}

impl Site {
    /// Starts a proxy with the document's snippet, made into a whole configuration by `whole`.
    async fn behind(
        language: &str,
        listen: &str,
        whole: impl FnOnce(&str) -> String,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let redis = Redis::start();
        let broker = format!("redis://127.0.0.1:{}", redis.port);
        let node = |_| {
            // The notice lasts until the test has seen that the proxy has noticed.
            let stopping = ["--drain-notice", "1h", "--drain", "1s"];
            let flags = [&["--listen", "127.0.0.1:0", "--broker", &broker][..], &stopping].concat();
            Daemon::with(&flags, TempDir::new().unwrap())
        };
        let nodes: Vec<_> = (0..NODES.len()).map(node).collect();
        let port = free_port();
        let mut text = replaced(snippet(language), listen, &format!("{}127.0.0.1:{port}", prefix(listen)));
        for (documented, node) in NODES.iter().zip(&nodes) {
            text = replaced(&text, documented, node.url.trim_start_matches("http://"));
        }
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("proxy.conf");
        std::fs::write(&file, whole(&text)).unwrap();
        let log = std::fs::File::create(folder.path().join("proxy.log")).unwrap();
        let mut command = command(&file);
        // Debian keeps servers where the PATH of a plain user does not look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("HOME", folder.path()).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let proxy = Proxy { process: command.spawn().expect(INSTALL), folder };
        let url = format!("http://127.0.0.1:{port}");
        let mut site = Self { nodes, url, http: Client::new(), proxy, _redis: redis };
        for node in &site.nodes {
            let url = format!("{}/readyz", node.url);
            until("a node is ready", async || site.status(&url).await.filter(|status| *status == 200)).await;
        }
        site.serves().await;
        site
    }

    async fn status(&self, url: &str) -> Option<u16> {
        self.http.get(url).send().await.ok().map(|response| response.status().as_u16())
    }

    /// Waits until the proxy answers for a node.
    async fn serves(&mut self) {
        let url = format!("{}/readyz", self.url);
        until("the proxy serves a node", async || {
            if let Some(status) = self.proxy.process.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.proxy.folder.path().join("proxy.log"));
                panic!("the proxy ended with {status}: {}", log.unwrap_or_default());
            }
            self.status(&url).await.filter(|status| *status == 200)
        })
        .await;
    }

    /// Publishes through the proxy; the status.
    async fn publish(&self, events: &Value) -> Option<u16> {
        let request = self.http.post(format!("{}/v1/events", self.url)).json(events);
        within("an answer", request.send()).await.ok().map(|response| response.status().as_u16())
    }

    /// An event stream through the proxy.
    async fn stream(&self, channel: &str) -> EventStream {
        let request = self.http.get(format!("{}/v1/stream?channel={channel}", self.url));
        let response = within("the stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        EventStream { response, read: String::new() }
    }

    async fn socket(&self, channel: &str) -> Subscriber {
        let mut subscriber = Subscriber::connect_url(&format!("{}/v1/ws", self.url)).await;
        subscriber.subscribe("s", channel).await;
        subscriber
    }

    /// How many events publishers have appended at a node.
    async fn published_at(&self, node: &Daemon) -> u64 {
        let text = self.http.get(format!("{}/metrics", node.url)).send().await.unwrap().text().await.unwrap();
        let samples = text.lines().filter(|line| line.starts_with("tidings_events_published_total{"));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Everything a proxy must do. `checks` says whether it asks `/readyz`.
    async fn works(mut self, checks: bool) {
        const STOCK: &str = "inventory-change";
        // More than one node's share of the connections, whichever way they are spread.
        let (mut sockets, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            sockets.push(self.socket(STOCK).await);
            streams.push(self.stream(STOCK).await);
        }
        for product in ["one", "two"] {
            assert_eq!(self.publish(&sale(product)).await, Some(202));
            for socket in &mut sockets {
                assert_eq!(socket.event().await.event["subject"], product);
            }
            for stream in &mut streams {
                assert_eq!(stream.event().await["subject"], product);
            }
        }
        // A batch of a size that the daemon takes.
        let tags: Vec<String> = (0..200).map(|number| format!("{number:0>250}")).collect();
        let batch = vec![json!({"type": "cache-invalidate", "data": {"tags": tags}}); 100];
        assert_eq!(self.publish(&json!(batch)).await, Some(202));
        // A node stops: connections and publishers go on at the other.
        drop((sockets, streams));
        let stopped = self.nodes.remove(0);
        stopped.process.signal("TERM");
        stopped.process.said("not ready from now on");
        if checks {
            // While the notice lasts, the proxy sends everything to the other node, and nobody is refused.
            until("the proxy has noticed", async || {
                let before = self.published_at(&stopped).await;
                for number in 0..20 {
                    assert_eq!(self.publish(&sale(&number.to_string())).await, Some(202));
                }
                (self.published_at(&stopped).await == before).then_some(())
            })
            .await;
        }
        stopped.process.signal("TERM");
        for number in 0..10 {
            let published = async || (self.publish(&sale(&number.to_string())).await == Some(202)).then_some(());
            match checks {
                true => assert_eq!(published().await, Some(()), "a node that drains is not asked"),
                false => until("an event is taken while a node stops", published).await,
            }
        }
        assert_eq!(stopped.process.ended().code, Some(0));
        self.serves().await;
        let (mut socket, mut stream) = (self.socket(STOCK).await, self.stream(STOCK).await);
        until("an event is taken", async || (self.publish(&sale("last")).await == Some(202)).then_some(())).await;
        assert_eq!(socket.event().await.event["subject"], "last");
        assert_eq!(stream.event().await["subject"], "last");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The directive that precedes the listening address in each proxy's configuration.
fn prefix(listen: &str) -> &str {
    match listen.split_once(' ') {
        Some((directive, _)) => &listen[..=directive.len()],
        None => "http://",
    }
}

/// Reads an event stream.
struct EventStream {
    response: reqwest::Response,
    read: String,
}

impl EventStream {
    /// The data of the next event.
    async fn event(&mut self) -> Value {
        loop {
            while let Some((line, rest)) = self.read.split_once('\n') {
                let data: Option<Value> = line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap());
                self.read = rest.to_owned();
                if let Some(data) = data.filter(|data| data["type"] != "cursor") {
                    return data;
                }
            }
            let chunk = within("an event", self.response.chunk()).await.unwrap().expect("the stream goes on");
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_passes_everything_on() {
    Site::behind("nginx", "listen 8080", nginx_file, nginx).await.works(false).await;
}

/// nginx by its defaults speaks HTTP/1.0 to the daemon, which WebSockets need more than. It must pass on the host: by its
/// defaults it names its own upstream, which is no host of the daemon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_by_its_defaults_passes_on_all_but_websockets() {
    let whole = |text: &str| {
        let upstream = text.split_once("upstream ").unwrap().1.split_once("\n}").unwrap().0;
        let listen = text.split_once("listen ").unwrap().1.split_once(';').unwrap().0;
        nginx_file(&format!(
            "upstream {upstream}\n}}\nserver {{ listen {listen}; location / {{ proxy_set_header Host $http_host; proxy_pass http://tidings; }} }}"
        ))
    };
    let site = Site::behind("nginx", "listen 8080", whole, nginx).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(site.stream("inventory-change").await);
    }
    let polling = site.http.get(format!("{}/v1/events?channel=inventory-change&since=now&wait=20", site.url)).send();
    let polling = tokio::spawn(polling);
    until("the long-poll waits", async || {
        for node in &site.nodes {
            let metrics = site.http.get(format!("{}/metrics", node.url)).send().await.ok()?.text().await.ok()?;
            if metrics.contains("tidings_long_polls 1\n") {
                return Some(());
            }
        }
        None
    })
    .await;
    for product in ["one", "two"] {
        assert_eq!(site.publish(&sale(product)).await, Some(202));
        for stream in &mut streams {
            assert_eq!(stream.event().await["subject"], product);
        }
    }
    let polled: Value = within("the long-poll", polling).await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(polled["events"][0]["event"]["subject"], "one");
}

/// nginx' configuration with these blocks in it.
fn nginx_file(http: &str) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; {}\n{http}\n}}",
        paths.join(" ")
    )
}

fn nginx(file: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(file.parent().unwrap()).arg("-c").arg(file).args(["-e", "stderr"]);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_passes_everything_on() {
    let command = |file: &Path| {
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    };
    Site::behind("haproxy", "bind :8080", |text| format!("{text}\n"), command).await.works(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_passes_everything_on() {
    let whole = |text: &str| format!("{{\n\tadmin off\n}}\n{text}\n");
    let command = |file: &Path| {
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        command
    };
    Site::behind("caddyfile", "bus.example.com", whole, command).await.works(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_manifest_fits_the_daemon() {
    let documents = YamlLoader::load_from_str(snippet("yaml")).expect("the manifest is YAML");
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"]);
    let template = &documents[0]["spec"]["template"];
    let (labels, spec) = (&template["metadata"]["labels"], &template["spec"]);
    for selector in [
        &documents[0]["spec"]["selector"]["matchLabels"],
        &documents[1]["spec"]["selector"],
        &documents[2]["spec"]["selector"]["matchLabels"],
        &documents[3]["spec"]["podSelector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let container = &spec["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(documents[1]["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(documents[3]["spec"]["ingress"][0]["ports"][0]["port"], port["name"]);

    // Every variable is a setting, and the daemon takes what is given.
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in container["env"].as_vec().unwrap() {
        let name = variable["name"].as_str().unwrap();
        if !name.starts_with("TIDINGS_") {
            continue;
        }
        assert!(settings().iter().any(|setting| setting.variable() == name), "there is no setting {name}");
        let value = match (name, variable["value"].as_str()) {
            ("TIDINGS_LISTEN", Some(value)) => {
                assert_eq!(value, format!("0.0.0.0:{}", port["containerPort"].as_i64().unwrap()));
                "0.0.0.0:0".to_owned()
            }
            ("TIDINGS_BROKER", None) => "memory".to_owned(),
            (_, Some(value)) => value.replace("$(POD_IP)", "10.0.0.1"),
            (_, None) => "tidings-5d4f8c7b9-x2x7z".to_owned(),
        };
        variables.push((name.to_owned(), value));
    }
    let notice = variables.iter().find(|(name, _)| name == "TIDINGS_DRAIN_NOTICE").unwrap().1.clone();
    let folder = TempDir::new().unwrap();
    let mut check = tidings(folder.path(), &["config", "check"]);
    check.envs(variables.iter().cloned());
    let checked = run(check, "");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let command: Vec<_> = container["command"].as_vec().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command, ["tidings", "serve"]);
    let daemon = Daemon::starting(&[], folder, |command| _ = command.envs(variables));
    for probe in ["readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], port["name"]);
        let local = daemon.url.replace("0.0.0.0", "127.0.0.1");
        let url = format!("{local}{}", get["path"].as_str().unwrap());
        let asked = async || reqwest::get(&url).await.ok().filter(|response| response.status() == 200).map(drop);
        until("the probe succeeds", asked).await;
    }
    let Yaml::Integer(grace) = spec["terminationGracePeriodSeconds"] else { panic!("a grace period in seconds") };
    let seconds = |text: &str| text.trim_end_matches('s').parse::<i64>().unwrap();
    let drain = settings().iter().find(|setting| setting.name == "drain").and_then(|setting| setting.default).unwrap();
    assert!(seconds(&notice) + seconds(drain) < grace, "the pod stops before Kubernetes kills it");
    // Kubernetes notices within its probes: the notice must be longer.
    let probe = &container["readinessProbe"];
    let noticed = probe["periodSeconds"].as_i64().unwrap() * probe["failureThreshold"].as_i64().unwrap();
    assert!(noticed < seconds(&notice));
}
