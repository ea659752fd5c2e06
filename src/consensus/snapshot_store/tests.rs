use super::*;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|n| (n.wrapping_mul(seed + 7) >> 3) as u8)
        .collect()
}

fn write(store: &SnapshotStore, index: u64, bytes: usize) -> SnapshotFile {
    let content = payload(index, bytes);
    // In odd pieces, as an encoder would.
    let pieces = |out: &mut dyn Write| content.chunks(1013).try_for_each(|piece| out.write_all(piece));
    store.write(index, &index.to_le_bytes(), pieces).unwrap()
}

fn content(snapshot: &SnapshotFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    snapshot.reader()?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_of_two_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(&dir.path().join("a/b")).unwrap();
    assert!(store.latest().is_none());
    for (index, bytes) in [(5, 0), (9, 10), (20, 700_000)] {
        write(&store, index, bytes);
        for store in [&store, &SnapshotStore::open(&dir.path().join("a/b")).unwrap()] {
            let latest = store.latest().unwrap();
            assert_eq!((latest.index(), latest.meta()), (index, &index.to_le_bytes()[..]));
            assert_eq!(content(&latest).unwrap(), payload(index, bytes));
        }
    }
    assert_eq!(
        names(&dir.path().join("a/b")),
        ["snapshot-00000000000000000009", "snapshot-00000000000000000020"]
    );
}

#[test]
fn an_older_snapshot_finished_late_does_not_take_the_newest_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 200, 10);
    let late = write(&store, 100, 10);
    assert_eq!(late.index(), 100);
    assert_eq!(store.latest().unwrap().index(), 200);
    assert_eq!(
        SnapshotStore::open(dir.path()).unwrap().latest().unwrap().index(),
        200
    );
}

#[test]
fn a_snapshot_stays_readable_while_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let first = write(&store, 1, 500_000);
    let mut reader = first.reader().unwrap();
    (2..6).for_each(|index| drop(write(&store, index, 10)));
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, payload(1, 500_000));
}

#[test]
fn what_an_interrupted_write_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1, 10);
    fs::write(dir.path().join("7.tmp"), b"half").unwrap();
    let failed = store.write(2, b"", |out| {
        out.write_all(b"some")?;
        Err(io::Error::other("the encoder failed"))
    });
    assert!(matches!(failed, Err(SnapshotError::Io { .. })));
    assert_eq!(names(dir.path()), ["7.tmp", "snapshot-00000000000000000001"]);
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["snapshot-00000000000000000001"]);
    assert_eq!(store.latest().unwrap().index(), 1);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1, 10);
    write(&store, 2, 300);
    let path = dir.path().join("snapshot-00000000000000000002");
    let good = fs::read(&path).unwrap();
    let refused = || {
        matches!(
            SnapshotStore::open(dir.path()),
            Err(SnapshotError::Damaged { .. })
        )
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        assert!(refused(), "bit {bit}");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(refused(), "cut to {length}");
    }
    fs::write(&path, [&good[..], b"more"].concat()).unwrap();
    assert!(refused());
    fs::write(
        &path,
        fs::read(dir.path().join("snapshot-00000000000000000001")).unwrap(),
    )
    .unwrap();
    assert!(refused(), "another snapshot under its name");
    fs::write(&path, &good).unwrap();
    assert!(!refused());
}

#[test]
fn damage_after_the_open_is_noticed_by_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let snapshot = write(&store, 3, 1_000_000);
    let file = OpenOptions::new()
        .write(true)
        .open(dir.path().join("snapshot-00000000000000000003"))
        .unwrap();
    file.write_all_at(&[!payload(3, 1_000_000)[500_000]], 24 + 8 + 500_000)
        .unwrap();
    assert_eq!(content(&snapshot).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_sent_snapshot_is_installed_and_a_damaged_one_is_not() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sender = SnapshotStore::open(from.path()).unwrap();
    let receiver = Arc::new(SnapshotStore::open(to.path()).unwrap());
    write(&receiver, 4, 10);
    let sent = write(&sender, 50, 100_000);
    let mut bytes = Vec::new();
    sent.raw_reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, sent.bytes());

    for damage in [
        &bytes[..bytes.len() - 1],
        &[&bytes[..], b"x"].concat(),
        &bytes[1..],
        b"",
    ] {
        let mut incoming = receiver.receive().unwrap();
        incoming.append(damage).unwrap();
        assert!(matches!(incoming.install(), Err(SnapshotError::Received(_))));
        assert_eq!(receiver.latest().unwrap().index(), 4);
    }
    drop(receiver.receive().unwrap());
    assert_eq!(names(to.path()), ["snapshot-00000000000000000004"]);

    let mut incoming = receiver.receive().unwrap();
    bytes
        .chunks(777)
        .for_each(|piece| incoming.append(piece).unwrap());
    assert_eq!(incoming.bytes(), sent.bytes());
    let installed = incoming.install().unwrap();
    assert_eq!((installed.index(), installed.meta()), (50, sent.meta()));
    assert_eq!(
        content(&SnapshotStore::open(to.path()).unwrap().latest().unwrap()).unwrap(),
        payload(50, 100_000)
    );
}
