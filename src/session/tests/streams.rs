//! The second connection of a runner: who may open it, and when it ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    model::{StreamAnswer, StreamHeader, StreamService, StreamTicket},
    session::OpenError,
    wire::{
        self,
        streams::{Limits, Mux, Role as Side, Stream},
    },
};

/// A stream that somebody opens, under way.
type Opening = tokio::task::JoinHandle<Result<Stream, OpenError>>;

fn open(bench: &Bench, container: ContainerId) -> Opening {
    let streams = bench.streams.clone();
    tokio::spawn(async move { streams.open(container, StreamService::Echo).await })
}

/// The ticket that a session is told.
async fn ticket(session: &mut Peer) -> StreamTicket {
    match session.read().await {
        FromManager::OpenStreams { ticket } => ticket,
        other => panic!("no ticket: {other:?}"),
    }
}

/// The answer to a second connection, and the connection.
async fn second(
    bench: &Bench,
    runner: &Runner,
    boot: u64,
    ticket: StreamTicket,
) -> (FromManager, TlsStream<TcpStream>) {
    let tls = security::session_client(bench.ca.trust(), Some(&runner.leaf)).unwrap();
    let mut stream = bench.dial(tls).await;
    let frame = FromRunner::Streams {
        container: runner.id,
        boot,
        ticket,
    };
    wire::write_frame(&mut stream, &frame, MAX_FRAME_BYTES)
        .await
        .unwrap();
    let answer = timeout(WAIT, wire::read_frame(&mut stream, MAX_FRAME_BYTES)).await;
    (answer.unwrap().unwrap().expect("an answer"), stream)
}

async fn opened(bench: &Bench, runner: &Runner, ticket: StreamTicket) -> Mux {
    let (answer, stream) = second(bench, runner, 1, ticket).await;
    assert_eq!(answer, FromManager::StreamsOpen);
    Mux::new(stream, Side::Dialled, Limits::default())
}

async fn accept(mux: &Mux, container: ContainerId) -> Stream {
    let accepted = timeout(WAIT, mux.accept::<StreamHeader>()).await;
    let (header, stream) = accepted.expect("no stream").unwrap();
    assert_eq!(
        (header.container, header.service),
        (container, StreamService::Echo)
    );
    stream
}

async fn answer(stream: &mut Stream, answer: StreamAnswer) {
    wire::write_frame(stream, &answer, 4096).await.unwrap();
}

async fn done(opening: Opening) -> Result<Stream, OpenError> {
    timeout(WAIT, opening).await.expect("it hangs").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_share_a_connection_that_the_runner_opens_once() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    assert!(matches!(
        done(open(&bench, runner.id)).await,
        Err(OpenError::NoSession)
    ));
    let mut session = bench.session(&runner, 1).await;
    let both = [open(&bench, runner.id), open(&bench, runner.id)];
    let ticket = ticket(&mut session).await;
    let mux = opened(&bench, &runner, ticket).await;
    // Which of them comes first is not said.
    let mut fars = Vec::new();
    for _ in &both {
        let mut far = accept(&mux, runner.id).await;
        answer(&mut far, StreamAnswer::Open).await;
        fars.push(far);
    }
    let mut nears = Vec::new();
    for (number, opening) in both.into_iter().enumerate() {
        let mut near = done(opening).await.unwrap();
        near.write_u8(number as u8).await.unwrap();
        nears.push(near);
    }
    for mut far in fars {
        let number = timeout(WAIT, far.read_u8()).await.unwrap().unwrap();
        let near = &mut nears[usize::from(number)];
        near.write_all(b"there").await.unwrap();
        near.shutdown().await.unwrap();
        let mut got = String::new();
        timeout(WAIT, far.read_to_string(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got, "there");
        far.write_all(b"back").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'b');
    }
    // A refusal is told as it was said.
    let opening = open(&bench, runner.id);
    let mut far = accept(&mux, runner.id).await;
    let reason = "not today".to_owned();
    answer(&mut far, StreamAnswer::Refused { reason }).await;
    assert_eq!(done(opening).await.unwrap_err().to_string(), "not today");
    // An answer that does not come is not waited for long, and one that breaks not at all.
    let opening = open(&bench, runner.id);
    drop(accept(&mux, runner.id).await);
    assert!(matches!(done(opening).await, Err(OpenError::Broken(_))));
    let opening = open(&bench, runner.id);
    let _silent = accept(&mux, runner.id).await;
    assert!(matches!(done(opening).await, Err(OpenError::Late(_))));
    // After its end the runner is asked again, with another ticket.
    drop(mux);
    let opening = loop {
        let mut opening = open(&bench, runner.id);
        tokio::select! {
            frame = session.read() => match frame {
                FromManager::OpenStreams { ticket: next } => {
                    assert_ne!(next, ticket);
                    break (opening, next);
                }
                other => panic!("no ticket: {other:?}"),
            },
            // The manager has not seen the end yet.
            opened = &mut opening => assert!(opened.unwrap().is_err()),
        }
    };
    let mux = opened(&bench, &runner, opening.1).await;
    let mut far = accept(&mux, runner.id).await;
    answer(&mut far, StreamAnswer::Open).await;
    done(opening.0).await.unwrap();
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_connection_of_its_own_container_s_session() {
    let bench = Bench::start().await;
    let [one, other] = [bench.runner("box-1").await, bench.runner("box-2").await];
    let mut session = bench.session(&one, 1).await;
    let _others = bench.session(&other, 1).await;
    let refused = async |runner: &Runner, boot, ticket| {
        let (answer, mut stream) = second(&bench, runner, boot, ticket).await;
        let (reason, retry) = refusal(answer);
        assert!(retry, "{reason}");
        // The connection is over.
        let mut rest = Vec::new();
        let _ = timeout(WAIT, stream.read_to_end(&mut rest))
            .await
            .expect("still open");
        reason
    };
    // Nothing was asked for.
    let guess = StreamTicket([0; 16]);
    assert!(refused(&one, 1, guess).await.contains("ticket"));
    let opening = open(&bench, one.id);
    let ticket = ticket(&mut session).await;
    assert!(
        refused(&other, 1, ticket).await.contains("ticket"),
        "another container's"
    );
    assert!(
        refused(&one, 2, ticket).await.contains("session"),
        "another start's"
    );
    let mut wrong = ticket;
    wrong.0[15] ^= 1;
    assert!(refused(&one, 1, wrong).await.contains("ticket"));
    // A certificate of one container does not speak for another.
    let claims = FromRunner::Streams {
        container: one.id,
        boot: 1,
        ticket,
    };
    let (reason, retry) = refusal(bench.say(&other.leaf, claims.clone()).await.read().await);
    assert!(
        !retry && reason.contains("the certificate is for container"),
        "{reason}"
    );
    // Nor does nobody's.
    let (reason, retry) = refusal(bench.ask(claims).await);
    assert!(!retry && reason.contains("join token"), "{reason}");
    // None of that has spent it.
    let mux = opened(&bench, &one, ticket).await;
    let mut far = accept(&mux, one.id).await;
    answer(&mut far, StreamAnswer::Open).await;
    done(opening).await.unwrap();
    assert!(refused(&one, 1, ticket).await.contains("ticket"), "it is used");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_session() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut session = bench.session(&runner, 1).await;
    let opening = open(&bench, runner.id);
    let ticket = ticket(&mut session).await;
    let mux = opened(&bench, &runner, ticket).await;
    let mut far = accept(&mux, runner.id).await;
    answer(&mut far, StreamAnswer::Open).await;
    let mut near = done(opening).await.unwrap();
    // A later session of the same runner takes its place.
    let mut later = bench.session(&runner, 2).await;
    let error = timeout(WAIT, near.read_u8()).await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("the session of the runner is over"),
        "{error}"
    );
    let error = timeout(WAIT, far.read_u8()).await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("the session of the runner is over"),
        "{error}"
    );
    // Whoever waits for a connection of a session that ends is told so.
    let opening = open(&bench, runner.id);
    loop {
        if let FromManager::OpenStreams { .. } = later.read().await {
            break;
        }
    }
    drop(later);
    assert!(matches!(done(opening).await, Err(OpenError::SessionEnded)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_does_not_come_is_not_waited_for_long() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let mut session = bench.session(&runner, 1).await;
    let opening = open(&bench, runner.id);
    let first = ticket(&mut session).await;
    assert!(matches!(done(opening).await, Err(OpenError::Late(_))));
    // It is asked again, and the old ticket is worth nothing.
    let opening = open(&bench, runner.id);
    let again = ticket(&mut session).await;
    let (answer_to_old, _) = second(&bench, &runner, 1, first).await;
    assert!(refusal(answer_to_old).0.contains("ticket"));
    let mux = opened(&bench, &runner, again).await;
    let mut far = accept(&mux, runner.id).await;
    answer(&mut far, StreamAnswer::Open).await;
    done(opening).await.unwrap();
    bench.stop().await;
}
