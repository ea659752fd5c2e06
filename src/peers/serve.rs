//! The answering side: one connection from another manager.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    BoxedStream, Channel, Peers,
    hello::{self, Guest},
    question::{Answered, Asked},
};
use crate::{
    model::ManagerId,
    wire::{FramedWriter, WireError},
};

/// Questions of one connection that are worked on at a time.
const AT_A_TIME: usize = 256;

/// A peer that takes none of our answers for this long is gone.
const STUCK: Duration = Duration::from_secs(5);

/// A connection on which nothing arrives for this long is closed: its other end is gone. Lanes that
/// are not used are dialled again when they are.
const IDLE: Duration = Duration::from_secs(60);

impl Peers {
    /// Serves a connection from another manager until it ends; `authenticated` is the id its certificate
    /// was issued for.
    pub async fn serve(&self, mut stream: BoxedStream, authenticated: ManagerId) {
        let members = self.members();
        let guest = hello::receive(&mut stream, self.me(), members.as_deref(), authenticated).await;
        let Some(guest) = guest else { return };
        drop(members);
        match self.shared.services.taker(guest.lane) {
            Some(take) => take(guest.from, stream).await,
            None => self.answer_all(guest, stream).await,
        }
        debug!(peer = guest.from, lane = ?guest.lane, "a peer connection ended");
    }

    /// Answers questions as they are done, several at a time. What is not done when the connection ends is
    /// dropped with it: nobody waits for it any more.
    async fn answer_all(&self, guest: Guest, stream: BoxedStream) {
        let Channel { mut reader, writer } = stream.into();
        let (done, answers) = mpsc::channel(AT_A_TIME);
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        let mut writing = tokio::spawn(write_answers(writer, answers));
        let mut working = JoinSet::new();
        loop {
            while working.try_join_next().is_some() {}
            let frame = tokio::select! {
                frame = timeout(IDLE, reader.read::<Asked>()) => frame,
                _ = &mut writing => return,
            };
            let Asked { number, id, body } = match frame {
                Ok(Ok(Some(asked))) => asked,
                Ok(Err(error)) => {
                    log_violation(&error);
                    break;
                }
                Ok(Ok(None)) | Err(_) => break,
            };
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else {
                break;
            };
            let (peers, done) = (self.clone(), done.clone());
            working.spawn(async move {
                let answer = peers
                    .shared
                    .services
                    .serve(guest.lane, guest.from, id, body)
                    .await;
                let _ = done.send((number, answer)).await;
                drop(place);
            });
        }
        writing.abort();
    }
}

async fn write_answers<W>(mut writer: FramedWriter<W>, mut answers: mpsc::Receiver<(u64, Answered)>)
where
    W: tokio::io::AsyncWrite + Unpin,
{
    while let Some(first) = answers.recv().await {
        let mut next = Some(first);
        while let Some((number, answer)) = next {
            let pushed = writer.push(&(number, &answer)).or_else(|error| {
                let lost = Answered::Lost(format!("the answer can't be sent: {error}"));
                writer.push(&(number, lost))
            });
            if pushed.is_err() {
                return;
            }
            next = answers.try_recv().ok();
        }
        if !matches!(timeout(STUCK, writer.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn log_violation(error: &WireError) {
    if error.is_violation() {
        warn!(%error, "a manager sent what no manager sends; its connection is closed");
    }
}
