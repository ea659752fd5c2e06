//! As much of the `tar` format as an engine needs to take a directory and a file, and gives for one.

use std::{io, path::Path};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;

const BLOCK: usize = 512;

/// What of the file is in memory at a time.
const CHUNK: usize = 256 << 10;

/// Entries that say more of the next one, and how long each may be.
const EXTENSIONS: (usize, usize) = (4, 64 << 10);

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

/// What an archive begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The content of a file, or the first of it.
    File(Vec<u8>),
    /// A symbolic link, and where it leads.
    Link(String),
}

/// What an archive that comes in parts begins with, of a file up to `most` bytes; `None` when that is neither
/// a file nor a link, or it is no archive.
pub(super) async fn first<E>(
    parts: impl Stream<Item = Result<Bytes, E>>,
    most: usize,
) -> Result<Option<First>, E> {
    let mut parts = std::pin::pin!(parts);
    let mut read = BytesMut::new();
    for _ in 0..=EXTENSIONS.0 {
        let header = take(&mut parts, &mut read, BLOCK).await?;
        let Some((header, size)) = header.and_then(|header| size(&header).map(|size| (header, size))) else {
            return Ok(None);
        };
        match header.get(156) {
            Some(b'0' | 0) => {
                let content = take(&mut parts, &mut read, size.min(most)).await?;
                return Ok(content.map(|content| First::File(content.to_vec())));
            }
            Some(b'2') => return Ok(link(&header).map(First::Link)),
            Some(b'x' | b'g') if size <= EXTENSIONS.1 => {
                let skipped = take(&mut parts, &mut read, size.next_multiple_of(BLOCK)).await?;
                if skipped.is_none() {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The next so many bytes; `None` when there are fewer.
async fn take<E>(
    parts: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    read: &mut BytesMut,
    wanted: usize,
) -> Result<Option<BytesMut>, E> {
    while read.len() < wanted {
        let Some(part) = parts.next().await else {
            return Ok(None);
        };
        read.extend_from_slice(&part?);
    }
    Ok(Some(read.split_to(wanted)))
}

/// The size of what comes after a header.
fn size(header: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(header.get(124..136)?).ok()?;
    usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok()
}

/// Where the link of a header leads.
fn link(header: &[u8]) -> Option<String> {
    let target = header.get(157..257)?.split(|byte| *byte == 0).next()?;
    let target = std::str::from_utf8(target).ok()?;
    (!target.is_empty()).then(|| target.to_owned())
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
    async fn a_file_is_read_whole_or_up_to_the_bound_and_nonsense_is_no_file() {
        let head = header("f", Entry::File(1_000), 0o600, 0).unwrap();
        let body = Bytes::from(vec![b'x'; 1_024]);
        let all: Vec<Bytes> = [head.clone(), body]
            .iter()
            .flat_map(|part| part.chunks(7).map(Bytes::copy_from_slice).collect::<Vec<_>>())
            .collect();
        let parts = |all: Vec<Bytes>| stream::iter(all.into_iter().map(Ok::<_, ()>));
        let length = |told: Result<Option<First>, ()>| match told {
            Ok(Some(First::File(content))) => content.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(length(first(parts(all.clone()), 4_096).await), 1_000);
        assert_eq!(length(first(parts(all.clone()), 10).await), 10);
        assert_eq!(first(parts(all[..80].to_vec()), 4_096).await, Ok(None));
        let directory = header("d", Entry::Directory, 0o700, 0).unwrap();
        assert_eq!(first(parts(vec![directory]), 10).await, Ok(None));
        let nonsense = vec![Bytes::from(vec![0xff; 2_048])];
        assert_eq!(first(parts(nonsense), 10).await, Ok(None));
        let failing = stream::iter([Err::<Bytes, _>("why")]);
        assert_eq!(first(failing, 10).await, Err("why"));
    }

    /// A header of another kind of entry than this program writes.
    fn of_kind(kind: u8, size: u64, target: &str) -> Bytes {
        let mut block = header("f", Entry::File(size), 0o600, 0).unwrap().to_vec();
        block[156] = kind;
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        Bytes::from(block)
    }

    #[tokio::test]
    async fn what_says_more_of_a_file_is_skipped_and_a_link_is_told() {
        let extension = of_kind(b'x', 30, "");
        let more = Bytes::from(vec![b'p'; BLOCK]);
        let file = of_kind(b'0', 3, "");
        let body = Bytes::from_static(b"abc");
        let begin = |all: &[&Bytes]| {
            let all: Vec<_> = all.iter().map(|part| Ok::<_, ()>((*part).clone())).collect();
            first(stream::iter(all), 100)
        };
        let content = Ok(Some(First::File(b"abc".to_vec())));
        assert_eq!(begin(&[&extension, &more, &file, &body]).await, content);
        let global = of_kind(b'g', 30, "");
        assert_eq!(
            begin(&[&global, &more, &extension, &more, &file, &body]).await,
            content
        );
        let link = of_kind(b'2', 0, "static/passwd");
        let target = Ok(Some(First::Link("static/passwd".into())));
        assert_eq!(begin(&[&extension, &more, &link]).await, target);
        assert_eq!(begin(&[&of_kind(b'2', 0, "")]).await, Ok(None));
        let endless: Vec<_> = [&extension, &more].into_iter().cycle().take(100).collect();
        assert_eq!(begin(&endless).await, Ok(None));
        assert_eq!(begin(&[&of_kind(b'x', 1 << 30, "")]).await, Ok(None));
    }
}
