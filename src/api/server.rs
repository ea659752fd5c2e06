//! The listener: TLS, bounds on connections and time, and an end that lets requests finish.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use futures::StreamExt;
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tower::Service;

use super::{
    App, Deps,
    call::From,
    configs,
    figures::Figures,
    orders::{Listener, Order, Told},
    router,
};

/// How connections are secured.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TLS, as `security::api_server` sets it up.
    Tls(Arc<ServerConfig>),
    /// None: only for loopback, and only when asked for.
    Plain,
}

/// Bounds on what clients can hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait in the listener's queue.
    pub connections: usize,
    /// Requests a second that one token may make; 0 for any number.
    pub rate: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's head may take, and an HTTP/1 connection be idle before it.
    pub head: Duration,
    /// How long nothing at all may happen on a connection, be it idle, stuck because its client does not
    /// read, or waiting for an answer that hangs, before it is asked to end; after as long again it is cut off.
    pub idle: Duration,
    /// The largest body of a request, in bytes, where nothing smaller is said.
    pub body: usize,
    /// How long a request's body may take to arrive.
    pub request: Duration,
    /// How long requests may go on after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            rate: 100_000,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: 1 << 20,
            request: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Front {
    /// Answers the most frequent calls itself.
    app: Option<App>,
    router: Router,
    limits: Limits,
    figures: Arc<Figures>,
    acceptor: Option<TlsAcceptor>,
    /// No new requests from now on.
    shutdown: CancellationToken,
    /// No more waiting for old ones.
    cut: CancellationToken,
}

/// Serves the API until `shutdown`, and returns once the requests under way have ended, or were cut
/// off after `limits.drain`.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    limits: Limits,
    deps: Deps,
    shutdown: CancellationToken,
) {
    let app = App::new(deps, limits, shutdown.clone());
    let routes = router(app.clone());
    serve_router(listener, transport, limits, Some(app), routes, shutdown).await;
}

async fn serve_router(
    listener: TcpListener,
    transport: Transport,
    limits: Limits,
    app: Option<App>,
    router: Router,
    shutdown: CancellationToken,
) {
    let front = Arc::new(Front {
        app,
        router,
        limits,
        figures: Arc::new(Figures::new()),
        acceptor: match transport {
            Transport::Tls(config) => Some(TlsAcceptor::from(config)),
            Transport::Plain => None,
        },
        shutdown: shutdown.clone(),
        cut: CancellationToken::new(),
    });
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, from, place)) = accepted else {
            continue;
        };
        let front = Arc::clone(&front);
        connections.spawn(async move {
            let _place = place;
            secure(stream, from, &front).await;
        });
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            "API requests were cut off: they did not end within {:?}",
            limits.drain
        );
        front.cut.cancel();
        connections.wait().await;
    }
}

/// Takes a place first and a connection then, so that what is too much waits in the kernel.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from, place)),
        Err(error) => {
            // Out of file descriptors, mostly: it passes when connections end.
            tracing::warn!(%error, "an API connection could not be accepted");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn secure(stream: TcpStream, from: SocketAddr, front: &Arc<Front>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "the connection ended before it began");
        return;
    }
    let Some(acceptor) = &front.acceptor else {
        let http2 = tokio::select! {
            () = front.shutdown.cancelled() => return,
            begun = timeout(front.limits.head, begins_with_http2(&stream)) => begun,
        };
        return match http2 {
            Ok(Ok(http2)) => drive(stream, from, http2, front).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "the connection ended before it began"),
            Err(_) => tracing::debug!(%from, "a connection on which nothing came was closed"),
        };
    };
    match timeout(front.limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            drive(stream, from, http2, front).await;
        }
        Ok(Err(error)) => tracing::debug!(%from, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
    }
}

/// Whether a plain connection begins as only HTTP/2 does (RFC 9113, section 3.4): by prior knowledge, for
/// there is no ALPN. What is looked at stays in the stream. A client that sends the first three bytes one
/// by one is taken for HTTP/1.1, which refuses it.
async fn begins_with_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; 3];
    let seen = stream.peek(&mut first).await?;
    Ok(first[..seen] == *b"PRI")
}

/// Requests of one connection, for the idle bound.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Pieces of answers that last.
    told: AtomicU64,
}

impl Activity {
    /// What changes with everything that happens.
    fn so_far(&self) -> [u64; 3] {
        [&self.begun, &self.ended, &self.told].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Marks an answer that lasts, such as a watch: its connection is not idle while pieces of it are taken.
/// They come more often than [`Limits::idle`], and a client that takes none of them is stuck.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

/// A request that is under way.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn drive<S>(stream: S, from: SocketAddr, http2: bool, front: &Arc<Front>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = {
        let (front, activity) = (Arc::clone(front), Arc::clone(&activity));
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(From(from.ip()));
            let (front, activity) = (Arc::clone(&front), Arc::clone(&activity));
            async move { Ok::<_, Infallible>(answer(&front, &activity, request).await) }
        })
    };
    let builder = protocol(http2, &front.limits);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let told = Arc::new(Told::default());
    let watched = watch(Arc::clone(front), activity, Arc::clone(&told));
    let _watcher = AbortOnDropHandle::new(tokio::spawn(watched));
    let mut listener = Listener::default();
    // This is polled with every step of every request, so it looks at one word and the connection.
    let ended = poll_fn(|context| {
        match listener.hear(&told, context) {
            Some(Order::Cut) => return Poll::Ready(Ok(())),
            Some(Order::Finish) => connection.as_mut().graceful_shutdown(),
            None => {}
        }
        connection.as_mut().poll(context)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%from, %error, "an API connection broke");
    }
}

/// Tells a connection when it is to end: once it was idle, and when the server stops.
async fn watch(front: Arc<Front>, activity: Arc<Activity>, told: Arc<Told>) {
    let mut idle = interval(front.limits.idle);
    idle.tick().await;
    let mut seen = None;
    let mut stopping = false;
    let mut leaving = false;
    loop {
        tokio::select! {
            () = front.cut.cancelled() => return told.tell(Order::Cut),
            () = front.shutdown.cancelled(), if !stopping => {
                stopping = true;
                told.tell(Order::Finish);
            }
            _ = idle.tick() => {
                // A request under way is no excuse: whatever answers it has shorter bounds of its own,
                // and one that hangs all the same must not hold its connection for ever.
                let now = Some(activity.so_far());
                let is_idle = now == seen;
                seen = now;
                if is_idle && leaving {
                    return told.tell(Order::Cut);
                }
                if is_idle {
                    leaving = true;
                    told.tell(Order::Finish);
                }
            }
        }
    }
}

/// One protocol for a connection, known before its first byte: a client that sends nothing must not
/// hold it open, as it could while the protocol is guessed.
fn protocol(http2: bool, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(256)
        .max_header_list_size(32 * 1024);
    if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}

async fn answer(front: &Front, activity: &Arc<Activity>, request: Request<Incoming>) -> Response {
    let started = Instant::now();
    let changes = !request.method().is_safe();
    let under_way = UnderWay::begin(activity);
    let mut response = route(front, request.map(incoming)).await;
    if response.extensions_mut().remove::<Lasting>().is_some() {
        response = response.map(|body| {
            let data = body.into_data_stream().map(move |data| {
                // Moved in here, so that the request ends with the body.
                under_way.0.told.fetch_add(1, Ordering::Relaxed);
                data
            });
            Body::from_stream(data)
        });
    }
    front.figures.note(changes, response.status(), started.elapsed());
    response
}

fn incoming(body: Incoming) -> Body {
    if body.is_end_stream() {
        Body::empty()
    } else {
        Body::new(body)
    }
}

async fn route(front: &Front, request: Request) -> Response {
    let request = match &front.app {
        Some(app) => match configs::at_once(app, request).await {
            Ok(response) => return response,
            Err(request) => request,
        },
        None => request,
    };
    match front.router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
