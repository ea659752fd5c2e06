//! The judges, judged: each accepts what is right, and refuses each single fault that is planted in it.

mod brute;
mod containers;
mod lists;
mod planted;
mod registry;
mod script;
mod simulated;
mod times;
