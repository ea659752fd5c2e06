//! The whole cluster in one process, under a simulated clock, network and disk.
//!
//! # What runs
//!
//! Managers with the product's consensus: core, log store, state machine, snapshots, peers, proposer,
//! reads, membership. Around them a simulated world: [turmoil](https://docs.rs/turmoil) has the clock and
//! the network, `storage` the disk, which loses what was not synced, `manager` the clients. All of it runs
//! on one thread of a process of its own (`child`), and all chance comes from one number, the seed: the same
//! seed gives the same run, byte for byte (`replay` shows it).
//!
//! # What is checked
//!
//! `checks`, after each tick of a millisecond, of every manager: vote, committed, applied never go back,
//! votes not across restarts either; one leader a term; what is committed is the same everywhere and stays
//! (`truth`); the state of every manager at every revision is that of a replay of the committed log,
//! also after a snapshot; one membership change at a time, no id twice. `oracle`, of every answer to
//! a client: it is what a model makes of the log, reads and writes are linearizable, a failed write never
//! takes effect, a write is applied once, a key has one effect and one answer. `run`, after the heal:
//! within 10 s of simulated time every member serves reads and writes, and all are level. A run in
//! which nothing happened fails.
//!
//! # How to run it
//!
//! ```text
//! make simulation                    200 seeds; SEEDS=3000 for more, FROM=… to begin elsewhere
//! make simulation SEED=17            one seed, with its trace in target/simulation-traces/17.trace
//! ```
//!
//! It needs `--cfg tokio_unstable` (a seeded scheduler) and the feature `simulation` (a seeded raft, no
//! threads), which the Makefile sets; the program is never built so.
//!
//! What is found goes into `kept`: the seed, as a test named after what went wrong. A seed stands
//! for its run only as long as nothing in the harness draws another number; what must stay found is
//! therefore also tested where it was mended.
//!
//! # What it leaves out
//!
//! The API, TLS, sled itself, threads, real time: `jepsen/` has those.

mod checks;
mod child;
mod kept;
mod manager;
mod nemesis;
mod net;
mod oracle;
mod plan;
mod plant;
mod planted;
mod replay;
mod run;
mod seeds;
mod storage;
mod truth;
mod world;
