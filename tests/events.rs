//! Events of three real managers, followed while managers die.

mod support;

use std::time::Duration;

use quorate::{
    client::{Client, EventFilter, Page, types::EventView},
    model::{EventId, EventKind, Happening},
};
use support::Cluster;
use tokio::time::timeout;

/// How many containers the test of streams registers.
const ALL: usize = 30;

async fn register(client: &Client, name: &str) {
    let asked = serde_json::from_value(serde_json::json!({"name": name})).unwrap();
    client.register_container(&asked).await.unwrap();
}

async fn all(client: &Client) -> Vec<EventView> {
    let page = Page {
        limit: Some(1000),
        ..Page::default()
    };
    client
        .events(&EventFilter::default(), false, &page)
        .await
        .unwrap()
        .items
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_through_the_deaths_of_managers_each_once_and_none_left_out() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client_of_all();
    let of_containers = EventFilter {
        kind: Some(EventKind::Container),
        ..EventFilter::default()
    };
    // Each begins at another manager, and goes on wherever one lives.
    let mut readers = Vec::new();
    for at in 0..3 {
        let mut watch = cluster
            .client_from(at)
            .watch_events(&of_containers)
            .await
            .unwrap();
        readers.push(tokio::spawn(async move {
            let mut read = Vec::new();
            while read.len() < ALL {
                read.push(watch.next().await.unwrap());
            }
            read
        }));
    }
    for round in 0..3 {
        for n in 0..5 {
            register(&client, &format!("box-{round}-{n}")).await;
        }
        cluster.kill(round);
        for n in 5..10 {
            register(&client, &format!("box-{round}-{n}")).await;
        }
        cluster.restart(round);
        cluster.serving().await;
    }
    let expected: Vec<_> = (0..3)
        .flat_map(|round| (0..10).map(move |n| format!("box-{round}-{n}")))
        .collect();
    assert_eq!(expected.len(), ALL);
    for reader in readers {
        let read = timeout(Duration::from_secs(60), reader)
            .await
            .expect("they come")
            .unwrap();
        let mut last = EventId::default();
        for (event, name) in read.iter().zip(&expected) {
            assert!(event.id > last, "{event:?} after {last}");
            last = event.id;
            assert_eq!(
                (event.name.as_deref(), event.event),
                (Some(name.as_str()), Happening::Registered)
            );
        }
    }
    // They are in the state: what died and came back has them all, and all have the same.
    let told = all(&cluster.patient_client(0)).await;
    assert_eq!(
        told.iter()
            .filter(|event| event.kind == EventKind::Container)
            .count(),
        expected.len()
    );
    for at in 1..3 {
        assert_eq!(all(&cluster.patient_client(at)).await, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_select_and_refuse() {
    let cluster = Cluster::start(1).await;
    let client = cluster.patient_client(0);
    for n in 0..5 {
        register(&client, &format!("box-{n}")).await;
    }
    let told = all(&client).await;
    let one_by_one = Page {
        limit: Some(1),
        ..Page::default()
    };
    let mut page = one_by_one.clone();
    let mut paged = Vec::new();
    loop {
        let part = client
            .events(&EventFilter::default(), false, &page)
            .await
            .unwrap();
        assert_eq!(part.items.len(), 1);
        paged.extend(part.items);
        page.after = part.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(paged, told);

    let object = |object: &str| EventFilter {
        object: Some(object.to_owned()),
        ..EventFilter::default()
    };
    let third = &told[told.len() - 3];
    for by in [
        third.name.as_ref().unwrap().as_str(),
        third.object.as_ref().unwrap(),
    ] {
        let found = client.events(&object(by), false, &Page::default()).await.unwrap();
        assert_eq!(found.items, std::slice::from_ref(third));
    }
    let newest = client
        .events(&EventFilter::default(), true, &one_by_one)
        .await
        .unwrap();
    assert_eq!(
        (newest.items.as_slice(), newest.next),
        (&told[told.len() - 1..], None)
    );
    let two = Page {
        limit: Some(2),
        ..Page::default()
    };
    let newest = client.events(&EventFilter::default(), true, &two).await.unwrap();
    assert_eq!(newest.items, told[told.len() - 2..]);
    let behind = EventFilter {
        after: Some(third.id),
        ..EventFilter::default()
    };
    let rest = client.events(&behind, false, &Page::default()).await.unwrap();
    assert_eq!(rest.items, told[told.len() - 2..]);
    let mut watch = client.watch_events(&behind).await.unwrap();
    for event in &told[told.len() - 2..] {
        assert_eq!(&watch.next().await.unwrap(), event);
    }

    for bad in [
        "after=soon",
        "after=1.",
        "after=-1",
        "kind=manager",
        "kind=",
        "object=..%2F",
        "limit=0",
        "newest=1",
        "newest=true&continue=AXg",
        "continue=AXg",
        "watch=true&limit=3",
        "watch=true&newest=true",
        "watch=true&continue=AXg",
        "since=3",
    ] {
        let refused = client.get(&format!("/api/v1/events?{bad}")).await.unwrap_err();
        assert_eq!(refused.code(), Some("invalid_parameter"), "{bad}");
    }
}
