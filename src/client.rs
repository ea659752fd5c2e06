//! A typed client of the HTTP API: for the command line, tests, benches and fault injection.
//!
//! It knows several managers and passes over one that does not answer. Every write carries an
//! `Idempotency-Key` (a random one, unless the caller gives its own), so that it may be repeated at
//! another manager even when what became of it is not known: it has one effect all the same. Only
//! changes of the managers themselves have no such key, and are repeated only when it is certain
//! that nobody took them.
//!
//! It trusts the CA it is given and nothing else; plain `http://` is for loopback only.

mod containers;
mod discovery;
mod error;
mod networks;
mod resources;
mod send;
mod setup;
mod watch;
mod wish;

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use reqwest::header::HeaderMap;

pub use self::{
    error::{ClientError, Problem},
    resources::ConfigRead,
    setup::ClientBuilder,
    watch::{ConfigEvent, ConfigWatch, EventWatch},
    wish::{Condition, EventFilter, Page},
};
pub use crate::api::types;
use crate::model::Revision;

/// Speaks to a cluster. Cheap to clone; clones share what they learn about which manager answers.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    endpoints: Vec<String>,
    /// The endpoint that answered last; the next request begins with it.
    preferred: AtomicUsize,
    headers: HeaderMap,
    limits: setup::Limits,
    /// Whether writes get an idempotency key where the caller chose none.
    keys: bool,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status; below 400.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    fn number(&self, name: &str) -> Option<u64> {
        self.headers
            .get(name)?
            .to_str()
            .ok()?
            .trim_matches('"')
            .parse()
            .ok()
    }

    /// `Quorate-Revision`: what a read shows, or when a write took effect.
    pub fn revision(&self) -> Option<Revision> {
        self.number("quorate-revision")
    }

    /// The version in the ETag.
    pub fn version(&self) -> Option<Revision> {
        self.number("etag")
    }

    /// Whether this is the answer to an earlier request with the same idempotency key.
    pub fn replayed(&self) -> bool {
        self.headers.contains_key("idempotency-replayed")
    }
}

impl Client {
    /// Sets a client up.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The managers it knows, as `scheme://host:port`.
    pub fn endpoints(&self) -> &[String] {
        &self.inner.endpoints
    }
}
