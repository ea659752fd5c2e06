//! Bad input: a clear 4xx, no panic, no effect.

use quorate::client::Page;

use crate::manager::Manager;

const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_code_and_without_effect() {
    let manager = Manager::start().await;
    let http = manager.http();
    let before = manager.client().cluster_status().await.unwrap().revision;
    let (long, deep) = ("x".repeat(64), "[".repeat(100_000));
    let long_path = format!("/api/v1/configs/{long}");
    let big_name = format!(r#"{{"name":"{long}","command":"x"}}"#);
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("POST", "/api/v1/agents", &[("content-type", JSON)], "{", 400, "malformed_json"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], "", 400, "malformed_json"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], &deep, 400, "invalid_field"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], "[]", 400, "invalid_field"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], r#"{"name":"a","comand":"x"}"#, 400, "unknown_field"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], r#"{"name":"A","command":"x"}"#, 400, "invalid_field"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], &big_name, 400, "invalid_field"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], r#"{"name":"a","command":""}"#, 422, "invalid_spec"),
        ("POST", "/api/v1/agents", &[("content-type", JSON)], r#"{"name":"a","command":"x","constraints":"a b"}"#, 422, "invalid_spec"),
        ("POST", "/api/v1/agents", &[("content-type", "text/plain")], r#"{"name":"a","command":"x"}"#, 415, "unsupported_media_type"),
        ("POST", "/api/v1/agents", &[], r#"{"name":"a","command":"x"}"#, 415, "unsupported_media_type"),
        ("PUT", "/api/v1/configs/A", &[], "x", 400, "invalid_name"),
        ("PUT", "/api/v1/configs/%00", &[], "x", 400, "invalid_name"),
        ("PUT", "/api/v1/configs/%ff", &[], "x", 400, "invalid_name"),
        ("PUT", "/api/v1/configs/..%2Fx", &[], "x", 400, "invalid_name"),
        ("PUT", &long_path, &[], "x", 400, "invalid_name"),
        ("PUT", "/api/v1/configs/a", &[("if-match", "7")], "x", 400, "invalid_precondition"),
        ("PUT", "/api/v1/configs/a", &[("if-match", "*"), ("if-none-match", "*")], "x", 400, "invalid_precondition"),
        ("PUT", "/api/v1/configs/a", &[("if-match", "\"7\"")], "x", 412, "precondition_failed"),
        ("PUT", "/api/v1/configs/a", &[("idempotency-key", "a b")], "x", 400, "invalid_idempotency_key"),
        ("PUT", "/api/v1/configs/a", &[("content-type", "text")], "x", 415, "unsupported_media_type"),
        ("PUT", "/api/v1/configs/a?x=1", &[], "x", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs?limit=0", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs?selector=a", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs?continue=zzz", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs?consistency=maybe", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs/a?watch=yes", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs/a?watch=true", &[("last-event-id", "x")], "", 400, "invalid_request"),
        ("GET", "/api/v1/agents/nobody", &[], "", 404, "not_found"),
        ("GET", "/api/v1/agents/a-aaaaaaaaaaaaa", &[], "", 404, "not_found"),
        ("POST", "/api/v1/agents/nobody/start", &[], "", 404, "not_found"),
        ("DELETE", "/api/v1/containers/nobody", &[], "", 404, "not_found"),
        ("DELETE", "/api/v1/engines/nobody", &[], "", 404, "not_found"),
        ("POST", "/api/v1/containers/nobody/cordon", &[], "", 404, "not_found"),
        ("POST", "/api/v1/containers/nobody/uncordon", &[], "", 404, "not_found"),
        ("POST", "/api/v1/containers/a/cordon", &[], "{}", 415, "unsupported_media_type"),
        ("POST", "/api/v1/containers/a/cordon", &[("content-type", JSON)], r#"{"why":"x"}"#, 400, "unknown_field"),
        ("POST", "/api/v1/containers/a/cordon", &[("content-type", JSON)], r#"{"reason":7}"#, 400, "invalid_field"),
        ("POST", "/api/v1/containers/a/uncordon", &[("content-type", JSON)], "{}", 413, "too_large"),
        ("POST", "/api/v1/cluster/breaker/lift", &[], "", 409, "busy"),
        ("POST", "/api/v1/cluster/breaker/lift", &[("if-match", "\"7\"")], "", 412, "precondition_failed"),
        ("POST", "/api/v1/cluster/breaker/lift", &[], "x", 413, "too_large"),
        ("GET", "/api/v1/cluster/breaker?limit=1", &[], "", 400, "invalid_parameter"),
        ("DELETE", "/api/v1/tokens/nobody", &[], "", 404, "not_found"),
        ("DELETE", "/api/v1/cluster/join-tokens/nobody", &[], "", 400, "invalid_name"),
        ("DELETE", "/api/v1/cluster/managers/x", &[], "", 400, "invalid_name"),
        ("DELETE", "/api/v1/configs/a", &[("content-type", JSON)], "{}", 413, "too_large"),
        ("POST", "/api/v1/engines", &[("content-type", JSON)], r#"{"name":"e","url":"http://x"}"#, 400, "invalid_field"),
        ("POST", "/api/v1/tokens", &[("content-type", JSON)], r#"{"name":"e","role":"root"}"#, 400, "invalid_field"),
        ("POST", "/api/v1/tokens", &[("content-type", JSON)], r#"{"name":"e","role":"admin","expires_in_seconds":0}"#, 400, "invalid_field"),
        ("POST", "/api/v1/cluster/join-tokens", &[("content-type", JSON)], r#"{"role":"runner","uses":0}"#, 400, "invalid_field"),
        ("DELETE", "/api/v1/cluster/managers/9", &[("idempotency-key", "k")], "", 400, "invalid_idempotency_key"),
        ("DELETE", "/api/v1/cluster/managers/9", &[], "x", 413, "too_large"),
        ("POST", "/api/v1/cluster/transfer", &[("content-type", JSON), ("idempotency-key", "k")], "{}", 400, "invalid_idempotency_key"),
        ("GET", "/api/v1/cluster/status?consistency=linearizable", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/cluster/managers?consistency=maybe", &[], "", 400, "invalid_parameter"),
        ("GET", "/api/v1/configs/nobody", &[("if-none-match", "7")], "", 400, "invalid_precondition"),
        ("GET", "/api/v1/agents/nobody", &[("if-none-match", "7")], "", 400, "invalid_precondition"),
        ("GET", "/api/v1/containers/nobody", &[("if-none-match", "\"")], "", 400, "invalid_precondition"),
        ("GET", "/api/v1/engines/nobody", &[("if-match", "\"7\"")], "", 400, "invalid_precondition"),
        ("GET", "/api/v1/configs/nobody", &[("if-match", "\"7\"")], "", 400, "invalid_precondition"),
        ("GET", "/api/v1/configs/a/b", &[], "", 404, "no_such_path"),
        ("GET", "/api/v1/configs/", &[], "", 404, "no_such_path"),
        ("GET", "/api/v1/nothing", &[], "", 404, "no_such_path"),
        ("PATCH", "/api/v1/configs/a", &[], "", 405, "method_not_allowed"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = http.send(method, path, headers, (*body).to_owned()).await;
        let shown: String = body.chars().take(60).collect();
        let got = (answer.status, answer.code());
        assert_eq!(
            got,
            (*status, (*code).to_owned()),
            "{method} {path} {headers:?} {shown}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let configs = manager.client().configs(&Page::default()).await.unwrap();
    assert!(configs.items.is_empty());
    let agents = manager.client().agents(&Page::default()).await.unwrap();
    assert!(agents.items.is_empty());
    // What its condition or the breaker refused went through the log, as nothing else did.
    assert!(configs.revision <= before + 3, "{before} to {}", configs.revision);
    let near = http
        .send(
            "POST",
            "/api/v1/agents",
            &[("content-type", JSON)],
            "{\n \"comand\": 1}",
        )
        .await
        .json();
    assert!(near["detail"].as_str().unwrap().contains("`command`"), "{near}");
    assert_eq!(near["line"], 2);
    let constraints = http
        .send(
            "POST",
            "/api/v1/agents",
            &[("content-type", JSON)],
            r#"{"name":"a","command":"x","constraints":"zone=a,a b"}"#,
        )
        .await
        .json();
    let detail = constraints["detail"].as_str().unwrap();
    assert!(
        detail.contains("`constraints`") && detail.contains("`a b`"),
        "{detail}"
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_bound_are_refused() {
    let manager = Manager::start().await;
    let http = manager.http();
    let most = vec![b'x'; 256 * 1024];
    assert_eq!(
        http.send("PUT", "/api/v1/configs/a", &[], most.clone())
            .await
            .status,
        201
    );
    assert_eq!(http.get("/api/v1/configs/a").await.body.len(), most.len());
    let more = vec![b'x'; 256 * 1024 + 1];
    assert_eq!(
        http.send("PUT", "/api/v1/configs/a", &[], more).await.code(),
        "too_large"
    );
    let chunks = (0..5).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024]));
    let untold = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    assert_eq!(
        http.send("PUT", "/api/v1/configs/a", &[], untold).await.code(),
        "too_large"
    );
    let json = format!(r#"{{"name":"a","command":"{}"}}"#, "x".repeat(1 << 20));
    let answer = http
        .send("POST", "/api/v1/agents", &[("content-type", JSON)], json)
        .await;
    assert_eq!(answer.code(), "too_large");
    manager.stop().await;
}
