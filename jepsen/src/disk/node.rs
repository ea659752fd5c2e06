//! A file's and a directory's two versions: what programs see, and what a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

/// What is lost or kept as a whole.
pub const PAGE: usize = 4096;
/// What a disk writes as a whole, whatever happens.
const SECTOR: usize = 512;
/// What a cut dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Pages written and not synced.
    pub pages: u64,
    /// Of these, pages that were torn or written nevertheless, as a disk may.
    pub survived: u64,
    /// Lengths that were not synced.
    pub lengths: u64,
    /// Directory entries made, changed or removed and not synced.
    pub entries: u64,
}

type Page = Arc<[u8; PAGE]>;

#[derive(Debug, Clone, Default)]
pub struct Content {
    pub length: u64,
    pub pages: BTreeMap<u64, Page>,
}

#[derive(Debug, Default)]
pub struct File {
    pub now: Content,
    pub kept: Content,
    pub dirty: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub struct Directory {
    pub now: BTreeMap<OsString, u64>,
    pub kept: BTreeMap<OsString, u64>,
    /// Directories that a rename since the last sync ties this one to.
    pub tied: BTreeSet<u64>,
}

impl File {
    pub fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.now.pages.get(&page) {
                Some(content) => self.kept.pages.insert(page, Arc::clone(content)),
                None => self.kept.pages.remove(&page),
            };
        }
        self.kept.length = self.now.length;
    }

    pub fn cut(&mut self, survives: f64, chance: &mut StdRng, dropped: &mut Dropped) {
        dropped.lengths += u64::from(self.now.length != self.kept.length);
        for page in std::mem::take(&mut self.dirty) {
            dropped.pages += 1;
            let written = self.now.pages.get(&page);
            if let Some(written) = written.filter(|_| chance.random_bool(survives)) {
                dropped.survived += 1;
                let sectors = chance.random_range(1..=PAGE / SECTOR) * SECTOR;
                let held = self.kept.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(held)[..sectors].copy_from_slice(&written[..sectors]);
                let end = (page * PAGE as u64 + sectors as u64).min(self.now.length);
                self.kept.length = self.kept.length.max(end);
            }
        }
        // Pages whose sync failed are in neither set of changes, and gone too.
        self.now = self.kept.clone();
    }
}

impl Directory {
    /// Names whose meaning a cut would change.
    pub fn changes(&self) -> u64 {
        let made = self
            .now
            .iter()
            .filter(|(name, at)| self.kept.get(*name) != Some(at));
        let gone = self.kept.keys().filter(|name| !self.now.contains_key(*name));
        (made.count() + gone.count()) as u64
    }
}
