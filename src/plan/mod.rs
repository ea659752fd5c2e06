//! Decisions about a state, made without changing it: where agents go, why one waits, what the
//! silence of a container means, and when that of many means nothing.
//!
//! Pure, like `state`: a plan is a function of a snapshot. It may be old by the time it is proposed,
//! so apply checks each placement and each verdict again against the state as it is then.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod breaker;
mod class;
mod explain;
mod fleet;
mod health;
mod load;
mod place;
mod refusals;
mod score;

pub use self::{
    breaker::{Mass, Quiet, Tally, tally},
    explain::{Verdict, explain},
    health::{Health, Judgement, Windows, judge, verdict},
    load::Load,
    place::{Plan, Waiting, place},
};

#[cfg(test)]
mod script_tests;
