//! runner
mod agent;
mod assess;
mod backoff;
pub mod exec;
mod lease;
mod output;
mod process;
mod program;
mod reports;
mod stray;
mod supervisor;
