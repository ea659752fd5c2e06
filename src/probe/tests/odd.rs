//! Who else may be at a place: of another version, hostile, garbled, silent, an open engine.

use super::*;

#[tokio::test]
async fn another_version_is_told_as_one_on_both_sides() {
    let runner = Runner::start("127.0.0.1:0", None, Some(ca(1))).await;
    let mut stream = dialled(runner.place).await;
    assert_eq!(greet(&mut stream, PROTOCOL + 1).await, Tell::Version(PROTOCOL));
    let (place, task) = serve("127.0.0.1:0", key(), |mut stream| async move {
        let _: Ask = read(&mut stream).await.unwrap();
        write(&mut stream, &Tell::Version(9)).await.unwrap();
    })
    .await;
    let Seen::Odd(odd) = visit(place, None).await else {
        panic!("not odd");
    };
    assert!(
        odd.to_string().contains("version 9") && odd.to_string().contains("upgrade"),
        "{odd}"
    );
    task.abort();
}

/// The frame of a `Tell::Runner` with this name, as whoever obeys no rule writes it.
fn named(name: &str) -> Vec<u8> {
    // The number of the variant, and its fields.
    let body = postcard::to_stdvec(&(1_u8, name, None::<u64>, [0_u8; 32])).unwrap();
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

#[tokio::test]
async fn hostile_words_are_odd_and_never_shown() {
    let long = "x".repeat(5_000);
    for frame in [
        named("../../etc\n\x1b[2J"),
        named(""),
        named(&long),
        vec![0, 0, 0, 3, 0xff, 0xff, 0xff],
        vec![0xff; 64],
    ] {
        let (place, task) = serve("127.0.0.1:0", key(), move |mut stream| {
            let frame = frame.clone();
            async move {
                let _ = stream.write_all(&frame).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut [0; 256]).await;
            }
        })
        .await;
        let Seen::Odd(odd) = visit(place, None).await else {
            panic!("not odd");
        };
        assert!(
            odd.to_string().len() < 200 && !odd.to_string().contains("etc"),
            "{odd}"
        );
        task.abort();
    }
}

#[tokio::test]
async fn garbage_is_nothing() {
    let (garbage, first) = raw(|mut stream| async move {
        let _ = stream.write_all(&[b'x'; 4096]).await;
    })
    .await;
    let (closes, second) = raw(|_| async {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    for place in [garbage, closes, closed] {
        let seen = visit(place, None).await;
        assert!(matches!(seen, Seen::Nothing), "{seen:?}");
    }
    first.abort();
    second.abort();
}

/// The bounds of time are promises: a scan goes on although others hold it up as long as they can.
#[tokio::test]
async fn who_says_nothing_and_who_never_stops_is_left_in_time() {
    let (silent, first) = raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (endless, second) =
        raw(|mut stream| async move { while stream.write_all(&[0x16, 3, 3, 0x40, 0]).await.is_ok() {} })
            .await;
    let (slow, third) = serve("127.0.0.1:0", key(), |mut stream| async move {
        // A frame that is announced and comes byte by byte.
        let _ = stream.write_all(&[0, 0, 0x3f, 0xff]).await;
        while stream.write_all(&[1]).await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let begun = Instant::now();
    let visits = [silent, endless, slow].map(|place| visit(place, None));
    for seen in futures::future::join_all(visits).await {
        assert!(matches!(seen, Seen::Nothing | Seen::Odd(_)), "{seen:?}");
    }
    // Twice, as it may have been an engine.
    assert!(begun.elapsed() < 2 * (CONNECT + TALK) + Duration::from_secs(3));
    for task in [first, second, third] {
        task.abort();
    }
}

#[tokio::test]
async fn an_open_engine_is_told_from_other_servers() {
    let answer = |body: &'static str| {
        move |mut stream: TcpStream| async move {
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let answer = match asked[..read].starts_with(b"GET /version ") {
                true => format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
                false => "HTTP/1.0 400 Bad Request\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    let (engine, first) = raw(answer(r#"{"Version":"28.1.1","ApiVersion":"1.49"}"#)).await;
    let (other, second) = raw(answer("<html>hello</html>")).await;
    let seen = visit(engine, None).await;
    assert!(
        matches!(&seen, Seen::OpenEngine { version } if version == "28.1.1"),
        "{seen:?}"
    );
    let seen = visit(other, None).await;
    assert!(matches!(seen, Seen::Nothing), "{seen:?}");
    first.abort();
    second.abort();
}

/// Its answer was thrown away with the time that was up.
#[tokio::test]
async fn an_engine_that_keeps_the_connection_is_told_all_the_same() {
    let (engine, task) = raw(|mut stream| async move {
        let mut asked = [0; 512];
        let read = stream.read(&mut asked).await.unwrap_or(0);
        if asked[..read].starts_with(b"GET /version ") {
            for part in [
                "HTTP/1.1 200 OK\r\n\r\n{\"Version\":\"28",
                ".1.1\",\"ApiVersion\":\"1.49\"}\n",
            ] {
                stream.write_all(part.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let seen = visit(engine, None).await;
    assert!(
        matches!(&seen, Seen::OpenEngine { version } if version == "28.1.1"),
        "{seen:?}"
    );
    task.abort();
}

#[tokio::test]
async fn what_could_not_be_dialled_is_not_nothing() {
    // An address of one link, and nobody says which.
    for port in [1, crate::model::OPEN_ENGINE_PORT] {
        let seen = visit(format!("[fe80::1]:{port}").parse().unwrap(), None).await;
        assert!(matches!(seen, Seen::NotLooked { .. }), "{seen:?}");
    }
}
