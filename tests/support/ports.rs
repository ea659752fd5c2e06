//! Ports that no other test on this machine takes meanwhile, be it of this process or of another one.
//!
//! A port that was found free is not bound yet: two tests, or two managers of one test, could find the
//! same one. So ports are taken in blocks, and a block is held by the lock on a file until the test ends.

use std::{
    fs::{self, File},
    net::TcpListener,
};

/// Ports of a block.
const BLOCK: u16 = 30;

/// Below those that the system gives to outgoing connections.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 400;

/// Some free ports in a row.
pub struct Ports {
    pub first: u16,
    _held: File,
}

impl Ports {
    pub fn take(count: u16) -> Self {
        assert!(count <= BLOCK);
        let dir = std::env::temp_dir().join("quorate-test-ports");
        fs::create_dir_all(&dir).unwrap();
        let begin = rand::random::<u16>();
        for turn in 0..BLOCKS {
            let block = begin.wrapping_add(turn) % BLOCKS;
            let held = File::create(dir.join(block.to_string())).unwrap();
            let first = FIRST + block * BLOCK;
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if held.try_lock().is_ok() && (first..first + count).all(free) {
                return Self { first, _held: held };
            }
        }
        panic!("all ports from {FIRST} on are taken");
    }
}
