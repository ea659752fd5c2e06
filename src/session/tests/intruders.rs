//! Who does not keep to the protocol is cut off, and disturbs nobody.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use super::*;

/// Waits until the manager closes; what it sends before does not matter.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = timeout(WAIT, stream.read_to_end(&mut rest))
        .await
        .expect("still open");
}

async fn serves(bench: &Bench, name: &str) {
    let runner = bench.runner(name).await;
    bench.session(&runner, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_and_half_a_handshake_are_cut_off() {
    let bench = Bench::start().await;
    let mut noise = TcpStream::connect(bench.address).await.unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(noise).await;

    // The beginning of a TLS record, and nothing more.
    let mut half = TcpStream::connect(bench.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let silent = TcpStream::connect(bench.address).await.unwrap();
    serves(&bench, "box-1").await;
    closed(half).await;
    closed(silent).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_are_cut_off() {
    let bench = Bench::start().await;
    let tls = || security::pinned_client(bench.ca.fingerprint()).unwrap();
    for bytes in [
        // Not a frame of any version.
        vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        // Announced as longer than strangers may.
        vec![0, 1, 0, 1],
        // Announced as longer than it is, and ended.
        vec![0, 0, 0, 9, 1, 1],
        vec![0, 0],
        vec![],
    ] {
        let stream = TcpStream::connect(bench.address).await.unwrap();
        let stream = TlsConnector::from(tls())
            .connect(security::manager_name(), stream)
            .await;
        let mut stream = stream.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        closed(stream).await;
    }
    let runner = bench.runner("box-1").await;
    let mut session = bench.session(&runner, 1).await;
    session.writer.send(&[0xff_u8; 9]).await.unwrap();
    assert_eq!(session.try_read().await, None);
    serves(&bench, "box-2").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_open_what_they_are_for() {
    let bench = Bench::start().await;
    let hello_frame = || FromRunner::Hello {
        protocol: PROTOCOL,
        hello: hello("box-1", 1),
    };
    let (reason, retry) = refusal(bench.ask(hello_frame()).await);
    assert!(reason.contains("join token") && !retry, "{reason}");

    let manager = bench.ca.issue_manager(3, &[]).unwrap();
    let (reason, retry) = bench.say(&manager, hello_frame()).await.refused().await;
    assert!(reason.contains("peer port") && !retry, "{reason}");

    let runner = bench.runner("box-1").await;
    let (reason, _) = bench.say(&runner.leaf, FromRunner::Goodbye).await.refused().await;
    assert!(reason.contains("hello first"), "{reason}");

    // Another cluster's certificate does not even get through the handshake.
    let other = Ca::generate("other").unwrap();
    let request = KeyRequest::generate().unwrap();
    let chain = other
        .sign_runner(&request.csr_pem, &runner.id.to_string())
        .unwrap();
    let leaf = Leaf::from_pem(&chain, &request.key_pem).unwrap();
    let tls = security::session_client(bench.ca.trust(), Some(&leaf)).unwrap();
    let mut peer = bench.connect(tls).await;
    // In TLS 1.3 the client learns of it by its first read.
    let _ = peer.writer.send(&hello_frame()).await;
    assert_eq!(peer.try_read().await, None);
    assert_eq!(bench.container(runner.id).boot, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_cut_off_however_much_it_says() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let first = bench.session(&runner, 5).await;
    // Specs of 8 MiB together are more than the system keeps for a connection.
    let mut agents = Vec::new();
    for n in 0..20 {
        agents.push(bench.large_agent(n, runner.id, 400 << 10).await.0);
    }
    drop(first);
    let idle = bench.server.tasks.len();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let stream = socket.connect(bench.address).await.unwrap();
    let tls = security::session_client(bench.ca.trust(), Some(&runner.leaf)).unwrap();
    let stream = TlsConnector::from(tls)
        .connect(security::manager_name(), stream)
        .await;
    let mut peer = Peer::over(stream.unwrap());
    let frame = FromRunner::Hello {
        protocol: PROTOCOL,
        hello: hello("box-1", 5),
    };
    peer.send(frame).await;
    let told = async {
        for seq in 1.. {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(agent) = agents.pop() {
                bench.want(agent, Desired::Stopped).await;
            }
            if peer
                .writer
                .send(&FromRunner::Heartbeat { seq, applied: 0 })
                .await
                .is_err()
            {
                return seq;
            }
        }
        0
    };
    let seq = timeout(WAIT, told).await.expect("it is still served");
    assert!(seq > 20, "it was given time: {seq}");
    assert!(bench.server.tasks.len() <= idle);
    bench.stop().await;
}
