//! The way to a container, measured by sending bytes there and back.

use std::time::Duration;

use rand::RngCore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::{Instant, timeout},
};

use super::{OpenError, Streams};
use crate::{
    model::{ContainerId, StreamService},
    wire::streams::Stream,
};

/// Bytes of the pattern that is sent again and again. A prime: no buffer's size divides it, so a piece that is lost
/// or comes twice shows.
const PATTERN: usize = 65_521;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Until the runner had taken the stream.
    pub opened: Duration,
    /// From then until all bytes were back.
    pub took: Duration,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// There is no stream.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It broke before all was back.
    #[error("the stream broke before all bytes were back")]
    Broken(#[source] std::io::Error),
    /// Other bytes came back.
    #[error("other bytes came back than were sent, after {0} of them")]
    Different(u64),
    /// Not all was back in time.
    #[error("not all bytes were back within {0:?}; send fewer")]
    Late(Duration),
}

impl Streams {
    /// Sends so many bytes to a container's runner, which sends them back, and compares them.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub async fn measure(
        &self,
        container: ContainerId,
        bytes: u64,
        within: Duration,
    ) -> Result<Measured, MeasureError> {
        let began = Instant::now();
        let stream = self.open(container, StreamService::Echo).await?;
        let opened = began.elapsed();
        let began = Instant::now();
        let mut pattern = vec![0; PATTERN];
        rand::rng().fill_bytes(&mut pattern);
        let (read, write) = split(stream);
        let both = async {
            // Both at once: what is sent comes back before all of it is sent.
            tokio::try_join!(send(write, &pattern, bytes), receive(read, &pattern, bytes))
        };
        timeout(within, both)
            .await
            .map_err(|_| MeasureError::Late(within))??;
        Ok(Measured {
            opened,
            took: began.elapsed(),
        })
    }
}

async fn send(mut to: WriteHalf<Stream>, pattern: &[u8], bytes: u64) -> Result<(), MeasureError> {
    let mut left = bytes;
    while left > 0 {
        let piece = &pattern[..pattern.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        to.write_all(piece).await.map_err(MeasureError::Broken)?;
        left -= piece.len() as u64;
    }
    to.shutdown().await.map_err(MeasureError::Broken)
}

async fn receive(mut from: ReadHalf<Stream>, pattern: &[u8], bytes: u64) -> Result<(), MeasureError> {
    let mut piece = vec![0; PATTERN];
    let (mut got, mut at) = (0, 0);
    loop {
        // Up to the end of the pattern, so that a piece is compared with one part of it.
        let room = PATTERN - at;
        match from
            .read(&mut piece[..room])
            .await
            .map_err(MeasureError::Broken)?
        {
            0 if got == bytes => return Ok(()),
            0 => return Err(MeasureError::Different(got)),
            size if got + size as u64 > bytes || piece[..size] != pattern[at..at + size] => {
                return Err(MeasureError::Different(got));
            }
            size => {
                got += size as u64;
                at = (at + size) % PATTERN;
            }
        }
    }
}
