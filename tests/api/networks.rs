//! Networks of the real engine, through a real manager.

use quorate::client::types::{ContainerView, NetworkConnect};
use serde_json::json;

use crate::{
    docker::{SOCKET, Yard, docker},
    engines::{JSON, add, container, until},
    manager::Manager,
    proxy::{Mode, Proxy},
};

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_connected_to_networks_through_any_manager() {
    let Some(yard) = Yard::new() else { return };
    let manager = Manager::start().await;
    let (client, http) = (manager.client(), manager.http());
    add(&http, "here", &format!("unix://{SOCKET}")).await;
    let (name, theirs) = yard.run(&[]);
    let on = |network: &str| {
        let network = network.to_owned();
        move |c: &ContainerView| c.networks.contains(&network)
    };
    container(&client, &name, on("bridge")).await;

    let network = yard.network();
    let asked = json!({"name": network, "internal": true, "labels": {"a": "b"}}).to_string();
    let all = "/api/v1/engines/here/networks";
    let made = http.send("POST", all, &JSON, asked.clone()).await;
    assert_eq!(
        (made.status, &made.json()["network"]),
        (201, &json!(network)),
        "{}",
        made.json()
    );
    let again = http.send("POST", all, &JSON, asked).await;
    assert_eq!(
        (again.status, again.code()),
        (409, "already_exists".into()),
        "{}",
        again.json()
    );

    // By the name and by the id, as it is convenient.
    let connect = NetworkConnect {
        container: name.parse().unwrap(),
        aliases: vec!["www".into()],
    };
    client.connect_network("here", &network, &connect).await.unwrap();
    let seen = container(&client, &name, on(&network)).await;
    let aliases = docker(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", &theirs]).unwrap();
    assert!(aliases.contains("\"www\""), "{aliases}");
    let twice = client
        .connect_network("here", &network, &connect)
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Some("already_exists"), "{twice}");
    let listed = client.networks("here").await.unwrap();
    let one = listed.items.iter().find(|one| one.name == network).unwrap();
    assert_eq!((one.internal, one.labels.get("a")), (true, Some("b")));
    assert_eq!(one.containers, std::slice::from_ref(&seen.name));
    let topology = client.topology().await.unwrap();
    let here = topology
        .engines
        .iter()
        .find(|e| Some(e.id) == seen.engine)
        .unwrap();
    let drawn = here.networks.iter().find(|one| one.name == network).unwrap();
    assert_eq!(drawn.containers, [seen.id]);

    let at = format!("{all}/{network}");
    let in_use = http.send("DELETE", &at, &[], "").await;
    assert_eq!(
        (in_use.status, in_use.code()),
        (409, "busy".into()),
        "{}",
        in_use.json()
    );
    let asked = json!({"container": seen.id.to_string()}).to_string();
    let left = http.send("POST", &format!("{at}/disconnect"), &JSON, asked).await;
    assert_eq!(left.status, 200, "{}", left.json());
    container(&client, &name, |c| !c.networks.contains(&network)).await;
    // Outside of us, too.
    docker(&["network", "connect", &network, &name]).unwrap();
    container(&client, &name, on(&network)).await;
    docker(&["kill", &name]).unwrap();
    client.remove_network("here", &network).await.unwrap();
    let gone = http.send("DELETE", &at, &[], "").await;
    assert_eq!(
        (gone.status, gone.code()),
        (404, "not_found".into()),
        "{}",
        gone.json()
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_to_a_network_is_told_apart() {
    let Some(yard) = Yard::new() else { return };
    let proxy = Proxy::start(None).await;
    let manager = Manager::start().await;
    let (client, http) = (manager.client(), manager.http());
    add(&http, "here", &format!("unix://{SOCKET}")).await;
    let (name, _) = yard.run(&[]);
    container(&client, &name, |_| true).await;
    add(&http, "other", &format!("tcp://{}", proxy.address)).await;
    let body: serde_json::Value = json!({"name": "idle"});
    http.send("POST", "/api/v1/containers", &JSON, body.to_string())
        .await;

    let of = |container: &str| json!({"container": container}).to_string();
    let network = yard.network();
    let new = json!({"name": network}).to_string();
    let key = [JSON[0], ("idempotency-key", "k")];
    let nowhere = format!("/api/v1/engines/here/networks/{network}");
    for (method, path, headers, body, expected, words) in [
        (
            "POST",
            "/api/v1/engines/other/networks/bridge/connect",
            &JSON[..],
            of(&name),
            409,
            "it is on `here`",
        ),
        (
            "POST",
            "/api/v1/engines/other/networks/bridge/connect",
            &JSON,
            of("idle"),
            409,
            "no engine",
        ),
        (
            "POST",
            "/api/v1/engines/here/networks/bridge/connect",
            &JSON,
            of("nobody"),
            404,
            "`nobody`",
        ),
        (
            "POST",
            "/api/v1/engines/here/networks/..%2Fx/connect",
            &JSON,
            of(&name),
            400,
            "network's name",
        ),
        (
            "GET",
            "/api/v1/engines/nowhere/networks",
            &[],
            String::new(),
            404,
            "`nowhere`",
        ),
        (
            "DELETE",
            "/api/v1/engines/here/networks/bridge",
            &[],
            String::new(),
            409,
            "pre-defined",
        ),
        ("DELETE", &nowhere, &[], String::new(), 404, &network),
        (
            "POST",
            "/api/v1/engines/here/networks",
            &key,
            new.clone(),
            400,
            "not in the log",
        ),
    ] {
        let answer = http.send(method, path, headers, body).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, expected, "{method} {path}: {detail}");
        assert!(detail.contains(words), "{method} {path}: {detail}");
    }

    let all = "/api/v1/engines/other/networks";
    for mode in [Mode::Reset, Mode::Garbage, Mode::Deaf, Mode::Flood] {
        proxy.set(mode);
        let asked = http.get(all).await;
        let told = http.send("POST", all, &JSON, new.clone()).await;
        for answer in [asked, told] {
            assert_eq!(
                (answer.status, answer.code()),
                (502, "engine_unreachable".into()),
                "{mode:?}: {}",
                answer.json()
            );
        }
    }
    assert!(
        docker(&["network", "inspect", &network]).is_err(),
        "it was never made"
    );

    // Made, and nobody heard: that is no failure.
    proxy.set(Mode::Swallow);
    let unheard = http.send("POST", all, &JSON, new.clone()).await;
    assert_eq!(
        (unheard.status, unheard.code()),
        (504, "outcome_unknown".into()),
        "{}",
        unheard.json()
    );
    assert_eq!(unheard.json()["outcome"], "unknown");
    until("it is made all the same", async || {
        docker(&["network", "inspect", &network]).ok()
    })
    .await;
    manager.stop().await;
}
