//! Who may do what, from outside.

use quorate::{
    client::{
        Page,
        types::{JoinTokenRequest, TokenRequest},
    },
    model::{JoinRole, Role},
};

use crate::manager::Manager;

fn token(name: &str, role: Role) -> TokenRequest {
    TokenRequest {
        name: name.parse().unwrap(),
        role,
        expires_in_seconds: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_but_those_of_supervisors_needs_a_token() {
    let manager = Manager::start().await;
    let http = manager.http();
    let document = http
        .send("GET", "/api/v1/openapi.json", &[("authorization", "")], "")
        .await;
    let forged = format!("Bearer {}", quorate::security::ApiToken::generate().unwrap());
    let mut asked = 0;
    for (path, methods) in document.json()["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") || path.ends_with("openapi.json") {
            continue;
        }
        let path = path.replace("{name}", "x").replace("{id}", "1");
        for method in methods.as_object().unwrap().keys() {
            for given in ["", "Bearer x", forged.as_str()] {
                let answer = http
                    .send(&method.to_uppercase(), &path, &[("authorization", given)], "")
                    .await;
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (401, "unauthenticated"),
                    "{method} {path}"
                );
                assert!(answer.headers.contains_key("www-authenticate"));
            }
            asked += 1;
        }
    }
    assert!(asked >= 25, "only {asked} calls were described");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_reach_as_far_as_they_say() {
    let manager = Manager::start().await;
    let admin = manager.client();
    for (role, read, write, administer) in [
        (Role::Operator, true, true, false),
        (Role::Viewer, true, false, false),
        (Role::Agent, false, false, false),
    ] {
        let name = format!("{role:?}").to_lowercase();
        let made = admin.create_token(&token(&name, role)).await.unwrap();
        let client = manager.client_with(&made.token);
        let code = |result: Result<(), quorate::client::ClientError>| match result {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.code(), Some("forbidden"), "{role:?}");
                false
            }
        };
        assert_eq!(code(client.configs(&Page::default()).await.map(|_| ())), read);
        let put = client
            .put_config("a", "text/plain", "x", Default::default(), None)
            .await;
        assert_eq!(code(put.map(|_| ())), write);
        assert_eq!(code(client.breaker().await.map(|_| ())), read);
        // There is no such container, and the breaker is closed: who may ask is told that.
        let cordoned = client
            .cordon_container("nobody", &Default::default(), Default::default())
            .await;
        let lifted = client.lift_breaker(Default::default()).await;
        for answered in [cordoned.unwrap_err(), lifted.unwrap_err()] {
            assert_eq!(answered.code() != Some("forbidden"), write, "{role:?}");
        }
        assert_eq!(
            code(client.tokens(&Page::default()).await.map(|_| ())),
            administer
        );
        admin.revoke_token(&name).await.unwrap();
        let revoked = client.configs(&Page::default()).await.unwrap_err();
        assert_eq!(revoked.code(), Some("unauthenticated"));
    }
    let last = admin.tokens(&Page::default()).await.unwrap().items;
    assert_eq!(last.len(), 1);
    let kept = admin.revoke_token(&last[0].id.to_string()).await.unwrap_err();
    assert_eq!(kept.code(), Some("busy"));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_told_so() {
    let manager = Manager::start().await;
    let asked = TokenRequest {
        expires_in_seconds: Some(1),
        ..token("brief", Role::Viewer)
    };
    let made = manager.client().create_token(&asked).await.unwrap();
    let client = manager.client_with(&made.token);
    let expired = async {
        loop {
            match client.configs(&Page::default()).await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(crate::manager::PATIENCE, expired)
        .await
        .unwrap();
    assert_eq!((error.status(), error.code()), (Some(401), Some("token_expired")));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_gets_the_same_secret() {
    let manager = Manager::start().await;
    let http = manager.http();
    let headers = [("content-type", "application/json"), ("idempotency-key", "t")];
    let body = r#"{"name":"ci","role":"operator"}"#;
    let first = http.send("POST", "/api/v1/tokens", &headers, body).await;
    let again = http.send("POST", "/api/v1/tokens", &headers, body).await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    let token = again.json()["token"].as_str().unwrap().to_owned();
    assert!(
        manager
            .client_with(&token)
            .configs(&Page::default())
            .await
            .is_ok()
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_revoked_token_never_comes_back() {
    let manager = Manager::start().await;
    let http = manager.http();
    // The same request in every respect, except that its first answer is forgotten.
    let create = async |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = r#"{"name":"ci","role":"operator"}"#;
        let answer = http.send("POST", "/api/v1/tokens", &headers, body).await;
        assert_eq!(answer.status, 201);
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let first = create("one").await;
    manager.client().revoke_token("ci").await.unwrap();
    let second = create("two").await;
    let secret = |token: &str| token.rsplit('_').next().unwrap().to_owned();
    assert_ne!(secret(&first), secret(&second));
    // A repeat still tells what the first one got, which stays refused.
    assert_eq!(create("one").await, first);
    let refused = manager.client_with(&first).configs(&Page::default()).await;
    assert_eq!(refused.unwrap_err().code(), Some("unauthenticated"));
    let kept = manager.client_with(&second).configs(&Page::default()).await;
    assert!(kept.is_ok());
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_was_good_is_looked_at_again() {
    let manager = Manager::start().await;
    let made = manager
        .client()
        .create_token(&token("brief", Role::Operator))
        .await
        .unwrap();
    let http = manager.http();
    let good = format!("Bearer {}", made.token);
    let mut forged = good.clone();
    let last = if forged.ends_with('a') { "q" } else { "a" };
    forged.replace_range(forged.len() - 1.., last);
    let ask = async |given: &str| {
        let headers = [("authorization", given)];
        let answer = http.send("GET", "/api/v1/configs/none", &headers, "").await;
        answer.status
    };
    for _ in 0..3 {
        assert_eq!(ask(&good).await, 404);
        assert_eq!(ask(&forged).await, 401);
    }
    manager.client().revoke_token("brief").await.unwrap();
    assert_eq!(ask(&good).await, 401);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_token() {
    let manager = Manager::start().await;
    let admin = manager.client();
    let made = admin.create_token(&token("eye", Role::Viewer)).await.unwrap();
    let value = admin.put_config("a", "text/plain", "x", Default::default(), None);
    value.await.unwrap();
    let mut watch = manager.client_with(&made.token).watch_config("a").await.unwrap();
    watch.next().await.unwrap();
    admin.revoke_token("eye").await.unwrap();
    let ended = tokio::time::timeout(crate::manager::PATIENCE, watch.next()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Some("unauthenticated"));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_name_the_cluster_and_can_be_revoked() {
    let manager = Manager::start().await;
    let client = manager.client();
    let asked = JoinTokenRequest {
        role: JoinRole::Manager,
        expires_in_seconds: Some(60),
        uses: Some(1),
    };
    let made = client.create_join_token(&asked).await.unwrap();
    let parsed: quorate::security::JoinToken = made.token.parse().unwrap();
    let trust = quorate::security::Trust::from_pem(&manager.ca).unwrap();
    assert_eq!(parsed.ca(), trust.fingerprint());
    let listed = client.join_tokens(&Page::default()).await.unwrap().items;
    let one = listed
        .iter()
        .find(|token| token.id.to_string() == made.id)
        .unwrap();
    assert_eq!((one.role, one.uses_left), (JoinRole::Manager, Some(1)));
    client.revoke_join_token(&made.id).await.unwrap();
    assert_eq!(
        client.revoke_join_token(&made.id).await.unwrap_err().status(),
        Some(404)
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_above_its_rate_is_told_to_wait_and_others_are_served() {
    let manager = Manager::start_with(&["api.max_rate=10"]).await;
    let other = manager.client().create_token(&token("other", Role::Viewer)).await;
    let other = format!("Bearer {}", other.unwrap().token);
    let http = manager.http();
    let path = "/api/v1/configs?consistency=stale";
    // A burst holds a second's worth; so many can't be made before it is used up.
    let mut told = None;
    for _ in 0..2000 {
        let answer = http.get(path).await;
        if answer.status != 200 {
            told = Some(answer);
            break;
        }
    }
    let told = told.expect("2000 requests come faster than 10 a second");
    assert_eq!((told.status, told.code().as_str()), (429, "rate_limited"));
    assert_eq!(told.header("retry-after"), "1");
    let served = http
        .send("GET", path, &[("authorization", other.as_str())], "")
        .await;
    assert_eq!(served.status, 200);
    manager.stop().await;
}
