//! Revocations while the broker is away: one that could not be stored is an error, and one that was stored reaches every
//! node when the broker is back.

use reqwest::Method;
use serde_json::json;

use super::world::World;
use crate::support::broker::{redis_url, url};
use crate::support::cluster::Cluster;
use crate::support::events::order;
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinels;
use crate::support::subscriber::Subscriber;
use crate::support::until;

const ORDERS: &str = "order-status";

/// Two nodes, and a client at the second one whose token is going to be revoked.
struct Scene {
    world: World,
    nodes: [Node; 2],
    admin: String,
    victim: String,
    client: Subscriber,
    /// A client with another token, which stays.
    spared: Subscriber,
}

impl Scene {
    async fn new(brokers: [tidings::config::BrokerUrl; 2]) -> Self {
        let world = World::new();
        let [one, other] = brokers;
        let nodes = [start(&world, one).await, start(&world, other).await];
        let admin = world.token(json!({"sub": "admin", "tidings": {"admin": ["revoke"], "publish": ["*"]}}));
        let everything = json!({"subscribe": ["*"]});
        let victim = world.token(json!({"jti": "j1", "tidings": everything}));
        let mut client = Subscriber::with_token(&nodes[1], "/v1/ws", &victim).await;
        client.subscribe("s", ORDERS).await;
        let spared = world.token(json!({"jti": "j2", "tidings": everything}));
        let mut spared = Subscriber::with_token(&nodes[1], "/v1/ws", &spared).await;
        spared.subscribe("s", ORDERS).await;
        Self { world, nodes, admin, victim, client, spared }
    }

    async fn revoke(&self) -> Response {
        self.nodes[0].ask(Method::POST, "/v1/revocations", &self.admin, Some(&json!({"jti": "j1"}))).await
    }

    /// The status of a request with the token that is going to be revoked. The route itself needs no broker.
    async fn status(&self, node: usize) -> u16 {
        self.nodes[node].get_as(&self.victim, "/v1/schemas").await.status
    }

    /// Asserts that the revocation is refused, and that the answer says so. Waits until the nodes let nobody in.
    async fn is_not_stored(&self) {
        let problem = self.revoke().await.problem(503, "broker-unavailable");
        let detail = problem["detail"].as_str().unwrap();
        // On a slow machine, the list of revocations is too old already to check the admin's own token.
        let says = ["the credential may still be accepted", "credentials cannot be checked now"];
        assert!(says.iter().any(|text| detail.contains(text)), "{detail}");
        for node in 0..2 {
            until("nobody is let in", async || (self.status(node).await == 503).then_some(())).await;
        }
    }

    /// Revokes, as soon as the broker takes it.
    async fn revoke_at_last(&self) {
        until("the revocation is stored", async || (self.revoke().await.status == 204).then_some(())).await;
    }

    /// Asserts that the revocation, which was stored, holds everywhere, and that nothing else ended.
    async fn holds(mut self, broker: tidings::config::BrokerUrl) {
        assert_eq!(self.client.close_code().await, 4004);
        for node in 0..2 {
            until("the token is refused", async || (self.status(node).await == 401).then_some(())).await;
        }
        let publish = async || {
            let response = self.nodes[0].ask(Method::POST, "/v1/events", &self.admin, Some(&order("after"))).await;
            (response.status == 202).then_some(())
        };
        until("an event is accepted", publish).await;
        while self.spared.frame().await["event"]["data"]["orderId"] != "after" {}
        let third = start(&self.world, broker).await;
        assert_eq!(third.get_as(&self.victim, "/v1/channels").await.status, 401);
    }
}

async fn start(world: &World, broker: tidings::config::BrokerUrl) -> Node {
    let mut config = node::config(broker);
    // No client has to go because the broker is away.
    config.server.partitioned_after = std::time::Duration::from_secs(120);
    Node::start(world.over(config)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed() {
    let mut redis = Redis::durable();
    let url = redis_url(redis.port);
    let scene = Scene::new([url.clone(), url.clone()]).await;
    redis.kill();
    scene.is_not_stored().await;
    redis.run();
    scene.revoke_at_last().await;
    scene.holds(url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_hangs() {
    let redis = Redis::start();
    let url = redis_url(redis.port);
    let scene = Scene::new([url.clone(), url.clone()]).await;
    redis.pause();
    scene.is_not_stored().await;
    redis.go_on();
    scene.revoke_at_last().await;
    scene.holds(url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_are_partitioned() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let url = redis_url(proxy.port);
    let scene = Scene::new([url.clone(), url.clone()]).await;
    proxy.set(Mode::Silent);
    scene.is_not_stored().await;
    proxy.set(Mode::Pass);
    scene.revoke_at_last().await;
    scene.holds(url).await;
}

/// One node has the broker, and takes the revocation. The other one does not, and lets nobody in until it has read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_partitioned() {
    for mode in [Mode::Silent, Mode::Refuse] {
        let redis = Redis::start();
        let proxy = Proxy::start(redis.port).await;
        let scene = Scene::new([redis_url(redis.port), redis_url(proxy.port)]).await;
        proxy.set(mode);
        until("nobody is let in", async || (scene.status(1).await == 503).then_some(())).await;
        assert_eq!(scene.revoke().await.status, 204);
        proxy.set(Mode::Pass);
        until("the token is refused", async || match scene.status(1).await {
            401 => Some(()),
            503 => None,
            other => panic!("{mode:?}: the revoked token has a {other}"),
        })
        .await;
        scene.holds(redis_url(redis.port)).await;
    }
}

/// A Redis that keeps nothing on disk comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_loses_the_list() {
    let mut redis = Redis::start();
    let url = redis_url(redis.port);
    let scene = Scene::new([url.clone(), url.clone()]).await;
    assert_eq!(scene.revoke().await.status, 204);
    until("the token is refused", async || (scene.status(1).await == 401).then_some(())).await;
    redis.kill();
    until("nobody is let in", async || (scene.status(0).await == 503).then_some(())).await;
    redis.run();
    for node in 0..2 {
        until("the token is refused", async || match scene.status(node).await {
            401 => Some(()),
            503 => None,
            other => panic!("the revoked token has a {other}"),
        })
        .await;
    }
    let has_list = || redis.cli(&["hexists", "tidings:default:store:values", "revocations/names"]) == "1";
    until("the list is written again", async || has_list().then_some(())).await;
    scene.holds(url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_names_another_master() {
    let sentinels = Sentinels::start().await;
    let broker = || url(&sentinels.url());
    let scene = Scene::new([broker(), broker()]).await;
    let switched = sentinels.switched();
    sentinels.servers[0].pause();
    scene.is_not_stored().await;
    switched.await;
    scene.revoke_at_last().await;
    let third = broker();
    sentinels.servers[0].go_on();
    sentinels.demoted(0).await;
    scene.holds(third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_hangs() {
    let cluster = Cluster::masters();
    let scene = Scene::new([cluster.url(), cluster.url()]).await;
    cluster.nodes.iter().for_each(Redis::pause);
    scene.is_not_stored().await;
    cluster.nodes.iter().for_each(Redis::go_on);
    cluster.wait_until_up();
    scene.revoke_at_last().await;
    scene.holds(cluster.url()).await;
}

/// One of the masters has the list. Its replica takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_cluster_takes_over() {
    let cluster = Cluster::with_replicas();
    let scene = Scene::new([cluster.url(), cluster.url()]).await;
    assert_eq!(scene.revoke().await.status, 204);
    until("the token is refused", async || (scene.status(1).await == 401).then_some(())).await;
    let has_list = |node: &Redis| node.cli(&["keys", "tidings:default:{store}:values"]).contains("values");
    let index = cluster.nodes.iter().take(3).position(has_list).expect("a master has the list");
    cluster.nodes[index].pause();
    cluster.wait_for_promotion(index + 3);
    for node in 0..2 {
        until("the token is refused", async || match scene.status(node).await {
            401 => Some(()),
            503 => None,
            other => panic!("the revoked token has a {other}"),
        })
        .await;
    }
    cluster.nodes[index].go_on();
    scene.holds(cluster.url()).await;
}
