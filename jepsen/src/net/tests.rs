//! Against the kernel: real namespaces, as root.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::{End, Filter, Links, Net, Place, Shape, permitted};
use crate::cluster::ledger::Ledger;

const PORT: u16 = 5000;

async fn net(seats: u64) -> Option<Arc<Net>> {
    if let Err(why) = permitted().await {
        eprintln!("skipped: namespaces are not permitted here: {why:#}");
        return None;
    }
    let ledger = Arc::new(Ledger::open().unwrap());
    Some(Arc::new(Net::make(ledger, seats).await.unwrap()))
}

/// Runs `work` on a thread inside a namespace.
fn inside<T: Send + 'static>(place: &Place, work: impl FnOnce() -> T + Send + 'static) -> T {
    let space = format!("/run/netns/{}", place.namespace);
    let thread = std::thread::spawn(move || {
        setns(std::fs::File::open(space).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Answers every byte with itself.
fn echo(place: &Place) {
    let at = SocketAddr::from((place.address, PORT));
    let listener = inside(place, move || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

fn dial(to: Ipv4Addr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(to, PORT).into(), Duration::from_millis(500))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(1500)))?;
    Ok(stream)
}

/// A byte there and back.
fn ask(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let begin = Instant::now();
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_silent_in_the_directions_that_were_cut_and_counts() {
    let Some(net) = net(2).await else { return };
    let (one, two) = (net.places[0].clone(), net.places[1].clone());
    echo(&two);
    let filter = Filter::new(Arc::clone(&net));
    let (to, from_clients) = (two.address, End::Clients);
    let mut stream = inside(&one, move || dial(to).unwrap());
    ask(&mut stream).unwrap();
    filter.cut(&[(End::Seat(1), End::Seat(2))]).await.unwrap();
    assert!(ask(&mut stream).is_err());
    let blocked = filter.blocked().await.unwrap();
    assert!(blocked[0].count > 0, "{blocked:?}");
    // Others, and clients, are not concerned.
    ask(&mut dial(to).unwrap()).unwrap();
    filter.mend_all().await.unwrap();
    let mut fresh = inside(&one, move || dial(to).unwrap());
    ask(&mut fresh).unwrap();
    filter.cut(&[(End::Seat(2), from_clients)]).await.unwrap();
    assert!(dial(to).is_err());
    filter.mend(&[(End::Seat(2), from_clients)]).await.unwrap();
    ask(&mut dial(to).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_link_delays_and_loses_packets_of_connections_that_exist() {
    let Some(net) = net(2).await else { return };
    let (one, two) = (net.places[0].clone(), net.places[1].clone());
    echo(&two);
    let links = Links::open(Arc::clone(&net)).await.unwrap();
    let to = two.address;
    let mut stream = inside(&one, move || dial(to).unwrap());
    ask(&mut stream).unwrap();
    let slow = Shape {
        delay: Duration::from_millis(60),
        twice: 0.5,
        ..Shape::default()
    };
    links.shape(&[(1, 2), (2, 1)], slow).await.unwrap();
    let mut stream = tokio::task::spawn_blocking(move || {
        for _ in 0..10 {
            assert!(ask(&mut stream).unwrap() >= Duration::from_millis(120));
        }
        stream
    })
    .await
    .unwrap();
    let counts = links.counts();
    assert!(counts.delayed >= 20 && counts.doubled > 0, "{counts:?}");
    let lossy = Shape {
        loss: 1.0,
        ..Shape::default()
    };
    links.shape(&[(1, 2)], lossy).await.unwrap();
    let mut stream = tokio::task::spawn_blocking(move || {
        assert!(ask(&mut stream).is_err());
        stream
    })
    .await
    .unwrap();
    assert!(links.counts().lost > 0);
    links.mend_all().await.unwrap();
    // What TCP sends again arrives now.
    stream.read_exact(&mut [0]).unwrap();
    ask(&mut stream).unwrap();
}
