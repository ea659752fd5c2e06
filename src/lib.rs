//! Quorate: a replicated control plane for agents that run inside containers.
//!
//! ```text
//!  client ──HTTP──> api ──Command──> proposer ──> consensus (openraft, log on sled)
//!    ^                                                │ committed, in order, on every manager
//!    │                                                v
//!    └────────── reads <────────── state  (pure: State x Command -> State, Outcome, Events)
//!                                                     │ watched
//!                              control (leader only: plan on a snapshot, propose commands)
//!                                                     │ desired state
//!  container: runner <── session (any manager) ───────┘
//! ```
//!
//! One direction: requests become commands, commands become state, state drives control loops
//! and sessions; what runners observe comes back as commands.
//!
//! # Words
//!
//! A **manager** is one replica of the control plane. A **container** hosts **agents**, long-running
//! workloads; the **runner** is the process inside it that starts and stops them, and its **session**
//! is the one connection it keeps to a manager. An **engine** is a Docker Engine whose containers are
//! watched. An agent has numbered copies, its **replicas** (for now exactly one). A **placement** is a replica in
//! a container; its **epoch**, the log index of the entry that made it the one that acts, is the fencing token: it
//! grows with each placement of a replica, for ever. A **generation** counts the changes of an agent's spec, and a
//! placement runs one of them. The **revision** is the log index of the entry that made a
//! change; an object's **version** is that of its last one. A **candidate** is a container that was found and
//! is not trusted yet. A **config** is a named, versioned value. An **event** is a fact about one object, told
//! with the revision that made it true.
//! The **breaker** is open while too many containers are silent for silence to mean anything.
//!
//! # Map
//!
//! Every module, and what it may import of the others. `tests/layout.rs` holds the code against this
//! table; a row that is added here needs a reason that is stronger than convenience.
//!
//! | module | what it is | may import |
//! |---|---|---|
//! | `failpoints` | where tests let a manager die; nothing without the feature | |
//! | `planted` | bugs on purpose, to test the tests; nothing without the feature | |
//! | `model` | typed ids and the objects | |
//! | `wire` | frames over a connection, and many streams over one | |
//! | `command` | commands, outcomes, rejections | `model` |
//! | `state` | pure: apply, the filters of placement, indexes, events, invariants | `model` `command` |
//! | `plan` | pure: placement, strategies, verdicts on health, mass silence | `model` `command` `state` |
//! | `config` | layers of configuration | `model` |
//! | `security` | CA, certificates, tokens, roles | `model` |
//! | `telemetry` | logs, and every metric's name | `config` |
//! | `peers` | connections between managers: questions and answers, lanes | `model` `wire` |
//! | `consensus` | raft, log, snapshots; the only user of openraft and sled | `model` `wire` `command` `state` `peers` `telemetry` |
//! | `probe` | what a scan and a runner that has not joined say to each other | `model` `wire` `security` |
//! | `engine` | the only user of bollard | `model` `security` |
//! | `cache` | the projection to Redis, and reads from it; the only user of redis | `model` `command` `state` `consensus` `telemetry` |
//! | `control` | the leader's loops | `model` `command` `state` `plan` `peers` `consensus` `engine` `probe` `telemetry` |
//! | `session` | runners' sessions, the manager's side | `model` `wire` `command` `state` `plan` `peers` `consensus` `control` `security` `telemetry` |
//! | `api` | the HTTP API; the only user of axum | `model` `command` `state` `plan` `peers` `consensus` `engine` `cache` `control` `session` `probe` `security` `telemetry` |
//! | `node` | a manager process, put together | `model` `wire` `command` `state` `plan` `probe` `config` `security` `telemetry` `peers` `consensus` `engine` `cache` `control` `session` `api` |
//! | `runner` | the process in a container | `model` `wire` `config` `probe` `security` `telemetry` |
//! | `client` | typed HTTP client | `model` `api` |
//! | `cli` | nouns and verbs of the command line | `model` `client` `security` |
//! | `process` | from arguments to a running process and its exit code | `config` `security` `telemetry` `consensus` `node` `runner` |
//! | `dev` | a cluster on one machine, and its demonstration | `model` `config` `security` `client` `process` |

#![forbid(unsafe_code)]

// Their macros are used in what follows.
#[macro_use]
pub mod failpoints;
#[macro_use]
pub mod planted;

pub mod api;
pub mod cache;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod consensus;
pub mod control;
pub mod dev;
pub mod engine;
pub mod model;
pub mod node;
pub mod peers;
pub mod plan;
pub mod probe;
pub mod process;
pub mod runner;
pub mod security;
pub mod session;
pub mod state;
pub mod telemetry;
pub mod wire;
