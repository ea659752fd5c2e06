//! What is on the disk, and what only seems to be: the pure part of the file system.
//!
//! Every file and directory has two versions. **Now** is what programs see. **Kept** is what a power cut leaves: the
//! pages and the length that a file had at its last fsync, the entries that a directory had at its own. A file that was
//! synced in a directory that was not is lost, which POSIX allows and careful programs expect. A rename from one
//! directory to another is kept in both when either is synced, as no journal tears it apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::node::{Directory, File};
pub use super::node::{Dropped, PAGE};

/// The root directory.
pub const ROOT: u64 = 1;

/// Why an operation is refused; the mount gives each its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Missing,
    Exists,
    NotEmpty,
    NotDirectory,
    IsDirectory,
    NoSpace,
}

#[derive(Debug)]
enum Kind {
    File(File),
    Directory(Directory),
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    mode: u16,
    opens: u64,
    links: u32,
}

/// What programs ask of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub number: u64,
    pub directory: bool,
    pub length: u64,
    pub mode: u16,
    pub links: u32,
}

/// A whole file system.
#[derive(Debug)]
pub struct Image {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Pages in use now.
    used: u64,
    /// Pages there may be.
    pub capacity: u64,
}

type Result<T> = std::result::Result<T, Refusal>;

impl Image {
    /// An empty one, with the root directory only.
    pub fn new(capacity: u64) -> Self {
        let root = Node {
            kind: Kind::Directory(Directory::default()),
            mode: 0o755,
            opens: 0,
            links: 1,
        };
        Self {
            nodes: [(ROOT, root)].into(),
            next: ROOT + 1,
            used: 0,
            capacity,
        }
    }

    /// Pages in use now.
    pub fn used(&self) -> u64 {
        self.used
    }

    fn node(&self, number: u64) -> Result<&Node> {
        self.nodes.get(&number).ok_or(Refusal::Missing)
    }

    fn directory(&self, number: u64) -> Result<&Directory> {
        match &self.node(number)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) => Err(Refusal::NotDirectory),
        }
    }

    fn directory_mut(&mut self, number: u64) -> Result<&mut Directory> {
        match self.nodes.get_mut(&number).map(|node| &mut node.kind) {
            Some(Kind::Directory(directory)) => Ok(directory),
            Some(Kind::File(_)) => Err(Refusal::NotDirectory),
            None => Err(Refusal::Missing),
        }
    }

    fn file(&self, number: u64) -> Result<&File> {
        match &self.node(number)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Directory(_) => Err(Refusal::IsDirectory),
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<&mut File> {
        match self.nodes.get_mut(&number).map(|node| &mut node.kind) {
            Some(Kind::File(file)) => Ok(file),
            Some(Kind::Directory(_)) => Err(Refusal::IsDirectory),
            None => Err(Refusal::Missing),
        }
    }

    /// What there is to know of a node.
    pub fn attributes(&self, number: u64) -> Result<Attributes> {
        let node = self.node(number)?;
        let (directory, length) = match &node.kind {
            Kind::File(file) => (false, file.now.length),
            Kind::Directory(_) => (true, PAGE as u64),
        };
        Ok(Attributes {
            number,
            directory,
            length,
            mode: node.mode,
            links: node.links,
        })
    }

    /// The node of this name.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<u64> {
        let found = self.directory(parent)?.now.get(name);
        found.copied().ok_or(Refusal::Missing)
    }

    /// The names in a directory.
    pub fn list(&self, number: u64) -> Result<Vec<(OsString, u64)>> {
        let entries = &self.directory(number)?.now;
        Ok(entries
            .iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect())
    }

    /// Makes a file or directory.
    pub fn make(&mut self, parent: u64, name: &OsStr, mode: u16, directory: bool) -> Result<u64> {
        let number = self.next;
        let entries = &mut self.directory_mut(parent)?.now;
        if entries.contains_key(name) {
            return Err(Refusal::Exists);
        }
        entries.insert(name.to_owned(), number);
        self.next += 1;
        let kind = if directory {
            Kind::Directory(Directory::default())
        } else {
            Kind::File(File::default())
        };
        let node = Node {
            kind,
            mode,
            opens: 0,
            links: 1,
        };
        self.nodes.insert(number, node);
        Ok(number)
    }

    /// Removes a name.
    pub fn remove(&mut self, parent: u64, name: &OsStr, directory: bool) -> Result<()> {
        let number = self.lookup(parent, name)?;
        match &self.node(number)?.kind {
            Kind::Directory(_) if !directory => return Err(Refusal::IsDirectory),
            Kind::File(_) if directory => return Err(Refusal::NotDirectory),
            Kind::Directory(gone) if !gone.now.is_empty() => return Err(Refusal::NotEmpty),
            _ => {}
        }
        self.directory_mut(parent)?.now.remove(name);
        self.unlinked(number);
        Ok(())
    }

    /// Gives a node another name, in place of whatever has it.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), replace: bool) -> Result<()> {
        let number = self.lookup(from.0, from.1)?;
        if let Ok(old) = self.lookup(to.0, to.1) {
            if !replace {
                return Err(Refusal::Exists);
            }
            if old == number {
                return Ok(());
            }
            let directory = self.attributes(old)?.directory;
            self.remove(to.0, to.1, directory)?;
        }
        self.directory_mut(to.0)?.now.insert(to.1.to_owned(), number);
        self.directory_mut(from.0)?.now.remove(from.1);
        if from.0 != to.0 {
            self.directory_mut(from.0)?.tied.insert(to.0);
            self.directory_mut(to.0)?.tied.insert(from.0);
        }
        Ok(())
    }

    fn unlinked(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.links = 0;
        }
        self.collect(number);
    }

    /// Takes a node away that nobody can reach any more, now or after a cut.
    fn collect(&mut self, number: u64) {
        let unused = self
            .nodes
            .get(&number)
            .is_some_and(|node| node.links == 0 && node.opens == 0);
        if unused
            && !self.kept_somewhere(number)
            && let Some(Node {
                kind: Kind::File(file),
                ..
            }) = self.nodes.remove(&number)
        {
            self.used -= file.now.pages.len() as u64;
        }
    }

    fn kept_somewhere(&self, number: u64) -> bool {
        self.nodes.values().any(|node| match &node.kind {
            Kind::Directory(directory) => directory.kept.values().any(|kept| *kept == number),
            Kind::File(_) => false,
        })
    }

    pub fn open(&mut self, number: u64) -> Result<()> {
        self.nodes.get_mut(&number).ok_or(Refusal::Missing)?.opens += 1;
        Ok(())
    }

    pub fn release(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.collect(number);
    }

    pub fn set_mode(&mut self, number: u64, mode: u16) -> Result<()> {
        self.nodes.get_mut(&number).ok_or(Refusal::Missing)?.mode = mode;
        Ok(())
    }

    /// Reads up to `length` bytes.
    pub fn read(&self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let content = &self.file(number)?.now;
        let end = content.length.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let (page, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let take = (PAGE - within).min((end - at) as usize);
            match content.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[within..within + take]),
                None => bytes.resize(bytes.len() + take, 0),
            }
            at += take as u64;
        }
        Ok(bytes)
    }

    /// Writes all of `data`, or nothing.
    pub fn write(&mut self, number: u64, offset: u64, data: &[u8]) -> Result<()> {
        let capacity = self.capacity.saturating_sub(self.used);
        let file = self.file_mut(number)?;
        let end = offset + data.len() as u64;
        let pages = offset / PAGE as u64..end.div_ceil(PAGE as u64);
        let fresh = pages.filter(|page| !file.now.pages.contains_key(page)).count() as u64;
        if fresh > capacity {
            return Err(Refusal::NoSpace);
        }
        let mut at = offset;
        while at < end {
            let (page, within) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let take = (PAGE - within).min((end - at) as usize);
            let from = (at - offset) as usize;
            let held = file.now.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(held)[within..within + take].copy_from_slice(&data[from..from + take]);
            file.dirty.insert(page);
            at += take as u64;
        }
        file.now.length = file.now.length.max(end);
        self.used += fresh;
        Ok(())
    }

    /// Makes a file longer or shorter.
    pub fn truncate(&mut self, number: u64, length: u64) -> Result<()> {
        let file = self.file_mut(number)?;
        let first_gone = length.div_ceil(PAGE as u64);
        let gone = file.now.pages.split_off(&first_gone);
        file.dirty.extend(gone.keys());
        let within = (length % PAGE as u64) as usize;
        let last = length / PAGE as u64;
        if within != 0
            && length < file.now.length
            && let Some(page) = file.now.pages.get_mut(&last)
        {
            Arc::make_mut(page)[within..].fill(0);
            file.dirty.insert(last);
        }
        file.now.length = length;
        self.used -= gone.len() as u64;
        Ok(())
    }

    /// A power cut leaves a file or directory from now on as it is at this moment.
    pub fn sync(&mut self, number: u64) -> Result<()> {
        match &mut self.nodes.get_mut(&number).ok_or(Refusal::Missing)?.kind {
            Kind::File(file) => file.sync(),
            Kind::Directory(_) => self.sync_directory(number)?,
        }
        Ok(())
    }

    fn sync_directory(&mut self, number: u64) -> Result<()> {
        let (mut todo, mut done) = (vec![number], BTreeSet::new());
        let mut gone = BTreeSet::new();
        while let Some(number) = todo.pop() {
            if !done.insert(number) {
                continue;
            }
            // One that was removed meanwhile has nothing to keep.
            let Ok(directory) = self.directory_mut(number) else {
                continue;
            };
            todo.extend(std::mem::take(&mut directory.tied));
            let before = std::mem::replace(&mut directory.kept, directory.now.clone());
            gone.extend(before.into_values());
        }
        for number in gone {
            self.collect(number);
        }
        Ok(())
    }

    /// A sync that failed: as on Linux, what was to be written counts as written, and is not.
    pub fn fail_sync(&mut self, number: u64) {
        if let Ok(file) = self.file_mut(number) {
            file.dirty.clear();
        }
    }

    /// How much a cut would drop now.
    pub fn unsynced(&self) -> u64 {
        let count = |node: &Node| match &node.kind {
            Kind::File(file) => file.dirty.len() as u64 + u64::from(file.now.length != file.kept.length),
            Kind::Directory(directory) => directory.changes(),
        };
        self.nodes.values().map(count).sum()
    }

    /// The power is cut: only what was kept is left. With `survives`, a share of what was not synced got to the disk
    /// nevertheless, in any order and some pages in part, as a disk may do.
    pub fn cut(&mut self, survives: f64, chance: &mut StdRng) -> Dropped {
        let mut dropped = Dropped::default();
        for node in self.nodes.values_mut() {
            node.opens = 0;
            match &mut node.kind {
                Kind::File(file) => file.cut(survives, chance, &mut dropped),
                Kind::Directory(directory) => {
                    dropped.entries += directory.changes();
                    directory.now = directory.kept.clone();
                    directory.tied.clear();
                }
            }
        }
        self.sweep();
        dropped
    }

    /// Takes away what cannot be reached from the root.
    fn sweep(&mut self) {
        let (mut todo, mut reached) = (vec![ROOT], BTreeSet::new());
        while let Some(number) = todo.pop() {
            if reached.insert(number)
                && let Ok(directory) = self.directory(number)
            {
                todo.extend(directory.now.values());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
        let mut used = 0;
        for node in self.nodes.values_mut() {
            node.links = 1;
            if let Kind::File(file) = &node.kind {
                used += file.now.pages.len() as u64;
            }
        }
        self.used = used;
    }
}
