//! The task of a connection: reads frames into its table, and writes what the table has to send.

use std::{sync::Arc, task::Waker, time::Duration};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Limits, Shared,
    frame::{CHUNK, HEAD, Head, Kind, MAX_REASON},
};

/// Bytes that are written in one go, about.
const BATCH: usize = 4 * CHUNK;

/// A side that has sent nothing for this long says that it is there.
const ALIVE: Duration = Duration::from_secs(5);

/// Without any byte arriving, or any byte of what is to be sent going out.
const SILENT: Duration = Duration::from_secs(20);

/// For the last word to go out, and for the other side to close after it.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) async fn run<T: AsyncRead + AsyncWrite>(io: T, shared: Arc<Shared>, limits: Limits) {
    let (reader, mut writer) = tokio::io::split(io);
    let mut reader = Reader {
        io: reader,
        buffer: BytesMut::new(),
    };
    {
        let writing = write_all(&mut writer, &shared, limits);
        tokio::pin!(writing);
        tokio::select! {
            (reason, tell) = reader.read_all(&shared) => {
                shared.close(&reason, tell);
                // Ends by itself, with the last word if there is one to say.
                let _ = timeout(FAREWELL, writing).await;
            }
            () = &mut writing => {}
        }
    }
    let _ = timeout(FAREWELL, async {
        writer.shutdown().await?;
        // Bytes that arrive after a close would make the system take back what was just sent.
        while reader.io.read_buf(&mut reader.buffer).await? > 0 {
            reader.buffer.clear();
        }
        Ok::<_, std::io::Error>(())
    })
    .await;
    shared.gone.notify_one();
}

fn wake(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}

struct Reader<T> {
    io: ReadHalf<T>,
    buffer: BytesMut,
}

impl<T: AsyncRead> Reader<T> {
    /// Reads until the connection is over: why, and whether the other side is to be told.
    async fn read_all(&mut self, shared: &Shared) -> (String, bool) {
        loop {
            match self.take_all(shared) {
                Ok(true) => {}
                Ok(false) => return (String::new(), false),
                Err(violation) => return (violation.to_string(), true),
            }
            self.buffer.reserve(BATCH);
            match timeout(SILENT, self.io.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return ("the other side ended the connection".into(), false),
                // A fast connection is always ready: others of this runtime come first.
                Ok(Ok(_)) => yield_now().await,
                Ok(Err(error)) => return (format!("the connection failed: {error}"), false),
                Err(_) => return ("the other side is silent".into(), true),
            }
        }
    }

    /// Takes the frames that have arrived whole. False when the other side closed the connection.
    fn take_all(&mut self, shared: &Shared) -> Result<bool, super::Violation> {
        let (now, mut woken) = (Instant::now(), Vec::new());
        let mut changed = false;
        let taken = shared.with(|table| {
            while table.ended().is_none()
                && let Some(bytes) = self.buffer.first_chunk::<HEAD>()
            {
                let head = Head::parse(*bytes)?;
                let Some(body) = self.buffer.get(HEAD..HEAD + head.body()) else {
                    break;
                };
                changed |= matches!(head.kind, Kind::Settings | Kind::Open | Kind::Close);
                table.take(head, body, now, &mut woken)?;
                self.buffer.advance(HEAD + head.body());
            }
            Ok((table.ended().is_none(), table.has_news()))
        });
        wake(woken);
        if changed {
            shared.changed.notify_waiters();
        }
        let (goes_on, has_news) = taken?;
        if has_news || !goes_on {
            shared.send.notify_one();
        }
        Ok(goes_on)
    }
}

/// Writes until the connection is over, and the reason for it if the other side is to be told.
async fn write_all<T: AsyncWrite>(writer: &mut WriteHalf<T>, shared: &Shared, limits: Limits) {
    let mut out = BytesMut::new();
    shared.with(|table| table.settings().put(&mut out));
    let often = limits.idle.min(limits.stream_idle).min(ALIVE) / 4;
    let mut ticks = interval(often.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Instant::now();
    loop {
        let mut woken = Vec::new();
        let end = shared.with(|table| match table.ended() {
            Some(end) => Some(end.clone()),
            None => {
                table.send(&mut out, BATCH, Instant::now(), &mut woken);
                None
            }
        });
        wake(woken);
        if let Some(end) = &end
            && end.tell
        {
            // A character has four bytes at most.
            let reason: String = end.reason.chars().take(MAX_REASON / 4).collect();
            Head::new(Kind::Close, 0, reason.len() as u32).put(&mut out);
            out.put_slice(reason.as_bytes());
        }
        if !out.is_empty() {
            if let Err(why) = write(writer, &mut out).await {
                return shared.close(&why, false);
            }
            sent = Instant::now();
        }
        if end.is_some() {
            return;
        }
        if shared.with(|table| table.has_news()) {
            continue;
        }
        tokio::select! {
            () = shared.send.notified() => {}
            _ = ticks.tick() => {
                let mut woken = Vec::new();
                shared.with(|table| table.tick(Instant::now(), &mut woken));
                wake(woken);
                shared.changed.notify_waiters();
                if sent.elapsed() >= ALIVE {
                    Head::new(Kind::Alive, 0, 0).put(&mut out);
                }
            }
        }
    }
}

/// Writes all of it. A correct other side always reads: it bounds what it gets by credit.
async fn write<T: AsyncWrite>(writer: &mut WriteHalf<T>, out: &mut BytesMut) -> Result<(), String> {
    while !out.is_empty() {
        match timeout(SILENT, writer.write_buf(out)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0)) => return Err("the connection takes nothing more".into()),
            Ok(Err(error)) => return Err(format!("the connection failed: {error}")),
            Err(_) => return Err("the other side takes nothing".into()),
        }
    }
    match timeout(SILENT, writer.flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(format!("the connection failed: {error}")),
        Err(_) => return Err("the other side takes nothing".into()),
    }
    // One large batch must not stay for the life of the connection.
    *out = BytesMut::new();
    Ok(())
}
