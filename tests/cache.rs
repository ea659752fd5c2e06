//! Three real managers and a real redis-server, which is emptied, killed, stopped, and written to by others.

#[path = "support/redis.rs"]
mod server;
mod support;

use std::collections::HashMap;

use nix::sys::signal::Signal;
use quorate::{
    client::{Client, Page},
    model::AgentSpec,
};
use server::RedisServer;
use support::Cluster;

const LINEARIZABLE: &str = "/api/v1/containers?limit=1000";
const CACHED: &str = "/api/v1/containers?limit=1000&consistency=cached";

/// What an answer says of itself.
#[derive(Debug, PartialEq)]
struct Read {
    source: String,
    fallback: Option<String>,
    revision: u64,
    body: serde_json::Value,
}

impl Read {
    fn is_from_redis(&self) -> bool {
        assert_eq!(self.source == "redis", self.fallback.is_none(), "{self:?}");
        self.source == "redis"
    }
}

async fn read(client: &Client, path: &str) -> Read {
    let answer = client.get(path).await.unwrap();
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    Read {
        source: header("quorate-source").unwrap_or_default(),
        fallback: header("quorate-fallback"),
        revision: header("quorate-revision").unwrap().parse().unwrap(),
        body: serde_json::from_slice(&answer.body).unwrap(),
    }
}

struct Fixture {
    redis: RedisServer,
    cluster: Cluster,
    client: Client,
    /// What all keys begin with.
    prefix: String,
    made: usize,
}

impl Fixture {
    async fn start(more: &str) -> Self {
        Self::start_with(RedisServer::start(), more).await
    }

    async fn start_with(redis: RedisServer, more: &str) -> Self {
        let config = format!("[redis]\nurl = \"{}\"\nsweep = \"1s\"\n{more}", redis.url());
        let cluster = Cluster::start_with(3, &config, &[]);
        cluster.serving().await;
        let client = cluster.client_of_all();
        let id = client.cluster_status().await.unwrap().cluster_id.unwrap();
        let mut fixture = Self {
            redis,
            cluster,
            client,
            prefix: format!("quorate:{id}:"),
            made: 0,
        };
        fixture.make(10).await;
        fixture.shown().await;
        fixture
    }

    async fn make(&mut self, count: usize) {
        for _ in 0..count {
            let asked = serde_json::json!({"name": format!("box-{}", self.made), "labels": {"n": "x"}});
            let asked = serde_json::from_value(asked).unwrap();
            self.client.register_container(&asked).await.unwrap();
            self.made += 1;
        }
    }

    /// Waits until every manager answers from Redis with what a linearizable read gives.
    async fn shown(&self) {
        for at in 0..3 {
            // Only the truth may have to be asked for again: what is cached is there without a leader.
            let (client, patient) = (self.cluster.client(at), self.cluster.patient_client(at));
            self.cluster
                .eventually("Redis shows the cluster", async || {
                    let truth = read(&patient, LINEARIZABLE).await;
                    assert_eq!(truth.source, "quorum");
                    let cached = read(&client, CACHED).await;
                    cached.is_from_redis() && cached.body["items"] == truth.body["items"]
                })
                .await;
        }
        let answer = read(&self.client, LINEARIZABLE).await;
        assert_eq!(answer.body["items"].as_array().unwrap().len(), self.made);
    }

    /// Waits until every manager says this is why it is not Redis that answers; what it answers with is right.
    async fn falls_back(&self, reasons: &[&str]) {
        for at in 0..3 {
            // Only the truth may have to be asked for again: what is cached is there without a leader.
            let (client, patient) = (self.cluster.client(at), self.cluster.patient_client(at));
            self.cluster
                .eventually("cached reads fall back", async || {
                    let truth = read(&patient, LINEARIZABLE).await;
                    assert_eq!(truth.body["items"].as_array().unwrap().len(), self.made);
                    let cached = read(&client, CACHED).await;
                    assert_eq!(cached.body["items"], truth.body["items"]);
                    cached.fallback.is_some_and(|why| reasons.contains(&why.as_str()))
                })
                .await;
        }
    }

    async fn key(&self, rest: &str, command: &[&str]) {
        let key = format!("{}{rest}", self.prefix);
        let mut words = vec![command[0], &key];
        words.extend(&command[1..]);
        let _: redis::Value = self.redis.command(&words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_shows_the_cluster_through_floods_and_losses() {
    let mut fixture = Fixture::start("").await;

    // Emptied.
    let _: redis::Value = fixture.redis.command(&["FLUSHALL"]).await;
    fixture.make(3).await;
    fixture.shown().await;

    // Killed, and started empty, while containers are made.
    fixture.redis.kill();
    fixture.make(3).await;
    fixture.falls_back(&["down"]).await;
    fixture.redis.run();
    fixture.make(3).await;
    fixture.shown().await;

    // Stopped: it takes connections and never answers.
    fixture.redis.signal(Signal::SIGSTOP);
    fixture.make(3).await;
    fixture.falls_back(&["down", "slow"]).await;
    fixture.redis.signal(Signal::SIGCONT);
    fixture.shown().await;

    // Another leader.
    let leader = fixture.cluster.leader().await;
    fixture.cluster.kill(leader);
    fixture.make(3).await;
    fixture.cluster.restart(leader);
    fixture.cluster.serving().await;
    fixture.shown().await;

    // What is removed is removed there.
    let gone = fixture.client.containers(&Page::default()).await.unwrap().items[0].clone();
    fixture
        .client
        .remove_container(gone.name.as_str(), Default::default())
        .await
        .unwrap();
    fixture.made -= 1;
    fixture.shown().await;
    let key = format!("{}container:{}", fixture.prefix, gone.id);
    let there: bool = fixture.redis.command(&["EXISTS", &key]).await;
    assert!(!there);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_redis_is_who_the_ca_says_and_nobody_else() {
    let redis = RedisServer::start_secured();
    let ca_file = format!("ca_file = {:?}\n", redis.ca_file());
    let mut fixture = Fixture::start_with(redis, &ca_file).await;

    // Another in its place, with a certificate of another CA.
    fixture.redis.kill();
    fixture.redis.certify("false");
    fixture.redis.run();
    fixture.make(3).await;
    fixture.falls_back(&["down"]).await;
    let keys: usize = fixture.redis.command(&["DBSIZE"]).await;
    assert_eq!(keys, 0);

    fixture.redis.kill();
    fixture.redis.certify("true");
    fixture.redis.run();
    fixture.shown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_below_the_prefix_is_mended_and_changes_no_other_answer() {
    let fixture = Fixture::start("").await;
    let first = fixture.client.containers(&Page::default()).await.unwrap().items[0].clone();
    let object = format!("container:{}", first.id);
    let path = format!("/api/v1/containers/{}?consistency=cached", first.name);
    let hurts: &[(&str, &[&str])] = &[
        (&object, &["DEL"]),
        (&object, &["SET", "garbage"]),
        (&object, &["HSET", "json", "{}"]),
        (&object, &["HSET", "stamp", "99999999999999999999", "json", "[]"]),
        ("containers", &["DEL"]),
        ("containers", &["SET", "garbage"]),
        ("containers", &["ZADD", "0", "zz garbage"]),
        ("containers", &["ZADD", "0", "\u{1}"]),
        ("meta", &["DEL"]),
        ("meta", &["SET", "garbage"]),
        ("meta", &["HSET", "floor", "99999999999999999999"]),
        ("meta", &["HSET", "writer", "me"]),
        ("meta", &["HSET", "cluster", "another"]),
        ("meta", &["HSET", "count:container", "x"]),
        ("meta", &["HSET", "revision", "x"]),
        ("health", &["SET", "garbage"]),
    ];
    for (key, command) in hurts {
        fixture.key(key, command).await;
        for at in 0..3 {
            let client = fixture.cluster.client(at);
            let one = read(&client, &path).await;
            assert_eq!(
                one.body,
                serde_json::to_value(&first).unwrap(),
                "{key} {command:?}: {one:?}"
            );
        }
        fixture.shown().await;
    }
    // A key of an object that there never was.
    fixture
        .key("container:c-aaaaaaaaaaaaa", &["HSET", "json", "{}"])
        .await;
    let stray = format!("{}container:c-aaaaaaaaaaaaa", fixture.prefix);
    fixture
        .cluster
        .eventually("it is removed", async || {
            !fixture.redis.command::<bool>(&["EXISTS", &stray]).await
        })
        .await;
    let health: HashMap<String, String> = fixture
        .redis
        .command(&["HGETALL", &format!("{}health", fixture.prefix)])
        .await;
    let health: serde_json::Value = serde_json::from_str(&health["json"]).unwrap();
    assert!(
        health["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["name"] == "quorum")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_reads_page_select_and_wait_like_the_others() {
    let fixture = Fixture::start("read_timeout = \"2s\"\n").await;
    for n in ["web", "web-1", "web.2", "api"] {
        let spec =
            serde_json::json!({"name": n, "command": "sleep", "labels": {"tier": n.len().to_string()}});
        let spec: AgentSpec = serde_json::from_value(spec).unwrap();
        fixture.client.deploy_agent(&spec).await.unwrap();
    }
    let client = fixture.cluster.client(0);
    fixture
        .cluster
        .eventually("Redis has the agents", async || {
            let cached = read(&client, "/api/v1/agents?consistency=cached").await;
            cached.is_from_redis() && cached.body["items"].as_array().unwrap().len() == 4
        })
        .await;
    for list in [
        "/api/v1/agents?limit=1",
        "/api/v1/containers?limit=3",
        "/api/v1/agents?limit=2&selector=tier%3D5",
    ] {
        let mut token = String::new();
        loop {
            let truth = read(&client, &format!("{list}{token}")).await;
            let cached = read(&client, &format!("{list}{token}&consistency=cached")).await;
            assert!(cached.is_from_redis());
            assert_eq!(cached.body["items"], truth.body["items"], "{list}");
            assert_eq!(cached.body["continue"], truth.body["continue"], "{list}");
            match truth.body["continue"].as_str() {
                Some(next) => token = format!("&continue={next}"),
                None => break,
            }
        }
    }
    let health = read(&client, "/api/v1/cluster/health?consistency=cached").await;
    assert!(health.is_from_redis() && health.body["healthy"].is_boolean());
    let missing = client
        .get("/api/v1/agents/nobody?consistency=cached")
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Some("not_found"));
    let configs = read(&client, "/api/v1/configs?consistency=cached").await;
    assert_eq!(configs.fallback.as_deref(), Some("not-kept"));

    let head = read(&client, LINEARIZABLE).await.revision;
    let path = format!("{CACHED}&min_revision={head}");
    let cached = read(&client, &path).await;
    assert!(cached.revision >= head, "{cached:?}");
}
