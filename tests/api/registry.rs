//! Containers, agents, engines and the cluster, as far as one manager without runners can show.

use quorate::{
    client::{
        Condition, Page,
        types::{ContainerRequest, CordonRequest, EngineRequest},
    },
    model::{AgentSpec, AgentState, ContainerState, Millis},
};

use crate::manager::Manager;

fn spec(json: &str) -> AgentSpec {
    serde_json::from_str(json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_deployed_stopped_and_deleted() {
    let manager = Manager::start().await;
    let client = manager.client();
    let web = spec(r#"{"name":"web","command":"sleep","args":["1"],"labels":{"tier":"web"}}"#);
    let created = client.deploy_agent(&web).await.unwrap();
    let agent = client.agent("web").await.unwrap();
    assert_eq!(
        (agent.id.to_string(), agent.version),
        (created.id.clone(), created.version)
    );
    assert_eq!(
        (agent.state, agent.container, &*agent.spec),
        (AgentState::Pending, None, &web)
    );
    assert_eq!(client.agent(&created.id).await.unwrap(), agent);
    assert_eq!(
        client.deploy_agent(&web).await.unwrap_err().code(),
        Some("already_exists")
    );

    client
        .deploy_agent(&spec(r#"{"name":"db","command":"x","labels":{"tier":"db"}}"#))
        .await
        .unwrap();
    let with = |selector: &str| Page {
        selector: Some(selector.to_owned()),
        ..Page::default()
    };
    let list = client.agents(&with("tier=db")).await.unwrap();
    assert_eq!(
        list.items.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
        ["db"]
    );

    client.stop_agent("web", Condition::Any).await.unwrap();
    let stopped = client.agent("web").await.unwrap();
    assert_eq!(stopped.state, AgentState::Stopped);
    let late = client
        .start_agent("web", Condition::Version(agent.version))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Some("precondition_failed"));
    client
        .start_agent("web", Condition::Version(stopped.version))
        .await
        .unwrap();
    client.delete_agent(&created.id, Condition::Any).await.unwrap();
    assert_eq!(client.agent("web").await.unwrap_err().code(), Some("not_found"));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_is_for_people_and_for_programs() {
    let manager = Manager::start().await;
    let client = manager.client();
    let web = spec(r#"{"name":"web","command":"sleep","constraints":"zone=a"}"#);
    client.deploy_agent(&web).await.unwrap();
    let request = ContainerRequest {
        name: "c".parse().unwrap(),
        labels: Default::default(),
    };
    client.register_container(&request).await.unwrap();
    let told = client.explain_agent("web", &Page::default()).await.unwrap();
    let [told] = told.items.as_slice() else {
        panic!("{told:?}");
    };
    assert!(!told.fits && told.verdict.starts_with("is not ready but registered: "));
    assert_eq!(told.why["verdict"], "not_ready");
    assert_eq!(told.why["state"], "registered");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_deployment_or_deletion_gets_the_first_answer() {
    let manager = Manager::start().await;
    let http = manager.http();
    let headers = [("content-type", "application/json"), ("idempotency-key", "d")];
    let body = r#"{"name":"web","command":"sleep"}"#;
    let first = http.send("POST", "/api/v1/agents", &headers, body).await;
    let again = http.send("POST", "/api/v1/agents", &headers, body).await;
    assert_eq!((first.status, &first.body), (201, &again.body));
    assert_eq!(again.header("idempotency-replayed"), "true");

    let key = [("idempotency-key", "x")];
    let deleted = http.send("DELETE", "/api/v1/agents/web", &key, "").await;
    let again = http.send("DELETE", "/api/v1/agents/web", &key, "").await;
    assert_eq!(
        (deleted.status, again.status),
        (202, 202),
        "the name is gone, the answer is not"
    );
    let other = http
        .send("DELETE", "/api/v1/agents/web", &[("idempotency-key", "y")], "")
        .await;
    assert_eq!(other.status, 404);
    assert!(other.json()["detail"].as_str().unwrap().contains("`web`"));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_and_engines_are_registered_and_removed() {
    let manager = Manager::start().await;
    let client = manager.client();
    let asked: ContainerRequest = serde_json::from_str(r#"{"name":"box","labels":{"zone":"a"}}"#).unwrap();
    let created = client.register_container(&asked).await.unwrap();
    let container = client.container("box").await.unwrap();
    assert_eq!(
        (container.id.to_string(), container.state),
        (created.id, ContainerState::Registered)
    );
    assert_eq!(
        client.containers(&Page::default()).await.unwrap().items,
        std::slice::from_ref(&container)
    );
    let stats = client.container_stats("box", Millis(0)).await.unwrap();
    assert_eq!(
        (stats.container, stats.samples, stats.managers),
        (container.id, vec![], vec![])
    );
    assert_eq!(stats.unanswered, Vec::<u64>::new());
    assert_eq!(
        client
            .container_stats("bax", Millis(0))
            .await
            .unwrap_err()
            .status(),
        Some(404)
    );
    let http = manager.http();
    for bad in ["since=yesterday", "since=-1", "sinse=1", "since=1&since=2"] {
        let path = format!("/api/v1/containers/box/stats?{bad}");
        assert_eq!(
            http.send("GET", &path, &[], "").await.code(),
            "invalid_parameter",
            "{bad}"
        );
    }
    let stranger = [("authorization", "")];
    let answer = http
        .send("GET", "/api/v1/containers/box/stats", &stranger, "")
        .await;
    assert_eq!(answer.status, 401);
    client.remove_container("box", Condition::Any).await.unwrap();
    assert_eq!(client.container("box").await.unwrap_err().status(), Some(404));

    let asked: EngineRequest = serde_json::from_str(r#"{"name":"e","url":"tcp://127.0.0.1:1"}"#).unwrap();
    client.add_engine(&asked).await.unwrap();
    assert_eq!(
        client.add_engine(&asked).await.unwrap_err().code(),
        Some("already_exists")
    );
    assert_eq!(client.engines(&Page::default()).await.unwrap().items.len(), 1);
    client.remove_engine("e", Condition::Any).await.unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_cordoned_and_uncordoned() {
    let manager = Manager::start().await;
    let client = manager.client();
    let asked: ContainerRequest = serde_json::from_str(r#"{"name":"box"}"#).unwrap();
    client.register_container(&asked).await.unwrap();
    let fresh = client.container("box").await.unwrap();
    assert_eq!(fresh.cordoned, None);
    let disk = CordonRequest {
        reason: "its disk is failing".into(),
    };
    client
        .cordon_container("box", &disk, Condition::Version(fresh.version))
        .await
        .unwrap();
    let cordoned = client.container("box").await.unwrap();
    assert_eq!(cordoned.cordoned.as_deref(), Some("its disk is failing"));
    assert_eq!(
        client.containers(&Page::default()).await.unwrap().items,
        std::slice::from_ref(&cordoned)
    );
    client
        .deploy_agent(&spec(r#"{"name":"web","command":"sleep"}"#))
        .await
        .unwrap();
    let stale = client
        .uncordon_container("box", Condition::Version(fresh.version))
        .await
        .unwrap_err();
    assert_eq!(stale.code(), Some("precondition_failed"));
    client
        .uncordon_container("box", Condition::Version(cordoned.version))
        .await
        .unwrap();
    assert_eq!(client.container("box").await.unwrap().cordoned, None);

    // Without a body there is no reason, and a repeat of the request gets the first answer.
    let http = manager.http();
    let key = [("idempotency-key", "c")];
    let path = "/api/v1/containers/box/cordon";
    let first = http.send("POST", path, &key, "").await;
    let again = http.send("POST", path, &key, "").await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(
        client.container("box").await.unwrap().cordoned.as_deref(),
        Some("")
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_is_closed_says_so() {
    let manager = Manager::start().await;
    let client = manager.client();
    let breaker = client.breaker().await.unwrap();
    assert_eq!((breaker.open, breaker.version, breaker.silence), (false, 0, None));
    assert_eq!(
        client.lift_breaker(Condition::Any).await.unwrap_err().code(),
        Some("busy")
    );
    assert_eq!(client.cluster_status().await.unwrap().breaker, None);
    let health = client.cluster_health().await.unwrap();
    assert!(health.checks.iter().any(|c| c.name == "breaker" && c.healthy));
    let read = manager.http().get("/api/v1/cluster/breaker").await;
    assert_eq!((read.status, read.header("etag")), (200, "\"0\""));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tells_its_status_and_keeps_its_quorum() {
    let manager = Manager::start().await;
    let client = manager.client();
    let status = client.cluster_status().await.unwrap();
    assert_eq!((status.leader, status.managers.len()), (Some(1), 1));
    assert!(status.managers[0].voter && status.managers[0].healthy);
    let health = client.cluster_health().await.unwrap();
    assert!(health.healthy, "{health:?}");
    let kept = client.remove_manager(1).await.unwrap_err();
    assert!(matches!(kept.status(), Some(400 | 409)), "{kept}");
    assert_eq!(client.remove_manager(9).await.unwrap_err().status(), Some(404));
    assert!(client.transfer_leadership(Some(9)).await.is_err());

    let http = manager.http();
    let free = [("authorization", "")];
    for (path, body) in [
        ("/livez", "alive\n"),
        ("/readyz", "ready\n"),
        ("/metrics", "figures\n"),
    ] {
        let answer = http.send("GET", path, &free, "").await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, body.as_bytes()),
            "{path}"
        );
    }
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_version_is_not_sent_again() {
    let manager = Manager::start().await;
    let http = manager.http();
    let json = [("content-type", "application/json")];
    for (collection, body) in [
        ("agents", r#"{"name":"x","command":"sleep"}"#),
        ("containers", r#"{"name":"x"}"#),
        ("engines", r#"{"name":"x","url":"tcp://127.0.0.1:1"}"#),
    ] {
        let made = http
            .send("POST", &format!("/api/v1/{collection}"), &json, body)
            .await;
        assert_eq!(made.status, 201, "{collection}");
        let path = format!("/api/v1/{collection}/x");
        let read = http.get(&path).await;
        let tag = read.header("etag").to_owned();
        let again = http.send("GET", &path, &[("if-none-match", &tag)], "").await;
        let known = (again.status, again.body.len(), again.header("etag"));
        // The managers' own work may have made a new version meanwhile, which is then shown.
        if again.header("etag") == tag {
            assert_eq!(known, (304, 0, tag.as_str()), "{collection}");
        }
        let any = http.send("GET", &path, &[("if-none-match", "*")], "").await;
        assert_eq!((any.status, any.body.len()), (304, 0), "{collection}");
        assert!(!any.header("quorate-revision").is_empty());
    }
    let status = http.get("/api/v1/cluster/status?consistency=stale").await;
    assert_eq!((status.status, status.header("quorate-source")), (200, "local"));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_to_try_the_api_needs_nothing_from_elsewhere() {
    let manager = Manager::start().await;
    let page = manager
        .http()
        .send("GET", "/docs", &[("authorization", "")], "")
        .await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.header("content-security-policy")
            .contains("connect-src 'self'")
    );
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("/api/v1/openapi.json"));
    assert!(!text.contains("://"), "it names another place");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_shows_what_there_is() {
    let manager = Manager::start().await;
    let client = manager.client();
    let asked: ContainerRequest = serde_json::from_str(r#"{"name":"box"}"#).unwrap();
    client.register_container(&asked).await.unwrap();
    let engine: EngineRequest =
        serde_json::from_str(r#"{"name":"docker","url":"unix:///nonexistent/docker.sock"}"#).unwrap();
    client.add_engine(&engine).await.unwrap();
    let topology = client.topology().await.unwrap();
    assert_eq!((topology.leader, topology.managers.len()), (Some(1), 1));
    assert!(topology.managers[0].voter && topology.managers[0].reaches.is_empty());
    let container = &topology.containers[0];
    assert_eq!(
        (container.name.as_str(), container.state, container.session),
        ("box", ContainerState::Registered, None)
    );
    assert!(container.agents.is_empty() && topology.unanswered.is_empty());
    let engine = &topology.engines[0];
    assert_eq!((engine.name.as_str(), engine.round_trip_micros), ("docker", None));
    assert!(topology.revision > 0);
}
