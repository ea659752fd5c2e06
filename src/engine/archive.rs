//! As much of the `tar` format as an engine needs to take a directory and a file, and gives for one.

use std::{io, path::Path};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;

const BLOCK: usize = 512;

/// What of the file is in memory at a time.
const CHUNK: usize = 256 << 10;

/// A directory, or a file of so many bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Directory,
    File(u64),
}

/// The block before an entry's content; `None` when the name or the size does not fit.
pub(super) fn header(name: &str, entry: Entry, mode: u32, uid: u32) -> Option<Bytes> {
    let (kind, size) = match entry {
        Entry::Directory => (b'5', 0),
        Entry::File(size) => (b'0', size),
    };
    if name.len() > 100 || size >= 1 << 33 {
        return None;
    }
    let mut block = [b'\0'; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(place) = block.get_mut(at..at + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, &format!("{uid:07o}")[..7]);
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar\x0000");
    if uid > 0o7_777_777 {
        // More than the digits hold goes as a binary number.
        block[108] = 0x80;
        block[109..112].fill(0);
        block[112..116].copy_from_slice(&uid.to_be_bytes());
    }
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(sum.as_bytes());
    Some(Bytes::copy_from_slice(&block))
}

/// An archive of these headers and, for the last one, the content of `file`.
pub(super) fn stream(
    headers: Vec<Bytes>,
    file: File,
    size: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let content = ReaderStream::with_capacity(file.take(size), CHUNK);
    let block = BLOCK as u64;
    // To the end of the last block, and two empty ones for the end.
    let rest = usize::try_from(size.next_multiple_of(block) - size).unwrap_or_default() + 2 * BLOCK;
    let end = Bytes::from(vec![0; rest]);
    stream::iter(headers.into_iter().map(Ok))
        .chain(content)
        .chain(stream::iter([Ok(end)]))
}

/// The size of the file that `path` has now, and the file.
pub(super) async fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let size = file.metadata().await?.len();
    Ok((file, size))
}

/// The content of the first file of an archive that comes in parts, up to `most` bytes.
pub(super) async fn first_file<E>(
    parts: impl Stream<Item = Result<Bytes, E>>,
    most: usize,
) -> Option<Vec<u8>> {
    let mut parts = std::pin::pin!(parts);
    let mut read = BytesMut::new();
    let mut wanted = BLOCK;
    while read.len() < wanted {
        read.extend_from_slice(&parts.next().await?.ok()?);
        if read.len() >= BLOCK && wanted == BLOCK {
            wanted = BLOCK + usize::try_from(size(&read)?).ok()?.min(most);
        }
    }
    Some(read.get(BLOCK..wanted)?.to_vec())
}

/// The size in a header of a regular file.
fn size(header: &[u8]) -> Option<u64> {
    if !matches!(header.get(156), Some(b'0' | 0)) {
        return None;
    }
    let digits = std::str::from_utf8(header.get(124..136)?).ok()?;
    u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command};

    use super::*;

    /// The system's own `tar` must find what was meant.
    #[tokio::test]
    async fn an_archive_is_what_tar_expects() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![b'q'; 1_000];
        let path = dir.path().join("content");
        std::fs::write(&path, &content).unwrap();
        let (file, size) = open(&path).await.unwrap();
        let headers = vec![
            header("big/", Entry::Directory, 0o700, 3_000_000_000).unwrap(),
            header("d/", Entry::Directory, 0o700, 1234).unwrap(),
            header("d/f", Entry::File(size), 0o755, 0).unwrap(),
        ];
        let mut archive = std::fs::File::create(dir.path().join("tar")).unwrap();
        let mut parts = std::pin::pin!(stream(headers, file, size));
        while let Some(part) = parts.next().await {
            archive.write_all(&part.unwrap()).unwrap();
        }
        let tar = |args: &[&str]| {
            let made = Command::new("tar")
                .args(args)
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(
                made.status.success() && made.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&made.stderr)
            );
            String::from_utf8(made.stdout).unwrap()
        };
        let listed = tar(&["--numeric-owner", "-tvf", "tar"]);
        let lines: Vec<_> = listed.lines().collect();
        assert!(lines[0].starts_with("drwx------ 3000000000/0 "), "{listed}");
        assert!(lines[1].starts_with("drwx------ 1234/0 "), "{listed}");
        assert!(
            lines[2].starts_with("-rwxr-xr-x 0/0 ") && lines[2].contains(" 1000 "),
            "{listed}"
        );
        assert_eq!(tar(&["-xOf", "tar", "d/f"]).as_bytes(), content);
    }

    #[tokio::test]
    async fn a_file_is_read_whole_or_up_to_the_bound_and_nonsense_is_none() {
        let head = header("f", Entry::File(1_000), 0o600, 0).unwrap();
        let body = Bytes::from(vec![b'x'; 1_024]);
        let all: Vec<Bytes> = [head.clone(), body]
            .iter()
            .flat_map(|part| part.chunks(7).map(Bytes::copy_from_slice).collect::<Vec<_>>())
            .collect();
        let parts = |all: Vec<Bytes>| stream::iter(all.into_iter().map(Ok::<_, ()>));
        assert_eq!(first_file(parts(all.clone()), 4_096).await.unwrap().len(), 1_000);
        assert_eq!(first_file(parts(all.clone()), 10).await.unwrap(), [b'x'; 10]);
        assert_eq!(first_file(parts(all[..80].to_vec()), 4_096).await, None);
        let directory = header("d", Entry::Directory, 0o700, 0).unwrap();
        assert_eq!(first_file(parts(vec![directory]), 10).await, None);
        assert_eq!(
            first_file(parts(vec![Bytes::from(vec![0xff; 2_048])]), 10).await,
            None
        );
    }
}
