//! Faults under load: real managers, judged only from outside.
//!
//! A **run** starts a cluster of real `quorate manager` processes, each in a network namespace and on a disk of its
//! own, drives it with **workloads** through every manager while a **nemesis** breaks things, heals it, reads
//! everything back, and judges the **history** of what clients were told by **checkers**. A run that proves nothing
//! (a fault that was not in effect, a leader that should have changed and did not, too few operations) fails.
//!
//! | module | what it is |
//! |---|---|
//! | `options` | the command line |
//! | `run`, `matrix` | one test from start to verdict; every fault set with every workload |
//! | `judge` | what is judged of the run itself: faults in effect, managers behaving, recovery, enough happening |
//! | `machine` | what this machine lets us do, and so which network there is and which faults |
//! | `cluster` | managers and runners as processes: bundle, start, kill, restart, what they say of themselves |
//! | `net` | namespaces, packet filters, links that are slow and lossy; or proxies on the loopback |
//! | `disk` | a file system that forgets what was not synced, fills up, slows down and fails |
//! | `nemesis` | the faults, one family a file, each with evidence that it was in effect |
//! | `beat` | an agent that says when it lived |
//! | `workload` | what clients do, and what they were told |
//! | `history` | operations and faults in order of time |
//! | `checker` | what must hold of a history |
//! | `report` | a run for people: verdict, figures, plots, timeline |
//!
//! Of the product it uses `client` and `model` only: what a client can't see is no business of a judge.

#![forbid(unsafe_code)]

pub mod beat;
pub mod checker;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod judge;
pub mod machine;
pub mod matrix;
pub mod nemesis;
pub mod net;
pub mod options;
pub mod report;
pub mod run;
pub mod workload;
