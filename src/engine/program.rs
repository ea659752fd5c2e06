//! The binary that is brought into containers.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// A header of a 64-bit ELF file, and of one of its segments.
const HEADER: usize = 64;
const SEGMENT: usize = 56;

/// More segments than any linker makes.
const MOST_SEGMENTS: usize = 128;

/// The segment that names the loader of a program that is not static.
const PT_INTERP: u32 = 3;

/// Why a file can't be brought into containers.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It can't be read.
    #[error("it can't be read")]
    Unreadable(#[from] io::Error),
    /// It is no program, or not of a kind that is known here.
    #[error("it is no 64-bit Linux program")]
    Unknown,
    /// It would need libraries that a container need not have.
    #[error("it is not static: build one with `make image`, which leaves it in dist/quorate")]
    Dynamic,
}

/// A static binary.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    machine: &'static str,
}

impl Program {
    /// Takes the file at `path` if it can run anywhere on its kind of machine.
    ///
    /// # Errors
    /// [`ProgramError`] when it can't.
    pub fn open(path: &Path) -> Result<Self, ProgramError> {
        let mut start = Vec::new();
        // The segments' table follows the header in whatever a linker made.
        let most = HEADER + SEGMENT * MOST_SEGMENTS;
        File::open(path)?.take(most as u64).read_to_end(&mut start)?;
        Ok(Self {
            path: path.to_owned(),
            machine: machine(&start)?,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it runs on, as engines call it.
    pub(super) fn machine(&self) -> &'static str {
        self.machine
    }
}

/// The machine of a static program that begins so.
fn machine(start: &[u8]) -> Result<&'static str, ProgramError> {
    use ProgramError::{Dynamic, Unknown};
    let half = |at: usize| {
        let bytes = start.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let number = |at: usize| {
        let bytes = start.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    // 64 bits, little-endian.
    if !start.starts_with(b"\x7fELF\x02\x01") {
        return Err(Unknown);
    }
    let machine = match half(18) {
        Some(0x3e) => "amd64",
        Some(0xb7) => "arm64",
        Some(0xf3) => "riscv64",
        _ => return Err(Unknown),
    };
    let (at, each, count) = (number(32), half(54), half(56));
    let (Some(at), Some(each), Some(count)) = (at, each, count) else {
        return Err(Unknown);
    };
    for segment in 0..usize::from(count) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let place = usize::from(each)
            .checked_mul(segment)
            .and_then(|offset| at.checked_add(offset));
        match place.filter(|place| *place < start.len()).and_then(number) {
            Some(PT_INTERP) => return Err(Dynamic),
            Some(_) => {}
            None => return Err(Unknown),
        }
    }
    Ok(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(of: u16, segments: &[u32]) -> Vec<u8> {
        let mut text = vec![0; HEADER + SEGMENT * segments.len()];
        text[..6].copy_from_slice(b"\x7fELF\x02\x01");
        text[18..20].copy_from_slice(&of.to_le_bytes());
        text[32] = 64;
        text[54] = 56;
        text[56] = segments.len().try_into().unwrap();
        for (at, kind) in segments.iter().enumerate() {
            text[HEADER + SEGMENT * at..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        text
    }

    #[test]
    fn static_programs_are_told_by_what_they_do_not_ask_for() {
        assert_eq!(machine(&program(0x3e, &[6, 1, 2])).unwrap(), "amd64");
        assert_eq!(machine(&program(0xb7, &[1])).unwrap(), "arm64");
        let dynamic = machine(&program(0x3e, &[6, PT_INTERP, 1]));
        assert!(matches!(dynamic, Err(ProgramError::Dynamic)));
        for none in [
            program(3, &[1]),
            program(0x3e, &[1, 1])[..HEADER + SEGMENT].to_vec(),
            b"#!/bin/sh\n".to_vec(),
            Vec::new(),
        ] {
            assert!(matches!(machine(&none), Err(ProgramError::Unknown)), "{none:?}");
        }
        let mut far = program(0x3e, &[1]);
        far[32..40].fill(0xff);
        far[54..58].fill(0xff);
        assert!(machine(&far).is_err());
    }

    #[test]
    fn these_tests_are_told_to_be_what_they_were_built_as() {
        let opened = Program::open(Path::new("/proc/self/exe"));
        if cfg!(target_feature = "crt-static") {
            opened.unwrap();
        } else {
            let error = opened.unwrap_err();
            assert!(error.to_string().contains("not static"), "{error}");
        }
    }
}
