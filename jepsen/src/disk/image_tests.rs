use std::ffi::OsStr;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::image::{Dropped, Image, PAGE, ROOT, Refusal};

fn chance() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn image() -> Image {
    Image::new(1000)
}

/// A file with content, all of it synced.
fn kept_file(image: &mut Image, text: &str, content: &[u8]) -> u64 {
    let file = image.make(ROOT, name(text), 0o600, false).unwrap();
    image.write(file, 0, content).unwrap();
    image.sync(file).unwrap();
    image.sync(ROOT).unwrap();
    file
}

#[test]
fn what_was_synced_is_kept_and_nothing_else() {
    let mut image = image();
    let file = kept_file(&mut image, "a", &[1; 3 * PAGE]);
    image.write(file, PAGE as u64, &[2; PAGE]).unwrap();
    image.write(file, 3 * PAGE as u64, &[3; 10]).unwrap();
    assert_eq!(image.unsynced(), 3);
    let dropped = image.cut(0.0, &mut chance());
    assert_eq!((dropped.pages, dropped.lengths, dropped.entries), (2, 1, 0));
    assert_eq!(image.read(file, 0, 100 * PAGE).unwrap(), vec![1; 3 * PAGE]);
    assert_eq!(image.cut(0.0, &mut chance()), Dropped::default());
}

#[test]
fn a_synced_file_is_lost_with_the_name_that_was_not() {
    let mut image = image();
    let file = image.make(ROOT, name("a"), 0o600, false).unwrap();
    image.write(file, 0, b"x").unwrap();
    image.sync(file).unwrap();
    assert_eq!(image.cut(0.0, &mut chance()).entries, 1);
    assert_eq!(image.lookup(ROOT, name("a")), Err(Refusal::Missing));
    assert_eq!(image.used(), 0);
}

#[test]
fn a_name_that_was_synced_without_its_file_is_an_empty_file() {
    let mut image = image();
    let file = image.make(ROOT, name("a"), 0o600, false).unwrap();
    image.write(file, 0, b"x").unwrap();
    image.sync(ROOT).unwrap();
    image.cut(0.0, &mut chance());
    let file = image.lookup(ROOT, name("a")).unwrap();
    assert_eq!(image.attributes(file).unwrap().length, 0);
}

#[test]
fn a_rename_that_was_not_synced_is_undone_and_the_old_file_is_back() {
    let mut image = image();
    kept_file(&mut image, "a", b"old");
    let fresh = image.make(ROOT, name("a.new"), 0o600, false).unwrap();
    image.write(fresh, 0, b"new").unwrap();
    image.sync(fresh).unwrap();
    image
        .rename((ROOT, name("a.new")), (ROOT, name("a")), true)
        .unwrap();
    let now = image.lookup(ROOT, name("a")).unwrap();
    assert_eq!(image.read(now, 0, 10).unwrap(), b"new");
    image.cut(0.0, &mut chance());
    let now = image.lookup(ROOT, name("a")).unwrap();
    assert_eq!(image.read(now, 0, 10).unwrap(), b"old");
}

#[test]
fn a_removal_that_was_not_synced_is_undone() {
    let mut image = image();
    let file = kept_file(&mut image, "a", b"x");
    image.remove(ROOT, name("a"), false).unwrap();
    assert_eq!(image.lookup(ROOT, name("a")), Err(Refusal::Missing));
    image.cut(0.0, &mut chance());
    assert_eq!(image.lookup(ROOT, name("a")), Ok(file));
    image.remove(ROOT, name("a"), false).unwrap();
    image.sync(ROOT).unwrap();
    image.cut(0.0, &mut chance());
    assert_eq!(image.lookup(ROOT, name("a")), Err(Refusal::Missing));
}

#[test]
fn a_move_between_directories_is_kept_in_both_or_in_none() {
    let mut image = image();
    kept_file(&mut image, "a", b"x");
    let dir = image.make(ROOT, name("d"), 0o700, true).unwrap();
    image.sync(ROOT).unwrap();
    image.rename((ROOT, name("a")), (dir, name("b")), true).unwrap();
    image.cut(0.0, &mut chance());
    assert!(image.lookup(ROOT, name("a")).is_ok() && image.lookup(dir, name("b")).is_err());
    image.rename((ROOT, name("a")), (dir, name("b")), true).unwrap();
    image.sync(dir).unwrap();
    image.cut(0.0, &mut chance());
    assert!(image.lookup(ROOT, name("a")).is_err() && image.lookup(dir, name("b")).is_ok());
}

#[test]
fn truncation_is_kept_only_when_synced() {
    let mut image = image();
    let file = kept_file(&mut image, "a", &[1; 2 * PAGE + 10]);
    image.truncate(file, 5).unwrap();
    image.truncate(file, 20).unwrap();
    let now = image.read(file, 0, 100).unwrap();
    assert_eq!(now, [vec![1; 5], vec![0; 15]].concat());
    image.cut(0.0, &mut chance());
    assert_eq!(image.read(file, 0, 100 * PAGE).unwrap(), vec![1; 2 * PAGE + 10]);
    image.truncate(file, 5).unwrap();
    image.sync(file).unwrap();
    image.cut(0.0, &mut chance());
    assert_eq!(image.read(file, 0, 100).unwrap(), vec![1; 5]);
}

#[test]
fn a_sync_that_failed_loses_what_it_was_for_even_when_the_next_one_does_not() {
    let mut image = image();
    let file = kept_file(&mut image, "a", b"old");
    image.write(file, 0, b"new").unwrap();
    image.fail_sync(file);
    image.sync(file).unwrap();
    assert_eq!(image.read(file, 0, 10).unwrap(), b"new");
    image.cut(0.0, &mut chance());
    assert_eq!(image.read(file, 0, 10).unwrap(), b"old");
}

#[test]
fn a_full_disk_takes_nothing_new_and_lets_what_is_there_be_overwritten() {
    let mut image = Image::new(2);
    let file = kept_file(&mut image, "a", &[1; 2 * PAGE]);
    assert_eq!(image.write(file, 2 * PAGE as u64, b"x"), Err(Refusal::NoSpace));
    image.write(file, 0, &[2; PAGE]).unwrap();
    image.remove(ROOT, name("a"), false).unwrap();
    image.sync(ROOT).unwrap();
    assert_eq!(image.used(), 0);
}

#[test]
fn what_may_survive_a_cut_survives_in_part() {
    let mut image = Image::new(10_000);
    let file = kept_file(&mut image, "a", &[0; 1000 * PAGE]);
    image.write(file, 0, &[1; 1000 * PAGE]).unwrap();
    let dropped = image.cut(0.5, &mut chance());
    assert_eq!(dropped.pages, 1000);
    assert!((300..700).contains(&dropped.survived), "{dropped:?}");
    let now = image.read(file, 0, 1000 * PAGE).unwrap();
    let torn = now
        .chunks(PAGE)
        .filter(|page| page[0] == 1 && page[PAGE - 1] == 0)
        .count();
    assert!(torn > 100, "{torn} pages are torn");
}

#[test]
fn an_open_file_outlives_its_name() {
    let mut image = image();
    let file = image.make(ROOT, name("a"), 0o600, false).unwrap();
    image.open(file).unwrap();
    image.write(file, 0, b"x").unwrap();
    image.remove(ROOT, name("a"), false).unwrap();
    assert_eq!(image.read(file, 0, 10).unwrap(), b"x");
    image.release(file);
    assert_eq!(image.read(file, 0, 10), Err(Refusal::Missing));
    assert_eq!(image.used(), 0);
}
