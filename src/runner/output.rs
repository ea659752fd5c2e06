//! What an agent prints, kept in `output.log` and, before that, `output.log.1`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStderr, ChildStdout},
    task::JoinHandle,
    time::timeout,
};

/// Bytes a file holds before it is put aside: with the one put aside, an agent has at most twice that.
const FILE_BYTES: u64 = 4 << 20;

/// Bytes of standard error that are remembered, to say why an agent ended.
const TAIL_BYTES: usize = 512;

/// How long output that is still in the pipes is waited for once the process has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// Copies a process's output into its log while it runs.
#[derive(Debug)]
pub(super) struct Capture {
    task: JoinHandle<()>,
    tail: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    /// Starts to copy. A log that can't be written is reported once; the pipes are emptied all the
    /// same, for an agent must not hang because of a full disk.
    pub(super) fn start(dir: PathBuf, out: Option<ChildStdout>, err: Option<ChildStderr>) -> Self {
        let tail = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(copy(Log::new(dir, FILE_BYTES), out, err, tail.clone()));
        Self { task, tail }
    }

    /// Waits for the rest, and gives the last words on standard error. Processes that outlive the
    /// agent and still hold its pipes are not waited for.
    pub(super) async fn finish(mut self) -> Option<String> {
        if timeout(DRAIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        last_line(&tail)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn copy(
    mut log: Log,
    mut out: Option<ChildStdout>,
    mut err: Option<ChildStderr>,
    tail: Arc<Mutex<Vec<u8>>>,
) {
    let (mut from_out, mut from_err) = (Vec::with_capacity(8 << 10), Vec::with_capacity(8 << 10));
    while out.is_some() || err.is_some() {
        tokio::select! {
            open = more(&mut out, &mut from_out) => {
                if !open { out = None; }
                log.append(&from_out).await;
                from_out.clear();
            }
            open = more(&mut err, &mut from_err) => {
                if !open { err = None; }
                remember(&tail, &from_err);
                log.append(&from_err).await;
                from_err.clear();
            }
        }
    }
}

/// Reads what there is; false at the end. A stream that has ended is never ready.
async fn more<R: AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut Vec<u8>) -> bool {
    match stream {
        Some(stream) => matches!(stream.read_buf(buffer).await, Ok(1..)),
        None => std::future::pending().await,
    }
}

fn remember(tail: &Mutex<Vec<u8>>, bytes: &[u8]) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.extend_from_slice(bytes);
    let excess = tail.len().saturating_sub(TAIL_BYTES);
    tail.drain(..excess);
}

/// The last line that says anything, without control characters.
fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// A log of bounded size.
#[derive(Debug)]
struct Log {
    dir: PathBuf,
    limit: u64,
    file: Option<(File, u64)>,
    complained: bool,
}

impl Log {
    fn new(dir: PathBuf, limit: u64) -> Self {
        Self {
            dir,
            limit,
            file: None,
            complained: false,
        }
    }

    async fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Err(error) = self.try_append(bytes).await
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "an agent's output is not kept");
        }
    }

    async fn try_append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.dir.join("output.log");
        let (mut file, mut size) = match self.file.take() {
            Some(open) => open,
            None => open(&path).await?,
        };
        if size > 0 && size + bytes.len() as u64 > self.limit {
            fs::rename(&path, self.dir.join("output.log.1")).await?;
            (file, size) = open(&path).await?;
        }
        file.write_all(bytes).await?;
        // Without this the bytes may wait in memory until the next write.
        file.flush().await?;
        self.file = Some((file, size + bytes.len() as u64));
        Ok(())
    }
}

async fn open(path: &Path) -> std::io::Result<(File, u64)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).await?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path).await?;
    let size = file.metadata().await?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_is_bounded_and_keeps_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path().join("agent"), 100);
        for n in 0..50 {
            log.append(format!("line {n:02}\n").as_bytes()).await;
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join("agent").join(name)).unwrap();
        let (old, new) = (read("output.log.1"), read("output.log"));
        assert!(
            old.len() <= 100 && new.len() <= 100,
            "{} {}",
            old.len(),
            new.len()
        );
        assert!(new.ends_with("line 49\n"));
        assert!(format!("{old}{new}").contains("line 37\n"));

        // A restart goes on where the log was.
        let mut log = Log::new(dir.path().join("agent"), 100);
        log.append(b"again\n").await;
        assert!(read("output.log").ends_with("line 49\nagain\n"));
    }

    #[test]
    fn last_words_are_a_line() {
        assert_eq!(last_line(b""), None);
        assert_eq!(last_line(b" \n\n"), None);
        assert_eq!(last_line(b"one\ntwo\x1b[0m\n\n").as_deref(), Some("two[0m"));
        let tail = Mutex::new(Vec::new());
        remember(&tail, &[b'x'; 600]);
        remember(&tail, b"\nend");
        let tail = tail.into_inner().unwrap();
        assert_eq!((tail.len(), last_line(&tail)), (TAIL_BYTES, Some("end".into())));
    }
}
