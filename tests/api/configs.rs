//! Configs: the value as it was, compare-and-swap, idempotency, watching.

use quorate::client::{Condition, ConfigEvent, Page};
use tokio::time::timeout;

use crate::manager::{Manager, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_back_as_it_was_with_its_version() {
    let manager = Manager::start().await;
    let http = manager.http();
    let value = [0, 255, 10, 13];
    let put = http
        .send(
            "PUT",
            "/api/v1/configs/a",
            &[("content-type", "image/x")],
            value.to_vec(),
        )
        .await;
    assert_eq!((put.status, put.json()["created"].as_bool()), (201, Some(true)));
    let version = put.header("quorate-revision").to_owned();
    assert_eq!(put.header("etag"), format!("\"{version}\""));

    let got = http.get("/api/v1/configs/a").await;
    assert_eq!((got.status, got.body.as_slice()), (200, value.as_slice()));
    assert_eq!(
        (got.header("content-type"), got.header("etag")),
        ("image/x", put.header("etag"))
    );
    assert_eq!(got.header("quorate-source"), "quorum");
    let tag = put.header("etag").to_owned();
    let same = http
        .send("GET", "/api/v1/configs/a", &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(
        (same.status, same.body.len(), same.header("etag")),
        (304, 0, tag.as_str())
    );
    let stale = http
        .get(&format!(
            "/api/v1/configs/a?consistency=stale&min_revision={version}"
        ))
        .await;
    assert_eq!((stale.status, stale.header("quorate-source")), (200, "local"));

    let again = http.send("PUT", "/api/v1/configs/a", &[], "x").await;
    assert_eq!(
        (again.status, again.json()["created"].as_bool()),
        (200, Some(false))
    );
    let gone = http.send("DELETE", "/api/v1/configs/a", &[], "").await;
    assert_eq!(gone.status, 200);
    assert_eq!(http.get("/api/v1/configs/a").await.code(), "not_found");
    assert_eq!(
        http.send("DELETE", "/api/v1/configs/a", &[], "").await.status,
        404
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_and_swap_lets_one_through_and_shows_the_rest_what_is() {
    let manager = Manager::start().await;
    let client = manager.client();
    let first = client
        .put_config("a", "text/plain", "one", Condition::Absent, None)
        .await
        .unwrap();
    let taken = client
        .put_config("a", "text/plain", "two", Condition::Absent, None)
        .await
        .unwrap_err();
    assert_eq!(taken.status(), Some(412));

    let writers = (0..8).map(|i| {
        let client = client.clone();
        let expected = Condition::Version(first.version);
        async move {
            client
                .put_config("a", "text/plain", format!("w{i}"), expected, None)
                .await
        }
    });
    let results = futures::future::join_all(writers).await;
    let won: Vec<_> = results.iter().flatten().collect();
    assert_eq!(won.len(), 1, "{results:?}");

    let stale = format!("\"{}\"", first.version);
    let lost = manager
        .http()
        .send("PUT", "/api/v1/configs/a", &[("if-match", &stale)], "late")
        .await;
    let json = lost.json();
    assert_eq!(
        (lost.status, json["code"].as_str()),
        (412, Some("precondition_failed"))
    );
    assert_eq!(json["current"]["version"], won[0].version);
    assert!(json["current"]["value"].as_str().unwrap().starts_with('w'));
    assert_eq!(lost.header("etag"), format!("\"{}\"", won[0].version));
    assert!(
        client
            .delete_config("a", Condition::Version(first.version))
            .await
            .is_err()
    );
    client
        .delete_config("a", Condition::Version(won[0].version))
        .await
        .unwrap();
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_key_has_one_effect_and_one_answer() {
    let manager = Manager::start().await;
    let http = manager.http();
    let keyed = [("idempotency-key", "k-1")];
    let first = http.send("PUT", "/api/v1/configs/a", &keyed, "one").await;
    http.send("PUT", "/api/v1/configs/a", &[], "two").await;
    let again = http.send("PUT", "/api/v1/configs/a", &keyed, "one").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        ("", "true")
    );
    assert_eq!(again.header("quorate-revision"), first.header("quorate-revision"));
    assert_eq!(http.get("/api/v1/configs/a").await.body, b"two");
    let other = http.send("PUT", "/api/v1/configs/a", &keyed, "three").await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency_key_reused")
    );

    // A rejection is an answer too, and deleting twice is not "not found" the second time.
    let gone = [("idempotency-key", "k-2")];
    let deleted = http.send("DELETE", "/api/v1/configs/a", &gone, "").await;
    let repeated = http.send("DELETE", "/api/v1/configs/a", &gone, "").await;
    assert_eq!((deleted.status, repeated.status), (200, 200));
    let missing = [("idempotency-key", "k-3")];
    assert_eq!(
        http.send("DELETE", "/api/v1/configs/a", &missing, "")
            .await
            .status,
        404
    );
    http.send("PUT", "/api/v1/configs/a", &[], "back").await;
    let repeated = http.send("DELETE", "/api/v1/configs/a", &missing, "").await;
    assert_eq!(
        (repeated.status, repeated.header("idempotency-replayed")),
        (404, "true")
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_from_page_to_page() {
    let manager = Manager::start().await;
    let client = manager.client();
    for i in 0..7 {
        client
            .put_config(&format!("c{i}"), "text/plain", "x", Condition::Any, None)
            .await
            .unwrap();
    }
    let mut page = Page {
        limit: Some(3),
        ..Page::default()
    };
    let mut names = Vec::new();
    let mut pages = 0;
    loop {
        let list = client.configs(&page).await.unwrap();
        names.extend(list.items.iter().map(|config| config.name.to_string()));
        pages += 1;
        match list.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!((names, pages), ((0..7).map(|i| format!("c{i}")).collect(), 3));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_is_and_what_becomes_and_resumes() {
    let manager = Manager::start().await;
    let client = manager.client();
    let next = async |watch: &mut quorate::client::ConfigWatch| {
        timeout(PATIENCE, watch.next())
            .await
            .expect("an event comes")
            .unwrap()
    };
    let mut watch = client.watch_config("a").await.unwrap();
    assert!(matches!(next(&mut watch).await, ConfigEvent::Deleted(_)));
    let put = client
        .put_config("a", "text/plain", "one", Condition::Any, None)
        .await
        .unwrap();
    let ConfigEvent::Put(value) = next(&mut watch).await else {
        panic!("a put was made")
    };
    assert_eq!(
        (value.version, value.value.as_deref()),
        (put.version, Some("one"))
    );
    client.delete_config("a", Condition::Any).await.unwrap();
    assert!(matches!(next(&mut watch).await, ConfigEvent::Deleted(_)));

    // Who has seen the newest version is told nothing until it changes; who has not, at once.
    let put = client
        .put_config("a", "text/plain", "two", Condition::Any, None)
        .await
        .unwrap();
    let http = reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(manager.ca.as_bytes()).unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let resume = async |last: u64| {
        http.get(format!("{}/api/v1/configs/a?watch=true", manager.endpoint))
            .bearer_auth(&manager.token)
            .header("last-event-id", last.to_string())
            .send()
            .await
            .unwrap()
    };
    let mut behind = resume(put.version - 1).await;
    let chunk = timeout(PATIENCE, behind.chunk()).await.unwrap().unwrap().unwrap();
    assert!(chunk.starts_with(format!("event: put\nid: {}\n", put.version).as_bytes()));
    let mut level = resume(put.version).await;
    let later = client
        .put_config("a", "text/plain", "three", Condition::Any, None)
        .await
        .unwrap();
    let chunk = timeout(PATIENCE, level.chunk()).await.unwrap().unwrap().unwrap();
    assert!(chunk.starts_with(format!("event: put\nid: {}\n", later.version).as_bytes()));
    drop((behind, level, watch));
    manager.stop().await;
}
