//! The file system as the kernel asks for it.
//!
//! Nothing is cached outside: reads and writes of programs come here one by one, so that a cut is complete at the
//! moment it happens. Locks are the kernel's own business. `sync_file_range` and the like never get here, and so
//! never keep anything, as on a disk with a cache of its own.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::image::{Attributes, PAGE, Refusal};
use super::{Fate, Shared};

/// The kernel remembers nothing.
const TTL: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

/// What is mounted.
pub struct Mounted(pub Arc<Shared>);

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Errno::ENOENT,
            Refusal::Exists => Errno::EEXIST,
            Refusal::NotEmpty => Errno::ENOTEMPTY,
            Refusal::NotDirectory => Errno::ENOTDIR,
            Refusal::IsDirectory => Errno::EISDIR,
            Refusal::NoSpace => Errno::ENOSPC,
        }
    }
}

fn shown(attributes: Attributes) -> FileAttr {
    // Nothing here depends on times, and a constant one is the same in every run.
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(attributes.number),
        size: attributes.length,
        blocks: attributes.length.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(attributes.directory),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}

fn kind(directory: bool) -> FileType {
    if directory {
        FileType::Directory
    } else {
        FileType::RegularFile
    }
}

/// The permission bits of a mode.
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $then:expr) => {
        match $result {
            Ok($value) => $then,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .0
            .with(|image| image.lookup(parent.0, name).and_then(|at| image.attributes(at)));
        answer!(reply, found, attributes => reply.entry(&TTL, &shown(attributes), GENERATION));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.0.with(|image| image.attributes(number.0));
        answer!(reply, found, attributes => reply.attr(&TTL, &shown(attributes)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.0.with(|image| {
            if let Some(mode) = mode {
                image.set_mode(number.0, permissions(mode))?;
            }
            if let Some(size) = size {
                image.truncate(number.0, size)?;
            }
            image.attributes(number.0)
        });
        answer!(reply, changed, attributes => reply.attr(&TTL, &shown(attributes)));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.0.with(|image| {
            let at = image.make(parent.0, name, permissions(mode & !umask), true)?;
            image.attributes(at)
        });
        answer!(reply, made, attributes => reply.entry(&TTL, &shown(attributes), GENERATION));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.0.with(|image| image.remove(parent.0, name, false));
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.0.with(|image| image.remove(parent.0, name, true));
        answer!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        as_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let renamed = self
            .0
            .with(|image| image.rename((parent.0, name), (to.0, as_name), replace));
        answer!(reply, renamed, () => reply.ok());
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.0.with(|image| image.open(number.0));
        answer!(reply, opened, () => reply.opened(FileHandle(number.0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.0.with(|image| {
            let at = image.make(parent.0, name, permissions(mode & !umask), false)?;
            image.open(at)?;
            image.attributes(at)
        });
        answer!(reply, made, attributes => {
            let handle = FileHandle(attributes.number);
            reply.created(&TTL, &shown(attributes), GENERATION, handle, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.0.with(|image| image.read(number.0, offset, size as usize));
        answer!(reply, read, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.0.with(|image| image.write(number.0, offset, data));
        if matches!(&written, Err(error) if *error == Errno::ENOSPC) {
            self.0.count(|counts| counts.refused_writes += 1);
        }
        answer!(reply, written, () => reply.written(data.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.always(|image| image.release(number.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        sync(&self.0, number.0, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        sync(&self.0, number.0, reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.0.with(|image| {
            let mut entries = vec![(".".into(), number.0, true), ("..".into(), number.0, true)];
            for (name, at) in image.list(number.0)? {
                entries.push((name, at, image.attributes(at)?.directory));
            }
            Ok(entries)
        });
        answer!(reply, listed, entries => {
            let rest = (1_u64..).zip(entries).skip(offset as usize);
            for (next, (name, at, directory)) in rest {
                if reply.add(INodeNo(at), next, kind(directory), name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let counted = self.0.with(|image| Ok((image.capacity, image.used())));
        answer!(reply, counted, (capacity, used) => {
            let free = capacity.saturating_sub(used);
            reply.statfs(capacity, free, free, 0, 0, PAGE as u32, 255, PAGE as u32);
        });
    }

    fn access(&self, _: &Request, _: INodeNo, _: fuser::AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// Syncs, now or when the disk has taken its time; others go on meanwhile.
fn sync(shared: &Arc<Shared>, number: u64, reply: ReplyEmpty) {
    let fate = shared.fate();
    let finish = {
        let shared = Arc::clone(shared);
        move |fails: bool| match shared.finish_sync(number, fails) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    };
    match fate {
        Fate::Now { fails } => finish(fails),
        Fate::After { delay } => {
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                finish(false);
            });
        }
    }
}
